"""Tests of strategies that a user wrote: they need no change to a file of the package."""

import json

import numpy as np
import pytest
import torch
from datasets import load_dataset
from PIL import ImageFilter
from small_photos import photos

from diffcore_hf import augment
from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.base import Samples, Strategy
from diffcore_hf.method.checks import Check, recorded_reason
from diffcore_hf.publishing.pictures.contact_sheet import decision_label
from diffcore_hf.workflows import pictures

BLURRY = recorded_reason("blurry", "the image is blurred", "blurred")


class Blurred(Strategy):
    """Returns the real image, blurred."""

    VERSION = "7"
    uses_model = False
    reads = ("source_image",)

    def sample(self, batch):
        blurred = [image.resize((16, 16)).filter(ImageFilter.GaussianBlur(1)) for image in batch["source_image"]]
        pixels = np.stack([np.asarray(image) for image in blurred])
        return Samples(torch.from_numpy(pixels).permute(0, 3, 1, 2), [None] * len(blurred))


class Prepared(Blurred):
    """Returns the real image, blurred. Its preparation counts the references."""

    def preparation(self):
        return {"kind": "count"}

    def prepare(self, references, folder):
        (folder / "count.txt").write_text(str(sum(1 for reference in references if reference["source_image"])))

    def use_preparation(self, folder):
        assert (folder / "count.txt").read_text() == "5"


class Flagged(Blurred):
    """Flags every image with a reason of its own check."""

    def sample(self, batch):
        samples = super().sample(batch)
        return Samples(samples.images, ["blurry: radius 1"] * len(samples.flags))


class Black(Blurred):
    """Returns black images without a flag."""

    def sample(self, batch):
        samples = super().sample(batch)
        return Samples(samples.images * 0, samples.flags)


@pytest.fixture
def run(keys, tmp_path):
    """Returns a function that runs with recipe keys and returns the augmented rows. The image column is `img`."""

    def run(**more):
        ds = photos([3, 2]).rename_column("image", "img")
        without_model = {key: value for key, value in keys.items() if key != "model"}
        more = without_model | {"source": {"image": "img"}, "output": str(tmp_path / "out"), "max_attempts": 1} | more
        return augment(ds, progress=False, **more)

    return run


def test_a_strategy_of_the_user_works_in_a_run(run, keys, tmp_path):
    rows = run(strategy=f"{__name__}:Blurred", filter=keys["filter"] | {"policy": "all"})
    assert rows.column_names[:2] == ["img", "label"]
    assert rows["status"][:] == ["kept"] * 5
    for row in rows:
        real = np.asarray(row["img"].resize((16, 16)), float).mean((0, 1))
        assert np.abs(np.asarray(row["generated"], float).mean((0, 1)) - real).max() < 8
    assert min(rows["similarity"]) > 0.5
    generated = load_dataset(str(tmp_path / "out"), "generated", split="train", cache_dir=tmp_path / "cache")
    assert generated.column_names[:2] == ["img", "label"]
    run_json = json.loads((tmp_path / "out" / ".diffcore" / "run.json").read_text())
    assert run_json["stages"]["attempt"] == "3+7+1"
    assert run_json["attempt"]["strategy"] == {"name": f"{__name__}:Blurred", "options": None}
    assert "model" not in run_json["attempt"]
    model = {"family": "none", "path": None, "identity": "none", "licence": None}
    assert json.loads((tmp_path / "out" / "diffcore.json").read_text())["resolved"]["model"] == model
    card = (tmp_path / "out" / "README.md").read_text()
    assert "model:" not in card.split("```yaml")[1]
    for text in ("text-to-image model |", "Guidance", "Steps", "YOUR/MODEL", "The model"):
        assert text not in card
    assert "were made without a" in card
    with pytest.raises(UserError, match=r"was started with settings that give other images \(.*strategy"):
        run(model=keys["model"])


def test_a_preparation_is_computed_once_and_used_again(run, tmp_path):
    for _ in range(2):
        rows = run(strategy=f"{__name__}:Prepared")
    assert len(rows) == 5
    [folder] = (tmp_path / "out" / ".diffcore" / "parts" / "prepared").iterdir()
    assert {file.name for file in folder.iterdir()} == {"count.txt", "finished.json"}
    content = (folder / "count.txt").read_bytes()
    (folder / "count.txt").write_bytes(b"another" + content)
    assert run(strategy=f"{__name__}:Prepared").to_list() == rows.to_list()
    assert (folder / "count.txt").read_bytes() == content
    assert folder.with_name(f"{folder.name}.bad").is_dir()


def test_an_unknown_flag_is_refused_before_it_is_stored(run, keys, tmp_path):
    strategy = f"{__name__}:Flagged"
    with pytest.raises(UserError, match=rf"^strategy {strategy} returned the flag 'blurry: .*recorded=True.*checks$"):
        run(strategy=strategy)
    rows = run(strategy=strategy, filter=keys["filter"] | {"policy": "all", "checks": [f"{__name__}:BLURRY"]})
    assert rows["generated"][:] == [None] * 5
    attempts = load_dataset(str(tmp_path / "out"), "attempts", split="train", cache_dir=tmp_path / "cache")
    assert attempts["reason"][:] == ["blurry"] * 5


def test_images_of_one_colour_are_invalid_for_every_strategy(run, keys, tmp_path):
    rows = run(strategy=f"{__name__}:Black", filter=keys["filter"] | {"policy": "all"})
    assert rows["generated"][:] == [None] * 5
    attempts = load_dataset(str(tmp_path / "out"), "attempts", split="train", cache_dir=tmp_path / "cache")
    assert attempts["reason"][:] == ["invalid"] * 5


NOTHING_PASSES = Check("unwanted", "this check rejects every image", "an unwanted image", lambda candidate: True)


def test_the_contact_sheet_shows_the_label_of_an_added_check(run, keys, monkeypatch):
    shown = []
    draw = pictures.draw_contact_sheet

    def draw_and_record(tiles, *, labels, **options):
        shown.extend(decision_label(tile.reason, labels)[0] for tile in tiles)
        return draw(tiles, labels=labels, **options)

    monkeypatch.setattr(pictures, "draw_contact_sheet", draw_and_record)
    checked = keys["filter"] | {"policy": "all", "checks": [f"{__name__}:NOTHING_PASSES"]}
    rows = run(strategy=f"{__name__}:Blurred", filter=checked)
    assert set(rows["status"]) == {"exhausted"}
    assert set(shown) == {"✗ rejected: an unwanted image"}
