"""Export: writes the tables of a run as shards into a staging folder, and makes the manifest of them.

Owns the shards, their names, the features in them and the content of diffcore.json. Does not own what the rows hold
(tables.py, layouts.py), nor the swap of the staging folder into the output folder (core/folder.py).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.augmentation import layouts, tables
from diffcore_hf.augmentation.material import Material
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import schema
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import file_sha256
from diffcore_hf.core.manifest import Counts, FileEntry
from diffcore_hf.core.quiet import quiet_datasets

if TYPE_CHECKING:
    from datasets import Features

SHARD_BYTES, LARGEST_SHARD = 200_000_000, 5_000_000_000
"""Uncompressed bytes of a shard. The smaller number fits a laptop's memory and the dataset viewer; the shards of large
datasets grow up to the larger one, so that a version stays one commit of few files."""
SHARDS = 40
"""Number of shards at which they start to grow."""
MOST_FILES = 90
"""Most shards of all configs. A version on the Hub is one commit of under 100 files, pictures and card included."""
ONLY_SPLIT = "train"
"""The split of every config but `default`."""

Shards = dict[str, dict[str, list[str]]]
"""Config -> split -> paths of its shards."""


def check_layout(recipe: Recipe, layout: str) -> None:
    """Checks that the dataset of a recipe can be exported in a layout.

    Raises:
        UserError: layout mixed without the originals, or with a source column that has the name of one of its columns.
    """
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


def write_tables(material: Material, staging: Path, layout: str = "columns") -> tuple[Shards, list[FileEntry]]:
    """Writes every config as Parquet shards.

    Args:
        material: the run, its facts and decisions.
        staging: an empty folder.
        layout: `columns` (a counterpart stands in the row of its real image), `rows` (real and kept images as plain
            rows) or `mixed` (real images, then each one that has a counterpart mixed with it).

    Returns:
        The shards by config and split, and one entry for each file.
    """
    # A counterpart is in three configs. The estimate of its bytes depends on its side alone, so every machine cuts the
    # same shards.
    side = material.recipe.store_size or material.recipe.model.size or 512
    size = shard_bytes(sum(map(sum, material.source.sizes.values())) + 3 * len(material.plan) * side * side // 2)
    while True:
        shards, files = _write_tables(material, staging, layout, size)
        fewest = sum(len(splits) for splits in shards.values())
        if len(files) <= max(MOST_FILES, fewest) or size >= LARGEST_SHARD:
            return shards, files
        # The estimate was too low, because images are stored without loss or rejected ones are published too.
        for path in staging.iterdir():
            shutil.rmtree(path)
        size = min(size * (len(files) // MOST_FILES + 1), LARGEST_SHARD)


def _write_tables(material: Material, staging: Path, layout: str, size: int) -> tuple[Shards, list[FileEntry]]:
    """Writes every config with shards of about `size` bytes; see write_tables."""
    source = material.source
    config = source.config
    plain = dict(source.features.items())
    kind = type(source.features)
    added = dict(schema.added_features(material.recipe.columns.prefix))
    pair = {name: plain[name] for name in (config.image, config.label)}
    default = {
        "columns": (tables.default_rows, plain | added),
        "rows": (layouts.plain_rows, pair | dict(schema.plain_features())),
        "mixed": (layouts.mixed_rows, pair | dict(schema.mixed_features())),
    }
    shards: Shards = {name: {} for name in schema.CONFIGS}
    files: list[FileEntry] = []

    def write(name: str, folder: str, split: str, rows: Iterator[pa.Table], features: Mapping[str, Any]) -> None:
        written = _shards(staging, folder, split, rows, kind(features), size)
        files.extend(written)
        # `datasets` cannot load a config without rows, so the card does not list it.
        if any(entry["rows"] for entry in written):
            shards[name][split] = [entry["path"] for entry in written]

    rows_of, features = default[layout]
    for split in tables.splits(material):
        write("default", "data", split, rows_of(material, split), features)
    attempts = schema.attempts_features()
    generated = pair | {name: attempts[name] for name in ("row_id", "copy", "context", "similarity")}
    write("generated", "generated", ONLY_SPLIT, tables.generated_rows(material), generated)
    write("attempts", "attempts", ONLY_SPLIT, tables.attempt_rows(material), attempts)
    write("references", "references", ONLY_SPLIT, tables.reference_rows(material), schema.reference_facts())
    write("classes", "classes", ONLY_SPLIT, tables.class_rows(material), schema.classes_features())
    return shards, files


def shard_bytes(total: int) -> int:
    """Returns the size of a shard for a dataset of `total` bytes: about SHARDS shards, within the two bounds."""
    return min(max(SHARD_BYTES, total // SHARDS), LARGEST_SHARD)


def _shards(
    staging: Path, folder: str, split: str, rows: Iterator[pa.Table], features: Features, shard_size: int
) -> list[FileEntry]:
    """Writes windows of rows into shards; a shard is closed at its size. There is at least one, which may be empty."""
    waiting: list[pa.Table] = []
    size = 0
    written: list[tuple[Path, int]] = []
    for table in rows:
        waiting.append(table)
        size += table.nbytes
        if size >= shard_size:
            written.append(_shard(staging / folder, split, len(written), waiting, features))
            waiting, size = [], 0
    if waiting or not written:
        written.append(_shard(staging / folder, split, len(written), waiting, features))
    entries: list[FileEntry] = []
    for number, (path, count) in enumerate(written):
        sha256 = file_sha256(path)
        # The name has the hash, because the cache of `datasets` identifies a local folder by its file names alone.
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
    """Writes one Parquet file and returns its path and number of rows.

    `Dataset.to_parquet` writes it, so it has content-defined chunks, a page index and the features.
    """
    from datasets import Dataset

    target = features.arrow_schema
    whole = pa.concat_tables([table.cast(target) for table in parts]) if parts else target.empty_table()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split}-{number:05d}.parquet"
    with quiet_datasets():
        Dataset(whole).to_parquet(path)
    return path, len(whole)


def dataset_info(staging: Path, shards: Shards, files: Sequence[FileEntry]) -> list[dict[str, Any]]:
    """Returns `dataset_info` of the card: the features of each config, and the rows and bytes of each split.

    `load_dataset` compares these numbers with the files.

    Args:
        staging: the folder of the shards.
        shards: by config and split.
        files: an entry for each shard.
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
        split_infos = {
            split: SplitInfo(split, sum(entry["size"] for entry in entries), sum(entry["rows"] for entry in entries))
            for split, entries in sizes.items()
        }
        infos[name] = DatasetInfo(
            config_name=name,
            features=Features.from_arrow_schema(pq.read_schema(staging / first)),
            splits=SplitDict(split_infos),
            download_size=total,
            dataset_size=total,
        )
    card = DatasetCardData()
    infos.to_dataset_card_data(card)
    listed = card.to_dict().get("dataset_info", [])
    return listed if isinstance(listed, list) else [listed]


