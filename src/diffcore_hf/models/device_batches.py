"""Device batches: computes one batch, and halves the size of the next batches if memory runs out.

Owns the steps after a lack of memory, and the text of the error. The rule of the size is in core/batch_size.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from diffcore_hf.core.batch_size import BatchSize
from diffcore_hf.models.library_errors import OutOfMemory, is_out_of_memory
from diffcore_hf.models.runtime import STRICT_BATCH

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def compute_or_halve(
    compute: Callable[[], Result], count: int, size: BatchSize, *, strict: bool, path: str, where: str, remedy: str
) -> Result | None:
    """Return the result of a device batch. If memory runs out, halve the batch size and return None.

    Args:
        compute: computes the batch.
        count: number of images in the batch.
        size: size of the batches, which is adjusted.
        strict: the batch has a fixed size, so it is not halved.
        path: the model, which the error names.
        where: end of the first sentence of the error, such as `in the image tower`.
        remedy: second sentence of the error.

    Raises:
        OutOfMemory: one image does not fit into memory, or one batch of 16 images if `strict` is true.
    """
    try:
        result = compute()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if strict or count == 1:
            needed = f"{STRICT_BATCH} images at once (strict)" if strict else "one image"
            raise OutOfMemory(f"{path}: out of memory for {needed} {where}. {remedy}") from error
    else:
        size.succeeded(count)
        return result
    # This code is outside the exception handler, so that the tensors of the failed batch are freed.
    size.failed(count)
    logger.warning("out of memory with %d images at once %s; continuing with %d", count, where, size.value)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
