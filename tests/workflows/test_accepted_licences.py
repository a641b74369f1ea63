"""Tests of a run with a source or a model whose licence restricts the result: a run needs consent, and the card states
it."""

import json

import pytest
from run_folders import go

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing.card.licences import restrictions
from diffcore_hf.workflows import augment


def test_a_run_asks_for_the_licence_and_the_card_states_it(make, folder_of_photos, tmp_path):
    card = folder_of_photos / "README.md"
    card.write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    try:
        with pytest.raises(UserError, match=r"licence of the source .* is cc-by-nc-4.0, which forbids commercial use"):
            augment.prepare(make(tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        go(make(tmp_path / "out", accept_license="cc-by-nc-4.0", limit=2))
    finally:
        card.unlink()
    manifest = json.loads((tmp_path / "out" / "diffcore.json").read_text())
    assert restrictions(manifest) == ["The licence of the source, cc-by-nc-4.0, forbids commercial use."]
    assert "**Restriction:** The licence of the source, cc-by-nc-4.0" in (tmp_path / "out" / "README.md").read_text()
