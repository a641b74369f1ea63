"""Attempts: checks the configuration `attempts` against the references and the recipe.

Owns the checks of values that follow from other values: a similarity from two embeddings, a seed and a context from the
ids, a prompt from class and context, a reason from score and bound, and a hash from an image. Scores and bounds
themselves are recomputed in workflows/decided_again.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import takewhile
from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.core.schema import TARGET_COLUMNS, UnitKey
from diffcore_hf.core.seeding import attempt_seed
from diffcore_hf.method.checks import CHECKS, CRASHED, DUPLICATE
from diffcore_hf.method.soft_labels import target_weight
from diffcore_hf.method.thresholds import row_cosines
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.nearest import NEAREST, nearest_faults, shows_original
from diffcore_hf.publishing.audit.prompts import ExpectedPrompts
from diffcore_hf.publishing.audit.references import Embedding, ReferenceTable, embeddings_of
from diffcore_hf.publishing.audit.shards import Shards, image_bytes

TOLERANCE = 1e-5
"""Absolute tolerance for published scores, which are float32."""
SIMILARITY_TOLERANCE = 2e-7
"""Absolute tolerance for similarities. They are computed again from the same embeddings; published ones are float32."""
SUPERSEDED = "superseded"
"""Reason in datasets of earlier versions of this package, for an attempt that a new run would not make."""
_NOT_IN_RATES = (SUPERSEDED, CRASHED)
"""Reasons of attempts that are not counted in any rate."""
_BEFORE_DUPLICATE = (
    *takewhile(lambda reason: reason != DUPLICATE, (check.reason for check in CHECKS)),
    SUPERSEDED,
)
"""Reasons that are tested before `duplicate`, and the reason that only datasets of earlier versions have."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COLUMNS = (
    "row_id",
    "copy",
    "attempt",
    "label",
    "context",
    "prompt",
    "negative_prompt",
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
    negative_prompt: str | None
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
    shown: dict[UnitKey, int] = field(default_factory=dict)
    """Unit -> class that its images have to show."""
    reasons: dict[UnitKey, list[str]] = field(default_factory=dict)
    """Unit -> the reasons of its attempts, in order."""
    similarities: dict[int, list[float]] = field(default_factory=dict)
    """Class that the image has to show -> similarities of the kept attempts."""
    by_context: dict[str, Counter[str]] = field(default_factory=dict)
    """Context -> number of attempts by reason."""
    bounds: dict[int, set[float | None]] = field(default_factory=dict)
    """Class that the image has to show -> the bounds of its attempts."""

    def label_of(self, unit: UnitKey) -> tuple[int | None, float | None]:
        """Return target class and weight of the kept attempt of a unit; (None, None) if no attempt was kept."""
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
        if reason == "kept" and row["similarity"] is not None:
            self.similarities.setdefault(label, []).append(row["similarity"])
        self.shown[unit] = label
        self.reasons.setdefault(unit, []).append(reason)
        self.by_context.setdefault(row["context"], Counter())[reason] += 1
        self.bounds.setdefault(label, set()).add(row["bound"])
        self.has_image[unit] = self.has_image.get(unit, False) or reason != CRASHED
        self.attempts[label] += 1
        self.passed[label] += reason == "kept"
        self.in_rates[label] += reason not in _NOT_IN_RATES
        self.rejected[label] += reason not in ("kept", *_NOT_IN_RATES)


class Verdicts(Protocol):
    """Recomputes the verdicts of the policy on attempts."""

    def faults(
        self, rows: Sequence[AttemptRow], embeddings: Sequence[Embedding], parents: Sequence[Embedding | None]
    ) -> list[list[str]]:
        """Return the faults of each attempt."""


def audit_attempts(
    shards: Shards,
    references: ReferenceTable,
    prompts: ExpectedPrompts,
    findings: Findings,
    verdicts: Verdicts | None = None,
) -> AttemptTally:
    """Check every attempt. Return the tally, which the other configurations are compared with."""
    tally, recipe = AttemptTally(), shards.manifest["recipe"]
    columns = [*_COLUMNS, *shards.target_columns]
    existing = {name for path in shards.paths("attempts") for name in shards.names(path)}
    columns += [name for name in ("strength", *NEAREST) if name in existing]
    has_nearest = existing.issuperset(NEAREST)
    empty: dict[str, Any] = dict.fromkeys((*TARGET_COLUMNS, "strength"))
    order, images, originals = _Order(references), _Images(), shards.manifest.get("originals", True)
    for table in shards.batches("attempts", [*columns, "embedding"], "image"):
        rows: list[Any] = [{**empty, **row} for row in table.select(columns).to_pylist()]
        parents = [references.embeddings.get(row["row_id"]) for row in rows]
        vectors = embeddings_of(table["embedding"])
        similarities = _similarities(vectors, parents)
        decided = verdicts.faults(rows, vectors, parents) if verdicts else [[] for _ in rows]
        images_of = image_bytes(table, "image")
        for row, similarity, image, wrong in zip(rows, similarities, images_of, decided, strict=True):
            where = f"{row['row_id']} copy {row['copy']} attempt {row['attempt']}"
            faults = _faults(row, similarity, image, recipe)
            faults += _text_faults(row, prompts) + wrong
            faults += order.faults(row)
            if has_nearest:
                heldout = shards.manifest["counts"]["heldout"] > 0
                faults += nearest_faults(row, references, shards.augmented_split, recipe, heldout=heldout)
            if row["label"] != references.labels.get(row["row_id"]):
                faults.append("the label is not the class of the row")
            if shards.images and row["reason"] == "kept" and image is None:
                faults.append("the image of a kept attempt is missing")
            for fault in faults:
                findings.add(f"attempts: {fault}", where)
            may_be_absent = not originals and shows_original(row)
            images.add(row, where, has_image=None if may_be_absent else image is not None)
            tally.add(row, findings, where)
    if shards.images:
        images.report_missing(findings)
    if not recipe.get("review"):
        images.report_duplicates(findings)
    return tally


