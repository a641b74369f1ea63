"""What each policy reads."""

import pytest

from diffcore_hf.core.recipe import Policy
from diffcore_hf.method.parameters import JUDGES, policy_parameters
from diffcore_hf.method.ranking import RANKINGS


@pytest.mark.parametrize(
    ("policy", "parameters"),
    [
        (Policy(), {"by": "classifier", "alpha": 0.1, "floor": "auto"}),
        (Policy("rank", by="text", alpha=0.2, floor="off"), {"by": "text", "alpha": 0.2, "floor": "off"}),
        (Policy("all"), {}),
        (Policy("random"), {"p": 0.5}),
        (Policy("mean"), {"pairs": None}),
        (Policy("fixed", t=0.0), {"t": 0.0}),
        (Policy("quantile"), {"alpha": 0.1}),
    ],
)
def test_defaults_are_filled_in(policy, parameters):
    assert policy_parameters(policy) == parameters


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy("all", alpha=0.1), r"filter\.policy\.alpha is 0\.1, which policy all does not read.*nothing"),
        (Policy("mean", t=0.5), r"policy mean does not read; it reads: pairs"),
        (Policy("fixed"), r"policy fixed needs filter\.policy\.t, for example --filter\.policy\.t"),
        (Policy("rank", alpha=1.0), r"filter\.policy\.alpha is 1\.0; it must be between 0 and 1"),
        (Policy("random", p=-0.1), r"filter\.policy\.p is -0\.1; it must be in \[0, 1\]"),
        (Policy("fixed", t=7.0), r"filter\.policy\.t is 7\.0"),
        (Policy("mean", pairs=0), r"filter\.policy\.pairs is 0; it must be 1 or more"),
        (Policy("rank", by="nearest"), r"filter\.policy\.by is 'nearest'; it must be one of class_mean, classifier"),
        (Policy("rank", floor="maybe"), r"filter\.policy\.floor is 'maybe'"),
        (Policy("best"), r"filter\.policy\.name is 'best'; the policies: all, random"),
    ],
)
def test_what_is_not_read_missing_or_out_of_range_is_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        policy_parameters(policy)


def test_every_judge_has_a_ranking():
    assert tuple(RANKINGS) == JUDGES
