"""Descriptions of filter policies and of their guarantees, for the readers of a card.

Owns only the texts; the rules themselves are in method/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_RANKINGS = {
    "class_mean": "similarity to the mean embedding of each class",
    "classifier": "a linear discriminant on the embeddings of the real images",
    "context_free": "a linear discriminant on the embeddings of the real images. Before this, the directions of "
    "contexts are removed from the embeddings",
    "text": "similarity to a caption of each class",
}
_GUARANTEE = (
    "At most about {alpha:g} % of new real images from the same distribution as the dataset would be rejected (a "
    "conformal bound from a finite sample; small classes are pooled). The guarantee covers real images only. It says "
    "nothing about generated images, whose measured rates are under Counts."
)
_NO_GUARANTEE = "None."
_FLOORS = {
    "on": "The image must also not be farther from its class than the farthest 1 % of the real images.",
    "off": "",
    "auto": "With fewer than 20 classes, the image must also not be farther from its class than the farthest 1 % of "
    "the real images.",
}


class PolicyWords(NamedTuple):
    """Two paragraphs about a policy."""

    rule: str
    guarantee: str


def describe(policy: Mapping[str, Any] | str) -> PolicyWords:
    """Describe a policy; a parameter that is not given has its documented default."""
    given = {"name": policy} if isinstance(policy, str) else dict(policy)
    name = given.get("name") or "rank"

    def value(key: str, default: Any) -> Any:
        return default if given.get(key) is None else given[key]

    if name == "all":
        return PolicyWords("Every image is kept. No image was compared with its class (a control).", _NO_GUARANTEE)
    if name == "random":
        return PolicyWords(
            f"A random share of {100 * value('p', 0.5):g} % is kept, drawn by the seed and not by content (a control).",
            _NO_GUARANTEE,
        )
    if name == "mean":
        pairs = f" over {given['pairs']} sampled pairs" if given.get("pairs") else ""
        return PolicyWords(
            "An image is kept if its similarity to the real image of its row is above the mean similarity of two "
            f"different real images of the class{pairs} (Eq. 5 of the paper).",
            "None. Many real images do not reach the mean of real pairs either. Their share is under Counts.",
        )
    if name == "fixed":
        return PolicyWords(
            f"An image is kept if its similarity to the real image of its row is above {value('t', 0.0):g}.",
            "None. The bound is the same for all classes; the share of real images below the bound is under Counts.",
        )
    if name == "text_softmax":
        return PolicyWords(
            "The cosines of the image and a caption of each of the K classes, times the scale of the image tower, are "
            "turned into probabilities by a softmax. An image is kept if the probability of its class is above 1/K.",
            "None. No real image decides the bound; the share of real images below the bound is under Counts.",
        )
    guarantee = _GUARANTEE.format(alpha=100 * value("alpha", 0.1))
    if name == "quantile":
        return PolicyWords(
            "An image is kept if its similarity to the mean embedding of its class is not below the bound. The bound "
            "comes from real images that were left out of the mean.",
            guarantee,
        )
    if name == "rank":
        ranking = _RANKINGS.get(value("by", "context_free"), str(given.get("by")))
        rule = (
            f"All classes are ranked by {ranking}. An image is kept if the rank of its own class is not worse than "
            "the bound. The bound comes from real images that were left out of the fit."
        )
        return PolicyWords(f"{rule} {_FLOORS.get(value('floor', 'auto'), '')}".strip(), guarantee)
    return PolicyWords(f"The policy {name}.", "Not described.")
