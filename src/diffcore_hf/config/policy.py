"""Section `filter.policy` of a recipe: the policy by name, and the parameters that each policy uses.

Owns the fields with their help texts and the defaults by policy. The policies are in method/policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from diffcore_hf.config.fields import decision


@dataclass(frozen=True)
class PolicyConfig:
    """The rule that decides which generated images are kept. A parameter that the rule does not use is an error."""

    name: Literal["all", "random", "mean", "fixed", "quantile", "rank", "text_softmax"] = decision(
        "rank",
        help=(
            "all: keep every image. random (p): keep a random share. mean: the rule of the paper (Eq. 5). fixed (t): "
            "one bound for all classes. quantile (alpha) and rank (by, alpha): conformal bounds. text_softmax: the "
            "softmax over the captions of the classes is above 1/K, where K is the number of classes."
        ),
    )
    by: Literal["class_mean", "classifier", "context_free", "text"] | None = decision(
        None,
        help=(
            "rank: the method that ranks the classes for an image. context_free (default): a classifier on embeddings "
            "from which the directions of the contexts are removed."
        ),
    )
    alpha: float | None = decision(
        None, help="quantile, rank: share of real images that may be rejected, in (0, 1). Default: 0.1."
    )
    t: float | None = decision(None, help="fixed: lowest cosine similarity to the image of the row, in [-1, 1].")
    p: float | None = decision(None, help="random: share that is kept, in [0, 1]. Default: 0.5.")
    pairs: int | None = decision(
        None, help="mean: number of sampled pairs per class, as in the paper. null: all pairs."
    )
    floor: Literal["auto", "on", "off"] | None = decision(
        None,
        help=(
            "rank: the similarity to the class mean must also reach the value that 99 % of the real images reach. "
            "auto: on if there are fewer than 20 classes."
        ),
    )


POLICY_PARAMETERS: dict[str, dict[str, Any]] = {
    "all": {},
    "random": {"p": 0.5},
    "mean": {"pairs": None},
    "fixed": {"t": None},
    "quantile": {"alpha": 0.1},
    "rank": {"by": "context_free", "alpha": 0.1, "floor": "auto"},
    "text_softmax": {},
}
"""Policy -> the parameters that it uses, with their defaults."""


def policy_parameters(policy: PolicyConfig) -> dict[str, Any]:
    """Return the parameters that the policy uses, with defaults filled in."""
    parameters = dict(POLICY_PARAMETERS[policy.name])
    for name in parameters:
        given = getattr(policy, name)
        if given is not None:
            parameters[name] = given
    return parameters


def reads_class_names(policy: PolicyConfig) -> bool:
    """Return whether the policy compares images with captions that contain the names of the classes."""
    return policy.name == "text_softmax" or policy_parameters(policy).get("by") == "text"
