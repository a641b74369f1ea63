"""Headers of safetensors files: the names, types and shapes of tensors, read without torch and without the tensors.

Owns the check that a header describes its file completely: each tensor has the bytes that its type and shape need, and
the tensors cover the file without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Shapes = Mapping[str, Sequence[int]]
"""Name of a tensor -> its shape."""

LENGTH_BYTES = 8
LONGEST_HEADER = 2**24
"""Largest size of a header in bytes. A model with 100,000 tensors has a header of about 12 MB."""
METADATA = "__metadata__"

_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}
"""Type of a tensor -> bytes of one number."""
FLOATS = frozenset({"F8_E5M2", "F8_E4M3", "F16", "BF16", "F32", "F64"})
"""Types of floating-point numbers."""


@dataclass(frozen=True)
class TensorEntry:
    """The description of one tensor in a header."""

    dtype: str
    """Name of the type in safetensors, such as F32."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """The header of a file."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a file; the errors are those of `read_header`."""
    return {name: entry.shape for name, entry in read_header(file).tensors.items()}


def read_header(file: Path) -> Header:
    """Return the header of a file.

    Raises:
        ValueError: the file is not a complete safetensors file; the message names the fault.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        size = file.stat().st_size
        if not 2 <= length <= size - LENGTH_BYTES:
            raise ValueError(f"the file ({size:,} bytes) has no header of safetensors")
        if length > LONGEST_HEADER:
            raise ValueError(f"the header of the file has {length:,} bytes, more than {LONGEST_HEADER:,}")
        try:
            content = json.loads(stream.read(length))
        except (ValueError, RecursionError):
            raise ValueError("the header of the file is damaged") from None
    if not isinstance(content, dict):
        raise ValueError("the header of the file is damaged")
    metadata = content.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"the header of the file is damaged at {METADATA!r}")
    tensors, ranges = {}, []
    for name, about in content.items():
        tensors[name], start, end = _entry(name, about)
        ranges.append((start, end, name))
    _check_ranges(ranges, LENGTH_BYTES + length, size)
    return Header(tensors, metadata)


def _entry(name: str, about: Any) -> tuple[TensorEntry, int, int]:
    """Return a tensor and the positions of its first byte and of the byte after its last one.

    Raises:
        ValueError: the entry has another form, or its size does not follow from its type and shape.
    """
    fault = ValueError(f"the header of the file is damaged at {name!r}")
    try:
        shape, (start, end), dtype = tuple(about["shape"]), about["data_offsets"], about["dtype"]
    except (KeyError, TypeError, ValueError):
        raise fault from None
    if not isinstance(dtype, str) or not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise fault
    if dtype not in _BYTES:
        raise ValueError(f"the tensor {name!r} has the unknown type {dtype!r}")
    if end - start != math.prod(shape) * _BYTES[dtype]:
        raise fault
    return TensorEntry(dtype, shape), start, end


def _check_ranges(ranges: list[tuple[int, int, str]], data: int, size: int) -> None:
    """Check that tensors cover the bytes from `data` to the end of a file, without gaps and without overlaps."""
    position = 0
    for start, end, name in sorted(ranges):
        if start != position:
            raise ValueError(f"the header of the file is damaged at {name!r}")
        position = end
    if data + position > size:
        missing = data + position - size
        raise ValueError(f"the file is cut off: {missing:,} of {size + missing:,} bytes are missing")
    if data + position < size:
        raise ValueError(f"the file has {size - data - position:,} bytes that its header does not describe")
