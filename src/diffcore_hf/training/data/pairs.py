"""Pairs: the real and the generated image of one sample, decoded when they are needed.

Owns the interface of a pair, and the pair of undecoded images. The pair of images that are already decoded is in
cache.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from diffcore_hf.core import images
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.core.jpeg import fast_decoder
from diffcore_hf.method.mixing import cover
from diffcore_hf.training.data import framing

MOST_PIXELS = 16_000_000
"""Largest number of pixels of a decoded image. A larger one is reduced before it is resized to its frame."""


class Pair(Protocol):
    """The two images of a sample. Every method returns (3, H, W) uint8 and may raise UnreadableImage."""

    def real(self) -> Tensor:
        """Return the real image in its frame (framing.framed)."""

    def generated_alone(self) -> Tensor:
        """Return the generated image in its own frame."""

    def generated_covering(self, height: int, width: int) -> Tensor:
        """Return the generated image scaled and cut to cover the real image's frame."""

    def generated(self) -> Tensor:
        """Return the generated image as it is stored."""


class StoredPair:
    """A pair of undecoded images from a dataset."""

    def __init__(self, real: Any, generated: Any, protocol: framing.Protocol, files: ImageFiles = NO_FILES):
        self._real, self._generated, self._protocol, self._files = real, generated, protocol, files

    def real(self) -> Tensor:
        """Decode and frame the real image."""
        return framing.framed(decoded(self._real, self._files), self._protocol)

    def generated_alone(self) -> Tensor:
        """Decode and frame the generated image."""
        return framing.framed(self.generated(), self._protocol)

    def generated_covering(self, height: int, width: int) -> Tensor:
        """Decode the generated image and cover a frame of `height` x `width`."""
        return cover(self.generated(), height, width)

    def generated(self) -> Tensor:
        """Decode the generated image."""
        return decoded(self._generated, self._files)


def decoded(cell: Any, files: ImageFiles = NO_FILES) -> Tensor:
    """Decode an undecoded image, or convert a PIL image.

    Args:
        cell: undecoded storage of an image, or a PIL image.
        files: the files that the cell may name.

    Returns:
        (3, H, W) uint8, in channels-last memory as decoders write it.

    Raises:
        UnreadableImage: the image cannot be decoded.
    """
    if cell is None or isinstance(cell, Mapping):
        array = images.decode_pixels(cell, fast_decoder(), files, most=MOST_PIXELS)
    else:
        array = images.to_array(images.to_rgb(cell))
    return torch.from_numpy(array).permute(2, 0, 1)
