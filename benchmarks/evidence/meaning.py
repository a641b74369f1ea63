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
    """**For a user.** The paper's rule (Eq. 5) rejects nearly everything if the real images of a class show few
contexts. With the CLIP of the package it accepts {accepted} % of right images. It accepts images that resemble
the training images, and not all images that show the class. Policies that compare classes with each other decide
far better. The result is better still if the directions of contexts are removed from the embeddings. In the
hardest cell (CLIP not trained on the species, own contexts) this changes the balanced accuracy by {gain}. In this
cell the default reaches {worst} %. The aim was 90 %. The image tower causes the remaining errors: most of the
variance within a class is between contexts, and the references show only two contexts of each class. Each policy
that ranks classes by images accepts about one in twenty images of a species outside the dataset.""",
    """**Against the filter.** The wrong images of a text-to-image model differ from the wrong rendered images. Most
of them nearly show the right species. No policy of this section separates them from right images much better than
chance. A filter helps if the generator does not follow the prompt. It does not improve a good generator.""",
)
_INVESTMENT = (
    """**For a user.** If the generator draws what the prompt asks for, keep everything. Differences in top-1
between the default filter or the oracle and `all`:""",
    """- default filter, contexts never mentioned: {obeying}
- oracle, contexts never mentioned: {oracle}
- default filter, prompted contexts: {prompted}""",
    """If the generator does not follow the prompt, the default filter helps in contexts never mentioned.
Differences between the default filter and `all`:""",
    """- a random other species in 30 % of the rows, contexts never mentioned: {random}
- a random other species in 30 % of the rows, prompted contexts: {random_prompted}
- a look-alike in 30 % of the rows, contexts never mentioned: {alike}
- a look-alike in 30 % of the rows, prompted contexts: {alike_prompted}""",
    """You do not know beforehand which case you have. In contexts never mentioned, the filter raises the accuracy by
more in the second case than it lowers it in the first case. So the filter is the default. Look at twenty samples
(`preview --samples 20`). If they show what the prompts ask for, use `--filter.policy.name all`.""",
    """**Against the method.** The paper's own rule (Eq. 5) keeps so few images that most of the gain from
generated images is lost. Its difference in top-1 to policy `all` is {paper}.""",
)
_GUIDANCE = (
    """**For a user.** Leave gamma at 2. Differences to gamma 2 in contexts never mentioned, with policy `all`:""",
    """- gamma 0.5: {low}
- gamma 1: {one}
- gamma 4: {four}
- gamma 6.5: {high}""",
    """At gamma 1, {first} % of the images show the right species; at gamma 2, {best} %; at gamma 6.5, {worst} %. So
more guidance does not give more images of the right species. A filter does not compensate for a high gamma. Further
differences:""",
    """- default filter, compared with `all`, gamma 6.5: {filtered}
- `all` without the negative prompt, compared with `all` with the negative prompt, contexts never mentioned: {negatives}
- `all` without the negative prompt, compared with `all` with the negative prompt, prompted contexts:
  {negatives_prompted}""",
)
_CONTEXT = (
    """**For a user.** Named contexts raise the accuracy in the contexts that are named. Differences between six
named contexts and prompts without any context:""",
    """- in the six prompted contexts: {prompted}
- in contexts never mentioned: {unmentioned}
- in contexts never mentioned, fine-tuned: {tuned}""",
    """If the prompt names no context, the generator draws several contexts by itself. These contexts were not
counted. So name the contexts in which the network will be used, and do not expect an effect on other contexts. The
built-in lists of contexts contain the empty context and named contexts. Such a list was not measured here.""",
)
_MIXING = (
    """**Against the method.** In the miniature world, mixed images give a lower accuracy than the same generated
images that are not mixed. Differences between mixed and not mixed images, in contexts never mentioned:""",
    """- from scratch, the row's own counterpart: {own}
- from scratch, any counterpart of the class: {of_class}
- fine-tuned, any counterpart of the class: {of_class_tuned}
- fine-tuned, the row's own counterpart, compared with three times as many images that are not mixed: {own_tuned}
- from scratch, the row's own counterpart, with three times as many steps: {longer}
- from scratch, any counterpart of the class, three real images of each species: {fewer}
- from scratch, any counterpart of the class, six real images of each species: {half}""",
    """The training time may explain a part of the differences, because mixed images are harder to learn from. Mixed
images still give a much higher accuracy than real images alone: {over_plain}.""",
    """**For a user.** Train on real and generated images that are not mixed (`--mix.kind none`, arm `genaug`), and
compare with `mix` on your own data. The partner can be any counterpart of the class (720 images) or the row's own
counterpart (240 images). Without mixing, the difference between these two partners is: {partner}.""",
)
_ALTERNATIVES = (
    """**For a user.** Accuracy in contexts never mentioned: {heavy} with heavy classical augmentation, {plain}
with real images alone, {generated} with generated images beside them. Crops, colours and erasing cannot put
an object into another context. The same number of real images of all contexts reaches {real}. So if you can get
more real images in other contexts, use them. The filter has already computed embeddings, so a linear probe on
the embeddings needs no other network. With every generated image the probe reaches {probe}.""",
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
