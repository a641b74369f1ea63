"""Export: writes the tables of a run as shards into a staging folder, and creates their manifest.

Owns the shards, their names and features, and the content of diffcore.json. Does not own the content of the rows
(tables.py, layouts.py), or the replacement of the old export by the staging folder (core/folder.py).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.augmentation import layouts, tables
from diffcore_hf.augmentation.disk_space import check_export
from diffcore_hf.augmentation.image_spool import image_spool
from diffcore_hf.augmentation.material import Material
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import schema
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import file_sha256
from diffcore_hf.core.manifest import Counts, FileEntry
from diffcore_hf.core.quiet import quiet_datasets
from diffcore_hf.method.checks import KEPT

if TYPE_CHECKING:
    from datasets import Features

SHARD_BYTES, LARGEST_SHARD = 200_000_000, 5_000_000_000
"""Normal and largest number of uncompressed bytes of a shard. A laptop and the dataset viewer can read shards of the
normal size. Shards of large datasets are larger, so that a version is one commit with few files."""
SHARDS = 40
"""Largest number of shards of the normal size. A dataset that would need more shards gets larger ones."""
MOST_FILES = 90
"""Largest number of shards of all dataset configurations together. A version has some more files, fewer than 100."""
ONLY_SPLIT = "train"
"""The only split of every dataset configuration except `default`."""

Shards = dict[str, dict[str, list[str]]]
"""Dataset configuration -> split -> paths of its shards."""


def check_layout(recipe: Recipe, layout: str) -> None:
    """Checks that the dataset of a recipe can be exported in a layout.

    Raises:
        UserError: the layout `mixed` needs originals that are not included, or one of its columns has the name of a
            source column.
    """
    if layout != "mixed":
        return
    if not recipe.include_originals:
        raise UserError(
            "include_originals is false, but the images of layout mixed contain pixels of the originals. Use --layout "
            "columns or rows, or --include_originals true"
        )
    for key, column in (("image", recipe.source.image), ("label", recipe.source.label)):
        if column in schema.mixed_features():
            raise UserError(
                f"source.{key} is {column!r}, which is also a column of layout mixed. Use --layout columns or rows"
            )


@contextmanager
def with_images(material: Material, folder: Path) -> Iterator[Material]:
    """Copies the images that an export contains, and yields the material with them (image_spool.py).

    Args:
        material: the run, its facts and decisions.
        folder: folder on the disk of the export.

    Raises:
        DamagedPart: the bytes of a part are not those that were written.
    """
    reasons = material.decisions.reason.tolist()
    included = [attempt for attempt, reason in enumerate(reasons) if reason == KEPT or material.recipe.include_rejected]
    locations = {attempt: material.location(attempt) for attempt in included}
    with image_spool(material.ledger.all_parts(), locations, len(reasons), folder) as spool:
        check_export(material.run, folder, spool.size())
        yield replace(material, spool=spool)


def write_tables(material: Material, staging: Path, layout: str = "columns") -> tuple[Shards, list[FileEntry]]:
    """Writes every dataset configuration as Parquet shards.

    Args:
        material: the run, its facts and decisions.
        staging: an empty folder.
        layout: `columns` (the counterpart is a column beside the real image), `rows` (real and kept images are separate
            rows) or `mixed` (real images, then a mix of each real image that has a counterpart).

    Returns:
        The shards by dataset configuration and split, and one entry for each file.
    """
    # A counterpart is in three dataset configurations. The estimate of its bytes uses only its side in pixels, so that
    # every machine writes the same shards.
    side = material.recipe.store_size or material.recipe.model.size or 512
    size = shard_bytes(sum(map(sum, material.source.sizes.values())) + 3 * len(material.plan) * side * side // 2)
    while True:
        shards, files = _write_tables(material, staging, layout, size)
        fewest = sum(len(splits) for splits in shards.values())
        if len(files) <= max(MOST_FILES, fewest) or size >= LARGEST_SHARD:
            return shards, files
        # The estimate was too low, because images are stored without loss or rejected images are included.
        for path in staging.iterdir():
            shutil.rmtree(path)
        size = min(size * (len(files) // MOST_FILES + 1), LARGEST_SHARD)


def _write_tables(material: Material, staging: Path, layout: str, size: int) -> tuple[Shards, list[FileEntry]]:
    """Writes every dataset configuration as shards of about `size` bytes; see write_tables."""
    source = material.source
    config = source.config
    plain = dict(source.features.items())
    kind = type(source.features)
    prefix, targets = material.recipe.columns.prefix, tables.target_features(material)
    added = {prefix + name: feature for name, feature in tables.added_features(material).items()}
    pair = {name: plain[name] for name in (config.image, config.label)}
    default = {
        "columns": (tables.default_rows, plain | added),
        "rows": (layouts.plain_rows, pair | dict(schema.plain_features()) | targets),
        "mixed": (layouts.mixed_rows, pair | dict(schema.mixed_features()) | targets),
    }
    shards: Shards = {name: {} for name in schema.CONFIGS}
    files: list[FileEntry] = []

    def write(name: str, folder: str, split: str, rows: Iterator[pa.Table], features: Mapping[str, Any]) -> None:
        written = _shards(staging, folder, split, rows, kind(features), size)
        files.extend(written)
        # `datasets` cannot load a split without rows, so the card does not list it.
        if any(entry["rows"] for entry in written):
            shards[name][split] = [entry["path"] for entry in written]

    rows_of, features = default[layout]
    for split in tables.splits(material):
        write("default", "data", split, rows_of(material, split), features)
    attempts = tables.attempts_features(material)
    generated = pair | {name: attempts[name] for name in ("row_id", "copy", "context", "similarity")} | targets
    write("generated", "generated", ONLY_SPLIT, tables.generated_rows(material), generated)
    write("attempts", "attempts", ONLY_SPLIT, tables.attempt_rows(material), attempts)
    write("references", "references", ONLY_SPLIT, tables.reference_rows(material), schema.references_features())
    write("classes", "classes", ONLY_SPLIT, tables.class_rows(material), schema.classes_features())
    return shards, files


def shard_bytes(total: int) -> int:
    """Returns the size of a shard for a dataset of `total` bytes: `total` / SHARDS, within the two limits."""
    return min(max(SHARD_BYTES, total // SHARDS), LARGEST_SHARD)


def _shards(
    staging: Path, folder: str, split: str, rows: Iterator[pa.Table], features: Features, shard_size: int
) -> list[FileEntry]:
    """Writes windows of rows into shards of about `shard_size` bytes. If there are no rows, writes one empty shard."""
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
        # The name contains the hash, because the cache of `datasets` identifies a local folder by its file names.
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

    `Dataset.to_parquet` writes the file, so that it has content-defined chunks, a page index and the features.
    """
    from datasets import Dataset

    target = features.arrow_schema
    joined = pa.concat_tables([table.cast(target) for table in parts]) if parts else target.empty_table()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{split}-{number:05d}.parquet"
    with quiet_datasets():
        Dataset(joined).to_parquet(path)
    return path, len(joined)


