"""Columns: under which names an augmented dataset holds what mixing needs.

Owns the reading of diffcore.json for training, from a folder or the Hub, and the one-line errors for datasets that lack
something. Does not read rows.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.schema import prefix_of

MIXED = "mixed"
"""Bool column of the view that mixing_rows makes: whether the row is served mixed."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read."""

    image: str = "image"
    generated: str = "generated"
    label: str = "label"
    row_id: str = "row_id"

    @property
    def prefix(self) -> str:
        """What stands before the columns that the augmentation added."""
        return self.row_id.removesuffix("row_id")


def read_manifest(path: str, revision: str | None = None) -> Mapping[str, Any] | None:
    """diffcore.json of a folder or of a dataset on the Hub; None where there is none."""
    local = Path(path) / "diffcore.json"
    if Path(path).exists():
        return json.loads(local.read_text(encoding="utf-8")) if local.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        found = hf_hub_download(path, "diffcore.json", repo_type="dataset", revision=revision)
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"diffcore.json of {path} is not in the cache, and the Hub cannot be reached. Run once with the network"
        ) from error
    except EntryNotFoundError:  # another dataset than ours
        return None
    return json.loads(Path(found).read_text(encoding="utf-8"))


def name_columns(
    there: Collection[str],
    manifest: Mapping[str, Any] | None = None,
    *,
    image: str | None = None,
    generated: str | None = None,
    label: str | None = None,
) -> Columns:
    """The names: as given, else as diffcore.json says, else the usual ones, with the prefix that is found."""
    source = (manifest or {}).get("recipe", {}).get("source", {})
    prefix = prefix_of(there, ("generated", "row_id"))
    return Columns(
        image or source.get("image", "image"),
        generated or f"{prefix}generated",
        label or source.get("label", "label"),
        f"{prefix}row_id",
    )


def require(there: Collection[str], names: Columns, wanted: Collection[str], where: str) -> None:
    """Raise UserError in one line for the first wanted column (`image`, `generated`, `label`) that is not there."""
    for kind in wanted:
        name = getattr(names, kind)
        if name not in there:
            remedy = (
                "It is no augmented dataset: run diffcore-hf augment first, or train with --mix.mode off"
                if kind == "generated"
                else f"Name it with --data.{kind}"
            )
            raise UserError(f"{where} has no column {name!r} ({kind}); its columns: {', '.join(there)}. {remedy}")
