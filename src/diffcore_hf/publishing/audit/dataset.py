"""Dataset: the audit of the whole, config by config, and the counts of diffcore.json and of config `classes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffcore_hf.publishing.audit.attempts import NEAR, Attempts, audit_attempts, read_references
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.rows import audit_default, audit_generated
from diffcore_hf.publishing.audit.shards import Shards

_CLASSES = ("label", "name", "images", "planned", "kept", "attempts", "rejected_generated")


def audit(shards: Shards) -> list[str]:
    """What does not fit, a line for each kind of fault; [] where all fits."""
    findings = Findings()
    references = read_references(shards)
    attempts = audit_attempts(shards, references, findings)
    totals = _classes(shards, attempts, findings)
    audit_default(shards, attempts, references.hashes, findings)
    audit_generated(shards, attempts, findings)
    _counts(shards.manifest["counts"], totals, findings)
    return findings.lines()


def _classes(shards: Shards, attempts: Attempts, findings: Findings) -> Mapping[str, int]:
    """Counts and rates by class against the attempts; returns what the classes come to."""
    planned = images = 0
    for table in shards.batches("classes", _CLASSES):
        for row in table.to_pylist():
            label = row["label"]
            planned, images = planned + row["planned"], images + row["images"]
            if (row["attempts"], row["kept"]) != (attempts.made[label], attempts.passed[label]):
                findings.add("classes: the counts are not those of config attempts", row["name"])
            rate = attempts.rejected[label] / attempts.counted[label] if attempts.counted[label] else np.nan
            stated = np.nan if row["rejected_generated"] is None else row["rejected_generated"]
            if not np.isclose(stated, rate, rtol=0, atol=NEAR, equal_nan=True):
                findings.add("classes: the rate of rejected images is not that of config attempts", row["name"])
    return {
        "attempts": sum(attempts.made.values()), "kept": len(attempts.kept), "planned": planned,
        "rows": images,
    }  # fmt: skip


def _counts(counts: Mapping[str, Any], totals: Mapping[str, int], findings: Findings) -> None:
    """The counts of diffcore.json against those of the rows."""
    decided = sum(counts[name] for name in ("kept", "exhausted", "failed", "pending"))
    pairs = (
        ("attempts", counts["attempts"], totals["attempts"], "config attempts has"),
        ("kept", counts["kept"], totals["kept"], "config attempts has"),
        ("planned units", counts["planned"], totals["planned"], "config classes has"),
        ("labelled rows", counts["rows"] - counts["unlabelled"], totals["rows"], "config classes has"),
        ("planned units", counts["planned"], decided, "its statuses are"),
    )
    for what, counted, found, place in pairs:
        if counted != found:
            findings.add(f"diffcore.json counts {counted} {what}", f"{place} {found}")
