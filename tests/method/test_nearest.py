"""Tests of the nearest real images, by hand and against the distances of all pairs."""

import numpy as np
import pytest

from diffcore_hf.method.distances import squared_distances
from diffcore_hf.method.nearest import nearest, nearest_others
from diffcore_hf.method.thresholds import unit_rows


def normal(seed, rows, width=64):
    return np.random.default_rng(seed).normal(size=(rows, width))


def crowded(seed, rows):
    """Returns unit rows whose distances float32 numbers cannot order, with equal rows among them."""
    few = unit_rows(1 + 1e-4 * normal(seed, rows // 2, 16))
    return np.concatenate([few, few])


def test_a_copy_has_the_ratio_0_to_its_nearest_real_image():
    real = unit_rows(normal(0, 30)).astype(np.float16)
    generated = np.concatenate([real[7:8], unit_rows(normal(1, 5))])
    found = nearest(real, generated)
    assert (found.rows[0], found.distance[0], found.ratio[0]) == (7, 0, 0)
    assert (found.ratio[1:] > 0.7).all()
    others = nearest_others(real)
    assert (others.rows != np.arange(30)).all()
    assert (others.ratio > 0.7).all()


def test_a_ratio_is_the_nearest_distance_divided_by_the_second_nearest():
    found = nearest(np.array([[0.0], [3.0], [9.0]]), np.array([[1.0], [9.0]]))
    assert found.rows.tolist() == [0, 2]
    assert found.distance.tolist() == [1, 0]
    assert found.ratio.tolist() == [0.5, 0]
    assert nearest_others(np.array([[0.0], [1.0], [4.0]])).ratio.tolist() == [0.25, 1 / 3, 0.75]


@pytest.mark.parametrize("rows_of_chunk", [7, 8192])
@pytest.mark.parametrize(
    "real, generated",
    [
        (unit_rows(normal(0, 40)), unit_rows(normal(1, 30))),
        (100 * normal(0, 40), normal(1, 30) / 100),
        (crowded(0, 40), crowded(0, 20)),
        (crowded(0, 40), crowded(1, 20)),
        (np.ones((40, 3)), np.ones((30, 3))),
        (np.zeros((40, 3)), normal(1, 30, 3)),
    ],
    ids=["unit", "norms", "copies", "close", "equal", "zeros"],
)
def test_the_search_gives_the_float64_distances_of_all_pairs(monkeypatch, real, generated, rows_of_chunk):
    monkeypatch.setattr("diffcore_hf.method.thresholds._MAX_ROWS", rows_of_chunk)
    among = squared_distances(real, real)
    np.fill_diagonal(among, np.inf)
    for found, squared in (
        (nearest(real, generated), squared_distances(generated, real)),
        (nearest_others(real), among),
        (nearest_others(real, np.array([3, 17])), among[[3, 17]]),
    ):
        two = np.sqrt(np.sort(squared, axis=1)[:, :2])
        assert np.allclose(found.distance, two[:, 0], atol=2e-6)
        assert np.allclose(squared[np.arange(len(squared)), found.rows], two[:, 0] ** 2, atol=1e-10)
        ratio = np.divide(two[:, 0], two[:, 1], out=np.zeros(len(two)), where=two[:, 1] > 0)
        assert np.allclose(found.ratio, ratio, atol=1e-5)


@pytest.mark.parametrize(
    "call", [lambda: nearest(np.ones((1, 4)), np.ones((9, 4))), lambda: nearest_others(np.ones((2, 4)))]
)
def test_too_few_images_raise_a_value_error(call):
    with pytest.raises(ValueError, match="image"):
        call()
