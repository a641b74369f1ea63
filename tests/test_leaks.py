"""Tests of benchmarks/leaks.py: every kind of changed image is found, and the table has a row for each kind."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from PIL import Image

from benchmarks.leaks import Split, table
from benchmarks.planted import CHANGES


def _image(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), Image.Resampling.NEAREST)


@pytest.mark.parametrize("change", CHANGES)
def test_a_planted_leak_is_found_in_its_split(change):
    images = [_image(seed) for seed in range(3)]
    found = Split(images).compare([CHANGES[change](images[1], Random(2))], [1])
    assert found.is_right == [True]
    assert found.found(0.9) == 1.0


def test_the_table_has_one_row_per_change_and_one_for_honest_images():
    kinds = {name: {"found": 0.5} for name in CHANGES}
    text = table({"photographs": {"kinds": kinds, "false_alarms": 0.0125}})
    assert len(text.splitlines()) == len(CHANGES) + 3
    assert text.endswith("| honest images | 1.25 % |")
