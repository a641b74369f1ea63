"""Readable images: which rows have an image whose header can be read, and the error if no row has one.

Owns the error about a source whose images are missing. Does not read files; the headers are those of the source.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.augmentation.source.dataset import MISSING_IMAGE, LoadedSource
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.image_headers import ImageHeader


def readable_rows(source: LoadedSource) -> NDArray[np.bool_]:
    """Returns (N,) bool: whether the header of the image of each row of the augmented split can be read.

    The pixels of such an image can still be damaged.
    """
    return np.array([isinstance(header, ImageHeader) for header in source.headers[source.config.split]], bool)


def check_readable(source: LoadedSource, rows: Sequence[int] | NDArray[np.int64]) -> None:
    """Raises UserError if none of these rows has an image, because every counterpart would fail.

    A dataset that was published without its original images has such rows. An image that cannot be read is a fault of
    its row, and the row gets a reason.

    Args:
        source: the loaded source.
        rows: indices of the planned rows.
    """
    planned, unreadable = np.unique(rows), source.unreadable[source.config.split]
    if any(unreadable.get(row) != MISSING_IMAGE for row in planned.tolist()):
        return
    raise UserError(
        f"{source.config.path}: the images of all {len(planned):,} planned rows are missing, so every counterpart "
        "would fail. Use a dataset with its images: --source.path FOLDER. join_originals adds the images to a dataset "
        "that was published without them"
    )
