"""What a policy does and promises, in words for people who read a card.

Owns the wording only; the rules themselves are in method/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_JUDGES = {
    "class_mean": "similarity to the mean embedding of each class",
    "classifier": "a linear discriminant on the embeddings of the real images",
    "context_free": "a linear discriminant on the embeddings of the real images, without the directions of contexts",
    "text": "similarity to a caption of each class",
}
_PROMISE = (
    "At most about {alpha:g} % of fresh real images like those of the dataset would be rejected (a conformal bound "
    "from a finite sample, classes pooled where they are small). It speaks of images like the real ones, not of "
    "generated ones: for those nothing is promised, the measured rates stand under Counts."
)
_FLOORS = {
    "on": "It must also be as close to its class as 99 % of the real images are.",
    "off": "",
    "auto": "With fewer than 20 classes it must also be as close to its class as 99 % of the real images are.",
}


def describe(policy: Mapping[str, Any] | str) -> tuple[str, str]:
    """The rule of a policy and its promise, one paragraph each; parameters not given are the documented defaults."""
    given = {"name": policy} if isinstance(policy, str) else dict(policy)
    name = given.get("name") or "rank"

    def value(key: str, default: Any) -> Any:
        return default if given.get(key) is None else given[key]

    if name == "all":
        return "Everything is kept (a control): nothing was checked against the class.", "None."
    if name == "random":
        return f"A seeded share of {100 * value('p', 0.5):g} % is kept, whatever it shows (a control).", "None."
    if name == "mean":
        pairs = f" over {given['pairs']} sampled pairs" if given.get("pairs") else ""
        rule = (
            "An image is kept if its similarity to the real image of its row is above the mean similarity of two "
            f"different real images of the class{pairs} (Eq. 5 of the paper)."
        )
        return (
            rule,
            "None: the mean of real pairs is a bound that many real images miss too; their rate stands under Counts.",
        )
    if name == "fixed":
        rule = f"An image is kept if its similarity to the real image of its row is above {value('t', 0.0):g}."
        return rule, "None: one number for all classes; the rate at which real images miss it stands under Counts."
    promise = _PROMISE.format(alpha=100 * value("alpha", 0.1))
    if name == "quantile":
        return "An image is kept if it is as similar to the mean of its class as real images are.", promise
    if name == "rank":
        judge = _JUDGES.get(value("by", "context_free"), str(given.get("by")))
        rule = (
            f"All classes are ordered by {judge}; an image is kept if its own class stands at least as high as it does "
            "for real images that were left out."
        )
        return f"{rule} {_FLOORS.get(value('floor', 'auto'), '')}".strip(), promise
    return f"The policy {name}.", "Not described."
