"""Tests of Canny edges: small images whose edges can be found by hand, and the rule of the two bounds."""

import numpy as np
import pytest

from diffcore_hf.method.canny import canny


def picture(rows):
    """Returns a grey image (H, W, 3) from rows of numbers."""
    return np.repeat(np.array(rows, np.uint8)[..., None], 3, 2)


def step(height=5, value=100):
    """Returns an image with a vertical step between columns 2 and 3. The gradient beside it is 4 * value."""
    return picture([[0, 0, 0, value, value, value]] * height)


def text(edges):
    return ["".join("x" if edge else "." for edge in row) for row in edges]


def test_a_step_has_one_column_of_edges():
    assert text(canny(step(), 100, 200)) == ["..x..."] * 5
    assert text(canny(step().transpose(1, 0, 2), 100, 200)) == [".....", ".....", "xxxxx", ".....", ".....", "....."]


def test_a_diagonal_is_thin():
    edges = canny(picture(np.tri(8) * 255), 100, 200)
    # The corner of the image has no neighbour that is as bright.
    assert set(edges[1:-1, 1:-1].sum(1).tolist()) <= {1, 2}
    assert edges.any(0)[1:-1].all()


@pytest.mark.parametrize(
    ("value", "low", "high", "found"), [(100, 399, 399, 5), (100, 400, 400, 0), (100, 100, 400, 0), (0, 0, 0, 0)]
)
def test_a_gradient_must_be_above_the_bound(value, low, high, found):
    assert canny(step(value=value), low, high).sum() == found


def test_a_weak_edge_counts_only_if_it_is_connected_with_a_strong_one():
    weak = step(height=6, value=30)  # gradient 120, and 180 in a corner
    assert not canny(weak, 100, 200).any()
    joined = step(height=6, value=49)  # gradient 196, and more in the first two rows
    joined[0, 3:] = 55
    assert text(canny(joined, 100, 200))[2:] == ["..x..."] * 4
    apart = np.concatenate([joined, np.zeros((4, 6, 3), np.uint8), weak])
    edges = canny(apart, 100, 200)
    assert edges[:5].any() and not edges[10:].any()


def test_the_channel_with_the_largest_gradient_counts():
    image = step()
    image[..., 1:] = 0
    assert text(canny(image, 100, 200)) == ["..x..."] * 5


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (7, 1, 3)])
def test_small_images_have_maps_of_their_size(shape):
    assert canny(np.zeros(shape, np.uint8), 0, 0).shape == shape[:2]
