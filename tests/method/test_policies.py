"""Tests of each policy, with numbers that can be checked by hand."""

import numpy as np
import pytest

from diffcore_hf.config.policy import POLICY_PARAMETERS, PolicyConfig
from diffcore_hf.core.seeding import uniform
from diffcore_hf.method.policies import POLICIES, fit
from diffcore_hf.method.references import ReferenceEmbeddings

NAN = [np.nan, np.nan]


def references(by_class, classes=None, text=None):
    rows = [(f"train/{k}.{i}", k, e) for k, members in enumerate(by_class) for i, e in enumerate(members)]
    embeddings = np.array([e for *_, e in rows], np.float16).reshape(len(rows), 2)
    labels = np.array([k for _, k, _ in rows], np.int64)
    return ReferenceEmbeddings([row_id for row_id, *_ in rows], labels, embeddings, classes or len(by_class), text)


def angle(degrees):
    return [np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))]


def verdicts_of(fitted, labels, embeddings, parents=None):
    embeddings = np.array(embeddings, np.float16)
    parents = embeddings if parents is None else np.array(parents, np.float16)
    return fitted.verdicts(np.array(labels), embeddings, parents, [("train/0", 0, i) for i in range(len(labels))])


# Class 0 has one pair at 60 degrees, so tau is 0.5. Class 1 has one pair at 90 degrees, so tau is 0. Class 2 has none.
PAIRS = references([[angle(0), angle(60)], [angle(0), angle(90)], [angle(10)]])


def test_every_policy_of_the_recipe_can_be_fitted():
    assert set(POLICIES) == set(POLICY_PARAMETERS)


def test_policy_mean_compares_an_attempt_with_the_real_image_of_its_row():
    fitted = fit(PolicyConfig("mean"), PAIRS, 0)
    # Class 2 has no pair, so its bound is the mean over both pairs.
    np.testing.assert_allclose(fitted.bound, [0.5, 0, 0.25], atol=1e-3)
    assert fitted.notes == (
        "1 of 3 classes have fewer than two readable real images: they use the threshold pooled over all classes",
    )
    parents = [angle(0)] * 4 + [NAN]
    verdicts = verdicts_of(fitted, [0, 0, 1, 2, 0], [angle(50), angle(70), angle(70), angle(80), angle(0)], parents)
    assert verdicts.passed.tolist() == [True, False, True, False, False]  # the last row has no real image
    assert verdicts.reasons == [None, "low_similarity", None, "low_similarity", "low_similarity"]
    np.testing.assert_allclose(verdicts.score[:4], np.cos(np.deg2rad([50, 70, 70, 80])), atol=1e-3)
    np.testing.assert_allclose(verdicts.bound, fitted.bound[[0, 0, 1, 2, 0]])


def test_policy_mean_rejects_a_similarity_equal_to_the_bound():
    fitted = fit(PolicyConfig("mean"), references([[angle(0), angle(60)]]), 0)
    assert not verdicts_of(fitted, [0], [angle(60)], [angle(0)]).passed.any()  # the similarity equals the bound
    assert fitted.rejected_real().tolist() == [1]  # the only real pair of the class also has this similarity


def test_policy_mean_without_any_pair_accepts_everything_and_adds_a_note():
    fitted = fit(PolicyConfig("mean"), references([[angle(0)], [angle(90)]]), 0)
    assert fitted.bound.tolist() == [-1, -1]
    assert verdicts_of(fitted, [0], [angle(170)], [angle(0)]).passed.all()
    assert "accepts everything" in fitted.notes[0]
    assert np.isnan(fitted.rejected_real()).all()


def test_the_bound_from_sampled_pairs_is_seeded_and_close_to_the_exact_bound():
    many = references([[angle(a) for a in range(0, 90, 2)]])
    exact, sampled = fit(PolicyConfig("mean"), many, 0), fit(PolicyConfig("mean", pairs=500), many, 0)
    assert sampled.bound[0] != exact.bound[0]
    assert sampled.bound[0] == pytest.approx(exact.bound[0], abs=0.05)
    assert fit(PolicyConfig("mean", pairs=500), many, 1).bound[0] != sampled.bound[0]


