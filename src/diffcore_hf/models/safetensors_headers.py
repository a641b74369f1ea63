"""Headers of safetensors files: the names and shapes of tensors, read without torch and without the tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Shapes = Mapping[str, Sequence[int]]
"""Name of a tensor -> its shape."""

LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000
"""The library safetensors refuses longer headers too."""


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a file.

    Raises:
        ValueError: the file is not a complete safetensors file; the message names the fault.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        size = file.stat().st_size
        if not 2 <= length <= min(LONGEST_HEADER, size - LENGTH_BYTES):
            raise ValueError(f"the file ({size:,} bytes) has no header of safetensors")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError):
            raise ValueError("the header of the file is damaged") from None
    if not isinstance(header, dict):
        raise ValueError("the header of the file is damaged")
    shapes: dict[str, tuple[int, ...]] = {}
    end = 0
    for name, about in header.items():
        if name == "__metadata__":
            continue
        try:
            shapes[name] = tuple(int(side) for side in about["shape"])
            end = max(end, int(about["data_offsets"][1]))
        except (KeyError, TypeError, ValueError, IndexError):
            raise ValueError(f"the header of the file is damaged at {name!r}") from None
    if LENGTH_BYTES + length + end > size:
        missing = LENGTH_BYTES + length + end - size
        raise ValueError(f"the file is cut off: {missing:,} of {size + missing:,} bytes are missing")
    return shapes
