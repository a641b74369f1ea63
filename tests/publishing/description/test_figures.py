"""Tests of the lines about samples of large classes."""

import numpy as np

from diffcore_hf.method import description as module
from diffcore_hf.method.description import describe
from diffcore_hf.publishing.description import figures


def test_the_text_and_the_file_state_the_size_of_a_sample(monkeypatch):
    monkeypatch.setattr(module, "MOST_PER_CLASS", 6)
    monkeypatch.setattr(module, "MOST_PAIRS", 8 * 20)
    monkeypatch.setattr(figures, "MOST_PER_CLASS", 6)
    rows, labels = np.random.default_rng(0).normal(size=(20, 8)), np.repeat([0, 1, 2], [9, 7, 4])
    found = describe(["a", "b", "c"], (rows, labels), (rows + 1, labels))
    assert figures.samples(found) == [
        "- CMMD, coverage and density: 2 classes have more than 6 real or kept images; 6 of them are used",
        "- ratios and closest pairs: 1 class has more than 8 real or kept images; 8 of them are used",
    ]
    assert set(figures.samples(found)) < set(figures.text(found))
    assert figures.plain(found)["most_of_class"] == {"distributions": 6, "ratios": 8}
    assert figures.samples(describe(["a"], (rows[:6], labels[:6]), (rows[:6], labels[:6]))) == []
