"""Attempts: checks the configuration `attempts` against the references and the recipe.

Owns the checks of values that follow from other values: a similarity from two embeddings, a seed from the ids, a reason
from score and bound, and a hash from an image. The bounds are not recomputed, because fitting a policy again needs the
embeddings of captions, which are not published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.core.schema import TARGET_COLUMNS, UnitKey
from diffcore_hf.core.seeding import attempt_seed
from diffcore_hf.method.soft_labels import target_weight
from diffcore_hf.method.thresholds import row_cosines
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.shards import Shards, image_bytes

if TYPE_CHECKING:
    import pyarrow as pa

Embedding = NDArray[np.float16]

TOLERANCE = 1e-5
"""Absolute tolerance for published scores, which are float32."""
_NOT_IN_RATES = ("superseded", "crashed")
"""Reasons of attempts that are not counted in any rate. Datasets of earlier versions of this package have superseded
attempts."""
_COLUMNS = (
    "row_id",
    "copy",
    "attempt",
    "label",
    "context",
    "prompt",
    "seed",
    "similarity",
    "score",
    "bound",
    "class_rank",
    "image_sha256",
    "reason",
)


class AttemptRow(TypedDict):
    """One row of the configuration `attempts`, without embedding and image."""

    row_id: str
    copy: int
    attempt: int
    label: int
    context: str
    prompt: str
    seed: int
    similarity: float | None
    score: float | None
    bound: float | None
    class_rank: int | None
    image_sha256: str | None
    reason: str
    target_label: int | None
    """Index of the drawn class that the image has to show; None: the class of the row."""
    target_weight: float | None
    strength: float | None


@dataclass(frozen=True)
class ReferenceTable:
    """The rows of the configuration `references`, by row id."""

    embeddings: Mapping[str, Embedding]
    """Row id -> embedding, (d,) float16, for the rows that have one."""
    hashes: Mapping[str, str | None]
    """Row id -> sha256 of the real image, for every row of every split."""
    reasons: Mapping[str, str]
    """Row id -> the reason why the row has no label or no embedding, for the rows that have a reason."""
    unlabelled: frozenset[str]
    """Ids of the rows without a label, of every split."""


@dataclass(frozen=True)
class AttemptTally:
    """The rows of the configuration `attempts` by unit, and their counts by class."""

    kept: dict[UnitKey, AttemptRow] = field(default_factory=dict)
    """Unit -> the attempt that was kept."""
    has_image: dict[UnitKey, bool] = field(default_factory=dict)
    """Unit -> whether at least one of its attempts ended without a crash."""
    attempts: Counter[int] = field(default_factory=Counter)
    """Class that the image has to show -> number of attempts."""
    passed: Counter[int] = field(default_factory=Counter)
    """Class that the image has to show -> number of kept attempts."""
    in_rates: Counter[int] = field(default_factory=Counter)
    """Class that the image has to show -> number of attempts that are counted in the rates."""
    rejected: Counter[int] = field(default_factory=Counter)
    """Class that the image has to show -> number of rejected attempts."""

    def label_of(self, unit: UnitKey) -> tuple[int | None, float | None]:
        """Return target class and weight of the kept attempt of a unit; None twice if there is none."""
        attempt = self.kept.get(unit)
        return (None, None) if attempt is None else (attempt["target_label"], attempt["target_weight"])

    def add(self, row: AttemptRow, findings: Findings, where: str) -> None:
        """Add an attempt; `where` names it in a finding."""
        unit, label, reason = (row["row_id"], row["copy"]), row["label"], row["reason"]
        if row["target_label"] is not None:
            label = row["target_label"]
        if reason == "kept" and unit in self.kept:
            findings.add("attempts: two attempts of one unit are kept", where)
        elif reason == "kept":
            self.kept[unit] = row
        self.has_image[unit] = self.has_image.get(unit, False) or reason != "crashed"
        self.attempts[label] += 1
        self.passed[label] += reason == "kept"
        self.in_rates[label] += reason not in _NOT_IN_RATES
        self.rejected[label] += reason not in ("kept", *_NOT_IN_RATES)


def read_references(shards: Shards, findings: Findings) -> ReferenceTable:
    """Read the configuration `references`, and check that every row without a label has a reason."""
    embeddings: dict[str, Embedding] = {}
    hashes: dict[str, str | None] = {}
    reasons: dict[str, str] = {}
    unlabelled: set[str] = set()
    for table in shards.batches("references", ["row_id", "label", "source_sha256", "embedding", "reason"]):
        ids = table["row_id"].to_pylist()
        hashes |= dict(zip(ids, table["source_sha256"].to_pylist(), strict=True))
        reasons |= {row_id: text for row_id, text in zip(ids, table["reason"].to_pylist(), strict=True) if text}
        unlabelled |= {row_id for row_id, label in zip(ids, table["label"].to_pylist(), strict=True) if label < 0}
        embeddings |= {
            row_id: row for row_id, row in zip(ids, _embeddings(table["embedding"]), strict=True) if row.size
        }
    for row_id in sorted(unlabelled - reasons.keys()):
        findings.add("references: a row without a label has no reason", row_id)
    return ReferenceTable(embeddings, hashes, reasons, frozenset(unlabelled))


def audit_attempts(shards: Shards, references: ReferenceTable, findings: Findings) -> AttemptTally:
    """Check every attempt. Return the tally, which the other configurations are compared with."""
    tally, recipe = AttemptTally(), shards.manifest["recipe"]
    columns = [*_COLUMNS, *shards.target_columns]
    if any("strength" in shards.names(path) for path in shards.paths("attempts")):
        columns.append("strength")
    empty: dict[str, Any] = dict.fromkeys((*TARGET_COLUMNS, "strength"))
    for table in shards.batches("attempts", [*columns, "embedding"], "image"):
        rows: list[Any] = [{**empty, **row} for row in table.select(columns).to_pylist()]
        parents = [references.embeddings.get(row["row_id"]) for row in rows]
        similarities = _similarities(_embeddings(table["embedding"]), parents)
        for row, similarity, image in zip(rows, similarities, image_bytes(table, "image"), strict=True):
            where = f"{row['row_id']} copy {row['copy']} attempt {row['attempt']}"
            for fault in _faults(row, similarity, image, recipe):
                findings.add(f"attempts: {fault}", where)
            if shards.images and row["reason"] == "kept" and image is None:
                findings.add("attempts: the image of a kept attempt is missing", where)
            tally.add(row, findings, where)
    return tally


def _faults(row: AttemptRow, similarity: float, image: bytes | None, recipe: Mapping[str, Any]) -> list[str]:
    """Return the faults of one attempt."""
    faults = []
    if row["seed"] != attempt_seed(recipe.get("seed", 0), row["row_id"], row["copy"], row["attempt"]):
        faults.append("the seed does not follow from row, copy and attempt")
    published = np.nan if row["similarity"] is None else row["similarity"]
    if not np.isclose(published, similarity, rtol=0, atol=TOLERANCE, equal_nan=True):
        faults.append("the similarity does not follow from the embeddings")
    if not _weight_fits(row, recipe):
        faults.append("the weight of the target class does not follow from strength and gamma_label")
    if not _reason_fits(row, recipe):
        faults.append("the reason does not follow from score and bound")
    if image is not None and sha256(image).hexdigest() != row["image_sha256"]:
        faults.append("the image does not have the recorded hash")
    return faults


def _weight_fits(row: AttemptRow, recipe: Mapping[str, Any]) -> bool:
    """Return whether the weight of the target class is strength ** gamma_label. It is null without a target class."""
    if row["target_label"] is None or row["target_weight"] is None:
        return row["target_label"] is None and row["target_weight"] is None
    gamma, strength = recipe.get("strategy", {}).get("gamma_label", 1.0), row["strength"]
    if not isinstance(gamma, (int, float)) or not gamma >= 0 or not (strength is None or 0 < strength <= 1):
        return False
    expected = target_weight(strength, gamma)
    return row["target_label"] != row["label"] and abs(row["target_weight"] - expected) <= TOLERANCE


def _reason_fits(row: AttemptRow, recipe: Mapping[str, Any]) -> bool:
    """Return whether the reason agrees with score and bound, e.g. the score of a kept attempt is within the bound."""
    reason, score, bound, policy = row["reason"], row["score"], row["bound"], recipe["filter"]["policy"]["name"]
    if reason == "kept":
        # A reviewer's verdict overrides the policy, and verdicts are not published.
        if recipe.get("review") or score is None or bound is None:
            return True
        if policy == "random":
            return score < bound + TOLERANCE
        # If there is only one class, policy rank uses a quantile of similarities instead of ranks.
        ranked = policy == "rank" and score == row["class_rank"]
        return score <= bound if ranked else score >= bound - TOLERANCE
    if reason == "low_rank":
        return score is None or bound is None or score > bound
    if reason == "low_similarity":
        return score is None or bound is None or score <= bound + TOLERANCE
    if reason == "not_drawn":
        return score is not None and bound is not None and score >= bound - TOLERANCE
    return True


def _similarities(embeddings: Sequence[Embedding], parents: Sequence[Embedding | None]) -> NDArray[np.float64]:
    """Return the cosine similarity of each pair, (M,) float64; NaN where an embedding is missing."""
    similarities = np.full(len(embeddings), np.nan)
    indices, own, others = [], [], []
    for index, (embedding, parent) in enumerate(zip(embeddings, parents, strict=True)):
        if embedding.size and parent is not None:
            indices.append(index)
            own.append(embedding)
            others.append(parent)
    if indices:
        similarities[indices] = row_cosines(np.stack(own), np.stack(others))
    return similarities


def _embeddings(column: pa.ChunkedArray) -> list[Embedding]:
    """Return the embedding of each row, (d,) float16; empty where a row has none."""
    embeddings: list[Embedding] = []
    for chunk in column.chunks:
        for row in chunk:
            values = row.values.to_numpy(zero_copy_only=False) if row.is_valid else np.empty(0, np.float16)
            embeddings.append(np.asarray(values))
    return embeddings
