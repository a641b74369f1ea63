"""The cache of decoded images: both images of every row are decoded once and kept in memory.

Owns the stored frames and the pairs that are read from them. A frame is an image after the resize and before the crop.
The cache supports presets that resize first. A preset that crops first has no frame that could be stored.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.images import UnreadableImage
from diffcore_hf.method.mixing import cover
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.pairs import decoded
from diffcore_hf.training.data.training_data import TrainingData

log = logging.getLogger(__name__)

NO_FRAMES = (
    "cache is 'memory', but the preset of the transform crops before it resizes, so it has no frame to store. Leave "
    "cache out, or use e.g. --transform.preset fgvc_scratch_224"
)


class Frames:
    """Images of different sizes in one block of shared memory, which loader workers read without a copy."""

    def __init__(self, count: int, load: Callable[[int], Tensor | None]):
        """Load `count` images with one thread for each core; an unreadable image is stored as its error message.

        Args:
            count: number of images.
            load: function of the index that returns (3, H, W) uint8, or None if there is no image.
        """
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            results = list(threads.map(lambda index: _loaded_or_reason(load, index), range(count)))
        self._reasons = {index: str(image) for index, image in enumerate(results) if isinstance(image, UnreadableImage)}
        tensors = [image if isinstance(image, Tensor) else None for image in results]
        self._shapes = [(0, 0) if image is None else (image.shape[-2], image.shape[-1]) for image in tensors]
        sizes = [3 * height * width for height, width in self._shapes]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._block = torch.empty(int(self._starts[-1]), dtype=torch.uint8).share_memory_()
        for index, image in enumerate(tensors):
            if image is not None:
                # Decoders write channels last, and resizing and cropping are fastest in this order.
                self._block[self._starts[index] : self._starts[index + 1]] = image.permute(1, 2, 0).reshape(-1)

    @property
    def bytes(self) -> int:
        """Return the size of the block of memory in bytes."""
        return self._block.numel()

    def __getitem__(self, index: int) -> Tensor:
        """Return an image, (3, H, W) uint8. It is a view, which must not be changed.

        Raises:
            UnreadableImage: the image could not be decoded.
        """
        if index in self._reasons:
            raise UnreadableImage(self._reasons[index])
        flat = self._block[self._starts[index] : self._starts[index + 1]]
        return flat.view(*self._shapes[index], 3).permute(2, 0, 1)


class FrameCache:
    """Frames of the training rows and of the images that they are mixed with."""

    def __init__(self, data: TrainingData, protocol: framing.Protocol, *, alone: bool):
        """Decode every image that the training reads.

        Args:
            data: the training rows and the pool.
            protocol: protocol that resizes before it crops.
            alone: true (GenAug): resize a generated image like a real image. False: scale and crop it to the size of
                its real image.

        Raises:
            UserError: the protocol crops before it resizes.
        """
        if protocol.resize is None:
            raise UserError(NO_FRAMES)
        files = data.files
        rows, columns, pool, has_counterpart = data.train.rows, data.columns, data.pool, data.has_counterpart

        def real_frame(index: int) -> Tensor:
            return framing.framed(decoded(rows[index][columns.image][0].as_py(), files), protocol)

        def counterpart_frame(index: int) -> Tensor | None:
            if not has_counterpart[index]:
                return None
            generated = decoded(rows[index][columns.generated][0].as_py(), files)
            return framing.framed(generated, protocol) if alone else cover(generated, *self.real[index].shape[-2:])

        self.real = Frames(len(data.train), real_frame)
        self.counterparts = Frames(len(data.train), counterpart_frame) if has_counterpart.any() else None
        self.pool: Frames | None = None
        if pool is not None:
            self.pool = Frames(
                len(pool), lambda index: framing.framed(decoded(pool.cells([index])[0], files), protocol)
            )
        size = sum(frames.bytes for frames in (self.real, self.counterparts, self.pool) if frames is not None)
        log.info("cache: %.0f MB of decoded images", size / 1e6)

    def pair(self, row: int, pool_index: int | None) -> CachedPair:
        """Return the pair of a training row and its partner.

        Args:
            row: index of the training row.
            pool_index: index of the partner in the pool; None: the partner is the row's own counterpart.
        """
        if pool_index is None:
            return CachedPair(self.real, row, self.counterparts, row)
        return CachedPair(self.real, row, self.pool, pool_index)


class CachedPair:
    """Both images of a sample, read from the cache (see pairs.Pair)."""

    def __init__(self, real: Frames, row: int, partners: Frames | None, partner: int):
        self._real, self._row, self._partners, self._partner = real, row, partners, partner

    def real(self) -> Tensor:
        """Return the frame of the real image."""
        return self._real[self._row]

    def generated_alone(self) -> Tensor:
        """Return the partner, which was resized like a real image."""
        return self.generated()

    def generated_covering(self, height: int, width: int) -> Tensor:
        """Return the partner scaled and cut to cover a frame of `height` x `width`."""
        return cover(self.generated(), height, width)

    def generated(self) -> Tensor:
        """Return the partner as it is stored."""
        if self._partners is None:
            raise ValueError(f"training row {self._row} has no partner in the cache")
        return self._partners[self._partner]


def _loaded_or_reason(load: Callable[[int], Tensor | None], index: int) -> Tensor | UnreadableImage | None:
    try:
        return load(index)
    except UnreadableImage as error:
        return error
