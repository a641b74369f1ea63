"""The summary of a run as a record and as text: counts, rates, and the classes with the most rejections.

Owns the choice of the figures and their texts. The figures are computed from the facts and decisions of a run. Only the
seconds and the number of new images are measured by the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from diffcore_hf.augmentation import preparations
from diffcore_hf.augmentation.arrow_tables import number_or_none
from diffcore_hf.augmentation.export import counts
from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.reasons import faulty_counts, reason_counts, rejected_counts, rejected_text
from diffcore_hf.augmentation.remedies import remedy
from diffcore_hf.augmentation.source import report_text
from diffcore_hf.augmentation.weak_filter import WeakFilter, weak_filter
from diffcore_hf.core.manifest import ClassRow, Counts
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.method import checks
from diffcore_hf.method.arrays import Floats
from diffcore_hf.method.filtration import rejected_share

WORST = 5
"""Number of classes in the text of the summary."""


class ByContext(NamedTuple):
    """The attempts of one context."""

    name: str
    attempts: int
    rejected: float | None
    """Share of the attempts that were rejected, in [0, 1]; None if no attempt is decided."""


class Rejection(NamedTuple):
    """The attempts that were rejected for one reason."""

    reason: str
    attempts: int
    label: str
    """What the reason means, in a few words."""
    remedy: str
    """The likely cause and what a user can do, one or two sentences."""


@dataclass(frozen=True)
class Summary:
    """The result of a run in figures. Rates are in [0, 1]. A rate is None if its denominator is 0."""

    counts: Counts
    rejected_generated: float | None
    """Share of decided attempts that were rejected. Crashed attempts are not included."""
    rejected_real: float | None
    """Share of real images that the same policy would reject. Each is compared with the other images of its class."""
    by_context: list[ByContext]
    """The context with the most rejections first."""
    by_class: list[ClassRow]
    """The class with the most rejected generated images first."""
    given_up: list[str]
    """Names of the given-up classes, for which no further attempt is made."""
    mean_similarity: float | None
    """Mean S(I, G) over the counterparts, in [-1, 1]."""
    reasons: dict[str, int]
    """Attempts by reason. Kept attempts are included."""
    weak_filter: WeakFilter | None
    """The message about a filter that does not separate the classes; None for any other filter."""
    faulty: int
    """Number of faulty attempts (reasons.py)."""
    rejections: list[Rejection]
    """The rejected attempts by reason, the most frequent reason first."""
    failed_rows: dict[str, int]
    """Number of rows that could not get a counterpart, by reason."""
    source_findings: list[str]
    """Findings about the files and images of the source, one sentence each, without names of files."""
    notes: list[str]
    """Remarks on the decisions and the prompts, one line each."""

    def plain(self) -> dict[str, Any]:
        """Returns the summary as a mapping of plain values."""
        return asdict(self)


def summarise(material: Material) -> Summary:
    """Returns the summary of a run."""
    plan = material.plan
    decisions, units = material.decisions, material.attempts.units
    names = plan.prompt_texts.names
    real = material.policy.rejected_real()
    weight = np.bincount(material.embeddings.labels, minlength=len(names)) * ~np.isnan(real)
    return Summary(
        counts=counts(material),
        rejected_generated=rejected_share(decisions.reason, [0] * len(units)).get(0),
        rejected_real=number_or_none(np.nansum(real * weight) / weight.sum()) if weight.any() else None,
        by_context=_by_context(material),
        by_class=_by_class(material, real),
        given_up=[names[label] for label in np.flatnonzero(decisions.given_up)],
        mean_similarity=_mean(decisions.similarity[decisions.reason == "kept"]),
        reasons=dict(sorted(reason_counts(material).items())),
        weak_filter=weak_filter(material.run, material.policy),
        faulty=sum(faulty_counts(reason_counts(material), checks.checks_of(material.recipe.filter.checks)).values()),
        rejections=_rejections(material),
        failed_rows=_failed_rows(material),
        source_findings=report_text.findings(material.run.source_report),
        notes=[*material.notes, *plan.prompt_texts.notes, *preparations.notes(material.run)],
    )


def _rejections(material: Material) -> list[Rejection]:
    """Returns the rejected attempts by reason, the most frequent reason first."""
    labels = checks.labels(checks.checks_of(material.recipe.filter.checks))
    return [
        Rejection(reason, count, labels[reason], remedy(material, reason))
        for reason, count in rejected_counts(reason_counts(material)).items()
    ]


def _by_context(material: Material) -> list[ByContext]:
    """Returns the contexts with attempts, the one with the most rejections first."""
    plan = material.plan
    context_of = plan.contexts[material.attempts.units]
    rejected = rejected_share(material.decisions.reason, context_of.tolist())
    attempts = np.bincount(context_of, minlength=len(plan.prompt_texts.contexts)).tolist()
    rows = [
        ByContext(context or "(none)", attempts[index], rejected.get(index))
        for index, context in enumerate(plan.prompt_texts.contexts)
        if attempts[index]
    ]
    return sorted(rows, key=lambda row: _worst_first(row.rejected, row.name))


def _by_class(material: Material, real: Floats) -> list[ClassRow]:
    """Returns the classes with attempts, the one with the most rejections first.

    Args:
        material: the run.
        real: (K,) float64: share of each class's real images that the policy would reject.
    """
    plan, decisions = material.plan, material.decisions
    names = plan.prompt_texts.names
    label_of = plan.shown[material.attempts.units]
    labels = material.source.labels[material.source.config.split]
    attempts = np.bincount(label_of, minlength=len(names)).tolist()
    images = np.bincount(labels[labels >= 0], minlength=len(names)).tolist()
    rows = []
    for label, name in enumerate(names):
        if not attempts[label]:
            continue
        similarity = decisions.similarity[(decisions.reason == "kept") & (label_of == label)]
        kept, bound = len(similarity), float(decisions.class_bound[label])
        row = ClassRow(
            name=name,
            attempts=attempts[label],
            rejected_generated=number_or_none(decisions.rejected_generated[label]),
            rejected_real=number_or_none(real[label]),
            kept=kept,
            generated=kept / max(1, kept + images[label]),
            similarity=_mean(similarity),
            bound=round(bound, 3) if np.isfinite(bound) else None,
        )
        rows.append(row)
    return sorted(rows, key=lambda row: _worst_first(row.rejected_generated, row.name))


def _worst_first(rejected: float | None, name: str) -> tuple[float, str]:
    """Returns a sort key: the highest rate comes first, and rows without a rate come last."""
    return (1.0 if rejected is None else -rejected), name


def _failed_rows(material: Material) -> dict[str, int]:
    """Returns by reason the number of rows that have no label or whose image has no embedding."""
    failed: Counter[str] = Counter()
    if unlabelled := int((material.source.labels[material.source.config.split] < 0).sum()):
        failed["unlabelled"] = unlabelled
    for index in material.references.keys.values():
        if reason := material.references.reasons[index]:
            failed[reason.split(":")[0]] += 1
    return dict(failed)


def _mean(values: Floats) -> float | None:
    return number_or_none(float(np.nanmean(values))) if np.isfinite(values).any() else None


def percent(value: float | None) -> str:
    """Returns a rate in [0, 1] as a text in percent; `-` for None."""
    return "-" if value is None else f"{100 * value:.1f} %"


def text(summary: Summary, *, seconds: float, images: int, projection: Sequence[str] = ()) -> str:
    """Returns the text at the end of a run.

    Args:
        summary: the figures.
        seconds: wall time of the run.
        images: number of attempts that this run generated.
        projection: lines about the full run, if this run has a limit.
    """
    weak = [summary.weak_filter.line(), ""] if summary.weak_filter else []
    lines = [*weak, *_given_up_lines(summary)]
    rows = _rows(summary, seconds, images)
    width = max(len(name) for name, _ in rows)
    lines += [f"{name:<{width}}  {value}" for name, value in rows]
    for word, count in summary.failed_rows.items():
        lines.append(
            f"  {count:,} real image{'s' if count > 1 else ''} {word}: see the dataset configuration `references`"
        )
    lines += _rejection_lines(summary)
    if summary.by_context:
        contexts = [(row.name, row.attempts, percent(row.rejected)) for row in summary.by_context]
        lines += ["", *_table("context", contexts)]
    if summary.by_class:
        worst = summary.by_class[:WORST]
        classes = [(row.name, row.attempts, percent(row.rejected_generated)) for row in worst]
        lines += ["", *_table("class, worst first", classes, [percent(row.rejected_real) for row in worst])]
        if len(summary.by_class) > WORST:
            lines.append(f"  ... and {len(summary.by_class) - WORST} more, see the dataset configuration `classes`")
    lines += [f"source: {finding}" for finding in summary.source_findings]
    lines += [f"note: {note}" for note in summary.notes]
    if projection:
        lines += ["", *projection]
    return "\n".join(map(visible, lines))


def _given_up_lines(summary: Summary) -> list[str]:
    if not summary.given_up:
        return []
    heading = f"given up: {', '.join(summary.given_up)}"
    if 2 * summary.faulty > sum(row.attempts for row in summary.rejections):
        # Another name or an adapter does not change images that have a fault.
        return [heading, "  none of the first 20 images passed. Most of them are faulty, see the reasons below", ""]
    return [
        heading,
        "  none of the first 20 images passed. Rename or describe the class (--prompts.label_descriptions), or add",
        "  an adapter that was trained on it (--model.adapters)",
        "",
    ]


def _rejection_lines(summary: Summary) -> list[str]:
    """Returns a heading, and for each reason its count, its meaning and its remedy."""
    if not summary.rejections:
        return []
    width = len(f"{max(row.attempts for row in summary.rejections):,}")
    rows = [f"  {row.attempts:>{width},} {row.reason} ({row.label}): {row.remedy}" for row in summary.rejections]
    return ["", "why attempts were rejected", *rows]


def _rows(summary: Summary, seconds: float, images: int) -> list[tuple[str, str]]:
    """Returns the name and the value of each figure. The numbers of failed and pending units are left out if 0."""
    counts = summary.counts
    decided = counts["kept"] + counts["exhausted"] + counts["failed"]
    speed = (
        f"{images / seconds:.2f} ({images:,} generated by this run)"
        if images and seconds
        else "- (this run generated no image)"
    )
    rows = [
        ("rows", f"{counts['rows']:,}" + (f" ({counts['heldout']:,} held out)" if counts["heldout"] else "")),
        ("planned", f"{counts['planned']:,}"),
        (
            "kept",
            f"{counts['kept']:,}"
            + (f" ({percent(counts['kept'] / decided)} of {decided:,} decided)" if decided else ""),
        ),
        ("exhausted", f"{counts['exhausted']:,}"),
        ("failed", f"{counts['failed']:,}"),
        ("pending", f"{counts['pending']:,}"),
        ("attempts", f"{counts['attempts']:,}"),
        ("rejected", rejected_text({row.reason: row.attempts for row in summary.rejections})),
        ("generated images rejected", percent(summary.rejected_generated)),
        ("real images the policy would reject", percent(summary.rejected_real)),
        (
            "mean similarity to the row's image",
            "-" if summary.mean_similarity is None else f"{summary.mean_similarity:.3f}",
        ),
        ("seconds", f"{seconds:.1f}"),
        ("images per second", speed),
    ]
    return [(name, value) for name, value in rows if value != "0" or name not in ("failed", "pending")]


def _table(head: str, rows: Sequence[tuple[str, int, str]], real: Sequence[str] | None = None) -> list[str]:
    """Returns the lines of a table of name, attempts and share rejected.

    Args:
        head: heading of the first column.
        rows: at least one row of name, attempts and share rejected.
        real: values of a fourth column, the share of real images that the policy would reject; None leaves it out.
    """
    width = max(len(head), *(len(name) for name, _, _ in rows))
    lines = [f"{head:<{width}}  attempts  rejected" + ("  of real images" if real else "")]
    for index, (name, attempts, rejected) in enumerate(rows):
        line = f"{name:<{width}}  {attempts:>8,}  {rejected:>8}"
        lines.append(line + (f"  {real[index]:>14}" if real else ""))
    return lines
