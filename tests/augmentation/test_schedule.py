"""Tests of the attempts that are due while facts arrive, and of the choice of the next part."""

import numpy as np
import pytest

from diffcore_hf.augmentation.part_sizes import PartSizes
from diffcore_hf.augmentation.schedule import Due, Schedule
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.work import next_piece
from diffcore_hf.method.filtration import GIVEN_UP_AFTER, Units


def schedule(labels, wanted=None, max_attempts=3, readable=None):
    """Returns the schedule of units with these classes."""
    count = len(labels)
    units = Units([f"train/{unit}" for unit in range(count)], np.zeros(count, np.int64), np.array(labels), readable)
    return Schedule(units, count if wanted is None else wanted, max_attempts, max(labels) + 1)


def add(plan, *attempts):
    """Adds (unit, attempt, passed) to a schedule."""
    units, numbers, passed = (np.array(column) for column in zip(*attempts, strict=True))
    plan.add(units, numbers, passed.astype(bool))


def pairs(due):
    """Returns (round, position) of all items that are due, in their order."""
    return list(zip(due.rounds.tolist(), due.positions.tolist(), strict=True))


def test_the_next_attempt_of_a_unit_is_due_as_soon_as_the_earlier_one_is_rejected():
    plan = schedule([0, 0, 0])
    assert pairs(plan.due()) == [(0, 0), (0, 1), (0, 2)]
    add(plan, (0, 0, False), (1, 0, True))
    assert pairs(plan.due()) == [(0, 2), (1, 0)]
    add(plan, (0, 1, False), (2, 0, True))
    assert pairs(plan.due()) == [(2, 0)]
    add(plan, (0, 2, False))
    assert pairs(plan.due()) == []


def test_units_beyond_the_limit_and_units_whose_image_cannot_be_read_are_never_due():
    plan = schedule([0, 0, 0], wanted=2, readable=np.array([False, True, True]))
    assert pairs(plan.due()) == [(0, 1)]


def test_a_later_attempt_that_exists_is_not_due_again():
    plan = schedule([0])
    add(plan, (0, 0, False), (0, 1, False))
    assert pairs(plan.due()) == [(2, 0)]


def test_no_later_attempt_of_a_given_up_class_is_due_and_those_of_an_open_class_come_last():
    first = GIVEN_UP_AFTER
    plan = schedule([0] * (first + 1) + [1])
    add(plan, *((unit, 0, False) for unit in range(first - 1)), (first, 0, False), (first + 1, 0, False))
    due = pairs(plan.due())
    assert due[:2] == [(0, first - 1), (1, first + 1)]
    assert due[2:] == [(1, unit) for unit in [*range(first - 1), first]]
    add(plan, (first - 1, 0, False))
    assert pairs(plan.due()) == [(1, first + 1)]


@pytest.mark.parametrize("last, expected", [(True, 0), (False, 1)], ids=["kept", "given up"])
def test_a_class_with_one_kept_image_is_not_given_up(last, expected):
    plan = schedule([0] * GIVEN_UP_AFTER)
    add(plan, *((unit, 0, False) for unit in range(GIVEN_UP_AFTER - 1)), (GIVEN_UP_AFTER - 1, 0, last))
    assert (len(plan.due()) == 0) == bool(expected)


class _Work:
    """A kind of work whose parts are not limited by memory."""

    def sizes(self, positions):
        return None


def due_units(positions, rounds=None):
    return Due(np.array(rounds or [0] * len(positions)), np.array(positions))


@pytest.mark.parametrize(
    "share, free, rounds, expected",
    [
        (Share(0, 2), [0, 1, 2, 3, 4, 5], None, (0, [0, 2])),
        (Share(1, 2), [0, 1, 2, 3, 4, 5], None, (0, [1, 3])),
        (Share(1, 2), [0, 2, 4, 6], None, (0, [4, 6])),
        (Share(0, 2), [0, 2, 4, 1, 3], [0, 0, 0, 1, 1], (0, [0, 2])),
        (Share(1, 2), [0, 2, 4, 1, 3], [0, 0, 0, 1, 1], (1, [1, 3])),
        (Share(1, 2), [], None, None),
    ],
    ids=["first worker", "second worker", "the other share", "first round", "second round", "nothing is free"],
)
def test_a_worker_starts_with_its_share_and_helps_elsewhere(share, free, rounds, expected):
    assert next_piece(due_units(free, rounds), share, 2, PartSizes(2, None), _Work()) == expected


def test_workers_that_help_one_of_them_start_at_different_positions():
    free = due_units(list(range(0, 160, 4)))
    pieces = [next_piece(free, Share(index, 4), 4, PartSizes(2, None), _Work())[1] for index in range(4)]
    assert [piece[0] for piece in pieces] == [0, 40, 80, 120]
