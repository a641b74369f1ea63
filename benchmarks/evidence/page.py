"""Writes the page docs/results.md, a pure function of the packed results.

Owns the sections, their order and their introductions. Does not own the interpretation (meaning.py), the tables
(tables.py) or the pictures (figures.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence import (
    advice,
    figures,
    hard_page,
    meaning,
    mixer_page,
    photo_mixers,
    photo_page,
    photo_quality_page,
    strategies_page,
    tables,
    trainings,
)  # fmt: skip
from benchmarks.evidence.cells import SEEDS, attempt_stage
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
    "random-species": "30 % of the prompts name a random other species",
    "look-alike": "30 % of the prompts name a look-alike",
}


def write(results: Results, page: Path, pictures: Path, readme: Path | None = None) -> None:
    """Writes the page, its pictures, and the results on photographs in the README.

    Args:
        results: all packed results.
        page: file of the page.
        pictures: folder of the pictures.
        readme: file of the README; None: it is not changed.
    """
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
        f"Measured from {days[0]} to {days[-1]} on two CPU cores (sections 1 to 6 and 8 to 10 in bfloat16), "
        f"{'; '.join(sorted(versions))}."
    )
    measured = len(results.trainings)
    wanted = len(SEEDS) * sum(len(trainings.nets(arm)) for arm in trainings.ARMS)
    part = (
        f"**{measured} of {wanted} trainings are measured so far.** A dash marks a missing value. A difference of one "
        "seed has no interval."
    )
    # The photographs of section 7 have no generated images.
    rendered = (results.folders, results.mixers, results.hard, results.strategies)
    generated = [result["made"] for series in rendered for result in series.values()]
    return [*_HOW, when, _stages(generated), *([part] if measured < wanted else [])]


def _stages(made: Sequence[Mapping[str, Any]]) -> str:
    """Returns the sentences that say with which version of the attempt stage the cells were made."""
    # The cells of version 1 were made before the version was recorded.
    numbers = sorted({record.get("attempt_stage", "1") for record in made} or {attempt_stage()})
    listed = " and ".join(filter(None, (", ".join(numbers[:-1]), numbers[-1])))
    plural = "s" if len(numbers) > 1 else ""
    return (
        f"The generated images were made with version{plural} {listed} of the stage `Attempt`. "
        f"The current version is {attempt_stage()}. In version 1, the rows of a class used the contexts in turn. Since "
        "version 2, the context of each row is drawn at random. Version 3 adds a mark to the files of the images, and "
        "their pixels stay the same."
    )


_HOW = (
    """This page measures the effects of the filter, the contexts in the prompts, the guidance and the mixing.
Section 7 uses photographs. The other sections use the rendered birds of the miniature world. In sections 1 to 6, 8 and
10, only the *shift* to other contexts is difficult. Section 9 has harder birds, which are difficult in their own
contexts too. `make evidence` repeats all measurements and writes this page.""",
    """**Data of sections 1 to 6 and 8.** The dataset has twenty species with twelve training images each. There are ten
contexts. The training images of a species show only two contexts, which are chosen at random for each species.
The 2,000 test images show all ten contexts. For each of 240 training images, three images are generated, so there
are 720 generated images. The generation has 16 steps and guidance strength gamma 2 (Eq. 4 of the paper). A
classifier names the species of each generated image. It was trained on renderings of all species in all contexts,
and is called the *oracle*.""",
    """**Accuracy** is top-1 in percent, for three groups of test images:""",
    """- *never mentioned*: contexts that occur in no training image of the species and in no prompt
- *prompted*: contexts that the prompts name, and that no training image of the species shows
- *own*: the two contexts of the training images of the species""",
    """**Training on rendered birds.** The network is a ResNet-10-T. It is either trained from scratch (450
steps of 32 images), or pretrained on twenty other species and fine-tuned (150 steps of 32 images). Every arm of a
table takes the same number of steps. The validation split shows only the training contexts. It selects the model, and
the test images are scored once. If a table says nothing else, an epoch contains each real image and, as a
separate sample, one kept generated image of the same class (`mix.kind none`, `mix.partner class`).""",
    """**Statistics.** Values are mean ± standard deviation over the seeds. The seed determines the contexts of the
