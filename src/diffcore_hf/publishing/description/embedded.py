"""Embeddings of a published dataset: reads those of real and of kept images, without a model.

Owns the choice of the images: every real image with an embedding, equal files of a class once, and every kept image.
An image belongs to the class that it shows, so a kept image with a target label belongs to that class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.schema import UnitKey
from diffcore_hf.method.arrays import Bools, Embeddings, Ints
from diffcore_hf.publishing.audit.shards import Shards

if TYPE_CHECKING:
    import pyarrow as pa

TARGET_LABEL = "target_label"
"""Column of the dataset configuration `generated`. It exists only if the strategy has target classes."""


@dataclass(frozen=True)
class EmbeddedImages:
    """The images of a dataset that have embeddings."""

    names: tuple[str, ...]
    """Names of the K classes, as in prompts."""
    real_ids: list[str]
    """N row ids of real images."""
    real_labels: Ints
    """(N,) int64 in [0, K)."""
    real: Embeddings
    """(N, d) finite."""
    real_sha256: list[str]
    """N hashes of the image files; "" if a hash is not recorded."""
    kept_keys: list[UnitKey]
    """M pairs of row id and copy of kept images."""
    kept_labels: Ints
    """(M,) int64 in [0, K): the class that each image shows."""
    kept: Embeddings
    """(M, d) finite."""
    kept_sha256: list[str]
    """M hashes of the image files; "" if a hash is not recorded."""
    left_out: int
    """Number of real and kept images without a class or without an embedding of finite numbers. No figure uses them."""


def read_embeddings(shards: Shards) -> EmbeddedImages:
    """Read the embeddings of a dataset.

    Raises:
        UserError: a table is damaged, or its embeddings differ in length.
    """
    names = _class_names(shards)
    real = _read(shards, "references", ["row_id", "label", "source_sha256"], "label")
    kept = _read(shards, "attempts", ["row_id", "copy", "label", "image_sha256", "reason"], "reason")
    real_rows = _first_of_class(real, len(names))
    unknown = (np.array(real.columns["label"], np.int64)[real.finite] >= len(names)).sum()
    keys = list(zip(kept.columns["row_id"], kept.columns["copy"], strict=True))
    labels = _shown_labels(shards, keys, kept.columns["label"])
    kept_rows = [row for row in np.flatnonzero(kept.finite).tolist() if 0 <= labels[row] < len(names)]
    if len(real_rows) and len(kept_rows) and real.matrix.shape[1] != kept.matrix.shape[1]:
        raise UserError("the embeddings of real and of kept images differ in length. Export the dataset again")
    return EmbeddedImages(
        names=names,
        real_ids=[real.columns["row_id"][row] for row in real_rows],
        real_labels=np.array([real.columns["label"][row] for row in real_rows], np.int64),
        real=real.matrix[real_rows],
        real_sha256=[real.columns["source_sha256"][row] or "" for row in real_rows],
        kept_keys=[keys[row] for row in kept_rows],
        kept_labels=np.array([labels[row] for row in kept_rows], np.int64),
        kept=kept.matrix[kept_rows],
        kept_sha256=[kept.columns["image_sha256"][row] or "" for row in kept_rows],
        left_out=int((~real.finite).sum() + unknown) + len(kept.finite) - len(kept_rows),
    )


def _class_names(shards: Shards) -> tuple[str, ...]:
    """Return the names of the classes as in prompts, in the order of their indices."""
    names: dict[int, str] = {}
    for table in shards.batches("classes", ["label", "name", "prompt_name"]):
        for label, name, prompt_name in zip(*(column.to_pylist() for column in table.columns), strict=True):
            names[label] = prompt_name or name
    if sorted(names) != list(range(len(names))):
        raise UserError("the configuration `classes` does not have one row per class. Export the dataset again")
    return tuple(names[label] for label in range(len(names)))


@dataclass(frozen=True)
class _Rows:
    """Rows of a table that have an embedding, or should have one."""

    columns: dict[str, list[Any]]
    """Values of the other columns."""
    matrix: Embeddings
    """(n, d) float16; rows without an embedding are NaN."""
    finite: Bools
    """(n,) bool: whether the embedding is finite and not zero."""


def _read(shards: Shards, config: str, columns: Sequence[str], selecting: str) -> _Rows:
    """Read rows of real images (`references`) or of kept images (`attempts`).

    Args:
        shards: the dataset.
        config: a dataset configuration with embeddings.
        columns: names of the other columns.
        selecting: `reason` selects the kept attempts; `label` the rows with a class and an embedding.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    tables = []
    for table in shards.batches(config, [*columns, "embedding"]):
        if selecting == "reason":
            chosen = pc.equal(table["reason"], "kept")
        else:
            chosen = pc.and_(pc.greater_equal(table["label"], 0), pc.is_valid(table["embedding"]))
        tables.append(table.filter(chosen))
    if not tables:
        return _Rows({name: [] for name in columns}, np.zeros((0, 0), np.float16), np.zeros(0, bool))
    joined = pa.concat_tables(tables)
    matrix = _matrix(joined["embedding"], config)
    finite = np.asarray(np.isfinite(matrix).all(axis=1) & matrix.any(axis=1))
    return _Rows({name: joined[name].to_pylist() for name in columns}, matrix, finite)


def _matrix(column: pa.ChunkedArray, config: str) -> Embeddings:
    """Return a list<float16> column as (n, d) float16; a null row is NaN.

    Raises:
        UserError: the lists differ in length.
    """
    import pyarrow.compute as pc

    valid = column.is_valid().to_numpy().astype(bool)
    lengths = pc.unique(pc.list_value_length(column.drop_null())).to_pylist()
    if len(lengths) > 1:
        raise UserError(f"the embeddings of `{config}` differ in length. Export the dataset again")
    matrix = np.full((len(column), lengths[0] if lengths else 0), np.nan, np.float16)
    if matrix.shape[1]:
        flat = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks])
        # A number that float16 does not have becomes infinite, and its image is left out.
        with np.errstate(over="ignore"):
            matrix[valid] = flat.reshape(-1, matrix.shape[1])
    return matrix


def _first_of_class(rows: _Rows, classes: int) -> list[int]:
    """Return the rows with a finite embedding. Of rows of one class with equal files only the first is returned."""
    seen: set[tuple[int, str]] = set()
    chosen = []
    for row in np.flatnonzero(rows.finite).tolist():
        label, sha256 = rows.columns["label"][row], rows.columns["source_sha256"][row]
        if label >= classes or (sha256 and (label, sha256) in seen):
            continue
        seen.add((label, sha256))
        chosen.append(row)
    return chosen


def _shown_labels(shards: Shards, keys: Sequence[UnitKey], labels: Sequence[int]) -> list[int]:
    """Return the class that each kept image shows: its target label, or the class of its row."""
    paths = shards.paths("generated")
    if not paths or TARGET_LABEL not in shards.names(paths[0]):
        return list(labels)
    targets: dict[UnitKey, int | None] = {}
    for table in shards.batches("generated", ["row_id", "copy", TARGET_LABEL]):
        for row_id, copy, target in zip(*(column.to_pylist() for column in table.columns), strict=True):
            targets[row_id, copy] = target
    shown = [targets.get(key) for key in keys]
    return [label if target is None else target for label, target in zip(labels, shown, strict=True)]
