"""Device batches: how a part is cut, and what becomes of a batch that raises.

Owns isolation: one bad prompt costs one image, a broken model stops the run. Out of memory is not an error here, the
model halves its batches itself (models/diffusion.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.errors import UserError

if TYPE_CHECKING:
    from diffcore_hf.models.diffusion import TextToImage
    from diffcore_hf.models.towers import ImageTower

logger = logging.getLogger(__name__)

Result = tuple[Any, str | None]
"""What one image came to, or None and the reason."""

GIVE_UP_AFTER = 4
"""Images that fail alone, before any ever succeeded, until the model itself is held to be broken."""


def load(*models: TextToImage | ImageTower) -> None:
    """Loads weights before the first image, so that what is wrong with a model is never a fact about an image."""
    for model in models:
        try:
            model.load()
        except Exception as error:
            _stop_if_hopeless(error, True, f"the weights of {model.config.path}")
            raise


def in_batches(
    work: Callable[[Sequence[int]], list[Result]],
    count: int,
    model: TextToImage,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Result]]:
    """(row, result) for rows 0 .. count - 1, worked on in batches of the model's size.

    A batch that raises is tried image by image; those that raise again come out as `crashed: <type>: <message>`.

    Raises:
        UserError: this model has never drawn an image and fails on every one, the device is lost, or memory is too
            small for one image.
    """
    failures = 0
    start = 0
    last: Exception | None = None
    while start < count:
        rows = range(start, min(start + model.batch_size, count))
        failed = 0
        for row, result, error in _isolated(work, rows):
            failed, last = failed + (error is not None), error or last
            yield row, result
        failures += failed
        done = rows.stop == count
        if model.images_drawn == 0 and failed == len(rows) and (failures >= GIVE_UP_AFTER or done):
            raise UserError(f"{model.config.path}: every image fails: {describe(last)}") from last
        if on_progress is not None:
            on_progress(len(rows))
        start = rows.stop


def _isolated(work: Callable, rows: range) -> Iterator[tuple[int, Result, Exception | None]]:
    try:
        results = work(rows)
    except Exception as error:
        _stop_if_hopeless(error, len(rows) == 1)
        logger.warning("a batch of %d raised %s; trying its images alone", len(rows), describe(error))
    else:
        yield from ((row, result, None) for row, result in zip(rows, results, strict=True))
        return
    for row in rows:
        try:
            [result] = work([row])
        except Exception as error:
            _stop_if_hopeless(error, True)
            yield row, (None, f"crashed: {describe(error)}"[:200]), error
        else:
            yield row, result, None


def describe(error: BaseException | None) -> str:
    """`Type: message` on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:180]


def worker_threads() -> int:
    """Threads for encoding and decoding beside the model."""
    return min(8, os.cpu_count() or 1)


def _stop_if_hopeless(error: Exception, alone: bool, what: str = "one image") -> None:
    """Raises what is no fact about an image: a lost device, or too little memory for the least that is needed."""
    from diffcore_hf.models.runtime import OutOfMemory, is_out_of_memory

    if isinstance(error, OutOfMemory):
        raise error
    if alone and is_out_of_memory(error):
        raise OutOfMemory(f"out of memory for {what}: {describe(error)}. Use --model.offload model") from error
    if isinstance(error, RuntimeError) and "CUDA error" in str(error):
        raise UserError(f"the GPU failed, which this process cannot survive: {describe(error)}. Run again") from error
