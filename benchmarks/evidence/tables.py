"""Tables: the results as Markdown tables.

Owns their rows and columns. Does not own the sentences about them (meaning.py) or their order (page.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from benchmarks.evidence.folders import BEST, KINDS
from benchmarks.evidence.series import GROUPS, Results, count, difference, percent, points, ratio
from benchmarks.evidence.worlds import UNMENTIONED
from benchmarks.report import table
from diffcore_hf.miniature.scenery import CONTEXTS

POLICY_WORDS = {
    "all": "`all`",
    "random": "`random`, keeps about as many images as `rank`, context-free",
    "mean": "`mean` (Eq. 5)",
    "fixed": "`fixed` with the bound 0.7",
    "quantile": "`quantile`",
    "class_mean": "`rank`, class mean",
    "classifier": "`rank`, classifier",
    "context_free": "`rank`, context-free",
    "text": "`rank`, text",
    "oracle": "the oracle keeps the right species",
}
CELLS = {
    "unseen-own": "CLIP not trained, own contexts",
    "unseen-shared": "CLIP not trained, shared contexts",
    "seen-own": "CLIP trained, own contexts",
    "seen-shared": "CLIP trained, shared contexts",
}
"""Name of a cell -> head of its column: how the CLIP was trained, and the training contexts."""
KIND_WORDS = {kind: {"right": "right species", "outside": "outside the dataset"}.get(kind, kind) for kind in KINDS}
"""Kind of image -> head of its column."""


def of_arms(results: Results, arms: Mapping[str, str], base: str, net: str = "scratch", *, images: bool = True) -> str:
    """Returns a table with one row for each arm.

    A row has the number of images, the accuracy in each group, and the difference to a base in contexts never
    mentioned.

    Args:
        results: all packed results.
        arms: name of an arm -> label of its row.
        base: the arm with which the other arms are compared. It need not be in `arms`.
        net: name of the network in NETS.
        images: whether to show the number of generated images and the share of right images among them.
    """
    head = [
        "arm",
        *(["number of generated images", "with the right species, %"] if images else []),
        *GROUPS,
        "*never mentioned*, difference to the row *base*",
    ]
    ground = results.accuracy(base, net, UNMENTIONED)
    rows = []
    for arm, words in arms.items():
        counts = [count(results.kept(arm, net)), percent(results.right(arm, net))] if images else []
        gap = "base" if arm == base else points(difference(results.accuracy(arm, net, UNMENTIONED), ground))
        rows.append([words, *counts, *(percent(results.accuracy(arm, net, group)) for group in GROUPS), gap])
    return table(head, rows)


def seeds(results: Results, arms: Sequence[str], net: str = "scratch") -> str:
    """Returns the number of seeds of a table as text."""
    counts = {len(results.accuracy(arm, net, UNMENTIONED)) for arm in arms}
    least, most = min(counts), max(counts)
    if least == most == 1:
        return "one seed"
    return f"{most} seeds" if least == most else f"{least} to {most} seeds (being measured)"


def judge_cells(results: Results, policies: Sequence[str]) -> str:
    """Returns a table with balanced accuracy and AUC of each policy in the four cells, on rendered images."""
    head = ["policy", *CELLS.values()]

    def cell(policy: str, name: str) -> str:
        pair = [results.judged(name, lambda result, key=key: result["policies"][policy][key]) for key in _BOTH]
        return "{}, AUC {}".format(*map(percent, pair))

    return table(head, [[POLICY_WORDS[policy], *(cell(policy, name) for name in CELLS)] for policy in policies])


_BOTH = ("balanced_accuracy", "auc")


def judge_shares(results: Results, cell: str, policies: Sequence[str]) -> str:
    """Returns a table with the share of images that each policy accepts in one cell.

    The table has one column for each kind of image, and one for the context with the lowest share.
    """
    head = ["policy", *KIND_WORDS.values(), "right species, in the context with the lowest share"]
    return table(head, [[POLICY_WORDS[policy], *_judged(results, cell, policy)] for policy in policies])


def _judged(results: Results, cell: str, policy: str) -> list[str]:
    shares = [results.judged(cell, lambda f, k=kind: f["policies"][policy]["accepted"][k]) for kind in KINDS]
    by_context = [results.judged(cell, lambda f, c=c: f["policies"][policy]["right_by_context"][c]) for c in CONTEXTS]
    means = [(mean(values.values()), context) for values, context in zip(by_context, CONTEXTS, strict=True) if values]
    return [*map(percent, shares), f"{100 * min(means)[0]:.0f} ({min(means)[1]})" if means else ""]


def judge_generated(results: Results, generator: str, policies: Sequence[str]) -> str:
    """Returns a table with the share of the images of a text-to-image model that each policy accepts."""
    shown = {kind: results.folder(generator, lambda f, k=kind: f["shows"][k]) for kind in KINDS}
    words = [f"{words} ({count(shown[kind])} images)" for kind, words in KIND_WORDS.items()]
    head = ["policy", *words, "share of the right species among the kept images"]
    return table(head, [[POLICY_WORDS[policy], *_accepted(results, generator, policy)] for policy in policies])


def _accepted(results: Results, generator: str, policy: str) -> list[str]:
    shares = [
        results.folder(generator, lambda f, k=kind: ratio(f["accepted"][policy][k], f["shows"][k])) for kind in KINDS
    ]
    pure = results.folder(
        generator, lambda f: ratio(f["accepted"][policy]["right"], sum(f["accepted"][policy].values()))
    )
    return [*map(percent, [*shares, pure])]


def guidance(results: Results, gammas: Sequence[str], keeps: Sequence[str], net: str = "scratch") -> str:
    """Returns a table with the share of right images by gamma, and the accuracy in contexts that no prompt mentions."""
    head = ["gamma", "right species, %", "right context, %", *(POLICY_WORDS[keep] for keep in keeps),
            f"{POLICY_WORDS[keeps[1]]}, difference to {POLICY_WORDS[keeps[0]]}"]  # fmt: skip
    rows = []
    for gamma in gammas:
        name = f"gamma-{gamma}"
        scores = [results.accuracy(f"{name}.{keep}", net, UNMENTIONED) for keep in keeps]
        right = results.right_species(name)
        context = results.folder(name, lambda f: f["right_context"])
        rows.append(
            [gamma, percent(right), percent(context), *map(percent, scores), points(difference(scores[1], scores[0]))]
        )
    return table(head, rows)


def probes(results: Results) -> str:
    """Returns a table with the accuracy of the linear probe, fitted with and without generated images."""
    words = {"real": "240 real images", "all": "240 real images and all generated images",
             BEST: "240 real images and the generated images that the default filter keeps",
             "oracle": "240 real images and the generated images with the right species"}  # fmt: skip
    rows = [[label, *(percent(results.probed(name, group)) for group in GROUPS)] for name, label in words.items()]
    return table(["fitted to", *GROUPS], rows)
