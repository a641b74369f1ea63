"""Verdicts: compares scores, bounds, ranks and reasons with those of the policy, fitted again to the references."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from diffcore_hf.core.manifest import Manifest
from diffcore_hf.method.checks import CHECKS, policy_reasons
from diffcore_hf.method.policies import FittedPolicy
from diffcore_hf.publishing.audit.attempts import SUPERSEDED, TOLERANCE, AttemptRow
from diffcore_hf.publishing.audit.classes import ClassTable
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.references import Embedding

_BEFORE_POLICY = (*(check.reason for check in takewhile(lambda check: not check.by_policy, CHECKS)), SUPERSEDED)
"""Reasons that are tested before those of the policy, and the reason that only datasets of earlier versions have."""
_CARD_TOLERANCE = 2e-6


class VerdictCheck:
    """Compares attempts with the verdicts of a policy.

    Args:
        policy: the policy, fitted to the references.
        reviewed: whether a reviewer could accept an attempt that the policy rejects.
    """

    def __init__(self, policy: FittedPolicy, *, reviewed: bool) -> None:
        self._policy, self._reviewed = policy, reviewed
        self._width = policy.references.embeddings.shape[1]

    def faults(
        self, rows: Sequence[AttemptRow], embeddings: Sequence[Embedding], parents: Sequence[Embedding | None]
    ) -> list[list[str]]:
        """Return the faults of each attempt."""
        labels = np.array([row["label"] if row["target_label"] is None else row["target_label"] for row in rows], int)
        known = (labels >= 0) & (labels < len(self._policy.bound))
        if not known.all():
            return [[] if fits else ["the class does not exist"] for fits in known.tolist()]
        keys = [(row["row_id"], row["copy"], row["attempt"]) for row in rows]
        verdicts = self._policy.verdicts(labels, self._matrix(embeddings), self._matrix(parents), keys)
        columns = zip(verdicts.score, verdicts.bound, verdicts.class_rank, verdicts.reasons, strict=True)
        found = []
        for row, (score, bound, rank, reason) in zip(rows, columns, strict=True):
            faults = []
            if not _close(row["score"], score):
                faults.append("the score does not follow from the embeddings")
            if not _close(row["bound"], bound):
                faults.append("the bound does not follow from the references")
            if (row["class_rank"] or 0) != rank:
                faults.append("the rank of the class does not follow from the embeddings")
            if not self._fits(row["reason"], reason):
                faults.append("the reason is not that of the filter")
            found.append(faults)
        return found

    def _fits(self, published: str, reason: str | None) -> bool:
        """Return whether a published reason is possible if the policy rejects the image for `reason`."""
        if published in policy_reasons():
            return published == reason
        # The checks that follow the policy, such as those of a user, are tested only if the policy keeps the image.
        return published in _BEFORE_POLICY or reason is None or self._reviewed

    def _matrix(self, vectors: Sequence[Embedding | None]) -> Embedding:
        """Return (n, d) float16; a missing embedding, or one of another length, is NaN."""
        matrix = np.full((len(vectors), self._width), np.nan, np.float16)
        for index, vector in enumerate(vectors):
            if vector is not None and len(vector) == self._width:
                matrix[index] = vector
        return matrix


def check_fit(policy: FittedPolicy, manifest: Manifest, classes: ClassTable, findings: Findings) -> None:
    """Compare the bounds and rates by class, the number of references and the overall rate with the policy."""
    references, rejected = policy.references, policy.rejected_real()
    if manifest["counts"]["references"] != len(references.row_ids):
        noun = f"{manifest['counts']['references']} references"
        findings.add(f"diffcore.json counts {noun}", f"the recipe draws {len(references.row_ids)}")
    for row, bound, rate in zip(classes.rows, policy.bound, rejected, strict=True):
        if not _close(row["bound"], bound):
            findings.add("classes: the bound does not follow from the references", row["name"])
        if not _close(row["rejected_real"], rate):
            findings.add("classes: the rate of rejected real images does not follow from the references", row["name"])
    weight = np.bincount(references.labels, minlength=len(rejected)) * ~np.isnan(rejected)
    overall = float(np.nansum(rejected * weight) / weight.sum()) if weight.any() else np.nan
    stated = manifest.get("card", {}).get("rejected_real")
    if "card" in manifest and not _close(stated, overall, _CARD_TOLERANCE):
        findings.add("diffcore.json: the share of rejected real images of the card is wrong", f"{overall:.6f}")


def _close(published: float | None, expected: float, tolerance: float = TOLERANCE) -> bool:
    if published is None or not np.isfinite(expected):
        return published is None and not np.isfinite(expected)
    return abs(published - expected) <= tolerance
