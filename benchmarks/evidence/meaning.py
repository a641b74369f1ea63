"""The sentences below the tables, which explain the results for a user.

Owns the text. The numbers in the sentences are taken from the results, so that a sentence and its table cannot differ.
The words are fixed, so read the sentences again after each new measurement.
"""

from __future__ import annotations

from statistics import mean

from benchmarks.evidence.folders import BEST, STANDARD
from benchmarks.evidence.series import BySeed, Results, difference, points
from benchmarks.evidence.worlds import PROMPTED, UNMENTIONED

_JUDGE = (
    """**What this means for a user.** The rule of the paper (`mean`) accepts only images that resemble the training
images. With the CLIP of the package it accepts {accepted} % of the images with the right species. The ranking of
classes separates right and wrong images better. In the hardest case, the CLIP is not trained on the species and
each species has its own contexts. There, the default policy reaches a balanced accuracy of {worst} %. The aim was
90 %. In this case, the removal of the context changes the balanced accuracy by {gain}. Rankings by class mean,
classifier and context-free accept about 5 % of the images of a species outside the dataset.""",
    """**A limit of the filter.** Most wrong images of the text-to-image model nearly show the right species. No
policy separates these images from right images much better than chance. So a filter helps if the generator does
not follow the prompt. It does not improve a good generator.""",
)
_INVESTMENT = (
    """**What this means for a user.** If the generator draws what the prompt asks for, keep everything. Differences
in top-1 to policy `all`:""",
    """- default filter, contexts never mentioned: {obeying}
- oracle, contexts never mentioned: {oracle}
- default filter, prompted contexts: {prompted}""",
    """If the generator does not follow the prompt, the default filter improves the accuracy in contexts never
mentioned. Differences in top-1 between the default filter and policy `all`:""",
    """- a random other species in 30 % of the rows, contexts never mentioned: {random}
- a random other species in 30 % of the rows, prompted contexts: {random_prompted}
- a look-alike in 30 % of the rows, contexts never mentioned: {alike}
- a look-alike in 30 % of the rows, prompted contexts: {alike_prompted}""",
    """The filter is on by default. In contexts never mentioned, its gain with a bad generator is larger than its
loss with a good generator. Look at twenty samples (`preview --samples 20`). If they show what the prompts ask for, use
`--filter.policy.name all`.""",
    """**A limit of the method.** The rule of the paper (`mean`) keeps few images, so most of the gain from generated
images is lost. Its difference in top-1 to policy `all` is {paper}.""",
)
_GUIDANCE = (
    """**What this means for a user.** Leave gamma at 2. Differences in top-1 to gamma 2, in contexts never
mentioned, with policy `all`:""",
    """- gamma 0.5: {low}
- gamma 1: {one}
- gamma 4: {four}
- gamma 6.5: {high}""",
    """The share of images with the right species is {first} % at gamma 1, {best} % at gamma 2 and {worst} % at gamma
6.5. So more guidance does not give more images of the right species. At gamma 6.5, the difference between the
default filter and policy `all` is {filtered}. So the filter does not compensate for a high gamma.""",
    """Effect of the negative prompt: top-1 without it, minus top-1 with it, for the same policy:""",
    """- policy `all`, contexts never mentioned: {negatives}
- policy `all`, prompted contexts: {negatives_prompted}""",
)
_CONTEXT = (
    """**What this means for a user.** A context in the prompt raises the accuracy in this context. Differences in
top-1 between prompts with six contexts and prompts without contexts:""",
    """- in the six prompted contexts, from scratch: {prompted}
- in contexts never mentioned, from scratch: {unmentioned}
- in contexts never mentioned, fine-tuned: {tuned}""",
    """If the prompt names no context, the generator draws several contexts by itself. So name the contexts in which
the network will be used, and do not expect an effect on other contexts. The built-in lists of contexts contain the
empty context and named contexts. [Section 10](#10-strategies) measures such a list.""",
)
_MIXING = (
    """**A limit of the method.** In the miniature world, mixed images give a lower accuracy than generated images
without mixing. Differences in top-1 between training with and without mixing, in contexts never mentioned:""",
    """- from scratch, the row's own counterpart: {own}
- from scratch, any counterpart of the class: {of_class}
- fine-tuned, any counterpart of the class: {of_class_tuned}
- fine-tuned, 240 mixed images compared with 720 images without mixing: {own_tuned}
- from scratch, the row's own counterpart, with three times as many steps: {longer}
- from scratch, any counterpart of the class, three real images of each species: {fewer}
- from scratch, any counterpart of the class, six real images of each species: {half}""",
    """A longer training may reduce these differences. Mixed images give a much higher accuracy than real images
alone. The difference is {over_plain}.""",
    """**What this means for a user.** Train on real and generated images without mixing (`--mix.kind none`, arm
`genaug`), and compare with arm `mix` on your own data. Without mixing, the difference between 720 generated images
(three for each real image) and 240 generated images (one for each) is: {partner}.""",
)
_ALTERNATIVES = (
    """**What this means for a user.** In contexts never mentioned, real images alone reach {plain}, real images with
RandAugment and colour jitter reach {heavy}, and real and generated images reach {generated}. Crops, colours and
erasing cannot put an object into another context. The same number of additional real images in all contexts
reaches {real}. So if you can get more real images in other contexts, use them. A linear probe on real and
generated images reaches {probe} and needs no training of a network.""",
)


