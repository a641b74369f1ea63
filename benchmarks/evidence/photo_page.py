"""The section of docs/results.md about photographs: its tables, its sentences and its figure.

All numbers in the sentences are taken from the results. Every judgement is derived from an interval.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.evidence.figures import Mark, differences
from benchmarks.evidence.photo_series import FLAT, PhotoResults
from benchmarks.evidence.photo_trainings import ARMS, RATES, SIZE, STEPS, TUNING
from benchmarks.evidence.photographs import EACH
from benchmarks.evidence.series import Results, difference, percent, points
from benchmarks.evidence.verdicts import FEWEST_SEEDS
from benchmarks.report import table
from diffcore_hf.training.comparison.statistics import Difference

BASE = "genaug"
WORDS = {
    "plain": "real images alone",
    "genaug": "real images and counterparts, not mixed",
    "pixel": "real images and counterparts, mixed pixel-wise",
    "patch": "real images and counterparts, mixed patch-wise",
    "mix": "real images and counterparts, mixed pixel-wise or patch-wise",
}
"""Label of each arm, in the order of the tables."""
_SETTING = f"""The dataset has ten kinds of clothing, photographed by many people. Each class has {EACH} real
training images. Another real photograph of the same class is used as the counterpart of a training image, in
place of a generated image. So the counterparts are perfect. The test images are from the same source as the training
images. The training images, the counterparts and the training depend on the seed. The validation split (341 images)
and the test split (372 images) are the same for every seed."""
_RATES = ", ".join(f"{rate:g}" for rate in sorted(RATES))
_TRAINING = f"""The network is EfficientNet-Lite0 with ImageNet weights (`tf_efficientnet_lite0` of timm),
fine-tuned at {SIZE} pixels with AdamW, weight decay 0.05, a cosine schedule and batches of 32. Every arm takes
the same number of steps. With mixing, each counterpart adds one mixed sample (`append`, partner `own`). For each
arm, one of the learning rates {_RATES} is chosen. It has the best validation score over the first {len(TUNING)}
seeds. The validation split also selects the model, and the test split is scored once."""
_BOUND = """Generated images are worse counterparts than these photographs. So they are expected to change the
accuracy by less than these tables show."""
OUTSTANDING = """**Not measured.** Generated images as counterparts of photographs are not measured.
`python -m benchmarks.photos_t2i DATA` measures them on a CUDA machine with a small text-to-image model. Other
datasets, other networks, and other numbers of images with counterparts are not measured."""


def section(results: Results) -> list[str]:
    """Returns the paragraphs and tables of the section."""
    photos = PhotoResults(results.photographs)
    if not photos.measured:
        return [_SETTING, _TRAINING, "**Not measured yet.**", _BOUND]
    parts = [_SETTING, _TRAINING]
    if len(photos.measured) < photos.wanted:
        parts.append(
            f"**{len(photos.measured)} of {photos.wanted} trainings are measured so far.** A dash marks a missing "
            "value. A difference of one seed has no interval."
            + ("" if photos.rates_complete else " Not all learning rates are measured; the best measured one is used.")
        )
    for length, steps in STEPS.items():
        parts += [f"{steps} steps, {seeds(photos, length)}:", accuracies(photos, length)]
    return [
        *parts,
        "![Top-1 of each arm minus top-1 with counterparts without mixing](ASSETS/results-photographs.png)",
        "The learning rate is chosen by top-1 on the validation split. This top-1 in percent, as mean over the first "
        f"{len(TUNING)} seeds with {STEPS['short']} steps (bold: the chosen learning rate):",
        rates(photos),
        *sentences(photos),
        _BOUND,
    ]


def seeds(photos: PhotoResults, length: str) -> str:
    """Returns the number of seeds of a table as words."""
    counts = {len(photos.accuracy(arm, length)) for arm in ARMS}
    least, most = min(counts), max(counts)
    if most <= 1:
        return ("not measured yet", "one seed")[most]
    return f"{most} seeds" if least == most else f"{least} to {most} seeds (being measured)"


def accuracies(photos: PhotoResults, length: str) -> str:
    """Returns a table with one row for each arm: its learning rate, top-1, top-5 and the differences to two arms."""
    head = ["arm", "learning rate", "top-1", "top-5", "top-1, difference to counterparts without mixing",
            "top-1, difference to real images alone"]  # fmt: skip
    rows = []
    for arm, words in WORDS.items():
        rate = photos.rate(arm) or (RATES[0] if photos.accuracy(arm, length) else None)
        gaps = ["base" if arm == base else points(gap(photos, arm, base, length)) or "–" for base in (BASE, "plain")]
        scores = [percent(photos.accuracy(arm, length, key)) for key in ("top1", "top5")]
        rows.append([words, f"{rate:g}" if rate else "–", *scores, *gaps])
    return table(head, rows)


def rates(photos: PhotoResults) -> str:
    """Returns the validation score of each arm and learning rate; the chosen one is bold."""
    rows = []
    for arm, words in WORDS.items():
        cells = []
        for rate in sorted(RATES):
            score = photos.validation(arm, rate)
            text = "–" if score is None else f"{100 * score:.1f}"
            cells.append(f"**{text}**" if rate == photos.rate(arm) else text)
        rows.append([words, *cells])
    return table(["arm", *(f"learning rate {rate:g}" for rate in sorted(RATES))], rows)


def sentences(photos: PhotoResults) -> list[str]:
    """Returns sentences about the tables for a user; each judgement follows from an interval."""
    change = photos.change_at_the_end("plain")
    flat = [] if change is None else [_flat(change, len(photos.accuracy("plain"))) + _longer(photos)]
    lines = [
        f"- {words}, {steps} steps: {points(gap(photos, arm, BASE, length)) or 'not measured yet'}"
        for arm, words in (
            ("mix", "mixed pixel-wise or patch-wise"),
            ("pixel", "mixed pixel-wise"),
            ("patch", "mixed patch-wise"),
        )
        for length, steps in STEPS.items()
    ]
    return [
        *_at_the_edge(photos),
        *flat,
        f"**What this means for a user.** {judgement(photos)} Differences in top-1 between counterparts with and "
        "without mixing:",
        "\n".join(lines),
    ]


def judgement(photos: PhotoResults) -> str:
    """Returns one sentence about counterparts and one about mixing, from the intervals for both numbers of steps."""
    if not enough_seeds(photos):
        return f"Fewer than {FEWEST_SEEDS} seeds are measured. These are too few for a conclusion."
    return f"{added(photos)} {mixed(photos)}"


def added(photos: PhotoResults) -> str:
    """Returns the sentence that compares counterparts without mixing with real images alone."""
    found = [gap(photos, BASE, "plain", length) for length in STEPS]
    return {
        "better": "Perfect counterparts in addition to the real images raise top-1.",
        "worse": "Perfect counterparts in addition to the real images lower top-1.",
        "mixed": "Perfect counterparts raise top-1 with one number of steps and lower it with the other.",
        "none": "Perfect counterparts change top-1 by an amount whose 95 % interval contains zero.",
        "open": "Too few seeds are measured to judge the effect of perfect counterparts.",
    }[verdict(found)]


def mixed(photos: PhotoResults) -> str:
    """Returns the sentence that compares mixed images with the same counterparts that are not mixed.

    There is one comparison for each arm with mixing and each number of steps. The sentence states in how many of them
    the interval excludes zero.
    """
    found = [gap(photos, arm, BASE, length) for arm in ("mix", "pixel", "patch") for length in STEPS]
    known = [difference for difference in found if difference is not None and difference.half is not None]
    raised = sum(difference.seen and difference.mean > 0 for difference in known)
    lowered = sum(difference.seen and difference.mean < 0 for difference in known)
    if not known:
        return "Too few seeds are measured to judge mixing."
    if not raised and not lowered:
        return (
            "For each comparison with the same counterparts without mixing, the 95 % interval of the difference in "
            "top-1 contains zero."
        )
    changes = [f"{word} in {count}" for word, count in (("higher", raised), ("lower", lowered)) if count]
    rest = len(known) - raised - lowered
    return (
        f"Compared with the same counterparts without mixing, top-1 with mixing is {' and '.join(changes)} of "
        f"{len(known)} comparisons, where the 95 % interval excludes zero."
        + (f" In the {rest} others, {_ZERO}" if rest > 1 else "")
        + (f" In the other comparison, {_ZERO}" if rest == 1 else "")
    )


_ZERO = "it does not."


def enough_seeds(photos: PhotoResults) -> bool:
    """Returns whether each arm has FEWEST_SEEDS seeds for at least one number of steps."""
    return any(min(len(photos.accuracy(arm, length)) for arm in ARMS) >= FEWEST_SEEDS for length in STEPS)


def verdict(gaps: Sequence[Difference | None]) -> str:
    """Returns the word for a list of differences, from their intervals.

    `better`, `worse` or `mixed` if an interval excludes zero; `none` if each interval contains zero; `open` if there
    are no intervals.
    """
    known = [found for found in gaps if found is not None and found.half is not None]
    signs = {found.mean > 0 for found in known if found.seen}
    if not known:
        return "open"
    if not signs:
        return "none"
    if len(signs) == 2:
        return "mixed"
    return "better" if True in signs else "worse"


def gap(photos: PhotoResults, arm: str, base: str, length: str) -> Difference | None:
    """Returns the difference in top-1 of two arms, paired by seed; None without a common seed."""
    return difference(photos.accuracy(arm, length), photos.accuracy(base, length))


def figure(results: Results) -> bytes:
    """Draws the difference of each arm to counterparts without mixing, for both numbers of steps."""
    photos = PhotoResults(results.photographs)
    groups = []
    for length, steps in STEPS.items():
        marks = [
            Mark(
                words.removeprefix("real images and counterparts, ").replace(" or ", " or\n"),
                gap(photos, arm, BASE, length),
                _COLOURS[arm],
            )
            for arm, words in WORDS.items()
            if arm != BASE
        ]
        groups.append((f"{steps} steps", marks))
    label = "top-1 minus top-1 with counterparts without mixing\n(percentage points, 95 % intervals)"
    return differences(groups, label, 3.6)


_COLOURS = {"plain": "#70757d", "pixel": "#c98a2b", "patch": "#b3423a", "mix": "#3b6ea5"}


def _flat(change: float, count: int) -> str:
    state = "is flat" if abs(change) < FLAT else "is not flat yet"
    return (
        f"Over the last third of {STEPS['short']} steps, the validation top-1 of the arm with real images alone "
        f"changes by {100 * change:+.1f} percentage points (mean over {count} {'seed' if count == 1 else 'seeds'}). "
        f"A change below {100 * FLAT:.1f} points is called flat, so the score of this arm {state}."
    )


def _longer(photos: PhotoResults) -> str:
    """Returns the sentence that compares both numbers of steps for real images alone, or an empty string."""
    gained = difference(photos.accuracy("plain", "long"), photos.accuracy("plain", "short"))
    if gained is None or len(photos.accuracy("plain", "long")) < FEWEST_SEEDS:
        return ""
    return (
        f" The learning rate is close to zero at that time. Difference in the test top-1 of this arm between "
        f"{STEPS['long']} steps and {STEPS['short']} steps: {points(gained)}."
    )


def _at_the_edge(photos: PhotoResults) -> list[str]:
    """Returns the sentence that names the arms with the largest learning rate; nothing if there are none."""
    largest = max(RATES)
    arms = [arm for arm in ARMS if photos.rates_complete and photos.rate(arm) == largest]
    if not arms:
        return []
    which = "All arms have" if len(arms) == len(ARMS) else f"{len(arms)} of {len(ARMS)} arms have"
    return [f"{which} the best score with the largest learning rate, {largest:g}. Larger rates were not tried."]
