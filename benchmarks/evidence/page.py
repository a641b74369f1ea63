"""Writes the page docs/results.md, a pure function of the packed results.

Owns the sections, their order and their introductions. Does not own the interpretation (meaning.py), the tables
(tables.py) or the pictures (figures.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.evidence import advice, figures, meaning, photo_page, photo_quality_page, tables, trainings
from benchmarks.evidence.cells import SEEDS
from benchmarks.evidence.folders import BEST, STANDARD
from benchmarks.evidence.series import Results
from benchmarks.evidence.tables import POLICY_WORDS
from benchmarks.evidence.worlds import UNMENTIONED
from benchmarks.report import paragraphs
from diffcore_hf.core.folder import write_atomic

GAMMAS = ("0.5", "1", "2", "4", "6.5")
JUDGES = ("mean", "fixed", "quantile", "class_mean", "classifier", "context_free", "text")
_GENERATORS = {
    STANDARD: "the generator as it is",
    "random-species": "30 % of the rows ask for a random other species",
    "look-alike": "30 % of the rows ask for a look-alike",
}


def write(results: Results, page: Path, pictures: Path, readme: Path | None = None) -> None:
    """Writes the page, its pictures into a folder of the documentation, and the photographs of the README."""
    for name, draw in _FIGURES.items():
        write_atomic(pictures / f"{name}.png", draw(results))
    write_atomic(page, text(results, pictures.name).encode())
    if readme is not None:
        write_atomic(readme, advice.readme(results, readme.read_text(encoding="utf-8")).encode())


def text(results: Results, pictures: str) -> str:
    """Returns the page as Markdown."""
    sections = [f"## {title}\n\n{paragraphs(*body(results))}" for title, body in _SECTIONS.items()]
    whole = "\n\n".join([f"# Results\n\n{paragraphs(*_opening(results))}", *sections]) + "\n"
    return whole.replace("ASSETS", pictures)


def _opening(results: Results) -> list[str]:
    made: list[Mapping[str, Any]] = []
    for series in results.series():
        made += [result["made"] for result in series.values()]
    days = sorted({record["date"] for record in made}) or ["never"]
    versions = {", ".join(f"{name} {number}" for name, number in record["versions"].items()) for record in made}
    when = (
        f"Measured from {days[0]} to {days[-1]} on two CPU cores (sections 1 to 6 in bfloat16), "
        f"{'; '.join(sorted(versions))}."
    )
    measured = len(results.trainings)
    wanted = len(SEEDS) * sum(len(trainings.nets(arm)) for arm in trainings.ARMS)
    part = (
        f"**{measured} of {wanted} trainings are measured so far**. A dash marks a missing value, and a difference of "
        "one seed has no interval."
    )
    return [*_HOW, when, *([part] if measured < wanted else [])]


_HOW = (
    """This page measures the effect of the filter, the context, the guidance and the mixing. Section 7 uses
photographs. Sections 1 to 6 use the miniature world: its birds are rendered, and a classifier that was trained
on renderings of everything (the *oracle*) names the species of every generated image. `make evidence` measures
everything, cell by cell, and writes this page from the results in `benchmarks/evidence/results`. `make evidence
LIST=1` lists the cells.""",
    """**Data of sections 1 to 6.** The dataset has twenty species with twelve training images each. Each species
appears in two contexts of its own. The 2,000 test images show all ten contexts. A seed draws the contexts of the
species, the training images, the generated images and the training.""",
    """**Accuracy** is top-1 in percent, for three groups of test images. *Never mentioned*: contexts that occur in
