"""The section about strategies: its tables, its figure and its sentences. Every judgement is from an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.evidence.figures import COLOURS, Mark, differences
from benchmarks.evidence.folders import BEST
from benchmarks.evidence.series import GROUPS, BySeed, Results, count, difference, percent, points
from benchmarks.evidence.strategies import (
    COST,
    IMAGES,
    NET,
    SERIES,
    SOURCES,
    STRATEGIES,
    WAY_WORDS,
    WAYS,
    StrategyArm,
    cells,
    images_at_equal_cost,
)
from benchmarks.evidence.verdicts import FEWEST_SEEDS, NOT_MEASURED, verdict
from benchmarks.evidence.worlds import UNMENTIONED
from benchmarks.report import table
from diffcore_hf.training.comparison.statistics import Difference

BASE = "named"
_SETTING = f"""This section compares the [strategies](strategies.md) of the package, the ways to use their images, and
the filter. The main figure is top-1 in contexts never mentioned. The dataset is that of sections 1 to 6. The generated
images are those of the small text-to-image model of the package. Networks are trained from scratch (450 steps of 32
images). *Equal images* means {IMAGES} generated images of each strategy. *Equal cost* means as many evaluations of the
denoising network as {IMAGES} images of the first row take. The training of learned tokens counts as evaluations. The
tokens start from the word *bird*, so the names of the species are not used. The strategies `edit` and `structure` are
not measured, because they need models that the package does not have."""
_LIMIT = """The small model was trained on the names of all species, and on the contexts that the prompts name. A model
that does not know your classes can rank the strategies in another way. So compare the strategies on your own data, with
few images each."""


def section(results: Results) -> list[str]:
    """Returns the paragraphs and tables of the section."""
    if not results.strategies:
        return [_SETTING, "**Not measured yet.**"]
    return [
        _SETTING,
        _extent(results),
        "**Equal images.** The images are used with `append`, and all are kept. The row *real images alone* is the "
        "training of the same network with as many steps and without generated images:",
        _sources(results, {name: StrategyArm(name, "append") for name in SOURCES}, alone=True),
        "**Equal cost.** The images are used with `append`, and all are kept. The first row is that of the table "
        "above:",
        _sources(results, {name: _at_equal_cost(name) for name in STRATEGIES}),
        "![Top-1 of each strategy minus top-1 of the first row, in contexts never "
        "mentioned](ASSETS/results-strategies.png)",
        "**Ways to use the images.** Top-1 in contexts never mentioned, all images kept, equal images. The difference "
        "to `append` is in brackets:",
        _ways(results),
        "**The filter.** Top-1 in contexts never mentioned with the images that the default filter keeps, minus top-1 "
        "with all images:",
        _filter(results),
        "**What this means for a user.** One sentence for each choice:",
        "\n".join(f"- {sentence}" for sentence in sentences(results)),
        _LIMIT,
    ]


def _extent(results: Results) -> str:
    """Returns how many cells are measured, and with how many seeds."""
    planned = {cell.name.partition("/")[2] for cell in cells()}
    measured = sorted(planned & set(results.strategies))
    seeds = {name.rpartition("-")[2] for name in measured}
    counted = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    text = f"{len(measured)} of {len(planned)} cells are measured, with {counted}."
    if len(measured) == len(planned):
        return text
    return f"{text} The other cells are *{NOT_MEASURED}*. Differences are judged from {FEWEST_SEEDS} seeds on."


def accuracy(results: Results, arm: StrategyArm, group: str = UNMENTIONED) -> BySeed:
    """Returns seed -> top-1 of the model with the best validation score, on a group of the test images."""
    return results.of_series(SERIES, arm.name, NET, lambda result: result["best"]["by_group"][group])


def _at_equal_cost(source: str) -> StrategyArm:
    return StrategyArm(source, "append" if images_at_equal_cost(source) == IMAGES else COST)


def _gap(results: Results, arm: StrategyArm, base: StrategyArm) -> Difference | None:
    return difference(accuracy(results, arm), accuracy(results, base))


def _points(results: Results, arm: StrategyArm, base: StrategyArm) -> str:
    """Returns a difference as text. With too few seeds to judge, it has the number of seeds instead of an interval."""
    gap = _gap(results, arm, base)
    seeds = len(set(accuracy(results, arm)) & set(accuracy(results, base)))
    if gap is None or not 1 < seeds < FEWEST_SEEDS:
        return points(gap)
    return f"{100 * gap.mean:+.1f}, {seeds} seeds"


def _verdict(results: Results, arm: StrategyArm, base: StrategyArm) -> str:
    return verdict(_gap(results, arm, base), len(set(accuracy(results, arm)) & set(accuracy(results, base))))


def _alone(results: Results, base: StrategyArm) -> list[str]:
    """Returns the row of the arm without generated images, from series `trainings`."""
    scores = [results.accuracy("plain", NET, group) for group in GROUPS]
    gap = points(difference(scores[GROUPS.index(UNMENTIONED)], accuracy(results, base)))
    return ["real images alone", str(len(scores[0])), "0", "0", "–",
            *(percent(values) if values else NOT_MEASURED for values in scores), gap or NOT_MEASURED]  # fmt: skip


def _sources(results: Results, arms: Mapping[str, StrategyArm], *, alone: bool = False) -> str:
    """Returns the table of some arms. If `alone` is true, its first row is the arm without generated images."""
    head = ["strategy", "seeds", "images", "thousand evaluations", "with the right species, %", *GROUPS,
            "*never mentioned*, difference to the row *base*"]  # fmt: skip
    rows = [_alone(results, arms[BASE])] if alone else []
    for name, arm in arms.items():
        scores = [accuracy(results, arm, group) for group in GROUPS]
        images = results.of_series(SERIES, arm.name, NET, lambda result: result["generated"])
        cost = results.of_series(SERIES, arm.name, NET, lambda result: result["evaluations"] / 1000)
        right = results.of_series(SERIES, arm.name, NET, _right)
        gap = "base" if name == BASE else points(_gap(results, arm, arms[BASE])) or NOT_MEASURED
        rows.append([SOURCES[name].words, str(len(scores[0])), count(images) or "–",
                     f"{mean(cost.values()):.1f}" if cost else "–", percent(right),
                     *(percent(values) if values else NOT_MEASURED for values in scores), gap])  # fmt: skip
    return table(head, rows)


def _right(result: Mapping[str, Any]) -> float:
    return result["right"] / result["kept"] if result["kept"] else float("nan")


def _ways(results: Results) -> str:
    rows = []
    for name in STRATEGIES:
        row = [SOURCES[name].words]
        for way in WAYS:
            scores = accuracy(results, StrategyArm(name, way))
            gap = _points(results, StrategyArm(name, way), StrategyArm(name, "append"))
            bracket = "" if way == "append" or not gap else f" ({gap})"
            row.append(f"{percent(scores)}{bracket}" if scores else NOT_MEASURED)
        rows.append([*row, _span(results, [StrategyArm(name, way) for way in WAYS])])
    return table(["strategy", *WAY_WORDS.values(), "seeds"], rows)


def _filter(results: Results) -> str:
    rows = []
    for name in STRATEGIES:
        kept = results.of_series(SERIES, StrategyArm(name, "append", BEST).name, NET, lambda result: result["kept"])
        right = results.of_series(SERIES, StrategyArm(name, "append", BEST).name, NET, _right)
        gaps = [_points(results, StrategyArm(name, way, BEST), StrategyArm(name, way)) for way in WAYS]
        rows.append([SOURCES[name].words, count(kept) or "–", percent(right), *(gap or NOT_MEASURED for gap in gaps),
                     _span(results, [StrategyArm(name, way, BEST) for way in WAYS])])  # fmt: skip
    head = [
        "strategy",
        f"kept of {IMAGES}",
        "of these with the right species, %",
        *(f"`{way}`" for way in WAYS),
        "seeds",
    ]
    return table(head, rows)


def _span(results: Results, arms: Sequence[StrategyArm]) -> str:
    counts = sorted(len(accuracy(results, arm)) for arm in arms)
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def sentences(results: Results) -> list[str]:
    """Returns one sentence for each choice of a user."""

    def append(name: str) -> StrategyArm:
        return StrategyArm(name, "append")

    named = append(BASE)
    filtered = [(StrategyArm(name, way, BEST), StrategyArm(name, way)) for name in STRATEGIES for way in WAYS]
    return [
        f"`text_to_image` with six contexts, compared with real images alone: {_compared_with_alone(results, named)}.",
        f"Strategy, equal images: {_best(results, {name: append(name) for name in STRATEGIES})}",
        f"Strategy, equal cost: {_best(results, {name: _at_equal_cost(name) for name in STRATEGIES})}",
        f"No context in the prompt, compared with six contexts: {_verdict(results, append('none'), named)}.",
        "No context for half of the rows, compared with no context for all rows: "
        f"{_verdict(results, append('half'), append('none'))}.",
        f"No context as one of seven, compared with six contexts: {_verdict(results, append('listed'), named)}.",
        "Another context for each copy of a row, compared with the same context for each copy: "
        f"{_verdict(results, named, append('row'))}.",
        f"Way of use: {_chosen_way(results)}",
        f"The default filter, compared with all images: {_counted(results, filtered)}",
    ]


def _compared_with_alone(results: Results, arm: StrategyArm) -> str:
    alone, scores = results.accuracy("plain", NET, UNMENTIONED), accuracy(results, arm)
    return verdict(difference(scores, alone), len(set(scores) & set(alone)))


def _best(results: Results, arms: Mapping[str, StrategyArm]) -> str:
    """Returns which source has the highest mean, and its difference to each source that is not seen to be worse."""
    scores = {name: accuracy(results, arm) for name, arm in arms.items()}
    judged = {name: values for name, values in scores.items() if len(values) >= FEWEST_SEEDS}
    if len(judged) < 2:
        return f"fewer than two strategies have {FEWEST_SEEDS} seeds, which is too few to judge."
    best = max(judged, key=lambda name: mean(judged[name].values()))
    equal = [name for name in judged if name != best and not _seen(results, arms[best], arms[name])]
    text = f"{SOURCES[best].words} has the highest mean top-1 ({percent(judged[best])} %)."
    if equal:
        text += f" No difference is seen to {'; '.join(SOURCES[name].words for name in equal)}."
    if len(equal) < len(judged) - 1:
        text += f" It is higher than that of {len(judged) - 1 - len(equal)} of {len(judged) - 1} other strategies."
    if missing := len(scores) - len(judged):
        text += f" {missing} of {len(scores)} strategies have fewer than {FEWEST_SEEDS} seeds."
    return text


def _seen(results: Results, arm: StrategyArm, base: StrategyArm) -> bool:
    gap = _gap(results, arm, base)
    return gap is not None and bool(gap.seen)


def _chosen_way(results: Results) -> str:
    parts = []
    for way in WAYS:
        if way != "append":
            pairs = [(StrategyArm(name, way), StrategyArm(name, "append")) for name in STRATEGIES]
            parts.append(f"{WAY_WORDS[way].partition(':')[0]}, compared with `append`: {_counted(results, pairs)}")
    return " ".join(parts)


def _counted(results: Results, pairs: Sequence[tuple[StrategyArm, StrategyArm]]) -> str:
    """Returns in how many comparisons the first arm is higher, lower, or not seen to be different."""
    gaps = [_gap(results, arm, base) for arm, base in pairs
            if len(set(accuracy(results, arm)) & set(accuracy(results, base))) >= FEWEST_SEEDS]  # fmt: skip
    judged = [gap for gap in gaps if gap is not None]
    if not judged:
        return f"fewer than {FEWEST_SEEDS} seeds are measured, which is too few to judge."
    higher = sum(bool(gap.seen) and gap.mean > 0 for gap in judged)
    lower = sum(bool(gap.seen) and gap.mean < 0 for gap in judged)
    text = f"higher in {higher} and lower in {lower} of {len(judged)} comparisons, no difference seen in the others."
    if missing := len(pairs) - len(judged):
        text += f" {missing} further comparisons are not measured."
    return text


def figure(results: Results) -> bytes:
    """Draws the differences to the first source in contexts never mentioned, at equal images and at equal cost."""
    base = StrategyArm(BASE, "append")
    groups = []
    for title, arms, colour in (
        ("equal images", {name: StrategyArm(name, "append") for name in SOURCES}, COLOURS["generated"]),
        ("equal cost", {name: _at_equal_cost(name) for name in STRATEGIES}, COLOURS["mix"]),
    ):
        marks = [
            Mark(SOURCES[name].words.replace("`", ""), _gap(results, arm, base), colour)
            for name, arm in arms.items()
            if name != BASE
        ]
        groups.append((title, marks))
    label = "difference in top-1\n(percentage points)"
    return differences(groups, label, 5.4)
