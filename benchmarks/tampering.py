"""Changes of a published dataset, for the measurement of `verify`: flipped bits, and operations on rows.

A row operation changes one shard. `seal` then makes the manifest and the card fit the changed shard. A forger without
the key of a signature could do this.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diffcore_hf.augmentation.export import dataset_info
from diffcore_hf.core.folder import MANIFEST, file_sha256, manifest_bytes
from diffcore_hf.publishing.card import worth
from diffcore_hf.publishing.card.dataset_card import configs_in_order, render_card
from diffcore_hf.publishing.card.recorded import card_facts

OPERATIONS = ("delete", "duplicate", "swap", "edit")


@dataclass(frozen=True)
class Change:
    """One change of a dataset."""

    config: str
    operation: str
    column: str
    """Column of an edited value; "" for other operations."""
    where: str

    @property
    def kind(self) -> str:
        """Configuration and column, or configuration and operation."""
        return f"{self.config}.{self.column}" if self.column else f"{self.config}: {self.operation}"


def published_files(folder: Path) -> list[Path]:
    """Returns all published files of a folder, sorted."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != ".diffcore"
    )


def flip_bit(path: Path, bit: int) -> None:
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def change_rows(folder: Path, config: str, operation: str, draw: random.Random) -> Change | None:
    """Applies an operation to a random row of a configuration. Returns None if this is not possible."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    paths = list(chain.from_iterable(manifest["configs"].get(config, {}).values()))
    if not paths:
        return None
    path = draw.choice(paths)
    table = pq.read_table(folder / path)
    row = draw.randrange(len(table))
    column = ""
    if operation == "edit":
        column, table = _edited(table, row, draw)
    elif operation == "swap":
        other = draw.choice([index for index in range(len(table)) if index != row] or [row])
        order = list(range(len(table)))
        order[row], order[other] = other, row
        if table.slice(row, 1).equals(table.slice(other, 1)):
            return None
        table = table.take(pa.array(order))
    elif operation == "delete":
        table = pa.concat_tables([table.slice(0, row), table.slice(row + 1)])
    else:
        place = draw.randrange(len(table) + 1)
        table = pa.concat_tables([table.slice(0, place), table.slice(row, 1), table.slice(place)])
    pq.write_table(table, folder / path)
    return Change(config, operation, column, f"{path} row {row}")


def _edited(table: pa.Table, row: int, draw: random.Random) -> tuple[str, pa.Table]:
    """Returns the name of a random column whose value in a row is not null, and the table with another value there."""
    names = [name for name in table.column_names if table[name][row].is_valid]
    name = draw.choice(names)
    field = table.schema.field(name)
    values = table[name].to_pylist()
    values[row] = _other(values[row], field.type, draw)
    position = table.column_names.index(name)
    return name, table.set_column(position, field, pa.array(values, field.type))


def _other(value: Any, kind: pa.DataType, draw: random.Random) -> Any:
    """Returns another value of the same type."""
    if isinstance(value, dict):  # an image
        content = bytearray(value["bytes"])
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        return value | {"bytes": bytes(content)}
    if isinstance(value, list):
        position = draw.randrange(len(value))
        return [*value[:position], float(value[position]) + 0.125, *value[position + 1 :]]
    changes: dict[type, Callable[[Any], Any]] = {
        bool: lambda old: not old,
        int: lambda old: old + draw.choice([-1, 1]) if old else 1,
        float: lambda old: old + draw.choice([-0.01, 0.01]),
        str: lambda old: _other_text(old, draw),
    }
    return changes[type(value)](value)


def _other_text(text: str, draw: random.Random) -> str:
    """Returns a text with one other character."""
    if not text:
        return "x"
    position = draw.randrange(len(text))
    return text[:position] + draw.choice([c for c in "0123456789abcdef" if c != text[position]]) + text[position + 1 :]


def seal(folder: Path) -> None:
    """Makes the names and hashes of shards, the manifest and the card fit the files again."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for entry in manifest["files"]:
        path = folder / entry["path"]
        sha256 = file_sha256(path)
        if sha256 == entry["sha256"]:
            continue
        entry |= {"sha256": sha256, "size": path.stat().st_size}
        if "rows" in entry:
            entry["rows"] = pq.read_metadata(path).num_rows
            stem = path.name.rpartition("-")[0]
            renamed = f"{path.parent.name}/{stem}-{sha256[:16]}.parquet"
            path.rename(folder / renamed)
            for splits in manifest["configs"].values():
                for paths in splits.values():
                    paths[:] = [renamed if old == entry["path"] else old for old in paths]
            entry["path"] = renamed
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    configs = dict(configs_in_order(manifest["configs"]))
    info = dataset_info(lambda path: pq.read_schema(folder / path), configs, manifest["files"])
    comparison = worth.read_comparison(folder, manifest["hash"])
    (folder / "README.md").write_text(render_card(card_facts(manifest, comparison, info)), encoding="utf-8")
