"""Names of the columns of an augmented dataset that a training reads.

Owns the reading of diffcore.json for training, from a folder or the Hub, and the errors for a missing column. Does not
read rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.manifest import mistyped_key
from diffcore_hf.core.own_files import read_own_json
from diffcore_hf.core.schema import prefix_of

MIXED = "mixed"
"""Name of the bool column that mixing_rows adds; true if the row is to be mixed."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that a training reads."""

    image: str = "image"
    generated: str = "generated"
    label: str = "label"
    row_id: str = "row_id"

    @property
    def prefix(self) -> str:
        """Prefix of the columns that the augmentation added; empty if they have none."""
        return self.row_id.removesuffix("row_id")


def read_manifest(path: str, revision: str | None = None) -> Mapping[str, Any] | None:
    """Read diffcore.json of a folder or of a dataset on the Hub; None if the dataset has no such file.

    Raises:
        UserError: the file is damaged, or cannot be downloaded.
    """
    if Path(path).exists():
        local = Path(path) / "diffcore.json"
        return _parsed(local, path) if local.is_file() else None
    downloaded = _downloaded(path, revision)
    return None if downloaded is None else _parsed(downloaded, path)


def _downloaded(path: str, revision: str | None) -> Path | None:
    """Download diffcore.json; None if it does not exist, because this package did not write the dataset."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(path, "diffcore.json", repo_type="dataset", revision=revision))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"diffcore.json of {path} is not in the cache, and the Hub cannot be reached. Run once with the network"
        ) from error
    except EntryNotFoundError:
        return None
    except Exception as error:  # the client raises many types: no such repository, no access, server error
        if environment_fault(error):
            raise
        raise UserError(
            f"diffcore.json of {path} cannot be downloaded ({innermost_cause(error)}). Give an existing folder or "
            "owner/name, or run again when the Hub can be reached"
        ) from error


def _parsed(file: Path, path: str) -> Mapping[str, Any]:
    """Parse diffcore.json.

    Raises:
        UserError: the file is not valid JSON, or a value has another type.
    """
    try:
        manifest = read_own_json(file)
        if wrong := mistyped_key(manifest):
            raise ValueError(f"it has no valid {wrong!r}")
    except ValueError as error:
        raise UserError(
            f"diffcore.json of {path} is damaged ({innermost_cause(error)}). Export or download the dataset again"
        ) from error
    return manifest


def name_columns(
    existing: Collection[str],
    manifest: Mapping[str, Any] | None = None,
    *,
    image: str | None = None,
    generated: str | None = None,
    label: str | None = None,
) -> Columns:
    """Return the names of the columns. A given name is used first, then the name in diffcore.json, then the default.

    The names of the columns `generated` and `row_id` include the prefix that these columns have in the dataset.
    """
    source = (manifest or {}).get("recipe", {}).get("source", {})
    prefix = prefix_of(existing, ("generated", "row_id"))
    return Columns(
        image or source.get("image", "image"),
        generated or f"{prefix}generated",
        label or source.get("label", "label"),
        f"{prefix}row_id",
    )


def require_columns(existing: Collection[str], names: Columns, kinds: Collection[str], owner: str) -> None:
    """Check that the columns exist.

    Args:
        existing: names of all columns.
        names: the names that are looked up.
        kinds: fields of `names` that are needed: `image`, `generated`, `label`.
        owner: name of the dataset or object that the columns belong to, for the error message.

    Raises:
        UserError: a column does not exist; the message names the first one.
    """
    for kind in kinds:
        name = getattr(names, kind)
        if name not in existing:
            remedy = (
                "Run diffcore-hf augment first, or train without generated images: --mix.mode off"
                if kind == "generated"
                else f"Name the column with --data.{kind}"
            )
            raise UserError(f"{owner} has no column {name!r} ({kind}). Its columns are {', '.join(existing)}. {remedy}")