species, the training images, the generated images and the training. Differences are paired by seed and have a
95 % interval (Student's t). If this interval contains zero, the table says *no difference seen*.""",
)
_RENDERED = (
    """This section tests the filter on 2,400 rendered images. The species of each image is known. For every class and
every context there are three images of each of four kinds: the right species, another species of the dataset, a
look-alike species, and a species outside the dataset. A policy should accept the right species and reject the
other three kinds.""",
    """Two image encoders are compared. The CLIP of the package was *not trained* on the species of the dataset. The
other CLIP was *trained* on them. Two datasets are compared too. In one dataset, each species has its *own* two
training contexts. In the other dataset, all species *share* the same two.""",
    """The policy `rank` is measured with four rankings of the classes. *Class mean* ranks by the similarity to the
mean embedding of each class. *Classifier* ranks by a linear discriminant. *Context-free* is this discriminant
after the influence of the context is removed; it is the default. *Text* ranks by the similarity to the text
embedding of each class name.""",
)


def _judge(results: Results) -> list[str]:
    return [
        *_RENDERED,
        f"Balanced accuracy and area under the ROC curve (AUC), in percent, {_judge_seeds(results, 'unseen-own')}:",
        tables.judge_cells(results, JUDGES),
        "Share of the images that each policy accepts, in percent. The CLIP was not trained on the species, and each "
        f"species has its own contexts ({_judge_seeds(results, 'unseen-own')}):",
        tables.judge_shares(results, "unseen-own", JUDGES),
        "Share of the images that each policy accepts, in percent. The CLIP was trained on the species, and all "
        f"species share their contexts ({_judge_seeds(results, 'seen-shared')}):",
        tables.judge_shares(results, "seen-shared", JUDGES),
        "![Share of right images that each policy accepts in each context, with the CLIP that was not trained on the "
        "species](ASSETS/results-contexts.png)",
        "Share of the images of the text-to-image model that each policy accepts, in percent. The CLIP is that of the "
        f"package ({len(results.right_species(STANDARD))} seeds). The number in the head of a column is the mean "
        "number of images of this kind among 720:",
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
        f"**The same generated images for each policy.** Each arm trains on those of the 720 generated images that its "
        f"policy keeps. Trained from scratch, {tables.seeds(results, list(arms))}:",
        tables.of_arms(results, {"plain": "real images alone", **arms}, f"{STANDARD}.all"),
        f"Pretrained and fine-tuned, {tables.seeds(results, list(tuned), 'tuned')}:",
        tables.of_arms(results, {"plain": "real images alone", **tuned}, f"{STANDARD}.all", "tuned"),
        f"**The same number of kept images for each policy.** Each arm trains on the first n images that its policy "
        f"keeps. The number n is the number of images that the strictest policy keeps. Trained from scratch, "
        f"{tables.seeds(results, list(equal))}:",
        tables.of_arms(results, equal, f"{STANDARD}.all.equal-kept"),
    ]
    for generator in ("random-species", "look-alike"):
        worse = {f"{generator}.{keep}": POLICY_WORDS[keep] for keep in ("all", "random", "mean", BEST, "oracle")}
        parts += [
            f"**A generator that does not follow the prompt.** {_GENERATORS[generator]}. All policies decide about "
            f"the same generated images. Trained from scratch, {tables.seeds(results, list(worse))}:",
            tables.of_arms(results, worse, f"{generator}.all"),
        ]
    parts.append(
        "![Top-1 of each policy minus top-1 of the policy all, which keeps everything](ASSETS/results-investment.png)"
    )
    return [*parts, *meaning.investment(results)]