no training image of the species and in no prompt. *Prompted*: contexts that the prompts name and that the
training images of the species lack. *Own*: the two contexts of the species' training images.""",
    """**Training in sections 1 to 6.** The network is a ResNet-10-T, either trained from scratch (450 steps of 32
images) or pretrained on the other twenty species and fine-tuned (150 steps of 32). Every arm takes the same
number of steps. The model is selected on the validation split, which shows only the training contexts, and tested once.
With generated images, half of the samples are generated: every real image is used without mixing, and for each one
any kept image of its class (`mix.kind none`, `mix.partner class`), unless a table says otherwise. A folder
has 720 attempts (240 rows, three copies), one attempt per unit, 16 steps, gamma 2.""",
    """Values are mean ± standard deviation over the seeds. Differences are paired by seed, with Student's 95 %
interval. A difference whose interval contains zero is written as *no difference seen*.""",
)
_RENDERED = """The images are rendered, so they are perfect. For every class and every context there are three
images of the class, three of another species of the dataset, three of a look-alike species and three of a species
outside the dataset: 2,400 in all. One of two CLIPs was not trained on the species of the dataset (the one in the
package); the other was. The dataset shows each species in two contexts of its own, or all species in the same two."""


def _judge(results: Results) -> list[str]:
    return [
        f"{_RENDERED} {_judge_seeds(results, 'unseen-own').capitalize()} a cell:",
        tables.judge_cells(results, JUDGES),
        f"CLIP not trained on the species, own contexts ({_judge_seeds(results, 'unseen-own')}):",
        tables.judge_shares(results, "unseen-own", JUDGES),
        f"CLIP trained on the species, shared contexts, the easiest cell ({_judge_seeds(results, 'seen-shared')}):",
        tables.judge_shares(results, "seen-shared", JUDGES),
        "![Right images accepted, by context; CLIP not trained on the species](ASSETS/results-contexts.png)",
        f"Images of the text-to-image model, the CLIP of the package ({len(results.right_species(STANDARD))} seeds); "
        "in parentheses the number of images of each kind among 720:",
        tables.judge_generated(
            results, STANDARD, ("mean", "quantile", "class_mean", "classifier", "context_free", "text")
        ),
        *meaning.judge(results),
    ]


def _judge_seeds(results: Results, cell: str) -> str:
    count = len(results.judged(cell, lambda result: result["images"]))
    return f"{count} seeds"


def _investment(results: Results) -> list[str]:
    keeps = ("all", "random", "mean", "class_mean", "classifier", BEST, "text", "oracle")
    arms = {f"{STANDARD}.{keep}": POLICY_WORDS[keep] for keep in keeps}
    equal = {f"{STANDARD}.{keep}.equal-kept": POLICY_WORDS[keep] for keep in ("all", "mean", BEST, "oracle")}
    tuned = {f"{STANDARD}.{keep}": POLICY_WORDS[keep] for keep in ("all", "mean", BEST, "oracle")}
    parts = [
        f"**Equal generated images**: all arms generate the same 720 images, and each trains on those that it "
        f"keeps. From scratch, "
        f"{tables.seeds(results, list(arms))}:",
        tables.of_arms(results, {"plain": "real images alone", **arms}, f"{STANDARD}.all"),
        f"Pretrained and fine-tuned, {tables.seeds(results, list(tuned), 'tuned')}:",
        tables.of_arms(results, {"plain": "real images alone", **tuned}, f"{STANDARD}.all", "tuned"),
        f"**Equal kept images**: each arm trains on the first n images that it keeps; n is the smallest number that "
        f"any policy keeps. From scratch, {tables.seeds(results, list(equal))}:",
        tables.of_arms(results, equal, f"{STANDARD}.all.equal-kept"),
    ]
    for generator in ("random-species", "look-alike"):
        worse = {f"{generator}.{keep}": POLICY_WORDS[keep] for keep in ("all", "random", "mean", BEST, "oracle")}
        parts += [
            f"**A generator that does not follow the prompt**: {_GENERATORS[generator]} (equal generated "
            f"images, from scratch, {tables.seeds(results, list(worse))}):",
            tables.of_arms(results, worse, f"{generator}.all"),
        ]
    parts.append("![Gain of each policy over keeping everything](ASSETS/results-investment.png)")
    return [*parts, *meaning.investment(results)]


