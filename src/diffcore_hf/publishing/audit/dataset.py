"""Dataset: audits each configuration, and checks the counts in diffcore.json and in the configuration `classes`."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from diffcore_hf.core.manifest import Counts
from diffcore_hf.publishing.audit.attempts import TOLERANCE, AttemptTally, audit_attempts, read_references
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.rows import audit_default, audit_generated
from diffcore_hf.publishing.audit.shards import Shards

_CLASSES = ("label", "name", "images", "planned", "kept", "attempts", "rejected_generated")


class _Totals(TypedDict):
    """Counts that follow from the rows of the configurations `attempts` and `classes`."""

    attempts: int
    kept: int
    planned: int
    rows: int


def audit(shards: Shards) -> list[str]:
    """Return one line for each kind of fault; [] if the dataset is consistent."""
    findings = Findings()
    references = read_references(shards, findings)
    tally = audit_attempts(shards, references, findings)
    totals = _audit_classes(shards, tally, findings)
    audit_default(shards, tally, references, findings)
    audit_generated(shards, tally, findings)
    _audit_counts(shards.manifest["counts"], totals, findings)
    return findings.lines()


def _audit_classes(shards: Shards, tally: AttemptTally, findings: Findings) -> _Totals:
    """Check counts and rates by class against the attempts and return the totals over the classes."""
    planned = images = 0
    for table in shards.batches("classes", _CLASSES):
        for row in table.to_pylist():
            label = row["label"]
            planned, images = planned + row["planned"], images + row["images"]
            if (row["attempts"], row["kept"]) != (tally.attempts[label], tally.passed[label]):
                findings.add("classes: the counts differ from those of configuration attempts", row["name"])
            rate = tally.rejected[label] / tally.in_rates[label] if tally.in_rates[label] else np.nan
            published = np.nan if row["rejected_generated"] is None else row["rejected_generated"]
            if not np.isclose(published, rate, rtol=0, atol=TOLERANCE, equal_nan=True):
                findings.add(
                    "classes: the rate of rejected images differs from that of configuration attempts", row["name"]
                )
    return _Totals(attempts=sum(tally.attempts.values()), kept=len(tally.kept), planned=planned, rows=images)


def _audit_counts(counts: Counts, totals: _Totals, findings: Findings) -> None:
    """Check that the counts of diffcore.json agree with the rows."""
    by_status = counts["kept"] + counts["exhausted"] + counts["failed"] + counts["pending"]
    pairs = (
        ("attempts", counts["attempts"], totals["attempts"], "configuration attempts has"),
        ("kept", counts["kept"], totals["kept"], "configuration attempts has"),
        ("planned units", counts["planned"], totals["planned"], "configuration classes has"),
        ("labelled rows", counts["rows"] - counts["unlabelled"], totals["rows"], "configuration classes has"),
        ("planned units", counts["planned"], by_status, "the sum over its statuses is"),
    )
    for noun, stated, counted, source in pairs:
        if stated != counted:
            findings.add(f"diffcore.json counts {stated} {noun}", f"{source} {counted}")
