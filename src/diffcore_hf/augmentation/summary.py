"""The summary of a run: counts, rates and what to look at first, as one record and as text.

Owns which figures are told and how they are worded. All of them are derived from the material of the tables; the only
measurements are the seconds and images that the caller hands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from diffcore_hf.augmentation.export import counts
from diffcore_hf.augmentation.material import Material
from diffcore_hf.method import filtration

WORST = 5


class ByClass(NamedTuple):
    """What a class came to."""

    name: str
    attempts: int
    rejected_generated: float | None
    rejected_real: float | None
    kept: int
    generated: float
    """Share of generated ones among all images of the class."""
    similarity: float | None
    """Mean S(I, G) over its counterparts."""
    bound: float | None = None
    """Of the policy, for this class: a rank, a similarity or a share; None: it has none."""


@dataclass(frozen=True)
class Summary:
    """What a run came to. Rates are in [0, 1]; NaN-free: None where there is nothing to count."""

    counts: dict[str, int]
    rejected_generated: float | None
    """Share of judged attempts that were rejected; superseded and crashed ones are in no rate."""
    rejected_real: float | None
    """Share of real images that the same policy would reject, each judged as if left out of its class."""
    by_context: list[tuple[str, int, float | None]]
    """(context, attempts, share rejected), worst first."""
    by_class: list[ByClass]
    """Worst first: the most rejected of the generated images."""
    given_up: list[str]
    mean_similarity: float | None
    """Mean S(I, G) over the counterparts."""
    reasons: dict[str, int]
    """Attempts by reason."""
    failed_rows: dict[str, int]
    """Rows that could not get a counterpart, by reason."""
    notes: list[str]
    """What the policy had to do otherwise than named, in one line each."""

    def plain(self) -> dict[str, Any]:
        """As a mapping of plain values."""
        return asdict(self)


def summarise(material: Material) -> Summary:
    """The summary of everything that was decided."""
    plan = material.plan
    attempts, decisions = material.attempts, material.decisions
    names = plan.words.names
    contexts = plan.words.contexts
    unit_context = plan.contexts[attempts.units]
    by_context = filtration.rejected_share(decisions.reason, unit_context)
    tried = np.bincount(unit_context, minlength=len(contexts))
    tried_class = np.bincount(plan.labels[attempts.units], minlength=len(names))
    overall = filtration.rejected_share(decisions.reason, np.zeros(len(attempts.units), np.int64))
    similarity = decisions.similarity[decisions.reason == "kept"]
    words, numbers = np.unique(decisions.reason.astype(str), return_counts=True)
    real = material.policy.rejected_real()
    by_label = [decisions.similarity[(decisions.reason == "kept") & (plan.labels[attempts.units] == label)]
                for label in range(len(names))]  # fmt: skip
    labelled = material.source.labels[material.source.config.split]
    images = np.bincount(labelled[labelled >= 0], minlength=len(names))
    weight = np.bincount(material.embeddings.labels, minlength=len(names)) * ~np.isnan(real)
    bounds = np.asarray(decisions.class_bound, np.float64)
    failed = {}
    split = material.source.config.split
    if unlabelled := int((material.source.labels[split] < 0).sum()):
        failed["unlabelled"] = unlabelled
    for place in material.references.keys.values():
        if reason := material.references.reasons[place]:
            word = reason.split(":")[0]
            failed[word] = failed.get(word, 0) + 1
    return Summary(
        counts=counts(material),
        rejected_generated=overall.get(0),
        rejected_real=_number(np.nansum(real * weight) / weight.sum()) if weight.any() else None,
        by_context=_worst(
            [(contexts[i] or "(none)", int(tried[i]), by_context.get(i)) for i in range(len(contexts)) if tried[i]]
        ),
        by_class=_worst(
            [
                ByClass(
                    names[i],
                    int(tried_class[i]),
                    _number(decisions.rejected_generated[i]),
                    _number(real[i]),
                    len(by_label[i]),
                    len(by_label[i]) / max(1, len(by_label[i]) + int(images[i])),
                    _mean(by_label[i]),
                    round(float(bounds[i]), 3) if np.isfinite(bounds[i]) else None,
                )
                for i in range(len(names))
                if tried_class[i]
            ]
        ),
        given_up=[names[label] for label in np.flatnonzero(decisions.given_up)],
        mean_similarity=_mean(similarity),
        reasons=dict(zip(words.tolist(), numbers.tolist(), strict=True)),
        failed_rows=failed,
        notes=[*material.notes, *plan.words.notes],
    )


def _mean(values: np.ndarray) -> float | None:
    return _number(np.nanmean(values)) if np.isfinite(values).any() else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _worst(rows: list[tuple]) -> list[tuple]:
    return sorted(rows, key=lambda row: (-(row[2] if row[2] is not None else -1), row[0]))


def percent(value: float | None) -> str:
    """A rate for people."""
    return "-" if value is None else f"{100 * value:.1f} %"


def text(summary: Summary, *, seconds: float, images: int, projection: Sequence[str] = ()) -> str:
    """The table at the end of a run.

    Args:
        seconds: wall time of the run.
        images: attempts made in it.
        projection: lines about the full run, after a first look.
    """
    c = summary.counts
    decided = c["kept"] + c["exhausted"] + c["failed"]
    lines = []
    if summary.given_up:
        lines += [
            f"given up: {', '.join(summary.given_up)}",
            "  none of the first 20 images passed. Rename or describe the class (--prompts.label_descriptions), or add",
            "  an adapter that knows it (--model.adapters)",
            "",
        ]
    rows = [
        ("rows", f"{c['rows']:,}" + (f" ({c['heldout']:,} held out)" if c["heldout"] else "")),
        ("planned", f"{c['planned']:,}"),
        ("kept", f"{c['kept']:,}" + (f" ({percent(c['kept'] / decided)} of {decided:,} decided)" if decided else "")),
        ("exhausted", f"{c['exhausted']:,}"),
        ("failed", f"{c['failed']:,}"),
        ("pending", f"{c['pending']:,}"),
        ("attempts", f"{c['attempts']:,}"),
        ("generated images rejected", percent(summary.rejected_generated)),
        ("real images the policy would reject", percent(summary.rejected_real)),
        (
            "mean similarity to the row's image",
            "-" if summary.mean_similarity is None else f"{summary.mean_similarity:.3f}",
        ),
        ("seconds", f"{seconds:.1f}"),
        (
            "images per second",
            f"{images / seconds:.2f} ({images:,} made now)" if images and seconds else "- (none made now)",
        ),
    ]
    rows = [row for row in rows if row[1] != "0" or row[0] not in ("failed", "pending")]
    width = max(len(name) for name, _ in rows)
    lines += [f"{name:<{width}}  {value}" for name, value in rows]
    for word, count in summary.failed_rows.items():
        lines.append(f"  {count:,} real image{'s' if count > 1 else ''} {word}: see config references")
    if summary.by_context:
        lines += ["", *_table("context", [(name, n, percent(rate)) for name, n, rate in summary.by_context])]
    if summary.by_class:
        worst = [(name, n, percent(rate), percent(real)) for name, n, rate, real, *_ in summary.by_class[:WORST]]
        more = len(summary.by_class) - len(worst)
        lines += ["", *_table("class, worst first", worst, real=True)]
        if more > 0:
            lines.append(f"  ... and {more} more, see config classes")
    lines += [f"note: {note}" for note in summary.notes]
    if projection:
        lines += ["", *projection]
    return "\n".join(lines)


def _table(head: str, rows: Sequence[tuple], real: bool = False) -> list[str]:
    width = max(len(head), *(len(row[0]) for row in rows))
    lines = [f"{head:<{width}}  attempts  rejected" + ("  of real images" if real else "")]
    return lines + [
        f"{row[0]:<{width}}  {row[1]:>8,}  {row[2]:>8}" + (f"  {row[3]:>14}" if real else "") for row in rows
    ]
