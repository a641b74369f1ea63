"""Classes: reads the configuration `classes` and checks it against the references and the attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffcore_hf.method.arrays import Embeddings
from diffcore_hf.method.filtration import GIVEN_UP_AFTER
from diffcore_hf.publishing.audit.attempts import TOLERANCE, AttemptTally
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.prompts import names_in_prompts
from diffcore_hf.publishing.audit.references import ReferenceTable
from diffcore_hf.publishing.audit.shards import Shards

_COLUMNS = (
    "label",
    "name",
    "prompt_name",
    "images",
    "planned",
    "kept",
    "attempts",
    "rejected_generated",
    "rejected_real",
    "bound",
    "given_up",
    "text_embedding",
)


@dataclass(frozen=True)
class ClassTable:
    """The rows of the configuration `classes`."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """The rows without their embeddings."""
    vectors: list[list[float] | None] = field(default_factory=list)
    """Embedding of the caption of each class."""

    @property
    def text(self) -> Embeddings | None:
        """(K, d) float16: embeddings of the captions; None if a class has none."""
        if not self.vectors or any(vector is None for vector in self.vectors):
            return None
        return np.array(self.vectors, np.float16)

    @property
    def names(self) -> list[str]:
        """Names of the classes, in the order of the rows."""
        return [row["name"] for row in self.rows]

    @property
    def prompt_names(self) -> list[str]:
        """Names of the classes in prompts."""
        return [row["prompt_name"] for row in self.rows]

    @property
    def given_up(self) -> frozenset[int]:
        """Labels of the classes that were given up."""
        return frozenset(row["label"] for row in self.rows if row["given_up"])


def read_classes(shards: Shards, findings: Findings) -> ClassTable:
    """Read the configuration `classes` and check the values that follow from the recipe."""
    table, widths = ClassTable(), Counter[int]()
    for batch in shards.batches("classes", _COLUMNS):
        for row in batch.to_pylist():
            vector = row.pop("text_embedding")
            widths[len(vector or ())] += 1
            if vector and not np.isfinite(np.asarray(vector, np.float64)).all():
                findings.add("classes: an embedding is not finite", row["name"])
            table.rows.append(row)
            table.vectors.append(vector)
    for position, row in enumerate(table.rows):
        if row["label"] != position:
            findings.add("classes: the label is not the position of the row", row["name"])
    if len(widths) > 1:
        findings.add("classes: the embeddings differ in length", f"{min(widths.values())} rows")
    expected = names_in_prompts(shards.manifest, table.names)
    for row, name in zip(table.rows, expected or [], strict=False):
        if row["prompt_name"] != name:
            findings.add("classes: the name in prompts does not follow from the recipe", row["name"])
    return table


def audit_classes(
    shards: Shards, table: ClassTable, references: ReferenceTable, tally: AttemptTally, findings: Findings
) -> None:
    """Check counts, rates and bounds by class against the references and the attempts."""
    split = shards.augmented_split
    images = Counter(references.labels[row_id] for row_id in references.by_split.get(split, ()))
    first_rejected = _first_rejected(tally)
    for row in table.rows:
        label, name = row["label"], row["name"]
        if (row["attempts"], row["kept"]) != (tally.attempts[label], tally.passed[label]):
            findings.add("classes: the counts differ from those of configuration attempts", name)
        if row["images"] != images[label]:
            findings.add("classes: the number of images differs from that of configuration references", name)
        rate = tally.rejected[label] / tally.in_rates[label] if tally.in_rates[label] else None
        if not _close(row["rejected_generated"], rate):
            findings.add("classes: the rate of rejected images differs from that of configuration attempts", name)
        if any(not _close(row["bound"], bound) for bound in tally.bounds.get(label, ())):
            findings.add("classes: the bound differs from that of configuration attempts", name)
        real = row["rejected_real"]
        if real is not None and not 0 <= real <= 1:
            findings.add("classes: the rate of rejected real images is not in [0, 1]", name)
        if row["given_up"] and not _can_be_given_up(label, tally, first_rejected):
            findings.add("classes: a class is given up, but its first attempts were not all rejected", name)


def _first_rejected(tally: AttemptTally) -> Counter[int]:
    """Return the number of units of copy 0 with a rejected first attempt, by class."""
    rejected: Counter[int] = Counter()
    for unit, reasons in tally.reasons.items():
        if unit[1] == 0 and reasons[0] != "kept":
            rejected[tally.shown[unit]] += 1
    return rejected


def _can_be_given_up(label: int, tally: AttemptTally, rejected: Mapping[int, int]) -> bool:
    """Return whether enough first attempts of a class were rejected, and no unit of it has a second attempt."""
    longest = max((len(reasons) for unit, reasons in tally.reasons.items() if tally.shown[unit] == label), default=0)
    return rejected[label] >= GIVEN_UP_AFTER and longest == 1


def _close(published: float | None, expected: float | None) -> bool:
    values = [np.nan if value is None else value for value in (published, expected)]
    return bool(np.isclose(values[0], values[1], rtol=0, atol=TOLERANCE, equal_nan=True))
