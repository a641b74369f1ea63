"""Tests of the Vendi score with matrices whose score is known."""

import numpy as np
import pytest

from diffcore_hf.method.diversity import diversity_at_equal_size, vendi_score


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_score_is_n_for_orthogonal_rows_and_1_for_equal_rows(n):
    assert vendi_score(3 * np.eye(8)[:n]) == pytest.approx(n)
    assert vendi_score(np.ones((n, 8))) == pytest.approx(1)


def test_the_score_counts_groups_of_equal_rows_by_the_exponential_of_their_entropy():
    rows = np.eye(4)[[0, 0, 1, 1, 2, 2]]
    assert vendi_score(rows) == pytest.approx(3)
    assert vendi_score(np.eye(2)[[0, 0, 0, 1]]) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


def test_the_score_of_more_rows_than_dimensions_equals_the_score_from_the_cosine_matrix():
    rows = np.random.default_rng(0).normal(size=(20, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / 20)
    shares = shares[shares > 1e-12]
    assert vendi_score(rows) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_samples_of_one_distribution_with_different_sizes_have_equal_diversity_at_equal_size():
    random = np.random.default_rng(0)
    real, generated = random.normal(size=(60, 16)), random.normal(size=(12, 16))
    found = diversity_at_equal_size(real, generated)
    assert found.size == 12
    assert found.real == pytest.approx(found.generated, rel=0.1)
    assert vendi_score(real) > 1.3 * vendi_score(generated)
    assert diversity_at_equal_size(real, generated) == found


def test_the_number_of_images_is_bounded():
    rows = np.random.default_rng(0).normal(size=(300, 8))
    assert diversity_at_equal_size(rows, rows[:150]).size == 100


def test_too_few_images_raise_a_value_error():
    with pytest.raises(ValueError, match="at least two"):
        diversity_at_equal_size(np.ones((1, 4)), np.ones((9, 4)))
    with pytest.raises(ValueError, match="not defined"):
        vendi_score(np.ones((0, 4)))
