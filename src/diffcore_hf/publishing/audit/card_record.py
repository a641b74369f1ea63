"""Card record: checks the figures that diffcore.json records for the card against the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from diffcore_hf.core.errors import VALUE_FAULTS
from diffcore_hf.core.manifest import Manifest
from diffcore_hf.method.checks import CRASHED
from diffcore_hf.publishing.audit.attempts import SUPERSEDED, AttemptTally
from diffcore_hf.publishing.audit.classes import ClassTable
from diffcore_hf.publishing.audit.findings import Findings

_TOLERANCE = 2e-6
"""Absolute tolerance for figures, which are recorded with six decimals."""
_BOUND_TOLERANCE = 6e-4
"""Absolute tolerance for bounds, which are recorded with three decimals."""


def audit_card_record(manifest: Manifest, classes: ClassTable, tally: AttemptTally, findings: Findings) -> None:
    """Compare each recorded figure with the rows. A record with another form is a fault."""
    if "card" not in manifest:
        return
    try:
        faults = _faults(manifest["card"], classes, tally)
    except VALUE_FAULTS:
        findings.add("diffcore.json: the facts of the card are not valid", "card")
        return
    for what, where in faults:
        findings.add(f"diffcore.json: {what} of the card does not follow from the rows", where)


def _faults(card: Mapping[str, Any], classes: ClassTable, tally: AttemptTally) -> list[tuple[str, str]]:
    """Return a figure and its place for each figure that differs."""
    faults = []
    rejected, counted = sum(tally.rejected.values()), sum(tally.in_rates.values())
    if not _close(card["rejected_generated"], _share(rejected, counted)):
        faults.append(("the share of rejected images", str(card["rejected_generated"])))
    if not _close(card["mean_similarity"], _mean([value for each in tally.similarities.values() for value in each])):
        faults.append(("the mean similarity", str(card["mean_similarity"])))
    reasons: Counter[str] = Counter()
    for counts in tally.by_context.values():
        reasons.update(counts)
    expected = {name: count for name, count in reasons.items() if name != "kept" and count}
    if {reason: count for reason, count, _ in card["rejections"]} != expected:
        faults.append(("the number of rejections by reason", ", ".join(sorted(expected))))
    if list(card["given_up"]) != [row["prompt_name"] for row in classes.rows if row["given_up"]]:
        faults.append(("the list of given-up classes", ", ".join(map(str, card["given_up"]))))
    return [*faults, *_context_faults(card, tally), *_class_faults(card, classes, tally)]


def _context_faults(card: Mapping[str, Any], tally: AttemptTally) -> list[tuple[str, str]]:
    found = {name: (attempts, share) for name, attempts, share in card["by_context"]}
    faults = []
    for context, counts in tally.by_context.items():
        attempts, share = found.pop(context or "(none)", (0, None))
        decided = sum(counts.values()) - counts[CRASHED] - counts[SUPERSEDED]
        if attempts != sum(counts.values()) or not _close(share, _share(decided - counts["kept"], decided)):
            faults.append(("the row of a context", context or "(none)"))
    return faults + [("the row of a context", name) for name in found]


def _class_faults(card: Mapping[str, Any], classes: ClassTable, tally: AttemptTally) -> list[tuple[str, str]]:
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for entry in card["by_class"]:
        by_name.setdefault(entry["name"], []).append(entry)
    faults = []
    for row in classes.rows:
        label, name = row["label"], row["prompt_name"]
        if not tally.attempts[label]:
            continue
        entries = by_name.get(name, [])
        kept = tally.passed[label]
        expected = {
            "rejected_generated": _share(tally.rejected[label], tally.in_rates[label]),
            "rejected_real": row["rejected_real"],
            "generated": kept / max(1, kept + row["images"]),
            "similarity": _mean(tally.similarities.get(label, [])),
        }
        counts = {"attempts": tally.attempts[label], "kept": kept}
        fits = [
            entry
            for entry in entries
            if all(entry[key] == value for key, value in counts.items())
            and all(_close(entry[key], value) for key, value in expected.items())
            and _close(entry["bound"], row["bound"], _BOUND_TOLERANCE)
        ]
        if not fits:
            faults.append(("the row of a class", name))
        else:
            entries.remove(fits[0])
    return faults + [("the row of a class", name) for name, entries in by_name.items() if entries]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _close(recorded: float | None, expected: float | None, tolerance: float = _TOLERANCE) -> bool:
    if recorded is None or expected is None:
        return recorded is None and expected is None
    return abs(recorded - expected) <= tolerance
