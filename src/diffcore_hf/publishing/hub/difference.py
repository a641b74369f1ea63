"""Difference: what changed from one version to another: rows, counterparts and recipe.

Owns the comparison of two manifests and of two tables of attempts. Reads no image and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

Unit = tuple[str, int]
"""Row id and copy."""
_MOST_SHOWN = 5


@dataclass(frozen=True)
class VersionContent:
    """The content of a version, as far as versions are compared."""

    manifest: Manifest
    originals: Mapping[str, str | None]
    """Row id -> hash of its real image."""
    counterparts: Mapping[Unit, str]
    """Unit -> hash of its counterpart."""


@dataclass(frozen=True)
class Difference:
    """The difference from an older version to a newer one; false where there is none but in the files."""

    rows_added: tuple[str, ...]
    rows_gone: tuple[str, ...]
    added: tuple[Unit, ...]
    """Units that have a counterpart now and had none."""
    gone: tuple[Unit, ...]
    changed: tuple[Unit, ...]
    """Units whose counterpart is another image."""
    recipe: tuple[tuple[str, Any, Any], ...]
    """Recipe keys with another value: key, old, new."""
    originals: tuple[str, ...] = ()
    """Rows whose real image is another one."""
    same_files: bool = True
    """Whether the lists of files are equal."""

    def __bool__(self) -> bool:
        kinds = (self.rows_added, self.rows_gone, self.added, self.gone, self.changed, self.recipe, self.originals)
        return any(kinds)

    def text(self) -> str:
        """Return the difference as text for people, one line each."""
        counted: list[tuple[str, Sequence[str]]] = [
            ("rows added", self.rows_added),
            ("rows gone", self.rows_gone),
            ("real images changed", self.originals),
            ("counterparts added", _unit_names(self.added)),
            ("counterparts gone", _unit_names(self.gone)),
            ("counterparts changed", _unit_names(self.changed)),
        ]
        lines = [f"{kind:<21}{len(names):>8,}{_examples(names)}" for kind, names in counted]
        lines += [f"{key}: {old!r} -> {new!r}" for key, old, new in self.recipe]
        if self:
            return "\n".join(lines)
        if self.same_files:
            return "no difference"
        return "the same rows, counterparts and recipe, in other files (layout, columns)"


def compare(old: VersionContent, new: VersionContent) -> Difference:
    """Compare two versions."""
    before, after = old.originals, new.originals
    had, has = old.counterparts, new.counterparts
    old_recipe, new_recipe = _flat(old.manifest["recipe"]), _flat(new.manifest["recipe"])
    recipe_keys = sorted(set(old_recipe) | set(new_recipe))
    return Difference(
        rows_added=tuple(sorted(after.keys() - before.keys())),
        rows_gone=tuple(sorted(before.keys() - after.keys())),
        originals=tuple(sorted(row for row in before.keys() & after.keys() if before[row] != after[row])),
        same_files=old.manifest.get("hash") == new.manifest.get("hash"),
        added=tuple(sorted(has.keys() - had.keys())),
        gone=tuple(sorted(had.keys() - has.keys())),
        changed=tuple(sorted(unit for unit in had.keys() & has.keys() if had[unit] != has[unit])),
        recipe=tuple(
            (key, old_recipe.get(key), new_recipe.get(key))
            for key in recipe_keys
            if old_recipe.get(key) != new_recipe.get(key)
        ),
    )


def counterparts_of(attempts: pa.Table) -> dict[Unit, str]:
    """Return unit -> hash of its counterpart, from the columns row_id, copy, reason and image_sha256 of `attempts`."""
    columns = [attempts[name].to_pylist() for name in ("row_id", "copy", "reason", "image_sha256")]
    return {(row_id, copy): sha for row_id, copy, reason, sha in zip(*columns, strict=True) if reason == "kept"}


def _flat(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {path + key: value}
    return flat


def _unit_names(units: Iterable[Unit]) -> list[str]:
    return [f"{row_id} copy {copy}" for row_id, copy in units]


def _examples(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"   {', '.join(names[:_MOST_SHOWN])}{', ...' if len(names) > _MOST_SHOWN else ''}"
