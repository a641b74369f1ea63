"""Tests of the pictures that `preview` draws."""

import pytest
from PIL import Image as Pillow
from run_folders import go, interrupt_at, published

from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.preview import preview


def test_preview_draws_the_decisions_and_random_samples_and_changes_no_published_file(copy):
    before = published(copy)
    names = {path.name for path in preview(copy)}
    assert names == {"contact_sheet.png", "similarity.png", "similarity_by_class.png"}
    [sheet] = preview(copy, 5)
    assert sheet == copy / ".diffcore/preview/samples-5.png"
    assert min(Pillow.open(sheet).size) > 100
    assert published(copy) == before


def test_the_error_of_preview_before_the_first_attempt_has_a_remedy(make, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, "diffcore_hf.models.diffusion.TextToImage.sample", 1)
    go(make(tmp_path / "out"))
    with pytest.raises(ValueError, match="has no attempt yet"):
        preview(tmp_path / "out")


def test_a_mixed_preview_is_drawn_of_a_run_and_of_an_export(copy, tmp_path):
    export(copy, tmp_path / "all", {"filter": {"policy": {"name": "all"}}})
    for folder in (copy, tmp_path / "all"):
        before = published(folder)
        [sheet] = preview(folder, mixed=True)
        assert sheet == folder / ".diffcore/preview/mixed.png"
        assert min(Pillow.open(sheet).size) > 100
        drawn = sheet.read_bytes()
        assert preview(folder, mixed=True)[0].read_bytes() == drawn
        assert published(folder) == before


@pytest.mark.parametrize(
    "layer, layout, message",
    [
        ({"filter": {"policy": {"name": "fixed", "t": 1.0}}}, "columns", "because no attempt was kept"),
        ({}, "rows", "its layout is 'rows'. Name the folder"),
        ({"include_originals": False}, "columns", "without its original images"),
    ],
    ids=["nothing kept", "plain rows", "no originals"],
)
def test_a_dataset_without_pairs_has_no_mixed_preview(done, tmp_path, layer, layout, message):
    export(done.folder.path, tmp_path / "out", layer, layout)
    with pytest.raises(ValueError, match=message) as error:
        preview(tmp_path / "out", mixed=True)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out/.diffcore/preview").exists()


def test_a_mixed_preview_of_an_unfinished_or_damaged_folder_gives_a_one_line_error(copy, folder_of_photos, tmp_path):
    for folder in (folder_of_photos, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="is not a finished dataset of diffcore-hf"):
            preview(folder, mixed=True)
    [shard] = (copy / "data").iterdir()
    shard.write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"cannot be read: data/.* is not the file that was exported\.") as error:
        preview(copy, mixed=True)
    assert "\n" not in str(error.value)
