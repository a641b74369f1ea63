"""Advice for a user, by case: the first section of the page, and the results on photographs in the README.

Each row of the table compares two ways to train. It shows the difference in accuracy and its interval. The interval
decides which advice the row shows, so the advice follows from the results.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.evidence import hard_page, photo_page
from benchmarks.evidence.folders import BEST, STANDARD
from benchmarks.evidence.photo_series import PhotoResults
from benchmarks.evidence.photo_trainings import STEPS
from benchmarks.evidence.photographs import EACH
from benchmarks.evidence.series import BySeed, Results, difference, percent, points
from benchmarks.evidence.verdicts import FEWEST_SEEDS, NOT_MEASURED
from benchmarks.evidence.worlds import OWN, UNMENTIONED
from benchmarks.report import paragraphs, table

BEGIN, END = "<!-- photographs: begin -->", "<!-- photographs: end -->"
"""Lines of the README before and after the results on photographs."""
_OPEN = "too few seeds: compare on your own data"


@dataclass(frozen=True)
class Case:
    """One comparison of two ways to train."""

    who: str
    """The user's case."""
    compared: str
    """Both ways to train, in words."""
    values: BySeed
    base: BySeed
    gain: str
    """Advice if the difference is above zero."""
    loss: str
    """Advice if the difference is below zero."""
    none: str = "compare on your own data"
    """Advice if the interval of the difference contains zero."""

    def row(self) -> list[str]:
        """Returns the row of the table."""
        gap = difference(self.values, self.base)
        count = len(set(self.values) & set(self.base))
        if gap is None or gap.half is None or count < FEWEST_SEEDS:
            advice = _OPEN
        elif not gap.seen:
            advice = self.none
        else:
            advice = self.gain if gap.mean > 0 else self.loss
        return [self.who, self.compared, points(gap) or NOT_MEASURED, str(count), advice]


def section(results: Results) -> list[str]:
    """Returns the paragraphs of the first section."""
    head = ["your case", "comparison", "difference in top-1, percentage points", "number of seeds", "advice"]
    return [
        "Each row compares two ways to train. In the rows about photographs, real photographs of the same class are "
        "used in place of generated images. These photographs are called *perfect counterparts*. The other rows are "
        "about the rendered birds of the miniature world. They show the accuracy in contexts never mentioned, or for "
        "harder birds in their own contexts.",
        table(head, [case.row() for case in cases(results)]),
        "`accelerate launch recipes/train.py --data.path DATA --compare plain,genaug,mix --seeds 0,1,2` compares "
        "real images, generated images and mixed images on your own augmented dataset. `make photos DATA=DIR` makes "
        "the same comparison on a folder of photographs, with perfect counterparts. It needs no text-to-image model.",
    ]


def cases(results: Results) -> list[Case]:
    """Returns the comparisons; those on photographs come first."""
    photos = PhotoResults(results.photographs)
    similar = "photographs, pretrained network, test images from the same source"
    add, leave = "add generated images", "leave generated images out"
    mix, keep = "mix them (`--mix.kind both`)", "do not mix them (`--mix.kind none`)"
    found = []
    for length, steps in STEPS.items():
        plain, genaug, mixed = (photos.accuracy(arm, length) for arm in ("plain", "genaug", "mix"))
        found += [
            Case(f"{similar}, {steps} steps", "perfect counterparts without mixing, compared with real images alone",
                 genaug, plain, add, leave),
            Case(f"{similar}, {steps} steps", "mixing of perfect counterparts (`both`), compared with no mixing",
                 mixed, genaug, mix, keep),
        ]  # fmt: skip

    def birds(arm: str, net: str = "scratch") -> BySeed:
        return results.accuracy(arm, net, UNMENTIONED)

    def hard(arm: str) -> BySeed:
        return hard_page.accuracy(results, arm, "scratch", OWN)

    everything, judged = f"{STANDARD}.all", f"{STANDARD}.{BEST}"
    filtered, unfiltered = "use the default filter", "keep everything (`--filter.policy.name all`)"
    scratch = "rendered birds, other contexts, network from scratch"
    tuned = "rendered birds, other contexts, pretrained network"
    own = "harder rendered birds, own contexts, network from scratch"
    return [
        *found,
        Case(own, "240 generated images, compared with real images alone", hard("genaug"), hard("plain"), add, leave),
        Case(own, "mixing of 240 generated images (`both`), compared with no mixing", hard("mix"), hard("genaug"), mix,
             keep),
        Case(scratch, "720 generated images, compared with real images alone", birds(everything), birds("plain"), add,
             leave),
        Case(scratch, "mixing of 240 generated images (`both`), compared with no mixing",
             birds("mix-own-100"), birds("genaug-own"), mix, keep),
        Case(tuned, "720 generated images, compared with real images alone", birds(everything, "tuned"),
             birds("plain", "tuned"), add, leave),
        Case(tuned, "mixing of 720 generated images (`both`), compared with no mixing",
             birds("mix-class", "tuned"), birds(everything, "tuned"), mix, keep),
        Case("rendered birds, the generator draws what the prompt asks for",
             "default filter, compared with policy `all`", birds(judged), birds(everything), filtered, unfiltered,
             "use either"),
        Case("rendered birds, the generator draws a wrong species for 30 % of the prompts",
             "default filter, compared with policy `all`", birds(f"random-species.{BEST}"),
             birds("random-species.all"), filtered, unfiltered),
    ]  # fmt: skip


def readme(results: Results, text: str) -> str:
    """Returns the text of the README with new results on photographs between BEGIN and END.

    Raises:
        ValueError: one of these lines is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README lacks the line {END if begin else BEGIN}")
    return f"{before}{BEGIN}\n\n{paragraphs(*readme_parts(results))}\n\n{END}{after}"


def readme_parts(results: Results) -> list[str]:
    """Returns the results on photographs for the README: the setting, a table and the conclusion."""
    photos = PhotoResults(results.photographs)
    if not photos.measured:
        return ["**Nothing is measured on photographs yet.**"]
    if not photo_page.enough_seeds(photos):
        numbers = "[numbers so far](docs/results.md#7-photographs)"
        return [f"**Photographs: too few seeds are measured for a conclusion ({numbers}).**"]
    head = ["number of steps", *(words.removeprefix("real images and ") for words in photo_page.WORDS.values())]
    rows = [
        [f"{steps}", *(percent(photos.accuracy(arm, length)) for arm in photo_page.WORDS)]
        for length, steps in STEPS.items()
    ]
    counts = {steps: photo_page.seeds(photos, length) for length, steps in STEPS.items()}
    counted = " and ".join(f"{count} at {steps} steps" for steps, count in counts.items())
    if len(set(counts.values())) == 1:
        counted = next(iter(counts.values()))
    return [
        f"These results are for *photographs* of ten kinds of clothing, with {EACH} real training images of each class "
        "and a network with ImageNet weights. Other real photographs of the class are used as perfect counterparts, in "
        "place of generated images. The table gives top-1 in percent, as mean and standard deviation over the seeds "
        f"({counted}):",
        table(head, rows),
        photo_page.judgement(photos),
    ]
