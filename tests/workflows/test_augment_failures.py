"""Tests of rows, images and classes that cannot be augmented: each has a reason, and the run continues."""

import io

import numpy as np
import pytest
from datasets import (
    ClassLabel,
    Dataset,
    Features,
    Image,
    get_dataset_config_names,
    load_dataset,
)
from PIL import Image as Pillow
from run_folders import go, published, rows
from small_photos import photos, picture

from diffcore_hf.core.folder import Folder
from diffcore_hf.workflows import pictures
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.verify import verify


def test_unreadable_and_unlabelled_rows_get_a_reason_and_the_run_continues(make, tmp_path):
    cells = [{"bytes": picture(0, number), "path": None} for number in range(6)]
    cells[1] = {"bytes": b"no image at all", "path": None}
    cells[2] = {"bytes": None, "path": str(tmp_path / "gone.jpg")}
    cells[3] = None
    features = Features({"image": Image(), "label": ClassLabel(names=["red fox", "blue jay", "sea lion"])})
    labels = [0, 0, 0, 0, -1, 1]  # class blue jay has one row, and class sea lion has no row
    ds = Dataset.from_dict({"image": cells, "label": labels}, features=features)
    outcome = go(make(tmp_path / "out", source="in-memory", **{"filter.policy": {"name": "all"}}), ds)
    assert rows(tmp_path / "out")["status"][:] == ["kept", "failed", "failed", "failed", "not_planned", "kept"]
    reasons = rows(tmp_path / "out", "references")["reason"][:]
    assert [reason and reason.split(":")[0] for reason in reasons] == [
        None, "unreadable", "unreadable", "unreadable", "unlabelled", None,
    ]  # fmt: skip
    assert outcome.summary.failed_rows == {"unlabelled": 1, "unreadable": 3}
    assert outcome.summary.counts | {"rows": 6, "unlabelled": 1, "kept": 2, "failed": 3} == outcome.summary.counts
    assert rows(tmp_path / "out", "classes")["images"][:] == [4, 1, 0]
    assert verify(str(tmp_path / "out")) == []
    assert go(make(tmp_path / "out", source="in-memory", **{"filter.policy": {"name": "all"}}), ds).new_attempts == 0


@pytest.mark.parametrize("policy", ["mean", "quantile", "rank"])
def test_a_class_with_one_image_has_the_pooled_bound(make, tmp_path, policy):
    go(make(tmp_path / "out", source="in-memory", **{"filter.policy": {"name": policy}}), photos([5, 5, 1]))
    classes = rows(tmp_path / "out", "classes")
    assert all(bound is not None for bound in classes["bound"])
    assert classes["attempts"][2] >= 1


def test_images_of_every_mode_and_size_can_be_augmented(make, tmp_path):
    cells = []
    for number, mode in enumerate(("L", "LA", "P", "RGBA", "CMYK", "1", "I;16")):
        buffer = io.BytesIO()
        image = Pillow.open(io.BytesIO(picture(0, number, size=(9 + 40 * number, 31))))
        deep = Pillow.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
        (deep if mode == "I;16" else image.convert(mode)).save(buffer, "TIFF")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    features = Features({"image": Image(), "label": ClassLabel(names=["red fox"])})
    ds = Dataset.from_dict({"image": cells, "label": [0] * len(cells)}, features=features)
    go(make(tmp_path / "out", source="in-memory", max_attempts=1), ds)
    assert rows(tmp_path / "out", "references")["reason"][:] == [None] * 7


def test_a_class_without_kept_images_is_given_up(make, tmp_path):
    nothing = {"filter.policy": {"name": "fixed", "t": 1.0}}
    outcome = go(make(tmp_path / "out", source="in-memory", max_attempts=3, **nothing), photos([21, 3]))
    # Each of the 24 rows has a first attempt. Each of the three rows of the small class has two more.
    assert outcome.new_attempts == 24 + 2 * 3
    assert outcome.summary.given_up == ["red fox"]
    assert outcome.summary.counts["exhausted"] == 24
    assert rows(tmp_path / "out", "classes")["given_up"][:] == [True, False]


def test_every_dataset_configuration_can_be_loaded_if_no_image_was_kept(done, tmp_path):
    nothing = {"max_attempts": 1, "filter": {"policy": {"name": "fixed", "t": 1.0}}}
    export(done.folder.path, tmp_path / "out", nothing)
    configs = get_dataset_config_names(str(tmp_path / "out"))
    counts = {name: len(load_dataset(str(tmp_path / "out"), name, cache_dir=tmp_path)["train"]) for name in configs}
    counts.pop("generated", None)  # the card names no configuration without rows, because `datasets` cannot load it
    assert counts == {"default": 10, "attempts": 10, "references": 10, "classes": 3}


def test_an_attempt_that_crashes_has_no_image(make, tmp_path, monkeypatch):
    from diffcore_hf.models.diffusion import TextToImage

    real = TextToImage.sample

    def sample(self, prompts, negatives, seeds, **options):
        if any("green frog" in prompt for prompt in prompts):
            raise RuntimeError("the generation crashed")
        return real(self, prompts, negatives, seeds, **options)

    monkeypatch.setattr(TextToImage, "sample", sample)
    outcome = go(make(tmp_path / "out", max_attempts=1, **{"filter.policy": {"name": "all"}}))
    assert outcome.summary.counts | {"kept": 7, "failed": 3} == outcome.summary.counts
    crashed = [row for row in rows(tmp_path / "out", "attempts") if row["reason"] == "crashed"]
    assert [row["image_sha256"] for row in crashed] == [None] * 3


def test_an_interrupted_export_keeps_the_old_files_and_the_next_export_is_complete(make, done, copy, monkeypatch):
    before = published(copy)
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "histogram", lambda material: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go(make(copy, fraction=0.5))
    assert published(copy) == before
    assert Folder(copy).faults() == []
    go(make(copy))
    assert published(copy) == published(done.folder.path)


def test_a_second_run_repairs_an_incomplete_folder(make, done, copy):
    [shard] = (copy / "data").iterdir()
    shard.unlink()
    (copy / "diffcore.json").unlink()
    assert go(make(copy)).new_attempts == 0
    assert published(copy) == published(done.folder.path)
