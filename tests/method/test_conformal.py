"""Tests of the finite-sample quantile, its pooling, and its guarantee on synthetic data."""

import numpy as np
import pytest

from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.method.conformal import conformal_bound, conformal_rejected, rank_bounds, similarity_bounds
from diffcore_hf.method.policies import fit
from diffcore_hf.method.references import ReferenceEmbeddings


@pytest.mark.parametrize(
    ("n", "alpha", "bound"),
    [
        (8, 0.1, -np.inf),  # k = floor(0.9) = 0, so only a bound that accepts everything has the guarantee
        (9, 0.1, 1),
        (18, 0.1, 1),
        (19, 0.1, 2),
        (99, 0.29, 29),  # 100 * 0.29 is 28.999... in floating point
        (9, 0.7, 7),
        (0, 0.5, -np.inf),
    ],
)
def test_the_bound_is_the_kth_smallest_value(n, alpha, bound):
    scores = np.arange(n, 0, -1.0)
    assert conformal_bound(scores, alpha) == bound


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25, 0.5])
def test_leave_one_out_rejections_equal_a_slow_implementation(alpha):
    scores = np.random.default_rng(1).integers(0, 12, 25).astype(float)  # 25 scores of 12 values, so several are equal
    slow = [s < conformal_bound(np.delete(scores, i), alpha) for i, s in enumerate(scores)]
    assert conformal_rejected(scores, alpha).tolist() == slow
    assert np.mean(slow) <= alpha


def test_small_classes_use_pooled_differences():
    # The scores of class 0 are compared with the means of the other two scores: 0.65, 0.6 and 0.55. The differences
    # are -0.15, 0 and 0.15. Those of class 1 are -0.2 and 0.2.
    scores, labels = np.array([0.5, 0.6, 0.7, 0.1, 0.3, np.nan]), np.array([0, 0, 0, 1, 1, 2])
    bounds, rejected = similarity_bounds(scores, labels, 4, 0.4)  # k = floor(6 * 0.4) = 2: -0.15
    np.testing.assert_allclose(bounds, [0.45, 0.05, 0.25, 0.25], atol=1e-12)  # classes 2, 3: (0.6 + 0.2) / 2
    np.testing.assert_array_equal(rejected, [1, 0, 0, 1, 0, np.nan])  # k' = floor(5 * 0.4) = 2


def test_a_large_class_has_its_own_bound():
    scores = np.concatenate([np.arange(30) / 100, [0.9, 0.95]])
    labels = np.array([0] * 30 + [1] * 2)
    bounds, rejected = similarity_bounds(scores, labels, 2, 0.1)
    assert bounds[0] == 0.02  # floor(31 * 0.1) = 3rd smallest
    assert bounds[1] == -np.inf  # a pool of two scores is too small for a bound
    assert rejected[:30].sum() == 3
    assert not rejected[30:].any()


def test_a_class_of_fifty_ranks_has_its_own_bound():
    ranks = np.concatenate([np.ones(46, int), [5, 5, 6, 7], [1, 1, 2], [0]])
    labels = np.array([0] * 50 + [1] * 3 + [2])
    bounds, rejected = rank_bounds(ranks, labels, 3, 0.1)
    # ceil(51 * 0.9) = 46, and the 46th smallest rank of class 0 is 1. The other classes have too few ranks, so their
    # bound is the number of classes.
    assert bounds.tolist() == [1, 3, 3]
    assert rejected[:50].sum() == 4
    assert np.isnan(rejected[-1])


def test_the_bounds_of_classes_with_one_image_accept_every_rank():
    bounds, rejected = rank_bounds(np.zeros(2, int), np.array([0, 1]), 2, 0.1)
    assert bounds.tolist() == [2, 2]
    assert np.isnan(rejected).all()


def images(rng, centres, spread, labels):
    return (centres[labels] + spread * rng.normal(size=(len(labels), len(spread)))).astype(np.float16)


@pytest.mark.parametrize("size", [5, 12, 60])
@pytest.mark.parametrize(
    "policy",
    [
        PolicyConfig("quantile", alpha=0.1),
        PolicyConfig("rank", by="class_mean", alpha=0.1, floor="off"),
        PolicyConfig("rank", by="classifier", alpha=0.1, floor="off"),
    ],
    ids=lambda policy: policy.by or policy.name,
)
def test_at_most_about_alpha_of_new_real_images_are_rejected(policy, size):
    """The mean over many repetitions is tested. The classes overlap, so the bounds reject some images."""
    rng, rejected, real = np.random.default_rng(size), [], []
    classes, width, new_images = 12, 8, 20
    for _ in range(60):
        centres = rng.normal(size=(classes, width))
        spread = rng.uniform(0.5, 1.5, size=width)
        labels = np.repeat(np.arange(classes), size)
        real_images = images(rng, centres, spread, labels)
        fitted = fit(
            policy, ReferenceEmbeddings([f"train/{i}" for i in range(len(labels))], labels, real_images, classes), 0
        )
        new_labels = np.repeat(np.arange(classes), new_images)
        verdicts = fitted.verdicts(
            new_labels,
            images(rng, centres, spread, new_labels),
            np.zeros((len(new_labels), width)),
            [("", 0, 0)] * len(new_labels),
        )
        rejected.append(1 - verdicts.passed.mean())
        real.append(np.nanmean(fitted.rejected_real()))
    slack = 3 * np.std(rejected) / len(rejected) ** 0.5
    assert np.mean(rejected) <= 0.1 + slack
    assert np.mean(real) <= 0.1 + 1e-9  # the reported share, computed with each image left out once