def test_policy_fixed_reports_the_share_of_real_pairs_that_it_rejects():
    fitted = fit(PolicyConfig("fixed", t=0.8), references([[angle(0), angle(30), angle(60)], [angle(0)]]), 0)
    assert verdicts_of(fitted, [0, 0], [angle(36), angle(38)], [angle(0)] * 2).passed.tolist() == [True, False]
    # Two of six ordered pairs are rejected: 0-60 and 60-0.
    np.testing.assert_array_equal(fitted.rejected_real(), [2 / 6, np.nan])


def test_policy_all_accepts_everything_and_policy_random_its_share():
    everything = fit(PolicyConfig("all"), PAIRS, 0)
    assert verdicts_of(everything, [0, 1], [angle(0), NAN]).passed.all()
    assert everything.rejected_real().tolist() == [0, 0, 0]
    draw = fit(PolicyConfig("random", p=0.3), PAIRS, 7)
    verdicts = verdicts_of(draw, [0] * 400, [angle(0)] * 400)
    assert verdicts.score.tolist() == [uniform("policy", 7, "train/0", 0, i) for i in range(400)]
    assert verdicts.passed.tolist() == (verdicts.score < 0.3).tolist()
    assert verdicts.passed.mean() == pytest.approx(0.3, abs=0.07)
    assert set(verdicts.reasons) == {None, "not_drawn"}
    np.testing.assert_allclose(draw.rejected_real(), 0.7)


def test_policy_quantile_compares_with_the_class_mean():
    # The images are at -20, 0 and 20 degrees. Their left-out similarities are cos 30, 1 and cos 30, with the mean
    # 0.911. Their differences from the mean of the others are -0.067, 0.134 and -0.067. k = floor(4 * 0.3) = 1, so the
    # bound is 0.911 - 0.067 = 0.844, the cosine of 32.5 degrees.
    fitted = fit(PolicyConfig("quantile", alpha=0.3), references([[angle(-20), angle(0), angle(20)]]), 0)
    np.testing.assert_allclose(fitted.bound, [0.844], atol=2e-3)
    verdicts = verdicts_of(fitted, [0, 0, 0], [angle(31), angle(-34), NAN])
    assert verdicts.passed.tolist() == [True, False, False]
    assert verdicts.reasons == [None, "low_similarity", "low_similarity"]


def test_policy_rank_keeps_an_image_whose_class_ranks_as_high_as_for_real_images():
    rng = np.random.default_rng(0)
    clusters = references([[angle(a + e) for e in rng.normal(0, 3, 12)] for a in (0, 60, 120)])
    for by in ("class_mean", "classifier", "context_free", "text"):
        text = np.array([angle(0), angle(60), angle(120)], np.float16)
        clusters = ReferenceEmbeddings(clusters.row_ids, clusters.labels, clusters.embeddings, 3, text)
        fitted = fit(PolicyConfig("rank", by=by, floor="off"), clusters, 0)
        assert fitted.bound.tolist() == [1, 1, 1]
        verdicts = verdicts_of(fitted, [0, 0, 1, 0], [angle(5), angle(100), angle(75), NAN])
        assert verdicts.passed.tolist() == [True, False, True, False]
        assert verdicts.class_rank.tolist() == [1, 3, 1, 0]
        assert verdicts.score[:3].tolist() == [1, 3, 1]
        assert verdicts.reasons == [None, "low_rank", None, "low_rank"]
        assert fitted.rejected_real().tolist() == [0, 0, 0]


def test_the_floor_rejects_images_that_are_similar_to_no_class():
    rng = np.random.default_rng(1)
    clusters = references([[angle(a + e) for e in rng.normal(0, 3, 120)] for a in (0, 60)])
    outlier, right = angle(-60), angle(2)
    for floor, passed, reason in [("auto", False, "below_floor"), ("on", False, "below_floor"), ("off", True, None)]:
        verdicts = verdicts_of(
            fit(PolicyConfig("rank", by="class_mean", floor=floor), clusters, 0), [0, 0], [outlier, right]
        )
        assert verdicts.passed.tolist() == [passed, True]
        assert verdicts.reasons == [reason, None]
    real = fit(PolicyConfig("rank", by="class_mean", floor="on"), clusters, 0).rejected_real()
    assert real.tolist() == [1 / 120, 1 / 120]  # floor(120 * 0.01) = 1 image of each class


