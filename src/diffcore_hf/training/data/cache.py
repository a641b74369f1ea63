"""The cache: both images of every row decoded once, in their frames, in memory.

Owns the store and the pairs that are served from it. For protocols that resize first and crop then; where the crop
comes first there is no frame to keep.
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
from diffcore_hf.training.data.splits import Split, TrainingData
from diffcore_hf.training.data.transform import pixels

log = logging.getLogger(__name__)

NO_FRAMES = (
    "cache is 'memory', but the transform's preset crops before it resizes, so there is no frame to keep. Leave cache "
    "out, or use e.g. --transform.preset fgvc_scratch_224"
)


class Frames:
    """Images of any sizes in one block of shared memory, which loader workers see without a copy."""

    def __init__(self, count: int, make: Callable[[int], Tensor | None]):
        """Make `count` images, with one thread a core; an unreadable one is kept as its reason.

        Args:
            count: how many.
            make: place -> (3, H, W) uint8, or None for no image.
        """
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            made = list(threads.map(lambda place: _tried(make, place), range(count)))
        self._reasons = {place: str(image) for place, image in enumerate(made) if isinstance(image, UnreadableImage)}
        tensors = [image if isinstance(image, Tensor) else None for image in made]
        self._shapes = [(0, 0) if image is None else tuple(image.shape[-2:]) for image in tensors]
        sizes = [3 * height * width for height, width in self._shapes]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._block = torch.empty(int(self._starts[-1]), dtype=torch.uint8).share_memory_()
        for place, image in enumerate(tensors):
            if image is not None:
                # Channels last, as it came from the decoder: the kernels for resizing and cropping are quickest so.
                self._block[self._starts[place] : self._starts[place + 1]] = image.permute(1, 2, 0).reshape(-1)

    @property
    def bytes(self) -> int:
        """Memory of the block."""
        return self._block.numel()

    def __getitem__(self, place: int) -> Tensor:
        """(3, H, W) uint8, a view that must not be written to.

        Raises:
            UnreadableImage: it could not be decoded.
        """
        if place in self._reasons:
            raise UnreadableImage(self._reasons[place])
        flat = self._block[self._starts[place] : self._starts[place + 1]]
        return flat.view(*self._shapes[place], 3).permute(2, 0, 1)


class FrameCache:
    """Frames of the training rows and of their partners."""

    def __init__(self, data: TrainingData, protocol: framing.Protocol, *, alone: bool):
        """Decode everything.

        Args:
            data: the training rows and the pool.
            protocol: must resize before it crops.
            alone: generated images are served alone (GenAug), not in the real image's frame.

        Raises:
            UserError: the protocol crops first.
        """
        if protocol.resize is None:
            raise UserError(NO_FRAMES)
        train, names, pool, own = data.train, data.columns, data.pool, data.has_counterpart

        def framed(split: Split, name: str, place: int) -> Tensor:
            return framing.framed(pixels(split.rows[place][name][0].as_py()), protocol)

        def partner(place: int) -> Tensor | None:
            if not own[place]:
                return None
            if alone:
                return framed(train, names.generated, place)
            generated = pixels(train.rows[place][names.generated][0].as_py())
            return cover(generated, *self.real[place].shape[-2:])

        self.real = Frames(len(train), lambda place: framed(train, names.image, place))
        self.own = Frames(len(train), partner) if own.any() else None
        self.pool = (
            None
            if pool is None
            else Frames(len(pool), lambda place: framing.framed(pixels(pool.cells([place])[0]), protocol))
        )
        size = sum(frames.bytes for frames in (self.real, self.own, self.pool) if frames is not None)
        log.info("cache: %.0f MB of decoded images", size / 1e6)

    def pair(self, row: int, place: int | None) -> Cached:
        """The images of a training row and its partner: its own, or that place of the pool."""
        return Cached(self, row, place)


class Cached:
    """A pair out of the cache (transform.Pair)."""

    def __init__(self, cache: FrameCache, row: int, place: int | None):
        self._cache, self._row, self._place = cache, row, place

    def real(self) -> Tensor:
        return self._cache.real[self._row]

    def alone(self) -> Tensor:
        return self.generated()

    def covering(self, height: int, width: int) -> Tensor:
        return cover(self.generated(), height, width)

    def generated(self) -> Tensor:
        return self._cache.own[self._row] if self._place is None else self._cache.pool[self._place]


def _tried(make: Callable[[int], Tensor | None], place: int) -> Tensor | UnreadableImage | None:
    try:
        return make(place)
    except UnreadableImage as error:
        return error