def counts(material: Material) -> Counts:
    """Returns the rows of the augmented split, its units by status, and the attempts."""
    decisions, source = material.decisions, material.source
    by_status = Counter(decisions.status)
    return {
        "rows": len(source.rows),
        "heldout": int(material.plan.heldout.sum()),
        "unlabelled": int((source.labels[source.config.split] < 0).sum()),
        "planned": len(material.plan),
        "kept": by_status["kept"],
        "exhausted": by_status["exhausted"],
        "failed": by_status["failed"],
        "pending": by_status["pending"],
        "attempts": len(decisions.reason),
        "references": len(material.embeddings.row_ids),
    }


def manifest(
    shards: Shards, files: Sequence[FileEntry], assets: Path, recipe: Mapping[str, Any], **facts: Any
) -> dict[str, Any]:
    """Returns the content of diffcore.json. It has no time, host, path, batch size or speed, so runs can be compared.

    Args:
        shards: by config and split.
        files: an entry for each shard.
        assets: the folder of the pictures.
        recipe: the fields that decide the result, with identities in place of paths.
        facts: more keys of the manifest, such as the digests and the counts.
    """
    listed = sorted(files, key=lambda entry: entry["path"])
    for path in sorted(assets.glob("*.png")):
        listed.append({"path": f"assets/{path.name}", "size": path.stat().st_size, "sha256": file_sha256(path)})
    return {"format": 1, "recipe": dict(recipe), **facts, "configs": shards, "files": listed}
