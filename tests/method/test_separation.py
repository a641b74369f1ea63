"""Tests of the rule that calls a filter weak, with numbers that can be checked by hand and with random embeddings."""

import numpy as np
import pytest

from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.method.policies import fit
from diffcore_hf.method.policies.separation import balanced_accuracy, separation_of_ranks, separation_of_similarities
from diffcore_hf.method.references import ReferenceEmbeddings

CLASSES, EACH, WIDTH = 25, 16, 48
POLICIES = [
    PolicyConfig("rank", by="classifier"),
    PolicyConfig("rank", by="class_mean"),
    PolicyConfig("rank"),
    PolicyConfig("quantile"),
    PolicyConfig("mean"),
]


def references(signal, classes=CLASSES, each=EACH):
    """Returns embeddings of `each` images per class: noise plus `signal` times a direction of the class."""
    draw = np.random.default_rng(5)
    labels = np.repeat(np.arange(classes), each)
    directions = draw.normal(size=(classes, WIDTH))
    embeddings = draw.normal(size=(len(labels), WIDTH)) + signal * directions[labels]
    return ReferenceEmbeddings(
        [f"train/{row}" for row in range(len(labels))], labels, embeddings.astype(np.float16), classes
    )


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.name} {policy.by or ''}".strip())
def test_every_policy_is_weak_with_random_embeddings_and_none_with_separable_embeddings(policy):
    weak = fit(policy, references(0), 0).separation()
    assert weak.weak.all()
    assert weak.accuracy < 0.12
    assert weak.accepts
    good = fit(policy, references(3), 0).separation()
    assert not good.weak.any()
    assert (good.accuracy, good.accepts, good.classes) == (1.0, "", CLASSES)


@pytest.mark.parametrize("name", ["all", "random"])
def test_policies_all_and_random_have_no_separation(name):
    assert fit(PolicyConfig(name), references(0), 0).separation() is None


@pytest.mark.parametrize(("t", "weak"), [(-1.0, True), (0.999, False)])
def test_a_filter_with_a_fixed_bound_that_other_classes_reach_is_weak(t, weak):
    separation = fit(PolicyConfig("fixed", t=t), references(3), 0).separation()
    assert separation.weak.all() == weak == separation.weak.any()
    assert separation.accepts == ("100 % of the real images of other classes" if weak else "")


@pytest.mark.parametrize(
    ("classes", "bound", "weak"),
    [(20, 5, False), (20, 6, True), (8, 2, False), (8, 3, True), (4, 1, False), (4, 2, True),
     (3, 1, False), (3, 2, True), (2, 1, False), (2, 2, True), (25, 6, False), (25, 7, True)],
)  # fmt: skip
def test_a_rank_bound_above_a_quarter_of_the_classes_is_weak(classes, bound, weak):
    bounds, ranked = np.full(classes, float(bound)), np.ones(classes, bool)
    separation = separation_of_ranks(bounds, ranked, np.array([1, 2]), np.array([0, 1]))
    assert separation.weak.tolist() == [weak] * classes
    assert separation.accepts == (f"rank {bound} of {classes}" if weak else "")


def test_only_the_classes_with_a_high_rank_are_weak_and_classes_without_a_rank_never_are():
    bounds, ranked = np.array([1.0, 8, 8, 2, 1, 1, 1, 1, 1]), np.array([True] * 2 + [False] + [True] * 6)
    separation = separation_of_ranks(bounds, ranked, np.array([1, 1]), np.array([0, 1]))
    assert np.flatnonzero(separation.weak).tolist() == [1]
    assert (separation.accepts, separation.classes) == ("rank 8 of 8", 8)


def test_without_a_ranked_real_image_every_rank_is_accepted():
    separation = separation_of_ranks(np.full(3, 3.0), np.ones(3, bool), np.zeros(3, np.int64), np.arange(3))
    assert separation.weak.all()
    assert separation.accepts == "every rank, because no real image can be ranked when it is left out"
    assert separation.accuracy is None


def test_more_than_a_quarter_of_other_images_is_weak():
    others = np.array([0.25, 0.26, np.nan, 0.9])
    separation = separation_of_similarities(others, np.array([True, True, True, False]), np.array([1]), np.array([0]))
    assert np.flatnonzero(separation.weak).tolist() == [1]
    assert separation.accepts == "26 % of the real images of other classes"


@pytest.mark.parametrize(
    ("ranks", "labels", "accuracy"),
    [([1, 1, 1, 2], [0, 0, 0, 1], 0.5), ([1, 2, 0, 1], [0, 0, 1, 2], 0.75), ([0, 0], [0, 1], None), ([], [], None)],
    ids=["a mean over classes", "an image without a rank", "no rank", "no image"],
)
def test_balanced_accuracy_is_the_mean_over_the_classes(ranks, labels, accuracy):
    assert balanced_accuracy(np.array(ranks, np.int64), np.array(labels, np.int64)) == accuracy


def test_a_filter_of_one_class_is_never_weak():
    for name in ("rank", "quantile", "mean"):
        assert not fit(PolicyConfig(name), references(0, classes=1), 0).separation().weak.any()


def test_the_result_does_not_depend_on_the_order_of_the_references():
    one = references(0.3)
    order = np.random.default_rng(0).permutation(len(one.labels))
    ids = [one.row_ids[row] for row in order]
    other = ReferenceEmbeddings(ids, one.labels[order], one.embeddings[order], CLASSES)
    for policy in POLICIES:
        a, b = (fit(policy, given, 0).separation() for given in (one, other))
        assert (a.weak.tolist(), a.accepts, a.accuracy) == (b.weak.tolist(), b.accepts, b.accuracy)