def judge(results: Results) -> list[str]:
    """Returns the sentences of section 1."""
    cell = "unseen-own"

    def balanced(policy: str) -> BySeed:
        return results.judged(cell, lambda result: result["policies"][policy]["balanced_accuracy"])

    return _filled(
        _JUDGE,
        accepted=_percent(results.judged(cell, lambda result: result["policies"]["mean"]["accepted"]["right"])),
        gain=points(difference(balanced(BEST), balanced("classifier"))) or "–",
        worst=_percent(balanced(BEST)),
    )


def investment(results: Results) -> list[str]:
    """Returns the sentences of section 2."""
    return _filled(
        _INVESTMENT,
        obeying=_gap(results, f"{STANDARD}.{BEST}", f"{STANDARD}.all"),
        prompted=_gap(results, f"{STANDARD}.{BEST}", f"{STANDARD}.all", group=PROMPTED),
        oracle=_gap(results, f"{STANDARD}.oracle", f"{STANDARD}.all"),
        random=_gap(results, f"random-species.{BEST}", "random-species.all"),
        alike=_gap(results, f"look-alike.{BEST}", "look-alike.all"),
        random_prompted=_gap(results, f"random-species.{BEST}", "random-species.all", group=PROMPTED),
        alike_prompted=_gap(results, f"look-alike.{BEST}", "look-alike.all", group=PROMPTED),
        paper=_gap(results, f"{STANDARD}.mean", f"{STANDARD}.all"),
    )


def guidance(results: Results) -> list[str]:
    """Returns the sentences of section 3."""
    at = {name: f"gamma-{gamma}" for name, gamma in (("low", "0.5"), ("one", "1"), ("four", "4"), ("high", "6.5"))}
    return _filled(
        _GUIDANCE,
        **{name: _gap(results, f"{generator}.all", f"{STANDARD}.all") for name, generator in at.items()},
        first=_percent(results.right_species(at["one"])),
        best=_percent(results.right_species(STANDARD)),
        worst=_percent(results.right_species(at["high"])),
        filtered=_gap(results, f"{at['high']}.{BEST}", f"{at['high']}.all"),
        negatives=_gap(results, "no-negatives.all", f"{STANDARD}.all"),
        negatives_prompted=_gap(results, "no-negatives.all", f"{STANDARD}.all", group=PROMPTED),
    )


def context(results: Results) -> list[str]:
    """Returns the sentences of section 4."""
    none, six = "no-context.all", f"{STANDARD}.all"
    return _filled(_CONTEXT, prompted=_gap(results, six, none, group=PROMPTED), unmentioned=_gap(results, six, none),
                 tuned=_gap(results, six, none, "tuned"))  # fmt: skip


def mixing(results: Results) -> list[str]:
    """Returns the sentences of section 5."""
    as_they_are = f"{STANDARD}.all"
    return _filled(
        _MIXING,
        own=_gap(results, "mix-own-100", "genaug-own"),
        of_class=_gap(results, "mix-class", as_they_are),
        longer=_gap(results, "mix-own-100", "genaug-own", "longer"),
        own_tuned=_gap(results, "mix-own-100", as_they_are, "tuned"),
        of_class_tuned=_gap(results, "mix-class", as_they_are, "tuned"),
        fewer=_gap(results, "real-3.mix", "real-3.generated"),
        half=_gap(results, "real-6.mix", "real-6.generated"),
        over_plain=_gap(results, "mix-own-100", "plain"),
        partner=_gap(results, as_they_are, "genaug-own"),
    )


def alternatives(results: Results) -> list[str]:
    """Returns the sentences of section 6."""
    arms = {"heavy": "heavy", "plain": "plain", "generated": f"{STANDARD}.all", "real": "extra-all"}
    scores = {name: _percent(results.accuracy(arm, "scratch", UNMENTIONED)) for name, arm in arms.items()}
    scores["probe"] = _percent(results.probed("all", UNMENTIONED))
    return _filled(_ALTERNATIVES, **{name: f"{score} %" for name, score in scores.items()})


def _filled(texts: tuple[str, ...], **numbers: str) -> list[str]:
    return [text.format(**numbers) for text in texts]


def _percent(values: BySeed) -> str:
    return f"{100 * mean(values.values()):.0f}" if values else "–"


def _gap(results: Results, arm: str, base: str, net: str = "scratch", group: str = UNMENTIONED) -> str:
    return points(difference(results.accuracy(arm, net, group), results.accuracy(base, net, group))) or "–"
