"""Attempts: config `attempts` against itself and the recipe.

Owns what follows from what: a similarity from two embeddings, a seed from the ids, a reason from score and bound, a
hash from an image. The bounds are taken as they stand: to fit a policy again takes the captions of the contexts, which
are not published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.core.seeding import attempt_seed
from diffcore_hf.method.thresholds import row_cosines
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.shards import Shards, contents

if TYPE_CHECKING:
    import pyarrow as pa

Unit = tuple[str, int]
"""Row id and copy."""

NEAR = 1e-5
"""Published numbers are float32."""
_UNDECIDED = ("superseded", "crashed")
_COLUMNS = ("row_id", "copy", "attempt", "label", "context", "prompt", "seed", "similarity", "score", "bound",
            "class_rank", "image_sha256", "reason")  # fmt: skip


@dataclass(frozen=True)
class References:
    """Config `references`."""

    embeddings: Mapping[str, np.ndarray]
    """Row id -> (d,) float16, where there is one."""
    hashes: Mapping[str, str | None]
    """Row id -> sha256 of the real image, of every row of every split."""


@dataclass(frozen=True)
class Attempts:
    """What config `attempts` comes to."""

    kept: dict[Unit, Mapping[str, Any]] = field(default_factory=dict)
    """Unit -> the attempt that was kept."""
    tried: dict[Unit, bool] = field(default_factory=dict)
    """Unit that was attempted -> whether any attempt did not crash."""
    made: Counter[int] = field(default_factory=Counter)
    """Label -> attempts; below likewise those that were kept, that a rate counts, and that were rejected."""
    passed: Counter[int] = field(default_factory=Counter)
    counted: Counter[int] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any], findings: Findings, where: str) -> None:
        """One more attempt."""
        unit, label, reason = (row["row_id"], row["copy"]), row["label"], row["reason"]
        if reason == "kept" and unit in self.kept:
            findings.add("attempts: two are kept of one unit", where)
        elif reason == "kept":
            self.kept[unit] = row
        self.tried[unit] = self.tried.get(unit, False) or reason != "crashed"
        self.made[label] += 1
        self.passed[label] += reason == "kept"
        self.counted[label] += reason not in _UNDECIDED
        self.rejected[label] += reason not in ("kept", *_UNDECIDED)


def read_references(shards: Shards) -> References:
    """Config `references`, as it stands."""
    embeddings: dict[str, np.ndarray] = {}
    hashes: dict[str, str | None] = {}
    for table in shards.batches("references", ["row_id", "source_sha256", "embedding"]):
        ids = table["row_id"].to_pylist()
        hashes |= dict(zip(ids, table["source_sha256"].to_pylist(), strict=True))
        embeddings |= {row_id: row for row_id, row in zip(ids, _matrix(table["embedding"]), strict=True) if row.size}
    return References(embeddings, hashes)


def audit_attempts(shards: Shards, references: References, findings: Findings) -> Attempts:
    """Every attempt by itself; what they come to is for the other configs."""
    found, recipe = Attempts(), shards.manifest["recipe"]
    for table in shards.batches("attempts", [*_COLUMNS, "embedding"], "image"):
        rows = table.select(_COLUMNS).to_pylist()
        own = _matrix(table["embedding"])
        similarities = _similarities(own, [references.embeddings.get(row["row_id"]) for row in rows])
        for row, similarity, content in zip(rows, similarities, contents(table, "image"), strict=True):
            where = f"{row['row_id']} copy {row['copy']} attempt {row['attempt']}"
            for kind in _wrong(row, similarity, content, recipe):
                findings.add(f"attempts: {kind}", where)
            if shards.images and row["reason"] == "kept" and content is None:
                findings.add("attempts: the image of one that was kept is missing", where)
            found.add(row, findings, where)
    return found


def _wrong(row: Mapping[str, Any], similarity: float, content: bytes | None, recipe: Mapping[str, Any]) -> list[str]:
    """What is wrong with one attempt."""
    wrong = []
    if row["seed"] != attempt_seed(recipe.get("seed", 0), row["row_id"], row["copy"], row["attempt"]):
        wrong.append("the seed is not that of row, copy and attempt")
    stated = np.nan if row["similarity"] is None else row["similarity"]
    if not np.isclose(stated, similarity, rtol=0, atol=NEAR, equal_nan=True):
        wrong.append("the similarity is not that of the embeddings")
    if not _agrees(row, recipe):
        wrong.append("the reason does not follow from score and bound")
    if content is not None and sha256(content).hexdigest() != row["image_sha256"]:
        wrong.append("the image is not the one whose hash is recorded")
    return wrong


def _agrees(row: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether a reason can be the policy's: what it rejected lies beyond the bound, what it kept does not."""
    reason, score, bound, policy = row["reason"], row["score"], row["bound"], recipe["filter"]["policy"]["name"]
    if reason == "kept":
        # A person's accept overrides the policy; the verdicts are not published.
        if recipe.get("review") or score is None or bound is None:
            return True
        if policy == "random":
            return score < bound + NEAR
        # With one class there is no rank, and the quantile stands in: its scores are similarities.
        ranked = policy == "rank" and score == row["class_rank"]
        return score <= bound if ranked else score >= bound - NEAR
    if reason == "low_rank":
        return score is None or bound is None or score > bound
    if reason == "low_similarity":
        return score is None or bound is None or score <= bound + NEAR
    return reason != "not_drawn" or (score is not None and bound is not None and score >= bound - NEAR)


def _similarities(own: Sequence[np.ndarray], parents: Sequence[np.ndarray | None]) -> np.ndarray:
    """(M,) float64: cosine of each pair of which both are there; NaN elsewhere."""
    found = np.full(len(own), np.nan)
    pairs = [place for place, row in enumerate(own) if row.size and parents[place] is not None]
    if pairs:
        found[pairs] = row_cosines(
            np.stack([own[place] for place in pairs]), np.stack([parents[place] for place in pairs])
        )
    return found


def _matrix(column: pa.ChunkedArray) -> list[np.ndarray]:
    """One array a row, empty where there is none."""
    return [
        np.asarray(row.values.to_numpy(zero_copy_only=False)) if row.is_valid else np.empty(0, np.float16)
        for chunk in column.chunks
        for row in chunk
    ]
