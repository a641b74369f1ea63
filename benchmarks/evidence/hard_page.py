"""The section about the hard world: its tables, its figure and its sentences. Every judgement is from an interval."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.evidence.figures import COLOURS, Mark, differences
from benchmarks.evidence.hard import ARMS, DECIDING, NETS, SEARCH_SEED, SERIES
from benchmarks.evidence.hard_world import LEVELS, OTHER_EACH, OWN_EACH
from benchmarks.evidence.series import BySeed, Results, count, difference, percent, points
from benchmarks.evidence.verdicts import NOT_MEASURED, verdict
from benchmarks.evidence.worlds import EACH, OWN, UNMENTIONED
from benchmarks.report import table
from diffcore_hf.training.comparison.statistics import Difference

_SETTING = f"""In sections 1 to 6, 8 and 10, all arms reach about 100 % in their own contexts. So those sections
measure the *shift* to other contexts alone. This section uses a *hard world*, in which real images alone have many
errors in their own contexts too. The birds are smaller and less central, their marks have less contrast, leaves cover
parts of them, and each pixel has noise. Two similar species have the same two training contexts, so a context does not
separate them. Each of the {EACH} training images of a species has one counterpart. The {100 * 20:,} test images contain
{OWN_EACH} images of each species in its own contexts, and {OTHER_EACH} in each other context."""
_CLEAN = """The generator of the package was trained on the birds of the other sections. It draws large birds without
leaves and noise. So its images differ from these training images in more than the context. *Other real images* are
renderings of the hard world in the two contexts of the species. They stand for a perfect generator."""
_BASES = {
    "plain": "real images alone",
    "genaug": "six contexts, not mixed",
    "real-genaug": "other real images, not mixed",
    "own-genaug": "own context, not mixed",
}
"""Arm that is a base -> its short name."""
_TITLES = {"scratch": "Trained from scratch", "tuned": "Pretrained and fine-tuned"}
_QUESTIONS = (
    ("Generated images without mixing, compared with real images alone", "genaug", "plain"),
    ("Mixing of generated images (`both`), compared with no mixing", "mix", "genaug"),
    ("Other real images without mixing, compared with real images alone", "real-genaug", "plain"),
    ("Mixing of other real images (`both`), compared with no mixing", "real-mix", "real-genaug"),
    ("Prompts with the real image's own context, compared with six contexts", "own-genaug", "genaug"),
    ("Prompts without a context, compared with six contexts", "none-genaug", "genaug"),
    ("Real images changed by the generator, compared with real images alone", "changed-genaug", "plain"),
    ("The default filter, compared with all generated images", "genaug-filter", "genaug"),
    ("RandAugment, jitter, blur and erasing, compared with real images alone", "heavy", "plain"),
)
"""Words of a comparison, the arm, and the arm with which it is compared."""


def section(results: Results) -> list[str]:
    """Returns the paragraphs and tables of the section."""
    if not results.hard:
        return [_SETTING, _CLEAN, "**Not measured yet.**"]
    parts = [_SETTING, _CLEAN, *_search(results)]
    for net in NETS:
        parts += [
            f"{_TITLES[net]}. Top-1 in percent, and differences in percentage points to the arm in column *base*:",
            _table(results, net),
        ]
    return [
        *parts,
        "![Top-1 of each arm minus top-1 of its base, in own contexts and in contexts never "
        "mentioned](ASSETS/results-hard.png)",
        "**What this means for a user.** Each line is one comparison, trained from scratch:",
        "\n".join(_answer(results, *question) for question in _QUESTIONS),
        *_conclusion(results),
    ]


def accuracy(results: Results, name: str, net: str, group: str) -> BySeed:
    """Returns seed -> top-1 of the model with the best validation score, on a group of the test images."""
    return results.of_series(SERIES, name, net, lambda result: result["best"]["by_group"][group])


def gap(results: Results, name: str, base: str, net: str, group: str) -> Difference | None:
    """Returns the paired difference in top-1 of two arms; None without a common seed."""
    return difference(accuracy(results, name, net, group), accuracy(results, base, net, group))


def _search(results: Results) -> list[str]:
    rows = []
    for level, amounts in LEVELS.items():
        scores = results.of_series(SERIES, f"level_{level}", "scratch", lambda result: result["best"]["by_group"][OWN])
        score = percent({seed: top1 for seed, top1 in scores.items() if seed == SEARCH_SEED})
        rows.append(
            [level, f"{amounts.size:g}", f"{amounts.fade:g}", f"{amounts.leaves}", f"{amounts.noise:g}",
             score if scores else NOT_MEASURED]
        )  # fmt: skip
    return [
        "**How the difficulty was chosen.** The aim was a top-1 of real images alone between 60 % and 80 % in own "
        f"contexts, trained from scratch. Each level was trained once, with seed {SEARCH_SEED}, which no other table "
        "has. The level *hard* is used. The columns are: factor for the size of the bird, share by which its colours "
        "move to the body colour, number of leaves, and standard deviation of the noise (of 255).",
        table(["level", "size", "fading", "leaves", "noise", "top-1 of real images alone, own contexts, %"], rows),
    ]


def _table(results: Results, net: str) -> str:
    head = ["arm", "base", "seeds", "counterparts", "with the right species, %", "own", "own, difference",
            "never mentioned", "never mentioned, difference"]  # fmt: skip
    rows = []
    for name, arm in ARMS.items():
        if net not in arm.nets:
            continue
        kept = results.of_series(SERIES, name, net, lambda result: result["kept"])
        right = results.of_series(SERIES, name, net, _right)
        row = [arm.words, "–" if arm.base is None else _BASES[arm.base], str(len(kept)), count(kept) or "–",
               percent({seed: share for seed, share in right.items() if share == share})]  # fmt: skip
        for group in (OWN, UNMENTIONED):
            scores = accuracy(results, name, net, group)
            row.append(percent(scores) if scores else NOT_MEASURED)
            row.append("–" if arm.base is None else points(gap(results, name, arm.base, net, group)) or NOT_MEASURED)
        rows.append(row)
    return table(head, rows)


def _right(result) -> float:
    return result["right"] / result["kept"] if result.get("kept") and "right" in result else float("nan")


def _answer(results: Results, words: str, name: str, base: str) -> str:
    said = [
        f"{place}: {verdict(gap(results, name, base, 'scratch', group), _common(results, name, base, group))}"
        for place, group in (("own contexts", OWN), ("contexts never mentioned", UNMENTIONED))
    ]
    return f"- {words}. {said[0].capitalize()}; {said[1]}."


def _common(results: Results, name: str, base: str, group: str) -> int:
    return len(set(accuracy(results, name, "scratch", group)) & set(accuracy(results, base, "scratch", group)))


def _conclusion(results: Results) -> list[str]:
    """Returns whether the hard world has the aimed difficulty, and whether mixing differs between the two cases."""
    plain = accuracy(results, "plain", "scratch", OWN)
    if not plain:
        return []
    mean = sum(plain.values()) / len(plain)
    reached = "is in the range" if 0.6 <= mean <= 0.8 else "is outside the range"
    return [
        f"Real images alone reach {percent(plain)} % in their own contexts ({_seeds(len(plain))}). This {reached} of "
        "60 % to 80 % that was the aim."
    ]


def _seeds(number: int) -> str:
    return "one seed" if number == 1 else f"{number} seeds"


def figure(results: Results) -> bytes:
    """Draws the differences of the arms to their bases, trained from scratch, for both groups of test images."""
    shown: Sequence[str] = [name for name, arm in ARMS.items() if arm.base is not None]
    groups = [
        (
            f"{title}: difference to the base",
            [Mark(_short(name), gap(results, name, ARMS[name].base or "plain", "scratch", group), colour)
             for name in shown],
        )
        for title, group, colour in (
            ("own contexts", OWN, COLOURS["mix"]),
            ("contexts never mentioned", UNMENTIONED, COLOURS["generated"]),
        )
    ]  # fmt: skip
    return differences(groups, "difference in top-1 (percentage points)", 1.2 + 0.22 * 2 * len(shown))


def _short(name: str) -> str:
    base = ARMS[name].base
    return f"{name} – {base}"


assert set(DECIDING) <= set(ARMS)
