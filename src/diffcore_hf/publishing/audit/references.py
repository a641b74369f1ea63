"""References: reads the configuration `references` and checks the ids, labels and hashes of the real images.

A row id of a Hub source is the position of the row. Any other row id is a hash of the image and the name of its class.
So a changed label, hash or class name does not fit the id.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.core import seeding
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.shards import Shards

if TYPE_CHECKING:
    import pyarrow as pa

Embedding = NDArray[np.float16]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNREADABLE = "unreadable"


@dataclass(frozen=True)
class ReferenceTable:
    """The rows of the configuration `references`, by row id, in their order."""

    embeddings: Mapping[str, Embedding]
    """Row id -> embedding, (d,) float16, for the rows that have one."""
    hashes: Mapping[str, str | None]
    """Row id -> sha256 of the real image, for every row of every split."""
    labels: Mapping[str, int]
    """Row id -> index of the class; -1 for a row without a label."""
    reasons: Mapping[str, str]
    """Row id -> the reason why the row has no label or no embedding, for the rows that have a reason."""
    by_split: Mapping[str, Sequence[str]]
    """Split of the source -> its row ids in order."""

    @property
    def unlabelled(self) -> frozenset[str]:
        """Ids of the rows without a label, of every split."""
        return frozenset(row_id for row_id, label in self.labels.items() if label < 0)


def read_references(shards: Shards, names: Sequence[str], findings: Findings) -> ReferenceTable:
    """Read the configuration `references` and check it.

    Args:
        shards: the published tables.
        names: names of the classes.
        findings: collection to which the faults are added.
    """
    embeddings: dict[str, Embedding] = {}
    hashes: dict[str, str | None] = {}
    labels: dict[str, int] = {}
    reasons: dict[str, str] = {}
    by_split: dict[str, list[str]] = {}
    for table in shards.batches("references", ["row_id", "label", "source_sha256", "embedding", "reason"]):
        vectors = embeddings_of(table["embedding"])
        rows = zip(*(table[name].to_pylist() for name in ("row_id", "label", "source_sha256", "reason")), strict=True)
        for (row_id, label, sha256, reason), vector in zip(rows, vectors, strict=True):
            if row_id in hashes:
                findings.add("references: a row occurs more than once", row_id)
                continue
            hashes[row_id], labels[row_id] = sha256, label
            by_split.setdefault(row_id.rpartition("/")[0], []).append(row_id)
            if reason:
                reasons[row_id] = reason
            if vector.size:
                embeddings[row_id] = vector
            for fault in _faults(label, sha256, vector, reason, len(names)):
                findings.add(f"references: {fault}", row_id)
    widths = Counter(len(vector) for vector in embeddings.values())
    if len(widths) > 1:
        rare = min(widths, key=lambda width: widths[width])
        where = next(row_id for row_id, vector in embeddings.items() if len(vector) == rare)
        findings.add("references: the embeddings differ in length", where)
    table_of = ReferenceTable(embeddings, hashes, labels, reasons, by_split)
    _check_ids(shards, table_of, names, findings)
    return table_of


def _faults(label: int, sha256: str | None, vector: Embedding, reason: str | None, classes: int) -> list[str]:
    """Return the faults of one row."""
    faults = []
    if not -1 <= label < classes:
        faults.append("the label is not the index of a class")
    if label < 0 and not reason:
        faults.append("a row without a label has no reason")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        faults.append("source_sha256 is not a sha256")
    if sha256 is None and not reason:
        faults.append("a row without a hash has no reason")
    if sha256 is not None and label >= 0 and (reason or "").startswith(_UNREADABLE) and vector.size:
        faults.append("an unreadable image has an embedding")
    if vector.size and not (np.isfinite(vector).all() and vector.any()):
        faults.append("an embedding is not finite")
    return faults


def _check_ids(shards: Shards, table: ReferenceTable, names: Sequence[str], findings: Findings) -> None:
    """Compare the row ids with those that follow from the positions, or from the images and labels."""
    identity = str(shards.manifest["resolved"].get("source", {}).get("identity") or "")
    for split, ids in table.by_split.items():
        if _COMMIT.fullmatch(identity):
            expected = seeding.hub_row_ids(split, len(ids))
            kind = "references: the row id is not the position of the row"
        else:
            contents = [(_bytes(table.hashes[row_id]), _name(names, table.labels[row_id])) for row_id in ids]
            expected = seeding.content_row_ids(split, contents)
            kind = "references: the row id is not the hash of image and label"
        for found, own in zip(ids, expected, strict=True):
            if found != own:
                findings.add(kind, found)
    if not _COMMIT.fullmatch(identity):
        listed = [row_id for split in sorted(table.by_split) for row_id in sorted(table.by_split[split])]
        if identity != f"local:{seeding.digest('source', *listed).hex()[:16]}":
            findings.add("references: the rows are not those of the source in diffcore.json", identity)


def _bytes(sha256: str | None) -> bytes:
    return bytes.fromhex(sha256) if sha256 and _SHA256.fullmatch(sha256) else b""


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else ""


def embeddings_of(column: pa.ChunkedArray) -> list[Embedding]:
    """Return the embedding of each row, (d,) float16; empty where a row has none."""
    embeddings: list[Embedding] = []
    for chunk in column.chunks:
        for row in chunk:
            values = row.values.to_numpy(zero_copy_only=False) if row.is_valid else np.empty(0, np.float16)
            embeddings.append(np.asarray(values))
    return embeddings