def _guidance(results: Results) -> list[str]:
    arms = [f"gamma-{gamma}.{keep}" for gamma in GAMMAS for keep in ("all", BEST, "oracle")]
    tuned = [f"gamma-{gamma}.{keep}" for gamma in GAMMAS[1:] for keep in ("all", BEST)]
    without = {
        f"{STANDARD}.all": "`all`, with negative prompts",
        "no-negatives.all": "`all`, without",
        f"{STANDARD}.{BEST}": "`rank`, context-free, with",
        f"no-negatives.{BEST}": "`rank`, context-free, without",
    }
    return [
        f"Accuracy in contexts never mentioned, equal generated images, from scratch, {tables.seeds(results, arms)}:",
        tables.guidance(results, GAMMAS, ("all", BEST, "oracle")),
        f"The same, pretrained and fine-tuned, {tables.seeds(results, tuned, 'tuned')}, without the lowest gamma (the "
        "limit was 400 trainings):",
        tables.guidance(results, GAMMAS[1:], ("all", BEST), "tuned"),
        "![Accuracy over gamma for three policies, and what the images show](ASSETS/results-guidance.png)",
        "With and without the negative prompt (blurry, deformed, low quality), gamma 2, "
        f"{tables.seeds(results, list(without))}:",
        tables.of_arms(results, without, f"{STANDARD}.all"),
        *meaning.guidance(results),
    ]  # fmt: skip


def _context(results: Results) -> list[str]:
    arms = {
        "plain": "real images alone",
        "no-context.third": "240 images, no context in the prompt",
        "genaug-own": "240 images, six contexts",
        "no-context.all": "720 images, no context in the prompt",
        "one-context.all": "720 images, one context (in heavy snow)",
        "own-contexts.all": "720 images, the real image's own context",
        f"{STANDARD}.all": "720 images, six contexts",
    }
    tuned = {name: words for name, words in arms.items() if name not in ("no-context.third", "genaug-own")}
    return [
        f"Everything is kept. In every row, the prompted group has the same six contexts. From scratch, "
        f"{tables.seeds(results, list(arms))}:",
        tables.of_arms(results, arms, "no-context.all"),
        f"Pretrained and fine-tuned, {tables.seeds(results, list(tuned), 'tuned')}:",
        tables.of_arms(results, tuned, "no-context.all", "tuned"),
        *meaning.context(results),
    ]


def _mixing(results: Results) -> list[str]:
    seven = {
        "plain": "plain",
        "genaug-own": "GenAug",
        "pixel-real": "pixel-wise, another real image of the class",
        "patch-real": "patch-wise, another real image of the class",
        "pixel-own": "GenAug + pixel-wise",
        "patch-own": "GenAug + patch-wise",
        "mix-own-50": "DiffCoRe-Mix-50",
        "mix-own-100": "DiffCoRe-Mix-100",
    }
    draws = {
        f"{STANDARD}.all": "generated images without mixing, beside the real ones",
        "mix-own-100": "mixed, `append`, partner own (240 images)",
        "mix-class": "mixed, `append`, partner class (720 images)",
        "mix-class-replace-0.5": "mixed, `replace`, probability 0.5, partner class",
        "mix-class-replace-1": "mixed, `replace`, probability 1, partner class",
    }
    few = {
        f"{generator}.{name}": f"{number} real images a species, {words}"
        for generator, number in (("real-3", 3), ("real-6", 6))
        for name, words in (("plain", "alone"), ("generated", "and generated ones without mixing"), ("mix", "mixed"))
    }
    longer = {arm: seven[arm] for arm in trainings.LONGER}
    tuned = {"plain": "plain", f"{STANDARD}.all": draws[f"{STANDARD}.all"], "mix-own-100": draws["mix-own-100"],
             "mix-class": draws["mix-class"]}  # fmt: skip
    return [
        "**The rows of the paper's Table 7**, with each row's own counterpart (240 images), everything kept, from "
        f"scratch, {tables.seeds(results, list(seven))}:",
        tables.of_arms(results, seven, "genaug-own"),
        f"**How images are drawn**, from scratch, {tables.seeds(results, list(draws))}:",
        tables.of_arms(results, draws, f"{STANDARD}.all"),
        f"Pretrained and fine-tuned, {tables.seeds(results, list(tuned), 'tuned')}:",
        tables.of_arms(results, tuned, f"{STANDARD}.all", "tuned"),
        f"**Three times the steps** (1,350 of 32), from scratch, {tables.seeds(results, list(longer), 'longer')}:",
        tables.of_arms(results, longer, "genaug-own", "longer"),
        "**With fewer real images**, 720 generated ones in each case, from scratch, "
        f"{tables.seeds(results, list(few))}:",
        tables.of_arms(results, few, "real-3.generated"),
        "![Accuracy over the number of real images](ASSETS/results-mixing.png)",
        *meaning.mixing(results),
    ]


