"""Tests of the division of the work between workers."""

import numpy as np
import pytest

from diffcore_hf.augmentation.share import Share

POSITIONS = np.arange(24)


@pytest.mark.parametrize(
    "shares",
    [
        [Share()],
        [Share(index, 3) for index in range(3)],
        [Share(machine=index, machines=2) for index in range(2)],
        Share(1, 2).divided(3) + Share(0, 2).divided(3),
        Share(machine=0, machines=2).divided(3) + Share(machine=1, machines=2).divided(2),
    ],
    ids=["one", "three workers", "two machines", "two workers of three processes", "machines with unequal processes"],
)
def test_each_position_belongs_to_one_share(shares):
    assert np.sum([share.owns(POSITIONS) for share in shares], axis=0).tolist() == [1] * 24


def test_workers_of_one_folder_help_each_other_and_machines_without_a_shared_disk_do_not():
    assert Share(1, 2).may_compute(POSITIONS).all()
    for share in Share(machine=1, machines=2).divided(3):
        assert share.only
        assert POSITIONS[share.may_compute(POSITIONS)].tolist() == list(range(1, 24, 2))
