"""The sentences under the tables that say what the results mean for a user.

Owns the text. Its numbers are taken from the results, so a sentence and its table cannot differ. After a new
measurement the sentences must be read again, because their claims are not derived.
"""

from __future__ import annotations

from statistics import mean

from benchmarks.evidence.folders import BEST, STANDARD
from benchmarks.evidence.series import BySeed, Results, difference, points
from benchmarks.evidence.worlds import PROMPTED, UNMENTIONED

_JUDGE = (
    """**For a user.** The paper's rule (Eq. 5) rejects nearly everything where a class was photographed in few
places: with the CLIP that ships it accepts {accepted} % of right images, and what it accepts is what looks like
the training images, not what shows the class. Comparing classes with each other is far better, and taking the
directions of contexts out of the embeddings better still: {gain} in balanced accuracy over the plain discriminant
in the worst cell. There the default reaches {worst} %, a little below the 90 that were aimed at. What is left is
the image tower's: most of the variance within a class lies between contexts there, references show two contexts
of each class, and by every rule that ranks classes by what images show, about one in twenty images of no class at
all is nearest to the class that was asked for.""",
    """**Against the filter.** Wrong images that a text-to-image model makes are not those that a renderer makes:
mostly near misses, which no judge here tells from right ones much better than chance. A filter catches a
generator that does not obey; it does not make a good one better.""",
)
_INVESTMENT = (
    """**For a user.** Where the generator draws what it is asked for, keep everything: in contexts never mentioned
neither the default filter ({obeying}) nor even the oracle ({oracle}) gains over `all`, and the filter costs
accuracy in the prompted ones ({prompted}). Where it does not, the default filter is worth its price there: {random}
with a random other species in 30 % of the rows, {alike} with look-alikes; in the prompted contexts it comes to
{random_prompted} and {alike_prompted}. Nobody knows beforehand which case is theirs, and in contexts never mentioned a
filter that is not needed costs less than one that is missing, so it stays the default; look at
twenty samples (`preview --samples 20`), and if they show what was asked for, use `--filter.policy.name all`.""",
    """**Against the method.** The paper's own rule (Eq. 5) keeps so little that most of what was generated is lost:
{paper} against keeping everything.""",
)
_GUIDANCE = (
    """**For a user.** Leave gamma at 2. Against it, keeping everything comes to {low} at 0.5, {one} at 1, {four} at 4
and {high} at 6.5, in contexts never mentioned. Images show the right species as often at 1 ({first} %) as at 2
({best} %), and least often at 6.5 ({worst} %): more guidance is not more faithful, and a filter does not make up for
it: at 6.5 the default comes to {filtered} against `all`. Without the negative prompt, everything kept: {negatives}, and
{negatives_prompted} in the prompted contexts.""",
)
_CONTEXT = (
    """**For a user.** Naming contexts moves accuracy to those that are named: against prompts without any context,
six named ones come to {prompted} in these six, and to {unmentioned} in contexts that nobody mentioned ({tuned}
fine-tuned). A generator that is not told the context draws several of its own accord; which of them, and whether those
that nobody mentioned are among them, was not counted. So name the contexts that you will meet, and do not expect them
to carry over to others. The built-in lists keep the empty context among the named ones; that mixture was not
tried here.""",
)
_MIXING = (
    """**Against the method.** In this world mixing real and generated images costs more than it gives. Against the
same counterparts shown as they are, in contexts never mentioned: mixed with the row's own counterpart, from
scratch, {own}; with any of the class {of_class}, fine-tuned {of_class_tuned}; fine-tuned with its own, against three
times as many images as they are, {own_tuned}. Some of it may be time: mixed images are harder to learn from, and after
three times the steps the difference is {longer}. It is no smaller with fewer real images: {fewer} with three of each
species, {half} with six. It is still much
better than real images alone ({over_plain}).""",
    """**For a user.** Train on generated images as they are, beside the real ones (`--mix.kind none`, arm `genaug`),
and compare with `mix` on your own data. A row's own counterpart or any of its class, from three times as many
images: {partner}.""",
)
_ALTERNATIVES = (
    """**For a user.** In contexts never mentioned heavy classical augmentation comes to {heavy}, real images alone to
{plain}, generated ones beside them to {generated}: what crops, colours and erasing cannot do is put an object
elsewhere. As many real images of all contexts reach {real}: where more real pictures of other places can be had,
get them; synthetic ones are for where they cannot. Whoever pays for the filter has its embeddings: a linear probe
on them, with every generated image, comes to {probe}.""",
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
