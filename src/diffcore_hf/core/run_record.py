"""The content of run.json: its bytes, and the check that a file has the content that a run wrote.

Owns the format number and the hash of the content. Does not own the keys (augmentation/resolution.py) or the paths
(folder.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from diffcore_hf.core.own_files import parse_json

RUN_FORMAT = 4
"""Format number of run.json and the parts. A folder of another format is refused. Format 2 renamed the columns that
stages read to `source_image` and `generated_image`. Format 3 added a digest of its inputs to every fact. Format 4 added
a mark to every generated image."""

_TYPES: Mapping[str, type] = {"resolved": dict, "about": dict, "attempt": dict, "identities": dict, "recipes": list}
"""Key -> type of its value. The types are checked too, because any person can write a file with the correct hash."""


class OtherFormat(ValueError):
    """Raised when another version wrote the file. The message is the number of its format."""


def canonical_json(content: Mapping[str, Any]) -> bytes:
    """Return JSON that is readable and canonical: sorted keys, two spaces, one newline at the end."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def has_valid_text(content: Any) -> bool:
    """Return whether every text of a parsed JSON file can be written as UTF-8, so that it has no lone surrogate."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def hashed_json(content: Mapping[str, Any]) -> bytes:
    """Return canonical JSON with the hash of its own body under `hash`."""
    body = {key: value for key, value in content.items() if key != "hash"}
    return canonical_json(body | {"hash": hashlib.sha256(canonical_json(body)).hexdigest()})


def run_bytes(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of run.json."""
    return hashed_json({**content, "format": RUN_FORMAT})


def parse_run(text: bytes) -> dict[str, Any]:
    """Return the content of run.json without format and hash.

    Raises:
        ValueError: the content is not what a run wrote.
        OtherFormat: a version with another folder format wrote it.
    """
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    if "hash" in content and hashed_json(content) != text:
        raise ValueError("it does not have the hash of its own content")
    number = content.pop("format", 1)
    is_ours = content.pop("hash", None) is not None
    if number != RUN_FORMAT and (is_ours or isinstance(content.get("attempt_digest"), str)):
        raise OtherFormat(str(number))
    if not is_ours:
        raise ValueError("it does not have the hash of its own content")
    for key, kind in _TYPES.items():
        if not isinstance(content.get(key, kind()), kind):
            raise ValueError(f"it has no valid {key!r}")
    for key in ("resolved", "about"):
        if not all(isinstance(content.get(key, {}).get(name, {}), dict) for name in ("source", "model", "filter")):
            raise ValueError(f"it has no valid {key!r}")
    if "identities" in content and "source" not in content["identities"]:
        raise ValueError("it has no identity of its source")
    return content