class _Order:
    """Checks that attempts are sorted by row, copy and number, and that each unit ends with its kept attempt."""

    def __init__(self, references: ReferenceTable) -> None:
        rows = (row_id for ids in references.by_split.values() for row_id in ids)
        self._position = {row_id: position for position, row_id in enumerate(rows)}
        self._last: tuple[int, int, int] | None = None
        self._kept = False

    def faults(self, row: AttemptRow) -> list[str]:
        """Return the faults in the order of the next attempt."""
        position = self._position.get(row["row_id"])
        if position is None:
            return ["the row is not in configuration references"]
        last, key = self._last, (position, row["copy"], row["attempt"])
        same_unit = last is not None and last[:2] == key[:2]
        was_kept, self._kept, self._last = self._kept, row["reason"] == "kept", key
        if last is not None and key <= last:
            return ["the attempts are not in the order of rows, copies and numbers"]
        if row["attempt"] != (last[2] + 1 if same_unit and last else 0):
            return ["an earlier attempt of the unit is missing"]
        return ["an attempt follows the kept attempt of its unit"] if same_unit and was_kept else []


class _Images:
    """Checks which attempts have an image, and which images are duplicates."""

    def __init__(self) -> None:
        self._rejected: dict[bool, list[str]] = {True: [], False: []}
        """Whether the image is published -> rejected attempts that have a hash."""
        self._equal: dict[str, list[tuple[str, str]]] = {}
        """Hash of an image -> pairs of reason and attempt."""

    def add(self, row: AttemptRow, where: str, *, has_image: bool | None) -> None:
        """Add an attempt. If `has_image` is None, it is not checked whether the image is published."""
        sha256, reason = row["image_sha256"], row["reason"]
        if sha256 is None:
            return
        if reason != "kept" and has_image is not None:
            self._rejected[has_image].append(where)
        self._equal.setdefault(sha256, []).append((reason, where))

    def report_missing(self, findings: Findings) -> None:
        """Report a fault if only some of the rejected attempts have a published image. The rule is all or none."""
        if all(self._rejected.values()):
            fewer = min((True, False), key=lambda published: len(self._rejected[published]))
            for where in self._rejected[fewer]:
                findings.add("attempts: images of rejected attempts are published for some attempts only", where)

    def report_duplicates(self, findings: Findings) -> None:
        """Report equal images without the reason duplicate, and this reason without an equal image."""
        for group in self._equal.values():
            others = [(reason, where) for reason, where in group if reason not in ("duplicate", *_BEFORE_DUPLICATE)]
            for _, where in others[1:]:
                findings.add(
                    "attempts: an image equals that of another attempt, but its reason is not duplicate", where
                )
            if len(group) == 1 and group[0][0] == "duplicate":
                findings.add("attempts: a duplicate has no equal image", group[0][1])


def _text_faults(row: AttemptRow, prompts: ExpectedPrompts) -> list[str]:
    """Return the faults in the context and the prompts of one attempt."""
    faults = []
    context = prompts.context(row["row_id"], row["copy"])
    if context is not None and row["context"] != context:
        faults.append("the context does not follow from row and copy")
    shown = row["label"] if row["target_label"] is None else row["target_label"]
    prompt = prompts.prompt(shown, row["context"])
    if prompt is not None and row["prompt"] != prompt:
        faults.append("the prompt does not follow from class and context")
    if not prompts.negative_fits(shown, row["context"], row["negative_prompt"]):
        faults.append("the negative prompt does not follow from class and context")
    return faults


def _faults(row: AttemptRow, similarity: float, image: bytes | None, recipe: Mapping[str, Any]) -> list[str]:
    """Return the faults of one attempt."""
    faults = []
    if row["seed"] != attempt_seed(recipe.get("seed", 0), row["row_id"], row["copy"], row["attempt"]):
        faults.append("the seed does not follow from row, copy and attempt")
    if row["copy"] < 0 or not 0 <= row["attempt"] < recipe.get("max_attempts", row["attempt"] + 1):
        faults.append("the number of the attempt is not below max_attempts")
    published = np.nan if row["similarity"] is None else row["similarity"]
    if not np.isclose(published, similarity, rtol=0, atol=SIMILARITY_TOLERANCE, equal_nan=True):
        faults.append("the similarity does not follow from the embeddings")
    if not _weight_fits(row, recipe):
        faults.append("the weight of the target class does not follow from strength and gamma_label")
    if not _reason_fits(row, recipe):
        faults.append("the reason does not follow from score and bound")
    if image is not None and sha256(image).hexdigest() != row["image_sha256"]:
        faults.append("the image does not have the recorded hash")
    if row["image_sha256"] is not None and not _SHA256.fullmatch(row["image_sha256"]):
        faults.append("image_sha256 is not a sha256")
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
    """Return the cosine similarity of each pair, (M,) float64; NaN for a missing or shorter embedding."""
    similarities = np.full(len(embeddings), np.nan)
    width = next((len(parent) for parent in parents if parent is not None), 0)
    indices, own, others = [], [], []
    for index, (embedding, parent) in enumerate(zip(embeddings, parents, strict=True)):
        if embedding.size == width and parent is not None and parent.size == width:
            indices.append(index)
            own.append(embedding)
            others.append(parent)
    if indices:
        similarities[indices] = row_cosines(np.stack(own), np.stack(others))
    return similarities
