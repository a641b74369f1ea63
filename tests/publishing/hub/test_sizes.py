"""Tests of sizes: a new version sends only new bytes, and a version with fewer shards deletes the others."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from small_photos import CLASSES

from diffcore_hf.augmentation import arrow_tables
from diffcore_hf.augmentation import export as export_module
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core.folder import Folder
from diffcore_hf.workflows.augment import run as run_augment
from diffcore_hf.workflows.export import export
from testing import hub_steps as steps

ROWS = 150


@pytest.fixture(scope="module")
def large(tmp_path_factory, keys):
    """Return a run over seven megabytes of noise that kept every image."""
    root, random = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    for number in range(ROWS):
        folder = root / "photos" / f"{CLASSES[number % 3]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (128, 128, 3), np.uint8)).save(folder / f"{number}.png")
    recipe = build_recipe(
        {"source": {"path": str(root / "photos")}, "output": str(root / "out"), "max_attempts": 1},
        keys | {"max_attempts": 1, "model": keys["model"] | {"steps": 1}}, {"filter": {"policy": {"name": "all"}}},
    )  # fmt: skip
    run_augment(recipe, progress=False)
    return root / "out"


def test_a_version_with_one_percent_changed_sends_at_most_a_tenth(hub, xet_client, large, tmp_path):
    repo = hub.repo_id()
    xet_client(steps.push, large, repo, "v1.0.0")
    first = hub.log.uploaded()
    rows = xet_client(steps.rows, str(large))["train"]
    with open(tmp_path / "review.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row_id", "copy", "attempt", "verdict", "note"])
        writer.writerow([rows[ROWS // 2]["row_id"], 0, 0, "reject", ""])
    export(large, tmp_path / "out", {"review": str(tmp_path / "review.csv")})
    hub.log.clear()
    xet_client(steps.push, tmp_path / "out", repo, "v1.1.0")
    # The contact sheet is a new picture. Its bytes matter only because the dataset is small.
    pictures = sum(path.stat().st_size for path in (tmp_path / "out" / "assets").iterdir())
    assert first > 7_000_000 and hub.log.uploaded() - pictures < first / 10
    assert xet_client(steps.rows, repo, "v1.1.0") == xet_client(steps.rows, str(tmp_path / "out"))


def test_shards_grow_until_the_number_of_files_is_within_the_limit(client, large, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "SHARD_BYTES", 1_000_000)
    monkeypatch.setattr(arrow_tables, "WINDOW", 16)
    counts = []
    for most in (90, 7):
        monkeypatch.setattr(export_module, "MOST_FILES", most)
        out = tmp_path / str(most)
        export(large, out, {})
        counts.append(len(list(out.rglob("*.parquet"))))
        assert client(steps.rows, str(out)) == client(steps.rows, str(large))
    assert counts[1] <= 7 < counts[0]


def test_a_version_with_fewer_shards_deletes_the_remaining_shards(hub, client, large, tmp_path, monkeypatch):
    repo = hub.repo_id()
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "SHARD_BYTES", 1_000_000)
        patch.setattr(arrow_tables, "WINDOW", 16)
        export(large, tmp_path / "many", {})
    many = [path for path in (tmp_path / "many" / "data").iterdir()]
    assert len(many) > 3
    client(steps.push, tmp_path / "many", repo, "v1.0.0")
    client(steps.push, large, repo, "v1.1.0")
    listed = {entry["path"] for entry in Folder(large).manifest()["files"]}
    files = set(hub.dataset(repo).tags["v1.1.0"].files)
    assert files - listed == {".gitattributes", "README.md", "diffcore.json"}
    for version, folder in (("v1.0.0", tmp_path / "many"), ("v1.1.0", large)):
        assert client(steps.rows, repo, version) == client(steps.rows, str(folder))