def dataset_info(
    read_schema: Callable[[str], pa.Schema],
    shards: Mapping[str, Mapping[str, Sequence[str]]],
    files: Sequence[FileEntry],
) -> list[dict[str, Any]]:
    """Returns `dataset_info` for the card.

    It contains the features of each dataset configuration, and the rows and bytes of each split. `load_dataset`
    compares these numbers with the files.

    Args:
        read_schema: function that returns the schema of a shard.
        shards: paths of the shards by dataset configuration and split.
        files: an entry for each shard.
    """
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    known = {entry["path"]: entry for entry in files}
    infos = DatasetInfosDict()
    for name, splits in shards.items():
        sizes = {split: [known[path] for path in paths] for split, paths in splits.items()}
        if not sizes:
            continue
        first = next(chain.from_iterable(splits.values()))
        total = sum(entry["size"] for entry in chain.from_iterable(sizes.values()))
        split_infos = {
            split: SplitInfo(split, sum(entry["size"] for entry in entries), sum(entry["rows"] for entry in entries))
            for split, entries in sizes.items()
        }
        infos[name] = DatasetInfo(
            config_name=name,
            features=Features.from_arrow_schema(read_schema(first)),
            splits=SplitDict(split_infos),
            download_size=total,
            dataset_size=total,
        )
    card = DatasetCardData()
    infos.to_dataset_card_data(card)
    listed = card.to_dict().get("dataset_info", [])
    return listed if isinstance(listed, list) else [listed]


def counts(material: Material) -> Counts:
    """Returns the numbers of rows of the augmented split, of units by status, of attempts and of references."""
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
    """Returns the content of diffcore.json.

    It contains no time, host, path, batch size or speed, so that equal runs have equal manifests.

    Args:
        shards: paths of the shards by dataset configuration and split.
        files: an entry for each shard.
        assets: the folder of the pictures.
        recipe: the fields of the recipe that change the result, with identities in place of paths.
        facts: other keys of the manifest, such as the digests and the counts.
    """
    listed = sorted(files, key=lambda entry: entry["path"])
    for path in sorted(assets.glob("*.png")):
        listed.append({"path": f"assets/{path.name}", "size": path.stat().st_size, "sha256": file_sha256(path)})
    return {"format": 1, "recipe": dict(recipe), **facts, "configs": shards, "files": listed}
