"""Tests of the marks in the images of a run.

All images of a run have the same mark, a copy of the bytes keeps it, and it contains no path of the machine.
"""

import io
import json

from datasets import Image, load_dataset
from PIL import Image as Pillow
from run_folders import contents, manifest, rows, sha256

from diffcore_hf.augmentation.marks import mark_of_run
from diffcore_hf.core.image_marks import MIXED, SOURCE_TYPES
from diffcore_hf.workflows.export import export


def packet(content):
    """Returns the XMP packet of an image file; None if it has none."""
    return Pillow.open(io.BytesIO(content)).info.get("xmp")


def stored(folder, config, column):
    """Returns the bytes of the images in a column."""
    return [cell["bytes"] for cell in rows(folder, config)[column] if cell is not None]


def test_all_images_of_a_run_have_the_mark_of_the_run(done):
    folder = done.folder.path
    run = json.loads((folder / ".diffcore" / "run.json").read_text())
    expected = mark_of_run(run).packet()
    places = (("default", "generated"), ("generated", "image"), ("attempts", "image"))
    found = [content for config, column in places for content in stored(folder, config, column)]
    assert len(found) >= 9
    assert {packet(content) for content in found} == {expected}
    model = run["about"]["model"]
    for value in (model["path"], model["identity"], run["attempt_digest"]):
        assert f'"{value}"'.encode() in expected
    assert model["path"].startswith("local:")
    assert run["resolved"]["model"]["path"].encode() not in expected
    assert {packet(content) for content in contents(rows(folder))} == {None}


def test_hashes_are_those_of_the_marked_files_and_loading_keeps_the_bytes(done, tmp_path):
    folder = done.folder.path
    attempts = [row for row in rows(folder, "attempts") if row["image"] is not None]
    assert all(sha256(row["image"]["bytes"]) == row["image_sha256"] for row in attempts)
    loaded = load_dataset(str(folder), "generated", split="train", cache_dir=str(tmp_path / "cache"))
    [first, *_] = loaded.cast_column("image", Image(decode=False))["image"]
    (tmp_path / "copy.jpg").write_bytes(first["bytes"])
    assert b"trainedAlgorithmicMedia" in Pillow.open(tmp_path / "copy.jpg").info["xmp"]
    loaded[0]["image"].copy().convert("RGB").save(tmp_path / "again.png")
    assert "xmp" not in Pillow.open(tmp_path / "again.png").info


def test_mixed_images_are_marked_as_composites_and_real_images_are_not_changed(done, tmp_path):
    export(done.folder.path, tmp_path / "mixed", {}, "mixed")
    found = list(
        zip(rows(tmp_path / "mixed")["is_mixed"][:], stored(tmp_path / "mixed", "default", "image"), strict=True)
    )
    assert {is_mixed for is_mixed, _ in found} == {True, False}
    for is_mixed, content in found:
        mark = packet(content)
        assert (mark is not None) == is_mixed
        assert not is_mixed or f'"{SOURCE_TYPES}{MIXED}"'.encode() in mark
    card = (tmp_path / "mixed" / "README.md").read_text()
    for words in ("## Marks of the generated images", "Article 50(2)", MIXED, "not legal advice"):
        assert words in card
    assert manifest(tmp_path / "mixed")["layout"] == "mixed"
