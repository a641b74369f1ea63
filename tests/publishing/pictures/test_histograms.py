"""Tests of the histograms: any numbers and names can be drawn, and equal input gives equal bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from diffcore_hf.publishing.pictures import histograms
from diffcore_hf.publishing.pictures.histograms import ClassSimilarities, class_histograms, similarity_histogram

rng = np.random.default_rng(0)
REAL, KEPT, REJECTED = rng.normal(0.8, 0.05, 500), rng.normal(0.75, 0.05, 50), rng.normal(0.6, 0.05, 20)


@pytest.mark.parametrize(
    ("real", "kept", "rejected", "bound"),
    [
        (REAL, KEPT, REJECTED, None),
        (REAL, KEPT, REJECTED, 0.7),
        ([], [], [], None),
        ([], [], [], 0.5),
        (REAL, [], [], None),
        ([], [0.5], [], None),
        ([0.5], [0.5], [np.nan], 0.5),
        ([1.0, 1.0], [], [-1.0], None),
    ],
)
def test_a_histogram_of_the_same_numbers_has_the_same_bytes(real, kept, rejected, bound):
    arrays = [np.asarray(values, np.float32) for values in (real, kept, rejected)]
    data = similarity_histogram(*arrays, bound=bound, bound_label="tau $", title="any $\\frac{ 東 title\n")
    image = Image.open(io.BytesIO(data))
    assert image.size[0] == 1200
    assert set(image.info) <= {"dpi"}
    assert data == similarity_histogram(*arrays, bound=bound, bound_label="tau $", title="any $\\frac{ 東 title\n")


def test_the_histograms_do_not_depend_on_the_order_of_the_classes():
    classes = [ClassSimilarities(f"class $ {k}", REAL[:30], KEPT[:10], REJECTED[:k], 0.7) for k in range(3)]
    data = class_histograms(classes, title="t")
    assert data == class_histograms(classes[::-1], title="t")
    assert Image.open(io.BytesIO(data)).size[0] == 1200


def test_the_histograms_show_a_limited_number_of_classes(monkeypatch):
    monkeypatch.setattr(histograms, "MAX_CLASSES", 2)
    classes = [ClassSimilarities(f"class {k}", REAL[:9], KEPT[:5], REJECTED[:k]) for k in range(4)]
    data = class_histograms(classes, title="t")
    assert data == class_histograms(classes[::-1], title="t")
    assert data != class_histograms(classes[2:], title="t")  # The title says how many classes there are.


@pytest.mark.parametrize("classes", [[], [ClassSimilarities("", np.zeros(0), np.zeros(0), np.zeros(0))]])
def test_a_histogram_without_classes_or_without_images_can_be_drawn(classes):
    assert class_histograms(classes, title="").startswith(b"\x89PNG")
