"""Device batches: the division of the rows of a part, and the handling of batches that raise.

Owns the isolation of failures. If the generation of one image raises, only this image is missing. If every image fails,
the run stops. When the device runs out of memory, the batch is halved (core/batch_size.py). The models do the same with
their own batches first.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from diffcore_hf.augmentation.stages.samples import SamplesError
from diffcore_hf.core import signals
from diffcore_hf.core.batch_size import BatchSize
from diffcore_hf.core.errors import UserError, innermost_cause

if TYPE_CHECKING:
    from diffcore_hf.generation.base import Strategy

logger = logging.getLogger(__name__)

Result = tuple[Any, str | None]
"""Either the result for one image and None, or None and the reason why there is no result."""

STOP_AFTER_FAILURES = 4
"""The run stops after this number of failed images if no image has succeeded yet."""
LONGEST_REASON = 200
"""Largest number of characters of a stored reason."""


class _Loads(Protocol):
    """A model whose weights can be loaded before the first image."""

    @property
    def config(self) -> Any: ...

    def load(self) -> Any: ...


def load(*models: _Loads) -> None:
    """Load weights before the first image, so that an error of the model is never recorded as a fact about an image."""
    for model in models:
        try:
            with signals.interruptible(signals.PREPARATION):
                model.load()
        except Exception as error:
            _raise_device_error(error, alone=True, strict=False, what=f"the weights of {model.config.path}")
            raise


class DeviceBatches:
    """Divides rows into device batches, and isolates the rows whose generation raises.

    The object counts the images that succeeded, because the run stops if every image fails.
    """

    def __init__(self, strategy: Strategy):
        self.strategy = strategy
        self.succeeded = 0
        self._limit: BatchSize | None = None

    def run(
        self,
        work: Callable[[Sequence[int]], list[Result]],
        count: int,
        on_progress: Callable[[int], None] | None = None,
        on_batch: Callable[[Sequence[int]], None] | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """Yield (row, result) for rows 0 .. count - 1, in this order.

        After a signal, the current batch is the last one. A second signal discards this batch too. So fewer rows are
        yielded.

        If `work` raises for a batch, it is called again for each row alone. A row for which it raises again gets the
        reason `crashed: <type>: <text>`.

        Args:
            work: function from rows to one result per row.
            count: number of rows.
            on_progress: called with the number of rows after each batch.
            on_batch: called with the rows of a batch before it is computed.

        Raises:
            UserError: every image failed so far, the device is lost, or one image does not fit into memory.
        """

        def announced(rows: Sequence[int]) -> list[Result]:
            if on_batch is not None:
                on_batch(rows)
            return work(rows)

        failures = 0
        start = 0
        last: Exception | None = None
        while start < count and signals.requested() is None:
            size = self.strategy.batch_size if self._limit is None else min(self.strategy.batch_size, self._limit.value)
            rows = range(start, min(start + size, count))
            failed = 0
            too_large = False
            try:
                for row, result, error in _isolated(announced, rows, self.strategy.strict):
                    failed += error is not None
                    last = error or last
                    yield row, result
            except signals.Stopped:
                return
            except _BatchTooLarge:
                too_large = True
            # This code is outside the exception handler, so that the tensors of the failed batch are freed.
            if too_large:
                self._halve(len(rows))
                continue
            if self._limit is not None:
                self._limit.succeeded(len(rows))
            failures += failed
            self.succeeded += len(rows) - failed
            is_last = rows.stop == count
            if self.succeeded == 0 and failed == len(rows) and (failures >= STOP_AFTER_FAILURES or is_last):
                name = self.strategy.config.path if self.strategy.uses_model else type(self.strategy).__name__
                raise UserError(f"{name}: every image fails: {describe(last)}") from last
            if on_progress is not None:
                on_progress(len(rows))
            start = rows.stop

    def _halve(self, count: int) -> None:
        """Make the next batches smaller, because memory ran out with `count` images."""
        self._limit = self._limit or BatchSize(count)
        self._limit.failed(count)
        logger.warning("out of memory with %d images at once; continuing with %d", count, self._limit.value)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


class _BatchTooLarge(Exception):
    """Raised when memory ran out for a batch of several images."""


def _isolated(
    work: Callable[[Sequence[int]], list[Result]], rows: range, strict: bool
) -> Iterator[tuple[int, Result, Exception | None]]:
    try:
        with signals.interruptible(signals.BATCH):
            results = work(rows)
    except Exception as error:
        _raise_device_error(error, alone=len(rows) == 1, strict=strict)
        logger.warning("a batch of %d raised %s; its images are tried one by one", len(rows), describe(error))
    else:
        yield from ((row, result, None) for row, result in zip(rows, results, strict=True))
        return
    for row in rows:
        signals.check()
        try:
            with signals.interruptible(signals.BATCH):
                [result] = work([row])
        except Exception as error:
            _raise_device_error(error, alone=True, strict=strict)
            yield row, (None, f"crashed: {describe(error)}"[:LONGEST_REASON]), error
        else:
            yield row, result, None


def describe(error: BaseException | None) -> str:
    """Return type and message of an error on one line, at most 180 characters.

    If the message is empty or a single word, such as the key of a KeyError, the innermost cause stands in its place.
    """
    if error is None:
        return "no error"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if ' ' in text else innermost_cause(error)}"[:180]


def worker_threads() -> int:
    """Return the number of threads that encode and decode images while the model runs."""
    return min(8, os.cpu_count() or 1)


def _raise_device_error(error: Exception, alone: bool, strict: bool, what: str = "one image") -> None:
    """Raise if an error is not about one image: the device is lost, the strategy is wrong, or memory is too small.

    Args:
        error: the error.
        alone: true if the error was raised for a single image.
        strict: true if the size of a batch is fixed.
        what: the thing that does not fit into memory, for the message.
    """
    from diffcore_hf.models.library_errors import OutOfMemory, is_out_of_memory

    if isinstance(error, (OutOfMemory, SamplesError)):
        raise error
    if alone and is_out_of_memory(error):
        raise OutOfMemory(f"out of memory for {what}: {describe(error)}. Use --model.offload model") from error
    if is_out_of_memory(error):
        if strict:
            raise OutOfMemory(
                f"out of memory for a batch, whose size is fixed with strict: {describe(error)}. "
                "Use --model.offload model, or --strict false in a new --output"
            ) from error
        raise _BatchTooLarge from error
    if isinstance(error, RuntimeError) and "CUDA error" in str(error):
        raise UserError(
            f"the GPU failed, and this process cannot use it again: {describe(error)}. Run again"
        ) from error
