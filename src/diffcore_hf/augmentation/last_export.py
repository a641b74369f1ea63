"""Last export: a record that tells the workers of a run whether one of them has exported all facts.

Owns this record. All workers of a run end at about the same time, and each of them could export. The first one exports,
and the others find its record. The record is only used between workers: a run that is started again always exports.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from diffcore_hf.augmentation.material import Material
from diffcore_hf.config import digests
from diffcore_hf.config.mappings import to_mapping
from diffcore_hf.core.folder import Folder, canonical_json, write_atomic
from diffcore_hf.core.own_files import read_own_json

NAME = "exported.json"


def token(folder: Folder) -> str | None:
    """Return a text that is different after each export; None if there was no export."""
    return _read(folder).get("token")


def is_exported(folder: Folder, state: str, since: str | None) -> bool:
    """Return whether another process exported a state after `since`, and this export is complete.

    Args:
        folder: the output folder.
        state: the result of `state_of`.
        since: the result of `token` when this process started.
    """
    record = _read(folder)
    manifest = folder.manifest()
    return (
        record.get("token") not in (None, since)
        and record.get("state") == state
        and manifest is not None
        and record.get("manifest") == manifest.get("hash")
    )


def record(folder: Folder, state: str) -> None:
    """Record that a state was exported."""
    manifest = folder.manifest() or {}
    content = {"state": state, "manifest": manifest.get("hash"), "token": secrets.token_hex(8)}
    write_atomic(folder.private / NAME, canonical_json(content))


def state_of(material: Material) -> str:
    """Return a digest of the facts and of the recipe from which an export is made."""
    recipe = {name: value for name, value in to_mapping(material.recipe).items() if name != "output"}
    facts = (material.references, material.facts)
    names = sorted(_name(path) for each in facts for path in each.paths)
    content = [recipe, dict(material.run.resolution.identities), names]
    return hashlib.sha256(digests.canonical(content)).hexdigest()


def _name(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.name}"


def _read(folder: Folder) -> Mapping[str, str]:
    with suppress(OSError, ValueError):
        return read_own_json(folder.private / NAME)
    return {}
