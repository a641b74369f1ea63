"""The cache: both images of every row decoded once, in their frames, in memory.

Owns the stored frames and the pairs that are read from them. It serves presets that resize first and crop then; a
preset that crops first has no frame to keep.
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
    "cache is 'memory', but the transform's preset crops before it resizes, so there is no frame to keep. Leave cache "
    "out, or use e.g. --transform.preset fgvc_scratch_224"
)


class Frames:
    """Images of any sizes in one block of shared memory, which loader workers read without a copy."""

    def __init__(self, count: int, load: Callable[[int], Tensor | None]):
        """Load `count` images, with one thread a core; for an unreadable one the reason is kept.

        Args:
            count: number of images.
            load: index -> (3, H, W) uint8, or None for no image.
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
                # Channels last, as decoders write it: resizing and cropping are fastest in this order.
                self._block[self._starts[index] : self._starts[index + 1]] = image.permute(1, 2, 0).reshape(-1)

    @property
    def bytes(self) -> int:
        """Return the size of the block."""
        return self._block.numel()

    def __getitem__(self, index: int) -> Tensor:
        """Return (3, H, W) uint8, a view that must not be written to.

        Raises:
            UnreadableImage: the image could not be decoded.
        """
        if index in self._reasons:
            raise UnreadableImage(self._reasons[index])
        flat = self._block[self._starts[index] : self._starts[index + 1]]
        return flat.view(*self._shapes[index], 3).permute(2, 0, 1)


class FrameCache:
    """Frames of the training rows and of their partners."""

    def __init__(self, data: TrainingData, protocol: framing.Protocol, *, alone: bool):
        """Decode every image.

        Args:
            data: the training rows and the pool.
            protocol: must resize before it crops.
            alone: generated images are served alone (GenAug) instead of in the real image's frame.

        Raises:
            UserError: the protocol crops first.
        """
        if protocol.resize is None:
            raise UserError(NO_FRAMES)
        rows, names, pool, has_counterpart = data.train.rows, data.columns, data.pool, data.has_counterpart

        def real_frame(index: int) -> Tensor:
            return framing.framed(decoded(rows[index][names.image][0].as_py()), protocol)

        def counterpart_frame(index: int) -> Tensor | None:
            if not has_counterpart[index]:
                return None
            generated = decoded(rows[index][names.generated][0].as_py())
            return framing.framed(generated, protocol) if alone else cover(generated, *self.real[index].shape[-2:])

        self.real = Frames(len(data.train), real_frame)
        self.counterparts = Frames(len(data.train), counterpart_frame) if has_counterpart.any() else None
        self.pool: Frames | None = None
        if pool is not None:
            self.pool = Frames(len(pool), lambda index: framing.framed(decoded(pool.cells([index])[0]), protocol))
        size = sum(frames.bytes for frames in (self.real, self.counterparts, self.pool) if frames is not None)
        log.info("cache: %.0f MB of decoded images", size / 1e6)

    def pair(self, row: int, pool_index: int | None) -> CachedPair:
        """Return the pair of a training row and its partner.

        Args:
            row: index of the training row.
            pool_index: of the partner in the pool; None: the row's own counterpart.
        """
        if pool_index is None:
            return CachedPair(self.real, row, self.counterparts, row)
        return CachedPair(self.real, row, self.pool, pool_index)


class CachedPair:
    """A pair read from the cache (pairs.Pair)."""

    def __init__(self, real: Frames, row: int, partners: Frames | None, partner: int):
        self._real, self._row, self._partners, self._partner = real, row, partners, partner

    def real(self) -> Tensor:
        """Return the frame of the real image."""
        return self._real[self._row]

    def generated_alone(self) -> Tensor:
        """Return the partner, which was stored in the frame in which it is served."""
        return self.generated()

    def generated_covering(self, height: int, width: int) -> Tensor:
        """Cover a frame of `height` x `width` with the partner."""
        return cover(self.generated(), height, width)

    def generated(self) -> Tensor:
        """Return the partner as it was stored."""
        if self._partners is None:
            raise ValueError(f"training row {self._row} has no partner in the cache")
        return self._partners[self._partner]


def _loaded_or_reason(load: Callable[[int], Tensor | None], index: int) -> Tensor | UnreadableImage | None:
    try:
        return load(index)
    except UnreadableImage as error:
        return error