def _alternatives(results: Results) -> list[str]:
    arms = {
        "plain": "real images alone",
        "heavy": "heavy classical augmentation (RandAugment 9, colour 0.4, blur 0.2, erasing 0.25)",
        "mixup": "Mixup",
        "cutmix": "CutMix",
        f"{STANDARD}.all": "720 generated images",
        "extra-seen": "720 more real images of the training contexts",
        "extra-all": "720 more real images of all contexts",
    }
    return [
        f"From scratch, {tables.seeds(results, list(arms))}:",
        tables.of_arms(results, arms, f"{STANDARD}.all", images=False),
        "A linear probe (logistic regression) on the filter's own embeddings, without training a network "
        f"({len(results.probed('all', UNMENTIONED))} seeds):",
        tables.probes(results),
        *meaning.alternatives(results),
    ]


def _photographs(results: Results) -> list[str]:
    return [
        *photo_page.section(results),
        *photo_quality_page.quality(results),
        *photo_quality_page.judge(results),
        photo_page.OUTSTANDING,
    ]


_SECTIONS: dict[str, Callable[[Results], list[str]]] = {
    "What to do, by case": advice.section,
    "1. How well the filter decides": _judge,
    "2. Whether the filter is worth its cost": _investment,
    "3. Guidance and filter": _guidance,
    "4. Context": _context,
    "5. Mixing": _mixing,
    "6. Other ways to improve accuracy": _alternatives,
    "7. Photographs": _photographs,
}

_FIGURES: dict[str, Callable[[Results], bytes]] = {
    "results-photographs": photo_page.figure,
    "results-counterparts": photo_quality_page.figure,
    "results-guidance": lambda results: figures.guidance(
        results, GAMMAS, {"all": "keep everything", BEST: "rank, context-free", "oracle": "the oracle"}
    ),
    "results-contexts": lambda results: figures.contexts(
        results,
        "unseen-own",
        {
            "mean": "mean (Eq. 5)",
            "quantile": "quantile",
            "classifier": "rank, classifier",
            BEST: "rank, context-free",
        },
    ),
    "results-investment": lambda results: figures.investment(
        results,
        _GENERATORS,
        {"random": "random", "mean": "mean (Eq. 5)", BEST: "rank, context-free", "oracle": "the oracle"},
    ),
    "results-mixing": lambda results: figures.numbers_of_real(
        results,
        {
            "plain": {3: "real-3.plain", 6: "real-6.plain", 12: "plain"},
            "generated": {3: "real-3.generated", 6: "real-6.generated", 12: f"{STANDARD}.all"},
            "mix": {3: "real-3.mix", 6: "real-6.mix", 12: "mix-class"},
        },
        {"plain": "real images alone", "generated": "and generated ones without mixing", "mix": "mixed"},
    ),
}
