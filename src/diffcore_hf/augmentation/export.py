"""Export: the tables of a run as shards in a staging folder, and the manifest that lists them.

Owns shards, their names, the features written into them and the content of diffcore.json. Does not own what the rows
hold (tables.py), nor the swap into place (core/folder.py).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.augmentation import tables
from diffcore_hf.augmentation.material import Material
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import schema
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import file_sha256
from diffcore_hf.core.quiet import quiet_datasets

if TYPE_CHECKING:
    from datasets import Features

# Uncompressed bytes a shard: small enough for a laptop's memory and for the dataset viewer. Of very large datasets they
# grow, so that a version stays one commit of few files.
SHARD_BYTES, LARGEST_SHARD = 200_000_000, 5_000_000_000
SHARDS = 40
MOST_FILES = 90
"""Of all configs: a version on the Hub is one commit of fewer than 100 files, pictures and card among them."""
# Configs beside default have one split, under the name that everybody expects.
ONLY_SPLIT = "train"

Shards = dict[str, dict[str, list[str]]]


def check_layout(recipe: Recipe, layout: str) -> None:
    """Raise UserError where the layout cannot be had of the recipe's dataset. Writes nothing."""
    if layout != "mixed":
        return
    if not recipe.include_originals:
        raise UserError(
            "include_originals is false, but layout mixed shows the originals in its images. Use --layout columns or "
            "rows, or --include_originals true"
        )
    for key, column in (("image", recipe.source.image), ("label", recipe.source.label)):
        if column in schema.mixed_features():
            raise UserError(
                f"source.{key} is {column!r}, which is a column of layout mixed too. Use --layout columns or rows"
            )


