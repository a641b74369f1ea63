"""Tests of the mixer in the documentation, a file outside the package: it trains, and its labels match its pixels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mixing import CLASSES, batch, mixer, probabilities

from diffcore_hf.training.comparison import trials

PAGE = Path(__file__).parents[3] / "docs" / "training.md"


@pytest.fixture
def my_mixers(tmp_path, monkeypatch):
    """Write the code of the page to my_mixers.py in a folder on the path."""
    text = PAGE.read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "StripeMix" in block)
    (tmp_path / "my_mixers.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("my_mixers")
def test_the_documented_mixer_is_an_arm_of_a_comparison(train_recipe):
    arms = {"stripes": {"mix": {"mode": "off"}, "mixer": {"name": "my_mixers:StripeMix", "options": {"largest": 0.3}}}}
    comparison = trials.run(train_recipe(compare=["plain", "stripes"], arms=arms, max_steps=2), progress=False)
    assert [arm["name"] for arm in comparison["arms"]] == ["plain", "stripes"]


@pytest.mark.usefixtures("my_mixers")
@pytest.mark.parametrize("per", ["image", "batch"])
def test_the_label_weight_of_the_documented_mixer_is_the_share_of_the_pixels(per):
    context = batch(CLASSES)
    context.images[:] = torch.arange(1.0, CLASSES + 1).reshape(-1, 1, 1, 1)
    mixed = mixer("my_mixers:StripeMix", per=per)(context)
    means = probabilities(mixed) @ torch.arange(1.0, CLASSES + 1)
    assert torch.allclose(mixed.images.mean((1, 2, 3)), means, atol=1e-4)
    assert not torch.equal(mixed.images, context.images)
