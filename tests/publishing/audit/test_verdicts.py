"""Tests of verdicts: the published reason is compared with that of the policy, for each position of a check."""

from types import SimpleNamespace

import numpy as np
import pytest

from diffcore_hf.method.checks import CHECKS, policy_reasons
from diffcore_hf.publishing.audit.verdicts import VerdictCheck


@pytest.mark.parametrize(
    ("published", "by_policy", "reviewed", "fits"),
    [
        ("kept", None, False, True),
        ("kept", "low_rank", False, False),
        ("kept", "low_rank", True, True),
        ("low_rank", "low_rank", False, True),
        ("low_rank", None, False, False),
        ("low_rank", "below_floor", False, False),
        ("unsafe", "low_rank", False, True),
        ("duplicate", None, False, True),
        ("superseded", "low_rank", False, True),
        ("copy", None, False, True),
        ("copy", "low_rank", False, False),
        ("my_check", None, False, True),
        ("my_check", "low_rank", False, False),
    ],
)
def test_a_reason_is_compared_with_that_of_the_policy(published, by_policy, reviewed, fits):
    values = np.ones(1)
    verdicts = SimpleNamespace(score=values, bound=values, class_rank=[1], reasons=[by_policy])
    references = SimpleNamespace(embeddings=np.ones((1, 2)))
    policy = SimpleNamespace(references=references, bound=values, verdicts=lambda *_: verdicts)
    row = {"row_id": "a", "copy": 0, "attempt": 0, "label": 0, "target_label": None}
    row |= {"score": 1.0, "bound": 1.0, "class_rank": 1, "reason": published}
    [faults] = VerdictCheck(policy, reviewed=reviewed).faults([row], [np.ones(2)], [None])
    assert faults == ([] if fits else ["the reason is not that of the filter"])


def test_the_reasons_of_the_policy_follow_each_other():
    positions = [position for position, check in enumerate(CHECKS) if check.by_policy]
    assert positions == list(range(positions[0], positions[0] + len(policy_reasons())))
