"""Rows with masks: test images for scoring, each with the mask of its object in the same frame.

Owns the reading of a mask from a cell, and the reasons why a mask is not used. A mask is an image of the size of its
row's image. A pixel belongs to the object if it is brighter than half of the brightest pixel of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.images import NO_FILES, ImageFiles, UnreadableImage
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.loader import Batch, ScoredRows
from diffcore_hf.training.data.pairs import decoded
from diffcore_hf.training.data.split import Split


class MaskedRows(ScoredRows):
    """Rows of a split for scoring, with `masks` (B, S, S) bool and `reasons`, a list of B texts.

    The reason of a row says why it has no usable mask. It is empty if the row has one.
    """

    def __init__(
        self, split: Split, image: str, mask: str, protocol: framing.Protocol, files: ImageFiles = NO_FILES
    ) -> None:
        """Store the split; nothing is read yet.

        Args:
            split: rows with the columns `image` and `mask`.
            image: name of the column of images.
            mask: name of the column of masks.
            protocol: resizing and cropping of images and masks.
            files: the files that a cell may name.
        """
        super().__init__(split, image, protocol, files)
        self._mask = mask

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the batch of `ScoredRows`, with `masks` and `reasons`."""
        batch = super().__getitems__(indices)
        table = self._split.rows[list(indices)]
        cells = zip(table[self._image].to_pylist(), table[self._mask].to_pylist(), strict=True)
        masks, reasons = [], []
        for image, mask in cells:
            try:
                masks.append(self._framed(image, mask))
                reasons.append("")
            except UnreadableImage as error:
                masks.append(torch.zeros(self._protocol.size, self._protocol.size, dtype=torch.bool))
                reasons.append(str(error))
        return batch | {"masks": torch.stack(masks), "reasons": reasons}

    def _framed(self, image: Any, mask: Any) -> Tensor:
        """Return the mask of an image in the frame of the protocol, (S, S) bool.

        Raises:
            UnreadableImage: there is no usable mask; the text is the reason.
        """
        if mask is None:
            raise UnreadableImage("the row has no mask")
        pixels = decoded(mask, self._files)
        size = decoded(image, self._files).shape[1:]
        if pixels.shape[1:] != size:
            (rows, columns), (image_rows, image_columns) = pixels.shape[1:], size
            raise UnreadableImage(
                f"the mask has {columns} x {rows} pixels and its image {image_columns} x {image_rows}"
            )
        inside = object_pixels(pixels)
        framed = framing.evaluation_frame(inside[None].byte() * 255, self._protocol)[0] > 127
        if not framed.any():
            raise UnreadableImage("the mask has no object in the frame of the image")
        return framed


def object_pixels(pixels: Tensor) -> Tensor:
    """Return the pixels of the object in a decoded mask: (3, H, W) uint8 -> (H, W) bool."""
    brightness = pixels.amax(0)
    return brightness > brightness.max().float() / 2


def check_masks(split: Split, mask: str, path: str) -> None:
    """Check that a split has a column of images with that name.

    Raises:
        UserError: the column does not exist, or does not contain images.
    """
    from datasets import Image

    features = split.rows.features
    if mask not in features:
        raise UserError(
            f"mask is {mask!r}, which split {split.name!r} of {path} does not have as a column. Name a column of mask "
            "images, or leave --mask out"
        )
    if not isinstance(features[mask], Image):
        raise UserError(
            f"mask is {mask!r}, a column of {path} that does not contain images ({features[mask]}). Name a column of "
            "mask images, or leave --mask out"
        )
