"""Prints of images: scales an image to the size of a print. The maps are those of method/copies/prints.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from diffcore_hf.core import images
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.method.copies.prints import SIDE, Print, make_print


def print_of(image: Image.Image) -> Print:
    """Return the print of an RGB image."""
    scaled = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return make_print(np.asarray(scaled, np.uint8), image.width / image.height)


def print_of_cell(cell: Any, files: ImageFiles = NO_FILES) -> Print | None:
    """Return the print of an image cell; None if the image cannot be read.

    Args:
        cell: undecoded storage of an image.
        files: the files that the cell may name.
    """
    try:
        return print_of(images.decode(cell, files))
    except images.UnreadableImage:
        return None
