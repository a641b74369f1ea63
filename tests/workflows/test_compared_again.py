"""Tests of the check of compare.json: its figures follow from the scores of the seeds."""

import pytest
from card_facts import example_manifest

from diffcore_hf.workflows.compared_again import comparison_faults

PLAIN = {"name": "plain", "by_seed": [0.5, 0.6], "top1": 0.55, "sd": 0.005**0.5, "difference": 0.0,
         "half_interval": 0.0, "seen": False}  # fmt: skip
# The differences are 0.1 and 0.2: their mean is 0.15, and t(1) * sd / sqrt(2) = 12.706 * 0.05.
MIX = {"name": "mix", "by_seed": [0.6, 0.8], "top1": 0.7, "sd": 0.02**0.5, "difference": 0.15,
       "half_interval": 0.6353, "seen": False}  # fmt: skip


def faults(mix=None, **changed):
    return comparison_faults(
        {"arms": [PLAIN, MIX | (mix or {})], "seeds": [0, 1], "split": "test", "images": 1000, **changed},
        example_manifest(),
    )


def test_figures_that_follow_from_the_scores_have_no_fault():
    assert faults() == []
    assert (
        comparison_faults({"arms": [{"name": "plain"}], "seeds": [0], "split": "x", "images": 1}, example_manifest())
        == []
    )


@pytest.mark.parametrize(
    "key, value", [("top1", 0.71), ("sd", None), ("difference", 0.16), ("half_interval", 0.1), ("seen", True)]
)
def test_a_changed_figure_is_a_fault(key, value):
    assert faults({key: value}) == [f"compare.json: {key} of arm mix does not follow from the scores of its seeds"]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"mix": {"by_seed": [0.6]}}, "arm mix has 1 scores for 2 seeds"),
        ({"mix": {"by_seed": ["a", "b"]}}, "the scores of the seeds are not valid"),
        ({"images": 5000}, "5,000 images are more than split test has"),
    ],
)
def test_scores_that_do_not_fit_are_a_fault(changed, fault):
    assert faults(**changed) == [f"compare.json: {fault}"]
