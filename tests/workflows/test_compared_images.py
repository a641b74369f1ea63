"""Tests of `filter.compare`: images that show the picture of another image are rejected, and how this is published."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from PIL import Image
from run_folders import go, manifest, published, rows
from worker_processes import join, start

from diffcore_hf.augmentation import summary
from diffcore_hf.augmentation.figures import read_figures
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.reasons import reason_counts
from diffcore_hf.augmentation.share import Share
from diffcore_hf.core.folder import Folder
from diffcore_hf.generation.base import Samples, Strategy
from diffcore_hf.method.copies.closeness import BOUND, CLOSE_REASONS
from diffcore_hf.workflows import augment, publication
from diffcore_hf.workflows.closest_pairs import choose_pairs, other_images
from diffcore_hf.workflows.export import export, read_decided
from diffcore_hf.workflows.merge import merge
from diffcore_hf.workflows.verify import verify


def picture(seed):
    """Returns a random picture of coloured blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(blocks).resize((64, 64), Image.Resampling.NEAREST)


class Drawn(Strategy):
    """Returns a test image, a training image or one of two other pictures by the seed, mirrored and with noise."""

    uses_model = False
    reads = ("prompt", "seed")

    def sample(self, batch):
        sources = [picture(100), picture(0), picture(200), picture(201)]
        images = [sources[seed % 4].transpose(Image.Transpose.FLIP_LEFT_RIGHT) for seed in batch["seed"]]
        noise = [np.random.default_rng(seed).integers(0, 6, (64, 64, 3)) for seed in batch["seed"]]
        pixels = [np.clip(np.asarray(image) + added, 0, 255) for image, added in zip(images, noise, strict=True)]
        stacked = np.stack(pixels).astype(np.uint8).transpose(0, 3, 1, 2).copy()
        return Samples(torch.from_numpy(stacked), [None] * len(stacked))


def interrupted(*arguments):
    """Takes the place of a function during which a run is interrupted."""
    raise KeyboardInterrupt


def source():
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["robin", "wren"])})
    train = {"image": [picture(seed) for seed in range(10)], "label": [0, 1] * 5}
    test = {"image": [picture(seed) for seed in range(100, 103)], "label": [1, 0, 1]}
    return DatasetDict(
        {name: Dataset.from_dict(split, features=features) for name, split in (("train", train), ("test", test))}
    )


@pytest.fixture(scope="module")
def build(recipe):
    """Returns a function that builds a recipe with the strategy of these tests."""

    def build(output, compare=("leak", "memorised", "copy"), **more):
        keys = {"strategy": f"{__name__}:Drawn", "filter.policy": {"name": "all"}, "filter.compare": list(compare)}
        return recipe(
            **{**keys, "output": str(output), "max_attempts": 3, "image_format": "png", "strict": True, **more}
        )

    return build


@pytest.fixture(scope="module")
def compared(build, tmp_path_factory):
    """Returns the folder of a finished run with all three comparisons."""
    return go(build(tmp_path_factory.mktemp("compared") / "out"), source()).folder


def test_each_reason_is_given_and_published_with_the_closest_image(compared):
    attempts = rows(compared.path, "attempts")
    found = {"split": set(), "training": set(), "counterpart": set()}
    for reason, kind, row_id, score in zip(
        *(attempts[name][:] for name in ("reason", "nearest_kind", "nearest_row_id", "nearest_score")), strict=True
    ):
        found[kind].add(reason)
        assert (score < BOUND) == (reason == "kept")
        if reason == "leak":
            assert row_id == rows(compared.path, "default", "test")["row_id"][0]
    assert "leak" in found["split"]
    assert "memorised" in found["training"]
    assert "copy" in found["counterpart"]


def test_status_and_the_bar_count_the_reasons_that_are_published(compared, build):
    counts = Counter(rows(compared.path, "attempts")["reason"][:])
    assert {"leak", "memorised", "copy"} < set(counts)
    assert read_figures(compared.private).reasons == counts
    (compared.private / "figures.json").unlink()
    go(build(compared.path), source())
    assert read_figures(compared.private).reasons == counts


def test_the_sheet_of_the_closest_pairs_is_published_and_the_card_and_the_summary_count_the_reasons(compared):
    listed = {entry["path"] for entry in manifest(compared.path)["files"]}
    assert "assets/closest_pairs.png" in listed
    card = (compared.path / "README.md").read_text()
    assert "](assets/closest_pairs.png)" in card
    assert "**Comparisons with other images:** `leak`, `memorised`" in card
    material = read_decided(compared.path)
    counts = reason_counts(material)
    text = summary.text(summary.summarise(material), seconds=1, images=1)
    for reason in CLOSE_REASONS:
        assert f"| `{reason}` | {counts[reason]} |" in card
        assert f"{counts[reason]} {reason} (" in text
    pairs = choose_pairs(material, 6)
    reasons = [material.decisions.reason[attempt] for attempt, _ in pairs]
    scores = [near.score for _, near in pairs]
    assert 1 <= reasons.count("kept") <= counts["kept"]
    assert set(CLOSE_REASONS) < set(reasons)
    assert "kept" not in reasons[: 6 - reasons.count("kept")]
    assert min(scores[: 6 - reasons.count("kept")]) >= BOUND > max(scores[6 - reasons.count("kept") :])


