"""Difference: what changed from one version to another: rows, counterparts, recipe.

Owns the comparison of two manifests and of the two lists of attempts. Reads no image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Kept = Mapping[tuple[str, int], str]
"""Unit (row id, copy) -> hash of its counterpart."""
Originals = Mapping[str, str | None]
"""Row id -> hash of its real image."""
_SHOWN = 5


@dataclass(frozen=True)
class Difference:
    """From an older version to a newer one."""

    rows_added: tuple[str, ...]
    rows_gone: tuple[str, ...]
    added: tuple[tuple[str, int], ...]
    """Units that have a counterpart now."""
    gone: tuple[tuple[str, int], ...]
    changed: tuple[tuple[str, int], ...]
    """Units whose counterpart is another image."""
    recipe: tuple[tuple[str, Any, Any], ...]
    """Keys whose value differs: key, old, new."""
    originals: tuple[str, ...] = ()
    """Rows whose real image is another one."""
    same_files: bool = True
    """Whether the lists of files are the same."""

    def __bool__(self) -> bool:
        found = (self.rows_added, self.rows_gone, self.added, self.gone, self.changed, self.recipe, self.originals)
        return any(found)

    def text(self) -> str:
        """For people, a line each."""
        counted = [
            ("rows added", self.rows_added),
            ("rows gone", self.rows_gone),
            ("real images changed", self.originals),
            ("counterparts added", [f"{row_id} copy {copy}" for row_id, copy in self.added]),
            ("counterparts gone", [f"{row_id} copy {copy}" for row_id, copy in self.gone]),
            ("counterparts changed", [f"{row_id} copy {copy}" for row_id, copy in self.changed]),
        ]
        lines = [f"{what:<21}{len(of):>8,}{_some(of)}" for what, of in counted]
        lines += [f"{key}: {old!r} -> {new!r}" for key, old, new in self.recipe]
        if self:
            return "\n".join(lines)
        if self.same_files:
            return "no difference"
        return "the same rows, counterparts and recipe, in other files (layout, columns)"


def compare(
    old: Mapping[str, Any], new: Mapping[str, Any], rows: tuple[Originals, Originals], kept: tuple[Kept, Kept]
) -> Difference:
    """Two versions by their manifests, the hashes of their real images by row id, and their counterparts."""
    before, after = kept
    here, there = rows
    recipes = [_flat(manifest["recipe"]) for manifest in (old, new)]
    keys = sorted(set(recipes[0]) | set(recipes[1]))
    return Difference(
        rows_added=tuple(sorted(there.keys() - here.keys())),
        rows_gone=tuple(sorted(here.keys() - there.keys())),
        originals=tuple(sorted(row for row in here.keys() & there.keys() if here[row] != there[row])),
        same_files=old.get("hash") == new.get("hash"),
        added=tuple(sorted(after.keys() - before.keys())),
        gone=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(unit for unit in before.keys() & after.keys() if before[unit] != after[unit])),
        recipe=tuple(
            (key, recipes[0].get(key), recipes[1].get(key))
            for key in keys
            if recipes[0].get(key) != recipes[1].get(key)
        ),
    )


def kept_of(attempts: pa.Table) -> Kept:
    """The counterparts in the columns row_id, copy, reason and image_sha256 of config `attempts`."""
    columns = [attempts[name].to_pylist() for name in ("row_id", "copy", "reason", "image_sha256")]
    return {(row_id, copy): sha for row_id, copy, reason, sha in zip(*columns, strict=True) if reason == "kept"}


def _flat(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {path + key: value}
    return flat


def _some(of: Any) -> str:
    return f"   {', '.join(list(of)[:_SHOWN])}{', ...' if len(of) > _SHOWN else ''}" if of else ""
