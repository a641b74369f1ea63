"""Difference: the changes of rows, counterparts and recipe from one version to another.

Owns the comparison of two manifests and of two tables of attempts. Reads no image and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.manifest import Manifest
from diffcore_hf.core.schema import UnitKey

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_SHOWN = 5


@dataclass(frozen=True)
class VersionContent:
    """The content of a version that is compared."""

    manifest: Manifest
    originals: Mapping[str, str | None]
    """Row id -> hash of its real image."""
    counterparts: Mapping[UnitKey, str]
    """Unit -> hash of its counterpart."""


@dataclass(frozen=True)
class Difference:
    """The difference from an older version to a newer one.

    Its truth value is false if rows, counterparts and recipe are equal, even if the lists of files differ.
    """

    rows_added: tuple[str, ...]
    rows_removed: tuple[str, ...]
    added: tuple[UnitKey, ...]
    """Units that have a counterpart in the newer version only."""
    removed: tuple[UnitKey, ...]
    """Units that have a counterpart in the older version only."""
    changed: tuple[UnitKey, ...]
    """Units whose counterpart is a different image."""
    recipe: tuple[tuple[str, Any, Any], ...]
    """Recipe keys whose value differs: key, old value, new value."""
    originals: tuple[str, ...] = ()
    """Rows whose real image differs."""
    same_files: bool = True
    """Whether the lists of files are equal."""

    def __bool__(self) -> bool:
        kinds = (self.rows_added, self.rows_removed, self.added, self.removed, self.changed, self.recipe)
        return any(kinds) or bool(self.originals)

    def text(self) -> str:
        """Return the difference as text, with one line for each kind of change."""
        counted: list[tuple[str, Sequence[str]]] = [
            ("rows added", self.rows_added),
            ("rows removed", self.rows_removed),
            ("real images changed", self.originals),
            ("counterparts added", _unit_names(self.added)),
            ("counterparts removed", _unit_names(self.removed)),
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
    old_rows, new_rows = old.originals, new.originals
    old_units, new_units = old.counterparts, new.counterparts
    old_recipe, new_recipe = _flat(old.manifest["recipe"]), _flat(new.manifest["recipe"])
    recipe_keys = sorted(set(old_recipe) | set(new_recipe))
    return Difference(
        rows_added=tuple(sorted(new_rows.keys() - old_rows.keys())),
        rows_removed=tuple(sorted(old_rows.keys() - new_rows.keys())),
        originals=tuple(sorted(row for row in old_rows.keys() & new_rows.keys() if old_rows[row] != new_rows[row])),
        same_files=old.manifest.get("hash") == new.manifest.get("hash"),
        added=tuple(sorted(new_units.keys() - old_units.keys())),
        removed=tuple(sorted(old_units.keys() - new_units.keys())),
        changed=tuple(sorted(u for u in old_units.keys() & new_units.keys() if old_units[u] != new_units[u])),
        recipe=tuple(
            (key, old_recipe.get(key), new_recipe.get(key))
            for key in recipe_keys
            if old_recipe.get(key) != new_recipe.get(key)
        ),
    )


def counterparts_of(attempts: pa.Table) -> dict[UnitKey, str]:
    """Return unit -> hash of its counterpart.

    Args:
        attempts: configuration `attempts` with the columns row_id, copy, reason and image_sha256.
    """
    columns = [attempts[name].to_pylist() for name in ("row_id", "copy", "reason", "image_sha256")]
    return {(row_id, copy): sha for row_id, copy, reason, sha in zip(*columns, strict=True) if reason == "kept"}


def _flat(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return a nested mapping as a flat one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {path + key: value}
    return flat


def _unit_names(units: Iterable[UnitKey]) -> list[str]:
    return [f"{row_id} copy {copy}" for row_id, copy in units]


def _examples(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"   {', '.join(names[:_MAX_SHOWN])}{', ...' if len(names) > _MAX_SHOWN else ''}"
