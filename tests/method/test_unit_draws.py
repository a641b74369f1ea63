"""Tests of the draws of a unit: the target class and the strength depend on no other row, order or class index."""

import numpy as np
import pytest

from diffcore_hf.method.unit_draws import class_rows, drawn_strengths, target_classes

NAMES = tuple(f"bird {number}" for number in range(20))
KEYS = [(f"train/{row}", copy) for row in range(1000) for copy in (0, 1)]
LABELS = np.array([row % 20 for row in range(1000) for _ in (0, 1)])


def targets(names=NAMES, *, labels=LABELS, keys=KEYS, own=False, eligible=None, seed=0):
    """Returns the names of the target classes."""
    eligible = np.arange(len(names)) if eligible is None else np.array(eligible)
    return [names[index] for index in target_classes(labels, keys, names, eligible, seed, own=own)]


@pytest.mark.parametrize(("own", "others"), [(False, 19), (True, 20)])
def test_every_allowed_class_is_drawn_about_equally_often(own, others):
    counts = {name: 0 for name in NAMES}
    for name in targets(own=own):
        counts[name] += 1
    expected = len(KEYS) / 20
    # The standard deviation of a count is about 10, so 5 of them are 50.
    assert all(abs(count - expected) < 50 for count in counts.values())
    same = sum(name == NAMES[label] for name, label in zip(targets(own=own), LABELS, strict=True))
    assert same == 0 if not own else abs(same - len(KEYS) / others) < 50


def test_a_new_class_changes_only_the_targets_that_become_the_new_class():
    before, after = targets(), targets((*NAMES, "new bird"))
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"new bird"}
    assert 0.03 < len(moved) / len(KEYS) < 0.07  # the expected share is 1/20, because there are 20 other classes


def test_the_order_of_classes_and_of_units_changes_no_target():
    order = np.random.default_rng(0).permutation(20)
    names = tuple(NAMES[index] for index in order)
    assert targets(names, labels=np.argsort(order)[LABELS]) == targets()
    assert targets(labels=LABELS[::-1], keys=KEYS[::-1]) == targets()[::-1]
    assert targets(labels=LABELS[:7], keys=KEYS[:7]) == targets()[:7]


def test_only_eligible_classes_are_drawn_and_the_seed_changes_the_draw():
    assert set(targets(eligible=[3, 5, 8])) == {"bird 3", "bird 5", "bird 8"}
    assert targets(seed=1) != targets()


@pytest.mark.parametrize(("eligible", "own"), [([], True), ([4], False)])
def test_too_few_classes_are_refused(eligible, own):
    with pytest.raises(ValueError, match="too few"):
        targets(eligible=eligible, own=own)


def test_strengths_are_drawn_about_equally_often_and_one_strength_is_constant():
    drawn = drawn_strengths(KEYS, (0.25, 0.5, 0.75, 1.0), 0)
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 4
    assert abs(counts - 500).max() < 100
    assert drawn_strengths(KEYS[:9], (0.25, 0.5, 0.75, 1.0), 0).tolist() == drawn[:9].tolist()
    assert drawn_strengths(KEYS[:3], (0.7,), 0).tolist() == [0.7] * 3


def drawn_rows(candidates, shown=LABELS, rows=None, keys=KEYS, seed=0):
    """Returns the drawn rows. Row r has the class r modulo 20 and the id `id r`."""
    rows = np.repeat(np.arange(1000), 2) if rows is None else np.array(rows)
    candidates = np.array(candidates)
    return class_rows(shown, rows, keys, candidates, candidates % 20, [f"id {row}" for row in candidates], seed)


def test_a_class_image_has_the_class_and_is_another_row_drawn_about_equally_often():
    drawn = drawn_rows(range(200))
    assert (drawn % 20 == LABELS).all()
    assert (drawn != np.repeat(np.arange(1000), 2)).all()
    counts = np.bincount(drawn, minlength=200)
    assert counts.min() > 0 and counts.max() < 40  # 2,000 draws over 200 rows
    assert (drawn != drawn_rows(range(200), seed=1)).any()


def test_a_new_candidate_changes_only_the_draws_that_become_the_new_row():
    before, after = drawn_rows(range(200)), drawn_rows(range(201))
    assert set(after[before != after].tolist()) == {200}
    order = np.random.default_rng(0).permutation(200)
    assert (drawn_rows(order) == before).all()


def test_the_row_itself_is_drawn_only_if_the_class_has_no_other_candidate():
    keys = [("a", 0), ("a", 1), ("b", 0)]
    drawn = drawn_rows([3, 23, 4], shown=np.array([3, 3, 4]), rows=[3, 3, 4], keys=keys)
    assert drawn.tolist() == [23, 23, 4]
    assert drawn_rows([3], shown=np.array([5]), rows=[5], keys=keys[:1]).tolist() == [5]
