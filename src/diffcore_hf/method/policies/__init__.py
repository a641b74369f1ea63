"""Filter policies: rules that decide which generated images pass, given real images of their class.

Each file here has the class of a policy and the functions that fit it. `POLICIES` lists the policies. This package does
not own their parameters (config/policy.py), the order of the checks (checks.py), the status of a unit (filtration.py)
or the statistics (thresholds.py, conformal.py, ranking.py).

A verdict on an attempt depends on that attempt and on the references, never on other attempts.

To add a policy:
    1. here: a file with a subclass of FittedPolicy and a function that fits it, and one line in `POLICIES`;
    2. config/policy.py: its name in `PolicyConfig.name`, its parameters as fields of `PolicyConfig` and in
       `POLICY_PARAMETERS`; the ranges of its parameters in config/augment_schema.py;
    3. publishing/card: the texts about its rule and its guarantee in policy_words.py, and the heading of its bound in
       `_BOUNDS` of dataset_card.py;
    4. workflows/decided_again.py: if it uses an input that the tables of a dataset do not contain. `verify` fits every
       policy again;
    5. if it rejects for a new reason: one entry in `CHECKS` (checks.py).
"""

from __future__ import annotations

from collections.abc import Callable

from diffcore_hf.config.policy import PolicyConfig, policy_parameters
from diffcore_hf.method.policies.base import FitInput, FittedPolicy, Verdicts
from diffcore_hf.method.policies.control import fit_all, fit_random
from diffcore_hf.method.policies.parent import fit_fixed, fit_mean
from diffcore_hf.method.policies.quantile import fit_quantile
from diffcore_hf.method.policies.rank import Rank, fit_rank
from diffcore_hf.method.policies.text_softmax import fit_text_softmax
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums

__all__ = ["PARENT_POLICIES", "POLICIES", "FittedPolicy", "Rank", "Verdicts", "fit"]

POLICIES: dict[str, Callable[[FitInput], FittedPolicy]] = {
    "all": fit_all,
    "random": fit_random,
    "mean": fit_mean,
    "fixed": fit_fixed,
    "quantile": fit_quantile,
    "rank": fit_rank,
    "text_softmax": fit_text_softmax,
}
"""The function that fits each policy, by its name in the recipe (filter.policy.name)."""
PARENT_POLICIES = ("mean", "fixed")
"""Policies that compare an image with the real image of its row. They do not fit images of another class."""


def fit(policy: PolicyConfig, references: ReferenceEmbeddings, seed: int) -> FittedPolicy:
    """Fits a policy to the references. The order of the references does not matter.

    Args:
        policy: section filter.policy of the recipe.
        references: the embeddings of the real images.
        seed: seed of the recipe; used by `random`, and by `mean` if `pairs` is given.

    Raises:
        UserError: the policy is rank by text or text_softmax, and the references have no text embeddings.
    """
    references = references.ordered()
    sums = PairSums.of(references.embeddings, references.labels, references.classes)
    return POLICIES[policy.name](FitInput(references, sums, seed, policy_parameters(policy)))