def test_at_most_one_counterpart_of_a_class_shows_a_picture(compared):
    kept = rows(compared.path, "generated")
    assert 1 <= len(kept) <= 4
    assert all(kept["label"][:].count(label) <= 2 for label in (0, 1))


def test_a_continued_run_publishes_the_bytes_of_an_undisturbed_one(compared, build, tmp_path):
    go(build(tmp_path / "out", limit=4, part_size=2), source())
    go(build(tmp_path / "out"), source())
    assert published(tmp_path / "out") == published(compared.path)


def test_without_originals_ids_and_scores_remain_and_no_picture_of_another_split_is_published(compared, tmp_path):
    keys = {"include_originals": False, "include_rejected": True}
    out = export(compared.path, tmp_path / "out", keys).folder.path
    names = ["row_id", "copy", "attempt", "reason", "nearest_row_id", "nearest_kind", "nearest_score"]
    before, after = rows(compared.path, "attempts"), rows(out, "attempts")
    assert after.select_columns(names).to_dict() == before.select_columns(names).to_dict()
    shown = Counter(
        reason for reason, cell in zip(after["reason"][:], after["image"][:], strict=True) if cell is not None
    )
    assert set(shown) == {"kept", "copy"}
    assert not any(cell for split in ("train", "test") for cell in rows(out, "default", split)["image"][:])
    material = read_decided(compared.path, {"include_originals": False})
    pairs = choose_pairs(material)
    assert pairs and {near.kind for _, near in pairs if near.score >= BOUND} <= {"counterpart"}
    others = other_images(material, pairs)
    assert all((image is None) == (near.kind != "counterpart") for image, (_, near) in zip(others, pairs, strict=True))
    assert verify(str(out)) == []


@pytest.mark.slow
def test_an_interrupted_export_is_repeated_to_the_same_bytes(compared, build, tmp_path, monkeypatch):
    shutil.copytree(compared.path, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "attempts")
    with monkeypatch.context() as patch:
        patch.setattr(publication, "closest_pairs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(build(tmp_path / "out"), source())
    go(build(tmp_path / "out"), source())
    assert published(tmp_path / "out") == published(compared.path)


@pytest.fixture
def folder(tmp_path):
    """Returns the images of `source` as a folder, which workers and machines can open."""
    for split, data in source().items():
        for number, row in enumerate(data):
            path = tmp_path / "photos" / split / ("robin", "wren")[row["label"]] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            row["image"].save(path)
    return str(tmp_path / "photos")


@pytest.mark.slow
def test_three_workers_and_two_merged_machines_give_the_tables_of_one_worker(build, folder, tmp_path):
    def tables(name):
        return {path: content for path, content in published(tmp_path / name).items() if path.endswith(".parquet")}

    go(build(tmp_path / "one", source=folder))
    reasons = set(rows(tmp_path / "one", "attempts")["reason"][:])
    assert {"leak", "memorised", "copy"} < reasons
    three = build(tmp_path / "three", source=folder, part_size=2)
    assert join([start(three, Share(index, 3)) for index in range(3)]) == [0, 0, 0]
    assert tables("three") == tables("one")
    machines = [tmp_path / f"machine{index}" for index in range(2)]
    for index, machine in enumerate(machines):
        share = Share(machine=index, machines=2)
        augment.run(build(machine, source=folder), progress=False, share=share)
    merge(tmp_path / "merged", machines)
    kept = rows(tmp_path / "merged", "generated")
    assert all(kept["label"][:].count(label) <= 2 for label in (0, 1))
    go(build(tmp_path / "merged", source=folder))
    assert tables("merged") == tables("one")


@pytest.mark.slow
def test_facts_of_an_earlier_run_are_compared_later_and_lost_comparisons_are_made_again(compared, build, tmp_path):
    first = go(build(tmp_path / "out", compare=()), source()).folder
    assert "nearest_score" not in rows(first.path, "attempts").features
    assert "compare" not in manifest(first.path)["recipe"]["filter"]
    go(build(tmp_path / "out"), source())
    assert published(tmp_path / "out") == published(compared.path)
    for path in Ledger(Folder(first.path).parts).all_parts():
        if path.parts[-3] in ("near", "pairs"):
            path.unlink()
    go(build(tmp_path / "out"), source())
    assert published(tmp_path / "out") == published(compared.path)


@pytest.mark.slow
def test_a_changed_test_split_is_compared_again(compared, build, tmp_path):
    data = source()
    data["test"] = data["test"].select([1, 2])
    result = go(build(tmp_path / "new"), data)
    go(build(tmp_path / "out"), source())
    go(build(tmp_path / "out"), data)
    assert "leak" not in rows(result.folder.path, "attempts")["reason"][:]
    assert published(tmp_path / "out") == published(tmp_path / "new")