def test_the_automatic_floor_is_off_for_twenty_or_more_classes():
    many = references([[angle(a), angle(a + 1), angle(a + 2)] for a in range(0, 100, 5)])
    assert fit(PolicyConfig(), many, 0)._floor is None


def test_policy_rank_with_one_class_uses_policy_quantile_and_adds_a_note():
    single = references([[angle(a) for a in range(-20, 21)]])
    fitted = fit(PolicyConfig("rank"), single, 0)
    np.testing.assert_array_equal(fitted.bound, fit(PolicyConfig("quantile"), single, 0).bound)
    assert fitted.notes == ("fewer than two classes can be ranked: policy quantile(0.1) replaces policy rank",)
    assert verdicts_of(fitted, [0, 0], [angle(0), angle(80)]).reasons == [None, "low_similarity"]


def test_classes_with_one_image_and_without_images_are_ranked():
    few = references([[angle(a) for a in (0, 5, 10, 15)], [angle(90)], []], classes=3)
    rank = fit(PolicyConfig("rank", floor="off"), few, 0)
    assert verdicts_of(rank, [1, 1, 2], [angle(85), angle(5), angle(0)]).class_rank.tolist() == [1, 2, 0]
    assert verdicts_of(rank, [2, 2], [angle(0), NAN]).passed.tolist() == [True, False]  # class 2 has no references
    assert any("1 of 3 classes cannot be ranked" in note for note in rank.notes)
    quantile = fit(PolicyConfig("quantile", alpha=0.4), few, 0)
    assert verdicts_of(quantile, [1, 1, 2], [angle(90), angle(0), angle(0)]).passed.tolist() == [True, False, True]
    assert any("1 of 3 classes have one readable real image" in note for note in quantile.notes)
    for policy in (PolicyConfig("quantile"), PolicyConfig(), PolicyConfig("mean")):
        assert np.isnan(fit(policy, few, 0).rejected_real()[1:]).all()


def test_without_references_every_image_is_accepted():
    none = references([[], []], classes=2)
    for policy in (PolicyConfig(), PolicyConfig("quantile"), PolicyConfig("mean"), PolicyConfig("all")):
        fitted = fit(policy, none, 0)
        assert verdicts_of(fitted, [0], [angle(0)]).passed.all()
        if policy.name != "all":
            assert fitted.notes
            assert np.isnan(fitted.rejected_real()).all()


@pytest.mark.parametrize(
    "policy",
    [PolicyConfig(), PolicyConfig("rank", by="class_mean"), PolicyConfig("mean", pairs=5), PolicyConfig("quantile")],
)
def test_a_verdict_does_not_depend_on_the_order_of_references_or_other_attempts(policy):
    rng = np.random.default_rng(2)
    embeddings, labels = rng.normal(size=(60, 2)).astype(np.float16), np.arange(60) % 4
    ids, order = [f"train/{i}" for i in range(60)], rng.permutation(60)
    fitted = fit(policy, ReferenceEmbeddings(ids, labels, embeddings, 4), 0)
    reordered = fit(policy, ReferenceEmbeddings([ids[i] for i in order], labels[order], embeddings[order], 4), 0)
    np.testing.assert_array_equal(fitted.bound, reordered.bound)
    images = rng.normal(size=(30, 2))
    together, single = verdicts_of(fitted, np.arange(30) % 4, images), verdicts_of(reordered, [3], images[7:8])
    assert together.reasons[7] == single.reasons[0]
    assert together.class_rank[7] == single.class_rank[0]


def test_every_policy_returns_no_verdicts_for_no_attempts():
    for policy in (
        PolicyConfig(),
        PolicyConfig("mean"),
        PolicyConfig("random"),
        PolicyConfig("quantile"),
        PolicyConfig("all"),
    ):
        verdicts = fit(policy, PAIRS, 0).verdicts(np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2)), [])
        assert verdicts.reasons == []
