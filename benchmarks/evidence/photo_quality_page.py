"""The parts of docs/results.md about the quality of counterparts and about the filter, both on photographs.

All numbers in the sentences are taken from the results. Every judgement is derived from an interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.evidence import photo_filter
from benchmarks.evidence.figures import INK, MUTED, interval, png
from benchmarks.evidence.photo_filter import CONFUSED, KINDS, RANDOM
from benchmarks.evidence.photo_quality import PERFECT, QUALITIES
from benchmarks.evidence.photo_series import PhotoResults
from benchmarks.evidence.photo_trainings import QUALITY_ARMS, QUALITY_SEEDS, PhotoTraining
from benchmarks.evidence.series import BySeed, Results, difference, percent, points
from benchmarks.evidence.verdicts import FEWEST_SEEDS, NOT_MEASURED
from benchmarks.report import table
from diffcore_hf.training.comparison.statistics import Difference

_ARMS = {"genaug": "without mixing", "mix": "mixed"}
_QUALITY = """**How good do counterparts have to be?** The table compares counterparts of several qualities.
*Distance* measures how far the counterparts are from real images. It is the mean cosine similarity of two real images
of a class, minus the mean cosine similarity of a real image and a counterpart. The similarities use embeddings of the
network with ImageNet weights. The distance is 0 if the counterparts are like other real images. *Rejected* is the
share of the counterparts that the default filter rejects. `python -m benchmarks.counterpart_distance OUT` prints both
numbers for the folder of a run. It reads the stored embeddings, so it loads no model. Distances of different image
encoders are not comparable."""
_FILTER = f"""**The filter on photographs.** The image encoder of the filter is the network with ImageNet weights.
The references are {photo_filter.EACH} photographs of each class. For each class, the filter decides about
{photo_filter.EACH} images of each of three kinds: other photographs of the class (*right*), photographs of a random
other class, and photographs of the *most confused class*. This is the class with the most similar mean embedding."""
_POLICY_WORDS = {
    "mean": "`mean` (Eq. 5)",
    "fixed": "`fixed(0.7)`",
    "quantile": "`quantile`",
    "class_mean": "`rank` by class mean",
    "classifier": "`rank`, the default",
}


def quality(results: Results) -> list[str]:
    """Returns the paragraphs, the table and the sentences about the quality of counterparts."""
    if not results.counterparts:
        return [_QUALITY, "**Not measured yet.**"]
    head = ["counterparts", "distance", "rejected, %", "seeds"]
    head += [f"{words}: {what}" for words in _ARMS.values() for what in ("top-1", "difference to real images alone")]
    rows = []
    for name, kind in QUALITIES.items():
        cells = [_number(_distances(results, name, "distance"), 1), _number(_distances(results, name, "rejected"), 100)]
        cells.append(_span(len(_accuracy(results, arm, name)) for arm in QUALITY_ARMS))
        for arm in QUALITY_ARMS:
            scores = _accuracy(results, arm, name)
            cells += [percent(scores) if scores else NOT_MEASURED, points(_gain(results, arm, name)) or NOT_MEASURED]
        rows.append([kind.words, *cells])
    return [
        _QUALITY,
        f"Top-1 after the smaller number of steps, {_seeds(results)}:",
        table(head, rows),
        "![Top-1 minus top-1 of real images alone, over the distance](ASSETS/results-counterparts.png)",
        *(_crossing(results, arm) for arm in QUALITY_ARMS),
        "If 30 % of the counterparts show another class, the differences in top-1 to policy `all` are:",
        "\n".join(
            f"- {words}, {_ARMS[arm]}: {points(_against(results, arm, name)) or NOT_MEASURED}"
            for name, words in (("wrong-30-filter", "the default filter decides"),
                                ("wrong-30-right", "only the right class is kept"))
            for arm in QUALITY_ARMS
        ),
    ]  # fmt: skip


def judge(results: Results) -> list[str]:
    """Returns the paragraphs, the table and the sentence about the filter."""
    found = results.photo_filter
    if not found:
        return [_FILTER, "**Not measured yet.**"]
    head = ["", *(f"accepted: {kind}, %" for kind in KINDS)]
    head += [f"{what}, {kind}, %" for kind in (RANDOM, CONFUSED) for what in ("balanced accuracy", "AUC")]
    rows = []
    for policy, words in _POLICY_WORDS.items():
        cells = [percent(_judged(found, policy, "accepted", kind)) for kind in KINDS]
        for kind in (RANDOM, CONFUSED):
            cells += [percent(_judged(found, policy, key, kind)) for key in ("balanced_accuracy", "auc")]
        rows.append([words, *cells])
    scores = {policy: _judged(found, policy, "balanced_accuracy", CONFUSED) for policy in _POLICY_WORDS}
    best = max(scores, key=lambda policy: mean(scores[policy].values()))
    gap = points(difference(scores["classifier"], scores["mean"]))
    return [
        f"{_FILTER} {_count(len(found)).capitalize()}:",
        table(head, rows),
        f"For wrong images of the most confused class, {_POLICY_WORDS[best]} has the highest balanced accuracy "
        f"({percent(scores[best])} %). Difference between the default and the paper's rule: {gap}.",
        "![Balanced accuracy of each policy for wrong images of a random class and of the most confused "
        "class](ASSETS/results-photo-filter.png)",
    ]


def figure(results: Results) -> bytes:
    """Draws the gain over real images alone by the distance of the counterparts, one line for each arm."""
    canvas = Figure(figsize=(6.4, 3.6), dpi=140, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    for (arm, words), colour, marker in zip(_ARMS.items(), ("#2f7d5b", "#3b6ea5"), "^s", strict=True):
        for name in QUALITIES:
            far, gain = _distances(results, name, "distance"), _gain(results, arm, name)
            if far and gain is not None:
                axes.errorbar(mean(far.values()), 100 * gain.mean, yerr=100 * (gain.half or 0), fmt=marker,
                              color=colour, label=words if name == PERFECT else None)  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlabel(
        "distance of the counterparts from the real images\n(0: counterparts are like other real images)", color=MUTED
    )
    axes.set_ylabel("top-1 minus top-1 of real images alone\n(percentage points)", color=MUTED)
    if axes.has_data() and axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    return png(canvas)


def filter_figure(results: Results) -> bytes:
    """Draws the balanced accuracy of each policy for two kinds of wrong photographs, with intervals over the seeds."""
    canvas = Figure(figsize=(6.4, 2.8), dpi=140, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    for shift, kind, colour in ((-0.12, RANDOM, "#2f7d5b"), (0.12, CONFUSED, "#b3423a")):
        for row, policy in enumerate(_POLICY_WORDS):
            scores = _judged(results.photo_filter, policy, "balanced_accuracy", kind)
            if scores:
                middle, half = interval(scores)
                axes.errorbar(100 * middle, row + shift, xerr=100 * half, fmt="o", color=colour,
                              label=f"wrong images: {kind}" if row == 0 else None)  # fmt: skip
    axes.set_yticks(range(len(_POLICY_WORDS)), [words.replace("`", "") for words in _POLICY_WORDS.values()])
    axes.invert_yaxis()
    axes.set_xlabel("balanced accuracy, %", color=MUTED)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    return png(canvas)


def _crossing(results: Results, arm: str) -> str:
    by_answer: dict[str, list[str]] = {"gain": [], "loss": [], "none": [], "open": []}
    for name, kind in QUALITIES.items():
        if kind.keep == "all":
            by_answer[_answer(_gain(results, arm, name), len(_accuracy(results, arm, name)))].append(kind.words)
    sentences = [
        f"Counterparts {_ARMS[arm]}. A gain over real images alone is seen for these qualities: "
        f"{_listed(by_answer['gain'])}.",
        f"The interval of the difference contains zero for these: {_listed(by_answer['none'])}.",
        f"A loss is seen for these: {_listed(by_answer['loss'])}.",
    ]
    if by_answer["open"]:
        sentences.append(f"Fewer than {FEWEST_SEEDS} seeds are measured for these: {_listed(by_answer['open'])}.")
    return " ".join(sentences)


def _answer(gap: Difference | None, seeds: int) -> str:
    if gap is None or gap.half is None or seeds < FEWEST_SEEDS:
        return "open"
    if not gap.seen:
        return "none"
    return "gain" if gap.mean > 0 else "loss"


def _listed(names: list[str]) -> str:
    return "; ".join(names) or "none"


def _gain(results: Results, arm: str, name: str) -> Difference | None:
    plain = _few(PhotoResults(results.photographs).accuracy("plain"))
    return difference(_accuracy(results, arm, name), plain)


def _against(results: Results, arm: str, name: str) -> Difference | None:
    return difference(_accuracy(results, arm, name), _accuracy(results, arm, "wrong-30"))


def _accuracy(results: Results, arm: str, name: str) -> BySeed:
    """Returns seed -> top-1 of an arm with counterparts of a quality, for the seeds in QUALITY_SEEDS."""
    photos = PhotoResults(results.photographs)
    if name == PERFECT:
        return _few(photos.accuracy(arm))
    rate = photos.rate(arm)
    if rate is None:
        return {}
    names = {seed: PhotoTraining(arm, "short", rate, seed, quality=name).name for seed in QUALITY_SEEDS}
    found = results.counterparts
    return {seed: found[key]["best"]["top1"] for seed, key in names.items() if key in found}


def _distances(results: Results, name: str, key: str) -> BySeed:
    names = {seed: f"distance-{name}-{seed}" for seed in QUALITY_SEEDS}
    return {seed: results.counterparts[cell][key] for seed, cell in names.items() if cell in results.counterparts}


def _judged(found: Mapping[str, Mapping[str, Any]], policy: str, key: str, kind: str) -> BySeed:
    return {int(name.rpartition("-")[2]): cell["policies"][policy][key][kind] for name, cell in sorted(found.items())}


def _few(values: BySeed) -> BySeed:
    return {seed: value for seed, value in values.items() if seed in QUALITY_SEEDS}


def _number(values: BySeed, factor: int) -> str:
    if not values:
        return "–"
    return f"{factor * mean(values.values()):.{3 if factor == 1 else 1}f}"


def _span(numbers: Iterable[int]) -> str:
    least, *rest = sorted(numbers)
    return str(least) if not rest or rest[-1] == least else f"{least} to {rest[-1]}"


def _seeds(results: Results) -> str:
    counts = {len(_accuracy(results, arm, name)) for arm in QUALITY_ARMS for name in QUALITIES}
    least, most = min(counts), max(counts)
    return _count(most) if least == most else f"{least} to {most} seeds (being measured)"


def _count(number: int) -> str:
    return "one seed" if number == 1 else f"{number} seeds"
