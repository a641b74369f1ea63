"""The section about mixers: its tables and its sentences. Every judgement is derived from an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.evidence.mixers import ARMS, NETS, accuracy, arms
from benchmarks.evidence.series import GROUPS, BySeed, Results, difference, percent, points
from benchmarks.evidence.verdicts import FEWEST_SEEDS, NOT_MEASURED
from benchmarks.evidence.worlds import UNMENTIONED
from benchmarks.report import table
from diffcore_hf.training.comparison.statistics import Difference

_SETTING = """Each arm trains on the 240 real images alone, and mixes them with one mixer of the package with its
default options ([Mixers](training.md#mixers)). All arms take the same number of steps. Some mixers need longer
trainings than these to be useful, and the papers of many mixers train 300 epochs or more. The mixing pictures of
PixMix are fractals, or scenes without birds in all ten contexts."""
_TITLES = {"scratch": "From scratch", "tuned": "Pretrained and fine-tuned"}


@dataclass(frozen=True)
class Row:
    """One arm of a table of mixers."""

    words: str
    scores: Sequence[BySeed]
    """Series of each column, seed -> top-1; the first one is compared with the base."""
    base: BySeed | None
    """The series with which the first one is compared; None if the row itself is a base."""

    @property
    def gap(self) -> Difference | None:
        """Returns the difference to the base; None for a base, or if the two series have no common seed."""
        return None if self.base is None else difference(self.scores[0], self.base)

    @property
    def is_judged(self) -> bool:
        """Returns whether the row has at least FEWEST_SEEDS seeds in common with its base."""
        return self.base is not None and len(set(self.scores[0]) & set(self.base)) >= FEWEST_SEEDS


def section(results: Results) -> list[str]:
    """Returns the paragraphs and tables of the section."""
    parts = [_SETTING]
    for net in NETS:
        parts += [f"{_TITLES[net]}:", table_of(_rows(results, net), GROUPS), judgement(_rows(results, net))]
    return parts


def _rows(results: Results, net: str) -> list[Row]:
    plain = _row(results, net, "plain", "real images alone", None)
    return [plain, *(_row(results, net, name, ARMS[name].words, ARMS[name].base) for name in arms(net))]


def _row(results: Results, net: str, name: str, words: str, base: str | None) -> Row:
    scores = [accuracy(results, name, net, group) for group in GROUPS]
    return Row(words, scores, None if base is None else accuracy(results, base, net, UNMENTIONED))


def table_of(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Returns a table with one row for each arm: its number of seeds, its scores and its difference to the base."""
    head = ["", "seeds", *columns, f"difference to the base, {columns[0]}"]
    return table(head, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    count = len(row.scores[0])
    gap = "base" if row.base is None else points(row.gap) or NOT_MEASURED
    scores = [percent(values) if values else NOT_MEASURED for values in row.scores]
    return [row.words, str(count), *scores, gap]


def judgement(rows: Sequence[Row]) -> str:
    """Returns the sentences about a table. Arms with fewer than FEWEST_SEEDS seeds are not judged."""
    compared = [row for row in rows if row.base is not None]
    judged = [(row.words, row.gap) for row in compared if row.is_judged and row.gap is not None]
    if not judged:
        return f"Fewer than {FEWEST_SEEDS} seeds are measured, which is too few to judge mixers."
    kinds = {
        "A higher top-1 is seen with": [words for words, gap in judged if gap.seen and gap.mean > 0],
        "A lower top-1 is seen with": [words for words, gap in judged if gap.seen and gap.mean < 0],
        "No difference is seen with": [words for words, gap in judged if not gap.seen],
    }
    sentences = [f"{words} {'; '.join(names)}." for words, names in kinds.items() if names]
    if missing := len(compared) - len(judged):
        sentences.append(
            f"{missing} of {len(compared)} mixers have fewer than {FEWEST_SEEDS} seeds and are not judged."
        )
    sentences.append(
        f"Of {len(judged)} intervals of 95 %, about {0.05 * len(judged):.1f} are expected to exclude zero by chance."
    )
    return " ".join(sentences)