def _guidance(results: Results) -> list[str]:
    arms = [f"gamma-{gamma}.{keep}" for gamma in GAMMAS for keep in ("all", BEST, "oracle")]
    tuned = [f"gamma-{gamma}.{keep}" for gamma in GAMMAS[1:] for keep in ("all", BEST)]
    without = {
        f"{STANDARD}.all": "`all`, with the negative prompt",
        "no-negatives.all": "`all`, without the negative prompt",
        f"{STANDARD}.{BEST}": "`rank`, context-free, with the negative prompt",
        f"no-negatives.{BEST}": "`rank`, context-free, without the negative prompt",
    }
    return [
        "Gamma is the strength of the guidance in Eq. 4 of the paper. All policies decide about the same generated "
        "images.",
        f"Accuracy in contexts never mentioned, from scratch, {tables.seeds(results, arms)}:",
        tables.guidance(results, GAMMAS, ("all", BEST, "oracle")),
        f"Accuracy in contexts never mentioned, pretrained and fine-tuned, {tables.seeds(results, tuned, 'tuned')}. "
        "Gamma 0.5 was not measured:",
        tables.guidance(results, GAMMAS[1:], ("all", BEST), "tuned"),
        "![Accuracy of three policies for each gamma, and share of the images with the right "
        "species](ASSETS/results-guidance.png)",
        "Accuracy with and without the negative prompt *blurry, deformed, low quality*, gamma 2, from scratch, "
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
        "The rows differ in the contexts that the prompts name. All generated images are kept. The column *prompted* "
        "always shows the accuracy in the same six contexts, also if the prompts name fewer contexts.",
        f"Trained from scratch, {tables.seeds(results, list(arms))}:",
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
        f"{STANDARD}.all": "generated images beside the real images, not mixed",
        "mix-own-100": "mixed, `append`, partner `own` (240 images)",
        "mix-class": "mixed, `append`, partner `class` (720 images)",
        "mix-class-replace-0.5": "mixed, `replace`, probability 0.5, partner `class`",
        "mix-class-replace-1": "mixed, `replace`, probability 1, partner `class`",
    }
    few = {
        f"{generator}.{name}": f"{number} real images of each species, {words}"
        for generator, number in (("real-3", 3), ("real-6", 6))
        for name, words in (
            ("plain", "alone"),
            ("generated", "and generated images that are not mixed"),
            ("mix", "mixed with generated images"),
        )
    }
    longer = {arm: seven[arm] for arm in trainings.LONGER}
    tuned = {"plain": "plain", f"{STANDARD}.all": draws[f"{STANDARD}.all"], "mix-own-100": draws["mix-own-100"],
             "mix-class": draws["mix-class"]}  # fmt: skip
    return [
        "**The methods of the paper's Table 7.** The rows have the names of that table. *Plain* trains on real images "
        "only. *GenAug* adds one counterpart for each real image, without mixing. The other rows add images that are "
        "mixed pixel-wise or patch-wise. The partner is the counterpart of the real image, if the row names no other "
        "partner. *DiffCoRe-Mix* uses both kinds of mixing, with counterparts for 50 % or 100 % of the real images. "
        f"All generated images are kept. Trained from scratch, {tables.seeds(results, list(seven))}:",
        tables.of_arms(results, seven, "genaug-own"),
        "**Other ways to use the generated images.** With `append`, a mixed image is an additional sample. With "
        "`replace`, it replaces the real image with the given probability. The partner is the row's `own` counterpart "
        f"or any kept image of the `class`. Trained from scratch, {tables.seeds(results, list(draws))}:",
        tables.of_arms(results, draws, f"{STANDARD}.all"),
        f"Pretrained and fine-tuned, {tables.seeds(results, list(tuned), 'tuned')}:",
        tables.of_arms(results, tuned, f"{STANDARD}.all", "tuned"),
        "**Three times as many steps** (1,350 steps of 32 images). Trained from scratch, "
        f"{tables.seeds(results, list(longer), 'longer')}:",
        tables.of_arms(results, longer, "genaug-own", "longer"),
        "**Fewer real images.** The number of generated images is always 720. Trained from scratch, "
        f"{tables.seeds(results, list(few))}:",
        tables.of_arms(results, few, "real-3.generated"),
        "![Accuracy for 3, 6 and 12 real images of each species](ASSETS/results-mixing.png)",
        *meaning.mixing(results),
    ]


def _alternatives(results: Results) -> list[str]:
    arms = {
        "plain": "real images alone",
        "heavy": "real images with RandAugment 9, colour jitter 0.4, blur 0.2 and random erasing 0.25",
        "mixup": "real images with Mixup",
        "cutmix": "real images with CutMix",
        f"{STANDARD}.all": "real images and 720 generated images",
        "extra-seen": "real images and 720 more real images in the training contexts",
        "extra-all": "real images and 720 more real images in all contexts",
    }
    return [
        f"Trained from scratch, {tables.seeds(results, list(arms))}:",
        tables.of_arms(results, arms, f"{STANDARD}.all", images=False),
        "A *linear probe* is a logistic regression on the embeddings of the filter. No network is trained. Accuracy of "
        f"the linear probe, {len(results.probed('all', UNMENTIONED))} seeds:",
        tables.probes(results),
        *meaning.alternatives(results),
    ]


def _photographs(results: Results) -> list[str]:
    return [
        *photo_page.section(results),
        *photo_quality_page.quality(results),
        *photo_quality_page.judge(results),
        *photo_mixers.section(results),
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
    "8. Mixers": mixer_page.section,
    "9. Harder birds": hard_page.section,
    "10. Strategies": strategies_page.section,
}

_FIGURES: dict[str, Callable[[Results], bytes]] = {
    "results-photographs": photo_page.figure,
    "results-counterparts": photo_quality_page.figure,
    "results-photo-filter": photo_quality_page.filter_figure,
    "results-hard": hard_page.figure,
    "results-strategies": strategies_page.figure,
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
        {
            "plain": "real images alone",
            "generated": "real images, and generated images not mixed",
            "mix": "real images mixed with generated images",
        },
    ),
}
