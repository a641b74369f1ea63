"""Tests of the reading of diffcore.json of a dataset, and of the errors if it cannot be read."""

from __future__ import annotations

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data.columns import read_manifest


def test_an_unreachable_hub_raises_an_error(monkeypatch):
    with pytest.raises(ValueError, match="diffcore.json of org/birds is not in the cache"):
        read_manifest("org/birds", "0" * 40)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "[" * 9999,
        '{"recipe": []}',
        '{"recipe": {"source": {"image": 3}}}',
        '{"recipe": {"fraction": "x"}}',
        '{"recipe": {"fraction": Infinity}}',
        '{"source_report": 5}',
    ],
)
def test_a_damaged_manifest_raises_an_error(tmp_path, content):
    assert read_manifest(str(tmp_path)) is None
    (tmp_path / "diffcore.json").write_text(content)
    with pytest.raises(UserError, match="diffcore.json of .* is damaged .* Export or download the dataset again"):
        read_manifest(str(tmp_path))
