"""Tests that `augment` runs with the strategy in the documentation, which is one file outside the package."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folders import go, manifest, rows

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"


@pytest.fixture
def my_strategies(tmp_path, monkeypatch):
    """Writes the code of the page to my_strategies.py in a folder on the path."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    [block] = [text for text in code if "class Posterised" in text]
    (tmp_path / "my_strategies.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_strategies", None)


@pytest.mark.usefixtures("my_strategies")
@pytest.mark.parametrize(("options", "levels"), [({}, 4), ({"levels": 8}, 8)])
def test_the_documented_strategy_runs(options, levels, make, tmp_path):
    strategy = {"name": "my_strategies:Posterised", "options": options}
    policy = {"filter.policy": {"name": "all"}}
    go(make(tmp_path / "out", strategy=strategy, image_format="png", limit=3, max_attempts=1, **policy))
    generated = rows(tmp_path / "out", "generated")
    assert len(generated) == 3
    for cell in generated["image"]:
        (tmp_path / "image.png").write_bytes(cell["bytes"])
        assert len(np.unique(np.asarray(Image.open(tmp_path / "image.png")))) <= levels
    assert manifest(tmp_path / "out")["recipe"]["strategy"]["options"] == {"levels": levels}
