"""Tests of the distances between real and generated embeddings, by their expectations and identities."""

import numpy as np
import pytest

from diffcore_hf.method.distances import (
    cmmd,
    coverage_and_density,
    expected_coverage,
    squared_distances,
)
from diffcore_hf.method.thresholds import unit_rows


def normal(seed, rows, width=64):
    return np.random.default_rng(seed).normal(size=(rows, width))


def test_squared_distances_equal_the_definition_and_are_0_for_equal_rows():
    a, b = normal(0, 5).astype(np.float16), normal(1, 4).astype(np.float16)
    expected = np.square(a[:, None].astype(float) - b[None].astype(float)).sum(axis=2)
    assert np.allclose(squared_distances(a, b), expected, atol=1e-10)
    assert (np.diag(squared_distances(a, a)) == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_cmmd_of_two_halves_of_one_sample_is_within_three_standard_errors_of_0(seed):
    rows = unit_rows(normal(seed, 60) + 1)
    value, error = cmmd(rows[:25], rows[25:])
    assert abs(value) < 3 * error


def test_cmmd_is_unbiased_also_in_small_classes():
    values = [cmmd(rows[:4], rows[4:]).value for rows in (unit_rows(normal(seed, 9, 8)) for seed in range(2000))]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_standard_error_is_at_least_the_deviation_of_repeated_samples(shift):
    pairs = [(normal(seed, 20, 8) / 4, normal(seed + 10_000, 15, 8) / 4 + shift) for seed in range(1000)]
    estimates = [cmmd(real, generated) for real, generated in pairs]
    spread = np.std([estimate.value for estimate in estimates])
    printed = np.sqrt(np.mean([estimate.error**2 for estimate in estimates]))
    assert 0.95 * spread < printed < 1.6 * spread


def test_cmmd_is_ten_times_the_squared_difference_of_the_means_of_narrow_sets():
    real, generated = normal(0, 30) / 100, normal(1, 40) / 100 + 0.05
    n, m = len(real), len(generated)
    # The plain difference of two sample means contains the variance of both means.
    noise = real.var(axis=0, ddof=1).sum() / n + generated.var(axis=0, ddof=1).sum() / m
    expected = 10 * (np.square(real.mean(axis=0) - generated.mean(axis=0)).sum() - noise)
    assert cmmd(real, generated).value == pytest.approx(expected, rel=1e-3)


def test_a_shift_by_d_adds_10_d_squared_to_cmmd():
    real, generated = normal(0, 40) / 100, normal(1, 40) / 100
    difference = generated.mean(axis=0) - real.mean(axis=0)
    direction = unit_rows(normal(2, 1) - (normal(2, 1) @ difference)[:, None] * difference / (difference @ difference))
    moved = generated + 0.3 * direction
    assert cmmd(real, moved).value - cmmd(real, generated).value == pytest.approx(10 * 0.3**2, rel=1e-3)


def test_cmmd_of_a_set_with_itself_is_below_0():
    rows = unit_rows(normal(0, 10))
    assert cmmd(rows, rows).value < 0
    equal = np.ones((5, 4))
    assert cmmd(equal, equal) == (0, 0)


@pytest.mark.parametrize(
    "real, generated, k, expected", [(10, 10, 3, 0.913), (10, 30, 3, 0.991), (10, 10, 5, 0.989), (100, 100, 5, 0.971)]
)
def test_expected_coverage_and_density_equal_those_of_a_simulation(real, generated, k, expected):
    assert expected_coverage(real, generated, k) == pytest.approx(expected, abs=6e-4)
    draws = 400 if real < 50 else 40
    both = np.array(
        [coverage_and_density(normal(seed, real), normal(seed + 10_000, generated), k) for seed in range(draws)]
    )
    errors = 4 * both.std(axis=0) / np.sqrt(draws)
    assert np.abs(both.mean(axis=0) - [expected_coverage(real, generated, k), 1]) == pytest.approx(0, abs=errors.max())


def test_coverage_and_density_of_a_small_example_equal_numbers_computed_by_hand():
    real = np.array([[0.0], [1.0], [3.0], [10.0]])
    # Balls with k = 1: [-1, 1], [0, 2], [1, 5], [3, 17].
    assert coverage_and_density(real, np.array([[0.5], [4.0]]), 1) == (1.0, 2.0)
    assert coverage_and_density(real, np.array([[-0.5], [30.0]]), 1) == (0.25, 0.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: cmmd(np.ones((2, 4)), np.ones((9, 4))),
        lambda: coverage_and_density(np.ones((3, 4)), np.ones((9, 4))),
        lambda: coverage_and_density(np.ones((9, 4)), np.ones((0, 4))),
    ],
)
def test_too_few_images_raise_a_value_error(call):
    with pytest.raises(ValueError, match="image"):
        call()


def test_chunks_of_large_sets_give_the_same_result(monkeypatch):
    real, generated = normal(0, 40), normal(1, 30)
    whole = cmmd(real, generated), coverage_and_density(real, generated)
    monkeypatch.setattr("diffcore_hf.method.thresholds._MAX_ROWS", 7)
    parts = cmmd(real, generated), coverage_and_density(real, generated)
    assert np.allclose(whole[0], parts[0], rtol=1e-9)
    assert whole[1] == parts[1]
