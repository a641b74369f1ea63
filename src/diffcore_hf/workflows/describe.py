"""Describes the kept images of a dataset against its real images, from stored embeddings or with another image tower.

Owns the order of the steps and the pictures. The figures are in method/description.py, the reading of the tables is in
publishing/description, and the embeddings of another tower are in second_tower.py. This module imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, check_target, write_atomic
from diffcore_hf.core.leftovers import remove_leftovers
from diffcore_hf.core.manifest import Manifest, checked_manifest
from diffcore_hf.core.schema import UnitKey
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.method.description import Description, Pair
from diffcore_hf.method.description import describe as describe_images
from diffcore_hf.publishing.audit.shards import Shards
from diffcore_hf.publishing.description import figures
from diffcore_hf.publishing.description.embedded import EmbeddedImages, read_embeddings
from diffcore_hf.publishing.description.images import kept_images, real_images
from diffcore_hf.publishing.description.sample import sample_note, sampled
from diffcore_hf.publishing.hub import parquet
from diffcore_hf.workflows.report_files import ReportKind, check_report_file, write_report_file

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_PAIRS = 10
KIND = ReportKind("--json", "a description of a dataset", "diffcore-hf description 1")
_BATCH = 4096
LEGEND = (
    "CMMD      x 1000, ± standard error; 0 is expected if kept and real images are samples of one distribution",
    "coverage  share of real images with a kept image among their neighbours (in brackets: the expected share)",
    "density   kept images around real images; 1 is expected",
    "Vendi     number of different images among n kept images (in brackets: among n real images)",
    "cosine    mean similarity of two kept images of a class (in brackets: of two real images of the class)",
    "ratio     distance to the nearest / second nearest real image: the lowest of kept (in brackets: real) images",
)


@dataclass(frozen=True)
class Described:
    """Result of `describe`."""

    text: str
    """The table and its notes."""
    sheet: Path
    """Picture of the closest pairs."""


def describe(out: str | Path, *, tower: str | None = None, json_file: str | None = None) -> Described:
    """Describe a dataset, and draw a sheet of its closest pairs into OUT/.diffcore/describe.

    Args:
        out: the folder of a run or of an export.
        tower: path of an image tower that embeds the images again; None: the stored embeddings.
        json_file: a JSON file for all figures; an existing file is overwritten only if it is such a description.

    Raises:
        UserError: this is not a finished dataset, the tower cannot be loaded, or the JSON file cannot be written.
    """
    check_report_file(KIND, json_file)
    folder = Folder(out)
    manifest = _manifest(folder)
    sheet = folder.private / "describe" / "closest.png"
    check_target(sheet)
    remove_leftovers(sheet.parent)
    shards = folder_shards(folder.path, manifest)
    images = read_embeddings(shards)
    towers = {"path": _filter_tower(manifest), "again": False}
    if tower is not None:
        from diffcore_hf.workflows.second_tower import embedded_again

        images = embedded_again(folder, shards, images, tower)
        towers = {"path": tower, "again": True}
    description = description_of(images)
    pairs = description.closest[:SHOWN_PAIRS]
    write_atomic(sheet, _sheet(folder, shards, images, description, pairs))
    if json_file is not None:
        content = {
            "tower": towers["path"],
            "dataset": manifest.get("hash"),
            **figures.plain(description),
            "left_out": images.left_out,
            "closest": [_plain_pair(pair, images) for pair in pairs],
        }
        write_report_file(KIND, content, json_file)
    return Described("\n".join(_lines(out, manifest, images, description, towers)), sheet)


def description_of(images: EmbeddedImages) -> Description:
    """Return the figures of the images of a dataset."""
    return describe_images(images.names, (images.real, images.real_labels), (images.kept, images.kept_labels))


def described_tables(folder: Path, manifest: Mapping[str, Any]) -> tuple[Description, str]:
    """Return the figures of the tables in a folder for its card, from their stored embeddings.

    Args:
        folder: a folder with tables.
        manifest: the content of its diffcore.json; the file need not exist.

    Returns:
        The figures of a sample of the images, and a sentence about its size; "" if the sample contains all images.
    """
    images = read_embeddings(folder_shards(folder, checked_manifest(manifest, str(folder))))
    sample = sampled(images)
    return description_of(sample), sample_note(images, sample)


def folder_shards(folder: Path, manifest: Manifest) -> Shards:
    """Return the tables of a folder, without their images.

    A path in the manifest is read only if it names a file inside the folder.
    """

    def inside(path: str) -> Path:
        file = (folder / path).resolve()
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            raise UserError(f"{path}, which diffcore.json names, is not a file in {folder}. Export the dataset again")
        return file

    def read(path: str, columns: Sequence[str]) -> Iterable[pa.Table]:
        return parquet.read_batches(inside(path), path, columns, _BATCH)

    def names(path: str) -> Sequence[str]:
        return parquet.column_names(inside(path), path)

    return Shards(manifest, read, names, images=False)


def _manifest(folder: Folder) -> Manifest:
    """Return the manifest of a finished dataset.

    Raises:
        UserError: the folder does not exist, or no export finished.
    """
    if not os.path.isdir(folder.path):
        raise UserError(f"{folder.path} is not a folder. Give a folder that augment or export wrote")
    content = folder.manifest()
    if content is None and (folder.run_file.is_file() or folder.is_incomplete()):
        raise UserError(f"{folder.path} has no finished export yet. Repeat the augment or export that writes it")
    if content is None:
        raise UserError(f"{folder.path} is not a dataset of diffcore-hf. Give a folder that augment or export wrote")
    return checked_manifest(content, str(folder.path))


def _filter_tower(manifest: Manifest) -> str:
    """Return the path of the tower whose embeddings are stored; "unknown" if the manifest does not name it."""
    recorded = manifest["resolved"].get("filter")
    path = recorded.get("path") if isinstance(recorded, Mapping) else None
    return path if isinstance(path, str) else "unknown"


def _lines(
    out: str | Path,
    manifest: Manifest,
    images: EmbeddedImages,
    description: Description,
    tower: Mapping[str, Any],
) -> list[str]:
    """Return the lines for the terminal."""
    source = "computed again" if tower["again"] else "stored embeddings"
    lines = [
        f"{out}: {len(images.kept_keys):,} kept images against {len(images.real_ids):,} real images, "
        f"tower {visible(tower['path'])} ({source})",
        "",
        *figures.text(description),
        "",
        *LEGEND,
    ]
    if copies := description.overall.copies:
        lines.append(
            f"{100 * copies.below:.1f} % of the kept images are closer to one real image than 95 % of the real images "
            "are to another (a ratio below the 5 % quantile); 5 % are expected"
        )
    lines.append("note: figures of different towers are not comparable")
    policy = manifest["recipe"]["filter"]["policy"]["name"]
    if not tower["again"] and policy not in ("all", "random"):
        lines.append(
            f"note: policy {policy} chose the images with this tower, so the figures favour them. --tower PATH embeds "
            "them with another tower"
        )
    if pending := manifest["counts"]["pending"]:
        lines.append(f"note: {pending:,} units are pending, so the figures can still change")
    if images.left_out:
        lines.append(f"note: {images.left_out:,} images without an embedding or a class are in no figure")
    return lines


def _plain_pair(pair: Pair, images: EmbeddedImages) -> dict[str, Any]:
    row_id, copy = images.kept_keys[pair.kept]
    return {
        "row_id": row_id,
        "copy": copy,
        "class": images.names[images.kept_labels[pair.kept]],
        "nearest": images.real_ids[pair.real],
        "similarity": 1 - pair.distance**2 / 2,
        "ratio": pair.ratio,
    }


def _sheet(
    folder: Folder, shards: Shards, images: EmbeddedImages, description: Description, pairs: Sequence[Pair]
) -> bytes:
    """Return the sheet of some pairs as PNG. Images that the folder does not contain are shown as placeholders."""
    from diffcore_hf.publishing.pictures.card_sheet import png_bytes
    from diffcore_hf.publishing.pictures.closest_sheet import CloseTile, closest_sheet

    keys: list[UnitKey] = [images.kept_keys[pair.kept] for pair in pairs]
    ids = [images.real_ids[pair.real] for pair in pairs]
    kept = dict(kept_images(folder.path, shards, keys))
    real = dict(real_images(folder.path, shards, ids))
    copies = description.overall.copies
    tiles = [
        CloseTile(
            real=real.get(row_id),
            generated=kept.get(key),
            name=images.names[images.kept_labels[pair.kept]],
            row_id=row_id,
            similarity=1 - pair.distance**2 / 2,
            ratio=pair.ratio,
            is_close=copies is not None and pair.ratio < copies.bound,
        )
        for pair, key, row_id in zip(pairs, keys, ids, strict=True)
    ]
    return png_bytes(closest_sheet(tiles))