def write_tables(material: Material, staging: Path, layout: str = "columns") -> tuple[Shards, list[dict[str, Any]]]:
    """Write every config as Parquet shards.

    Args:
        material: all that tables are made of.
        staging: an empty folder.
        layout: `columns` (a counterpart stands beside its row), `rows` (real and kept images as plain rows) or `mixed`
            (real images, then those with a counterpart mixed with it).

    Returns:
        The shards by config and split, and for each file its path, size, sha256 and rows.
    """
    # Counterparts stand in three configs; what one takes is a guess from its side, the same on every machine.
    side = material.recipe.store_size or material.recipe.model.size or 512
    size = shard_bytes(sum(map(sum, material.source.sizes.values())) + 3 * len(material.plan) * side * side // 2)
    while True:
        shards, files = _tables(material, staging, layout, size)
        fewest = sum(len(splits) for splits in shards.values())
        if len(files) <= max(MOST_FILES, fewest) or size >= LARGEST_SHARD:
            return shards, files
        for path in staging.iterdir():  # the guess was too low: images without loss, or rejected ones beside the kept
            shutil.rmtree(path)
        size = min(size * (len(files) // MOST_FILES + 1), LARGEST_SHARD)


def _tables(material: Material, staging: Path, layout: str, size: int) -> tuple[Shards, list[dict[str, Any]]]:
    """`write_tables` with shards of so many bytes."""
    source = material.source
    config = source.config
    plain = dict(source.features.items())
    kind = type(source.features)
    added = dict(schema.added_features(material.recipe.columns.prefix))
    pair = {name: plain[name] for name in (config.image, config.label)}
    default = {
        "columns": (tables.default_rows, plain | added),
        "rows": (tables.plain_rows, pair | dict(schema.plain_features())),
        "mixed": (tables.mixed_rows, pair | dict(schema.mixed_features())),
    }
    shards: Shards = {name: {} for name in schema.CONFIGS}
    files: list[dict[str, Any]] = []

    def write(name: str, folder: str, split: str, rows: Iterator[pa.Table], features: Mapping[str, Any]) -> None:
        written = _shards(staging, folder, split, rows, kind(features), size)
        files.extend(written)
        # A config without a row cannot be loaded by datasets, so the card does not name it.
        if any(entry["rows"] for entry in written):
            shards[name][split] = [entry["path"] for entry in written]

    make, features = default[layout]
    for split in tables.splits(material):
        write("default", "data", split, make(material, split), features)
    attempts = schema.attempts_features()
    generated = pair | {name: attempts[name] for name in ("row_id", "copy", "context", "similarity")}
    write("generated", "generated", ONLY_SPLIT, tables.generated_rows(material), generated)
    write("attempts", "attempts", ONLY_SPLIT, tables.attempt_rows(material), attempts)
    write("references", "references", ONLY_SPLIT, tables.reference_rows(material), schema.reference_facts())
    write("classes", "classes", ONLY_SPLIT, tables.class_rows(material), schema.classes_features())
    return shards, files


def shard_bytes(total: int) -> int:
    """Bytes of a shard for a dataset whose images have so many bytes in all: about SHARDS of them, within bounds."""
    return min(max(SHARD_BYTES, total // SHARDS), LARGEST_SHARD)


def _shards(
    staging: Path, folder: str, split: str, rows: Iterator[pa.Table], features: Features, shard_size: int
) -> list[dict[str, Any]]:
    """Write windows of rows into shards; a shard is closed when it has reached its size. At least one, maybe empty."""
    waiting: list[pa.Table] = []
    size, written = 0, []
    for table in rows:
        waiting.append(table)
        size += table.nbytes
        if size >= shard_size:
            written.append(_shard(staging / folder, split, len(written), waiting, features))
            waiting, size = [], 0
    if waiting or not written:
        written.append(_shard(staging / folder, split, len(written), waiting, features))
    entries = []
    for number, (path, count) in enumerate(written):
        sha256 = file_sha256(path)
        # The hash in the name: the cache of `datasets` knows a local folder by the names of its files alone.
        final = path.with_name(f"{split}-{number:05d}-of-{len(written):05d}-{sha256[:16]}.parquet")
        path.rename(final)
        entries.append(
            {
                "path": final.relative_to(staging).as_posix(),
                "size": final.stat().st_size,
                "sha256": sha256,
                "rows": count,
            }
        )
    return entries


def _shard(folder: Path, split: str, number: int, parts: list[pa.Table], features: Features) -> tuple[Path, int]:
    """One Parquet file as `Dataset.to_parquet` writes it: content-defined chunks, page index, features inside."""
    from datasets import Dataset

    target = features.arrow_schema
    whole = pa.concat_tables([table.cast(target) for table in parts]) if parts else target.empty_table()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split}-{number:05d}.parquet"
    with quiet_datasets():
        Dataset(whole).to_parquet(path)
    return path, len(whole)


def dataset_info(staging: Path, shards: Shards, files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`dataset_info` of a card: features, and the rows of each split, which `load_dataset` holds against the files.

    Args:
        staging: where the shards were written.
        shards: by config and split.
        files: path, size and rows of each.
    """
    import pyarrow.parquet as pq
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    known = {entry["path"]: entry for entry in files}
    infos = DatasetInfosDict()
    for name, splits in shards.items():
        sizes = {split: [known[path] for path in paths] for split, paths in splits.items()}
        if not sizes:
            continue
        first = next(path for paths in splits.values() for path in paths)
        total = sum(entry["size"] for entries in sizes.values() for entry in entries)
        infos[name] = DatasetInfo(
            config_name=name,
            features=Features.from_arrow_schema(pq.read_schema(staging / first)),
            splits=SplitDict({
                split: SplitInfo(split, sum(e["size"] for e in entries), sum(e["rows"] for e in entries))
                for split, entries in sizes.items()
            }),
            download_size=total,
            dataset_size=total,
        )  # fmt: skip
    card = DatasetCardData()
    infos.to_dataset_card_data(card)
    found = card.to_dict().get("dataset_info", [])
    return found if isinstance(found, list) else [found]


def counts(material: Material) -> dict[str, int]:
    """Rows of the augmented split by status, and attempts."""
    decisions, source = material.decisions, material.source
    by_status = Counter(decisions.status)
    return {
        "rows": len(source.rows),
        "heldout": int(material.plan.heldout.sum()),
        "unlabelled": int((source.labels[source.config.split] < 0).sum()),
        "planned": len(material.plan),
        **{status: by_status.get(status, 0) for status in ("kept", "exhausted", "failed", "pending")},
        "attempts": len(decisions.reason),
        "references": len(material.embeddings.row_ids),
    }


def manifest(
    shards: Shards, files: list[dict[str, Any]], assets: Path, recipe: Mapping[str, Any], **facts: Any
) -> dict[str, Any]:
    """The content of diffcore.json: no clock, host, path, batch size or speed in it."""
    listed = sorted(files, key=lambda entry: entry["path"]) + [
        {"path": f"assets/{path.name}", "size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(assets.glob("*.png"))
    ]
    return {"format": 1, "recipe": dict(recipe), **facts, "configs": shards, "files": listed}
