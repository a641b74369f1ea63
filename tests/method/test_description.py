"""Tests of the figures that describe generated images, per class and over all classes."""

import numpy as np
import pytest

from diffcore_hf.method import description as module
from diffcore_hf.method.description import describe
from diffcore_hf.method.distances import cmmd
from diffcore_hf.method.thresholds import unit_rows


def images(seed, counts, width=32):
    """Returns normal embeddings with the given number of images of each class, and their labels."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).normal(size=(len(labels), width)) + 1, labels


FIELDS = ("cmmd", "coverage", "diversity", "cosines", "copies")


@pytest.mark.parametrize(
    "real, kept, present",
    [
        (12, 0, ()),
        (12, 1, ("coverage", "copies")),
        (12, 2, ("coverage", "copies", "diversity", "cosines")),
        (12, 3, FIELDS),
        (0, 5, ()),
        (1, 5, ()),
        (2, 5, ("diversity", "cosines")),
        (3, 5, ("cmmd", "copies", "diversity", "cosines")),
        (4, 5, FIELDS),
    ],
)
def test_a_figure_is_none_for_a_class_with_too_few_images(real, kept, present):
    found = describe(["bird"], images(0, [real]), images(1, [kept]))
    [only] = found.classes
    assert {name for name in FIELDS if getattr(only, name) is not None} == set(present)
    assert {name for name, count in found.used.items() if count} == set(present)
    assert (only.real, only.kept) == (real, kept)


def test_equal_distributions_have_the_expected_figures_over_all_classes():
    found = describe([f"class {k}" for k in range(40)], images(0, [30] * 40, 8), images(1, [20] * 40, 8)).overall
    assert abs(found.cmmd.value) < 3 * found.cmmd.error
    assert found.coverage.coverage == pytest.approx(found.coverage.expected, abs=0.06)
    assert found.coverage.density == pytest.approx(1, abs=0.15)
    assert found.diversity.generated == pytest.approx(found.diversity.real, rel=0.03)
    assert found.diversity.size == 20
    assert found.cosines.generated == pytest.approx(found.cosines.real, abs=0.02)
    assert found.copies.below == pytest.approx(0.05, abs=0.06)


def test_the_overall_cmmd_is_the_mean_over_kept_images_with_the_error_of_independent_classes():
    (real, labels), (kept, kept_labels) = images(0, [9, 7]), images(1, [4, 6])
    first, second = (cmmd(unit_rows(real[labels == k]), unit_rows(kept[kept_labels == k])) for k in (0, 1))
    found = describe(["a", "b"], (real, labels), (kept, kept_labels)).overall.cmmd
    assert found.value == pytest.approx(0.4 * first.value + 0.6 * second.value)
    assert found.error == pytest.approx(np.hypot(0.4 * first.error, 0.6 * second.error))


def test_copies_of_real_images_are_counted_and_come_first_among_the_pairs():
    real, labels = images(0, [20, 20])
    kept, kept_labels = images(1, [10, 10])
    kept[3], kept[15] = 2 * real[5], real[31]
    found = describe(["a", "b"], (real, labels), (kept, kept_labels))
    assert [(pair.kept, pair.real) for pair in found.closest[:2]] == [(3, 5), (15, 31)]
    assert [pair.ratio for pair in found.closest[:2]] == [0, 0]
    assert found.closest[2].distance > 0.1
    assert len(found.closest) == 20
    assert found.overall.copies.below >= 0.1
    assert found.classes[0].copies.lowest == 0


def test_equal_embeddings_have_finite_figures():
    real, kept = (np.ones((5, 4)), np.zeros(5, int)), (np.ones((6, 4)), np.zeros(6, int))
    found = describe(["a"], real, kept).classes[0]
    assert found.cmmd == (0, 0)
    assert (found.coverage.coverage, found.diversity.generated, found.cosines.generated) == pytest.approx((1, 1, 1))
    assert found.copies.lowest == 0


def test_large_classes_are_sampled(monkeypatch):
    monkeypatch.setattr(module, "MOST_PER_CLASS", 50)
    real, kept = images(0, [300]), images(1, [200])
    found = describe(["a"], real, kept)
    assert found.classes[0].coverage.expected == pytest.approx(1 - (49 * 48 * 47) / (99 * 98 * 97))
    assert describe(["a"], real, kept) == found
    assert len(found.closest) == 200


def test_the_number_of_compared_pairs_is_bounded_for_every_shape(monkeypatch):
    monkeypatch.setattr(module, "MOST_PER_CLASS", 20)
    monkeypatch.setattr(module, "MOST_PAIRS", 30 * 100)
    real, kept = images(0, [80, 20]), images(1, [90, 10])
    found = describe(["a", "b"], real, kept)
    assert found.compared == 30
    assert len(found.closest) == 30 + 10
    whole = {pair.kept: pair for pair in describe(["a", "b"], *exact(monkeypatch, real, kept)).closest}
    assert all(pair == whole[pair.kept] for pair in found.closest)
    monkeypatch.setattr(module, "MOST_PAIRS", 1)
    assert describe(["a", "b"], real, kept).compared == 20


def exact(monkeypatch, real, kept):
    """Raises the bound of the number of pairs, so that all pairs are compared. Returns the embeddings."""
    monkeypatch.setattr(module, "MOST_PAIRS", 1_000_000)
    return real, kept


def test_no_class_and_no_image_have_no_figures():
    empty = np.zeros((0, 0)), np.zeros(0, int)
    assert describe([], empty, empty).overall.cmmd is None
    assert describe(["a"], empty, empty).overall.kept == 0
