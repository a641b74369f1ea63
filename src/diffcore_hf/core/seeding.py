"""Derives random choices and row ids from hashes.

Every random choice is computed from the seed of the recipe and from keys such as the row id. So it does not depend on
the order, the batch, the worker or the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii

import numpy as np

_CANONICAL = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def digest(*values: str | int | float | None) -> bytes:
    """Return the sha256 (32 bytes) of the values as canonical JSON. Equal values give equal bytes on every machine."""
    return hashlib.sha256(f"[{','.join(map(_json, values))}]".encode()).digest()


def _json(value: str | int | float | None) -> str:
    """Return a value as canonical JSON. Texts and integers, the usual values, do not start an encoder each time."""
    if type(value) is str:
        return encode_basestring_ascii(value)
    return str(value) if type(value) is int else _CANONICAL.encode(value)


def uniform(*values: str | int | float | None) -> float:
    """Return a random number in [0, 1) with 53 bits, which depends only on the values."""
    return (int.from_bytes(digest(*values)[:8], "big") >> 11) / 2**53


def attempt_seed(seed: int, row_id: str, copy: int, attempt: int) -> int:
    """Return the seed of one attempt: 63 bits of hash(recipe seed, row id, copy, attempt)."""
    return int.from_bytes(digest("attempt", seed, row_id, copy, attempt)[:8], "big") >> 1


def hub_row_ids(split: str, count: int) -> list[str]:
    """Return `<split>/<index>` for each row of a Hub split. The order of the rows is the same in every load."""
    return [f"{split}/{index}" for index in range(count)]


def content_row_ids(split: str, contents: Iterable[tuple[bytes, str]]) -> list[str]:
    """Return `<split>/<16 hex digits of sha256(image bytes, label)>[~n]` for each row.

    The ids do not depend on the order of the files or on the machine.

    Args:
        split: name of the split.
        contents: for each row the sha256 of its image bytes (32 bytes) and its label as text.

    Returns:
        One id per row. Repeated ids get the endings `~1`, `~2`, ... in the given order.
    """
    seen: dict[str, int] = defaultdict(int)
    ids = []
    for image_sha256, label in contents:
        name = f"{split}/{hashlib.sha256(image_sha256 + label.encode()).hexdigest()[:16]}"
        ids.append(f"{name}~{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return ids


def generator(*values: str | int | float | None) -> np.random.Generator:
    """Return a generator of random numbers whose seed depends only on the values."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest(*values)[:16], "big")))
