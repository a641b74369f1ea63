"""What a user should do, by case: the first section of the page, and the photographs of the README.

Every row is a difference of two ways to train with its interval. The interval decides which of its sentences stands in
the table, so the advice follows the results.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.evidence import photo_page
from benchmarks.evidence.folders import BEST, STANDARD
from benchmarks.evidence.photo_series import PhotoResults
from benchmarks.evidence.photo_trainings import STEPS
from benchmarks.evidence.photographs import EACH
from benchmarks.evidence.series import BySeed, Results, difference, percent, points
from benchmarks.evidence.worlds import UNMENTIONED
from benchmarks.report import paragraphs, table

BEGIN, END = "<!-- photographs: begin -->", "<!-- photographs: end -->"
"""Lines of the README between which the photographs stand."""
_OPEN = "not decided yet: compare on your own data"


@dataclass(frozen=True)
class Case:
    """One comparison of two ways to train."""

    who: str
    """The user's case."""
    compared: str
    values: BySeed
    base: BySeed
    gain: str
    """Advice if the difference is above zero."""
    loss: str
    """Advice if it is below zero."""
    none: str = "no difference seen: compare on your own data"
    """Advice if its interval contains zero."""

    def row(self) -> list[str]:
        """Returns the row of the table."""
        gap = difference(self.values, self.base)
        count = len(set(self.values) & set(self.base))
        if gap is None or gap.half is None:
            advice = _OPEN
        elif not gap.seen:
            advice = self.none
        else:
            advice = self.gain if gap.mean > 0 else self.loss
        return [self.who, self.compared, points(gap) or "–", str(count), advice]


def section(results: Results) -> list[str]:
    """Returns the paragraphs of the first section."""
    head = ["your case", "compared", "difference in top-1, points", "seeds", "so"]
    return [
        "Photographs come first, because they are what most users have. The counterparts of the photographs are "
        "held-back real photographs, so those rows say what perfect counterparts are worth. The other rows are from "
        "the rendered birds, in contexts that were never mentioned.",
        table(head, [case.row() for case in cases(results)]),
        "`accelerate launch recipes/train.py --data.path DATA --compare plain,genaug,mix --seeds 0,1,2` measures the "
        "same on your own augmented dataset. `make photos DATA=DIR` measures it on a folder of photographs, without a "
        "text-to-image model.",
    ]


def cases(results: Results) -> list[Case]:
    """Returns the comparisons, photographs first."""
    photos = PhotoResults(results.photographs)
    similar = "photographs, pretrained network, test images like the training images"
    add, leave = "add generated images", "leave generated images out"
    mix, keep = "mix them (`--mix.kind both`)", "do not mix them (`--mix.kind none`)"
    found = []
    for length, steps in STEPS.items():
        plain, genaug, mixed = (photos.accuracy(arm, length) for arm in ("plain", "genaug", "mix"))
        found += [
            Case(f"{similar}, {steps} steps", "perfect counterparts without mixing, to real images alone", genaug,
                 plain, add, leave),
            Case(f"{similar}, {steps} steps", "mixed (`both`), to the same counterparts without mixing", mixed, genaug,
                 mix, keep),
        ]  # fmt: skip

    def birds(arm: str, net: str = "scratch") -> BySeed:
        return results.accuracy(arm, net, UNMENTIONED)

    everything, judged = f"{STANDARD}.all", f"{STANDARD}.{BEST}"
    filtered, unfiltered = "use the default filter", "keep everything (`--filter.policy.name all`)"
    return [
        *found,
        Case("rendered birds, other contexts, from scratch", "720 generated images, to real images alone",
             birds(everything), birds("plain"), add, leave),
        Case("the same", "mixed (`both`), to the same counterparts without mixing", birds("mix-own-100"),
             birds("genaug-own"), mix, keep),
        Case("rendered birds, other contexts, pretrained network", "720 generated images, to real images alone",
             birds(everything, "tuned"), birds("plain", "tuned"), add, leave),
        Case("the same", "mixed (`both`, partner `class`), to the same images without mixing",
             birds("mix-class", "tuned"), birds(everything, "tuned"), mix, keep),
        Case("the generator draws what the prompt asks for", "default filter, to keeping everything", birds(judged),
             birds(everything), filtered, unfiltered, "no difference seen: either"),
        Case("the generator draws a wrong species in 30 % of the rows", "default filter, to keeping everything",
             birds(f"random-species.{BEST}"), birds("random-species.all"), filtered, unfiltered),
    ]  # fmt: skip


def readme(results: Results, text: str) -> str:
    """Returns the text of the README with new photographs between its two marks.

    Raises:
        ValueError: a mark is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README lacks the line {END if begin else BEGIN}")
    return f"{before}{BEGIN}\n\n{paragraphs(*readme_parts(results))}\n\n{END}{after}"


def readme_parts(results: Results) -> list[str]:
    """Returns the photographs of the README: their setting, a table and what follows."""
    photos = PhotoResults(results.photographs)
    if not photos.measured:
        return ["**Nothing is measured on photographs yet.**"]
    head = ["trained on", *(f"{steps} steps" for steps in STEPS.values())]
    rows = [
        [words, *(percent(photos.accuracy(arm, length)) for length in STEPS)] for arm, words in photo_page.WORDS.items()
    ]
    counted = " and ".join(f"{photo_page.seeds(photos, length)} at {steps} steps" for length, steps in STEPS.items())
    return [
        f"On *photographs* of ten kinds of clothing, with {EACH} real images a class and a network with ImageNet "
        "weights, the test images are like the training images. Held-back real photographs stand for perfect "
        f"counterparts, so no generator takes part. Top-1 in percent, mean and standard deviation, {counted}:",
        table(head, rows),
        photo_page.judgement(photos),
    ]
