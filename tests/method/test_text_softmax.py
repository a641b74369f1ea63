"""The policy text_softmax, with numbers that can be checked by hand."""

import numpy as np
import pytest

from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.policies import fit
from diffcore_hf.method.references import ReferenceEmbeddings

CAPTIONS = np.array([[1, 0], [0, 1]], np.float16)
POLICY = PolicyConfig("text_softmax")


def references(real=((1, 0), (0, 1)), labels=(0, 1), classes=2, text=CAPTIONS, scale=2.0):
    ids = [f"train/{row}" for row in range(len(real))]
    return ReferenceEmbeddings(
        ids, np.array(labels, np.int64), np.array(real, np.float16), classes, text, logit_scale=scale
    )


def verdicts(fitted, labels, embeddings):
    embeddings = np.array(embeddings, np.float16)
    return fitted.verdicts(np.array(labels), embeddings, embeddings, [("train/0", 0, i) for i in range(len(labels))])


def test_the_score_is_the_softmax_of_the_scaled_cosines():
    fitted = fit(POLICY, references(), 0)
    result = verdicts(fitted, [0, 1, 0], [[1, 0], [1, 0], [3, 4]])
    own = 1 / (1 + np.exp(-2.0))
    leaning = 1 / (1 + np.exp(-2.0 * (0.6 - 0.8)))
    np.testing.assert_allclose(result.score, [own, 1 - own, leaning], atol=1e-3)
    assert result.bound.tolist() == [0.5] * 3
    assert result.passed.tolist() == [True, False, False]
    assert result.reasons == [None, "low_similarity", "low_similarity"]
    assert result.class_rank.tolist() == [1, 2, 2]


def test_a_probability_equal_to_the_bound_is_rejected():
    assert not verdicts(fit(POLICY, references(), 0), [0, 1], [[1, 1], [1, 1]]).passed.any()


def test_an_image_of_a_class_with_a_third_of_the_probability_can_pass():
    """The bound 1/K accepts an image that other classes fit better, so ranks 1 to K - 1 can pass."""
    captions = np.array([[1, 0], [1, 0.2], [-1, 0]], np.float16)
    fitted = fit(POLICY, references(((1, 0), (1, 0.2), (-1, 0)), (0, 1, 2), 3, captions), 0)
    result = verdicts(fitted, [1], [[1, 0]])
    assert result.class_rank.tolist() == [2]
    assert result.passed.tolist() == [True]


def test_large_scales_do_not_overflow_and_images_without_embedding_do_not_pass():
    result = verdicts(fit(POLICY, references(scale=1e4), 0), [0, 0], [[1, 0], [np.nan, np.nan]])
    assert result.score[0] == pytest.approx(1)
    assert result.passed.tolist() == [True, False]


def test_the_share_of_rejected_real_images_is_counted():
    real = ((1, 0), (0, 1), (0, 1), (1, 0.5))
    fitted = fit(POLICY, references(real, (0, 0, 1, 1)), 0)
    assert fitted.rejected_real().tolist() == [0.5, 0.5]
    # Each class accepts half of the real images of the other class.
    assert fitted.separation().weak.tolist() == [True, True]
    assert not fit(POLICY, references(), 0).separation().weak.any()


@pytest.mark.parametrize("missing", [{"text": None}, {"scale": None}])
def test_captions_and_a_scale_are_required(missing):
    with pytest.raises(UserError, match=r"use --filter.policy.name rank, or a filter.path that has them"):
        fit(POLICY, references(**missing), 0)


def test_quantile_replaces_the_policy_if_there_is_one_class():
    one = references(((1, 0), (1, 0.1)), (0, 0), 1, CAPTIONS[:1])
    assert fit(POLICY, one, 0).notes[-1] == "there is one class: policy quantile(0.1) replaces policy text_softmax"
