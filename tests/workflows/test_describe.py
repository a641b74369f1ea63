"""Tests of `describe`: figures of a finished run, its sheet and files, and folders that have no figures."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow
from run_folders import manifest, published, rows

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import manifest_bytes
from diffcore_hf.method.description import describe as describe_images
from diffcore_hf.workflows import second_tower
from diffcore_hf.workflows.describe import describe
from diffcore_hf.workflows.export import export


@pytest.fixture(scope="module")
def everything(done, tmp_path_factory):
    """Returns an export of the run that keeps all images."""
    out = tmp_path_factory.mktemp("everything") / "out"
    export(done.folder.path, out, {"filter": {"policy": {"name": "all"}}})
    return out


def replace_column(folder, config, name, values):
    """Replaces a column in the only shard of a configuration, and records the new file in the manifest."""
    [path] = manifest(folder)["configs"][config]["train"]
    table = pq.read_table(folder / path)
    field = table.schema.field(name)
    changed = table.set_column(table.column_names.index(name), field, pa.array(values, field.type))
    pq.write_table(changed, folder / path)


def test_the_figures_are_computed_from_the_published_embeddings(everything, tmp_path):
    report = tmp_path / "report.json"
    found = describe(everything, json_file=str(report))
    content = json.loads(report.read_text())
    real, kept = rows(everything, "references"), rows(everything, "attempts")
    kept = kept.filter(lambda reason: reason == "kept", input_columns="reason")
    expected = describe_images(
        ["a"] * 3,
        (np.stack(real["embedding"][:]), np.array(real["label"][:])),
        (np.stack(kept["embedding"][:]), np.array(kept["label"][:])),
    )
    assert content["overall"]["cmmd"] == {"value": expected.overall.cmmd.value, "error": expected.overall.cmmd.error}
    assert content["overall"]["copies"]["below"] == expected.overall.copies.below
    assert [row["kept"] for row in content["classes"]] == [3, 3, 4]
    assert content["classes"][1]["coverage"] is None
    assert len(content["closest"]) == 10
    assert content["closest"][0]["similarity"] >= content["closest"][9]["similarity"]
    lines = found.text.splitlines()
    assert lines[0].startswith(f"{everything}: 10 kept images against 10 real images, tower local:")
    assert any(line.startswith("all classes") and "±" in line for line in lines)
    assert any(line.startswith("- coverage and density: a class needs 4 real images") for line in lines)
    assert "chose the images" not in found.text


def test_the_sheet_shows_real_and_kept_images_and_no_published_file_changes(everything):
    before = published(everything)
    sheet = Pillow.open(describe(everything).sheet)
    assert sheet.width == 1200
    assert published(everything) == before


@pytest.mark.parametrize("layout", ["rows", "mixed"])
def test_every_layout_has_the_same_figures_and_images(done, everything, tmp_path, layout):
    export(done.folder.path, tmp_path / "out", {"filter": {"policy": {"name": "all"}}}, layout)
    one, other = describe(everything), describe(tmp_path / "out")
    assert one.text.splitlines()[1:] == other.text.splitlines()[1:]
    assert one.sheet.read_bytes() == other.sheet.read_bytes()


def test_a_dataset_without_originals_has_figures_and_a_sheet_with_placeholders(done, tmp_path):
    export(done.folder.path, tmp_path / "out", {"include_originals": False})
    assert "all classes" in describe(tmp_path / "out").text
    with pytest.raises(UserError, match="does not contain the real images, so --tower cannot embed them"):
        describe(tmp_path / "out", tower=done.recipe.filter.path)


def test_a_run_without_kept_images_has_dashes_and_a_reason_for_each(done, tmp_path):
    export(done.folder.path, tmp_path / "out", {"filter": {"policy": {"name": "fixed", "t": 1.0}}})
    text = describe(tmp_path / "out").text
    assert "0 kept images against 10 real images" in text
    assert "- CMMD: a class needs 3 real and 3 kept images. Without: " in text
    assert "policy fixed chose the images with this tower" in text


def test_embeddings_that_are_missing_or_not_finite_are_in_no_figure(everything, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    real, kept = rows(out, "references")["embedding"][:], rows(out, "attempts")["embedding"][:]
    real, kept = [row.tolist() for row in real], [row.tolist() for row in kept]
    real[0][0], kept[1][3], kept[2] = float("nan"), float("inf"), None
    replace_column(out, "references", "embedding", real)
    replace_column(out, "attempts", "embedding", kept)
    text = describe(out).text
    assert "8 kept images against 9 real images" in text
    assert "3 images without an embedding or a class are in no figure" in text


def test_embeddings_of_different_lengths_give_a_one_line_error(everything, tmp_path):
    shutil.copytree(everything, tmp_path / "out")
    kept = [row.tolist() for row in rows(everything, "attempts")["embedding"][:]]
    replace_column(tmp_path / "out", "attempts", "embedding", [kept[0][:-1], *kept[1:]])
    with pytest.raises(UserError, match="the embeddings of `attempts` differ in length"):
        describe(tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "name", "column"),
    [
        ("attempts", "label", lambda count: pa.nulls(count, pa.int64())),
        ("attempts", "image", lambda count: pa.array(["x"] * count)),
        ("references", "embedding", lambda count: pa.array(["x"] * count)),
        ("classes", "name", lambda count: pa.nulls(count, pa.string())),
        ("default", "row_id", lambda count: pa.array([["x"]] * count)),
    ],
)
def test_a_column_of_another_type_gives_a_one_line_error(everything, tmp_path, config, name, column):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    path = manifest(out)["configs"][config]["train"][0]
    table = pq.read_table(out / path)
    changed = table.set_column(table.column_names.index(name), name, column(len(table)))
    pq.write_table(changed, out / path)
    with pytest.raises(UserError, match=f"column '{name}' .*Export the dataset again") as error:
        describe(out)
    assert "\n" not in str(error.value)


def test_embeddings_without_numbers_and_classes_that_do_not_exist_are_in_no_figure(everything, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    kept = [[] for _ in rows(out, "attempts")["embedding"][:]]
    labels = [*rows(out, "references")["label"][:]]
    replace_column(out, "attempts", "embedding", kept)
    replace_column(out, "references", "label", [2**40, *labels[1:]])
    text = describe(out).text
    assert "0 kept images against 9 real images" in text
    assert "11 images without an embedding or a class are in no figure" in text


@pytest.mark.parametrize("tower", [None, {}, "x", {"path": 5}])
def test_a_manifest_without_a_tower_is_described(everything, tmp_path, tower):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    content = manifest(out)
    content["resolved"]["filter"] = tower
    (out / "diffcore.json").write_bytes(manifest_bytes(content))
    assert "tower unknown (stored embeddings)" in describe(out).text


def test_a_pipe_and_a_file_of_texts_in_the_place_of_stored_embeddings_are_ignored(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    np.savez(tmp_path / "texts.npz", sha256=np.array(["a"]), embeddings=np.array([["x"]]))
    np.savez(tmp_path / "good.npz", sha256=np.array(["a"]), embeddings=np.ones((1, 2), np.float16))
    found = [second_tower._read(tmp_path / f"{name}.npz") for name in ("pipe", "texts", "good")]
    assert [list(known) for known in found] == [[], [], ["a"]]


def test_a_target_that_cannot_be_written_is_reported_before_the_figures_are_computed(everything, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    shutil.rmtree(out / ".diffcore", ignore_errors=True)
    (out / ".diffcore").write_text("x")
    monkeypatch.setattr("diffcore_hf.workflows.describe.read_embeddings", None)
    with pytest.raises(UserError, match="closest.png cannot be written, because it is below .*diffcore"):
        describe(out)
    for name in ("a" * 300, "file/x.json"):
        (tmp_path / "file").write_text("x")
        with pytest.raises(UserError, match="--json"):
            describe(everything, json_file=str(tmp_path / name))


def test_kept_images_with_a_target_label_belong_to_the_class_that_they_show(everything, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    [path] = manifest(out)["configs"]["generated"]["train"]
    table = pq.read_table(out / path)
    targets = [2, *[None] * (len(table) - 1)]
    pq.write_table(table.append_column("target_label", pa.array(targets, pa.int64())), out / path)
    report = tmp_path / "report.json"
    describe(out, json_file=str(report))
    assert table["label"][0].as_py() == 0
    assert [row["kept"] for row in json.loads(report.read_text())["classes"]] == [2, 3, 5]


def test_a_second_tower_embeds_each_image_once(everything, tmp_path, tiny, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    before = published(out)
    first = describe(out, tower=tiny["clip"])
    assert "(computed again)" in first.text
    # The run embedded the kept images before they were encoded. So only the embeddings of real images are the same.
    cache = [path for path in (out / ".diffcore/describe").iterdir() if path.suffix == ".npz"]
    assert len(cache) == 1
    with np.load(cache[0], allow_pickle=False) as arrays:
        assert len(arrays["sha256"]) == 20
    assert published(out) == before
    monkeypatch.setattr(second_tower, "_embed", None)
    assert describe(out, tower=tiny["clip"]).text == first.text


def test_an_interrupted_embedding_is_resumed_and_a_damaged_file_is_replaced(everything, tmp_path, tiny, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    expected = describe(everything, tower=tiny["clip"]).text.splitlines()[1:]
    with monkeypatch.context() as patch:
        patch.setattr(second_tower, "_IMAGES", 4)
        interrupt_second_chunk(patch)
        with pytest.raises(KeyboardInterrupt):
            describe(out, tower=tiny["clip"])
    [cache] = (out / ".diffcore/describe").glob("*.npz")
    with np.load(cache) as arrays:
        assert len(arrays["sha256"]) == 4
    assert describe(out, tower=tiny["clip"]).text.splitlines()[1:] == expected
    cache.write_bytes(cache.read_bytes()[:100])
    assert describe(out, tower=tiny["clip"]).text.splitlines()[1:] == expected


def interrupt_second_chunk(patch):
    """Makes the second chunk of images raise KeyboardInterrupt."""
    from diffcore_hf.augmentation.stages.reference import Reference

    real, calls = Reference.run, []

    def run(self, *columns):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *columns)

    patch.setattr(Reference, "run", run)


def test_a_path_that_is_no_tower_gives_a_one_line_error_with_the_flag(everything, tmp_path):
    for tower in (str(tmp_path), " "):
        with pytest.raises(UserError, match="--tower") as error:
            describe(everything, tower=tower)
        assert "\n" not in str(error.value)
        assert "filter.path" not in str(error.value)


def test_folders_without_a_finished_dataset_give_a_one_line_error(everything, folder_of_photos, tmp_path):
    stopped = tmp_path / "stopped"
    shutil.copytree(everything, stopped)
    (stopped / "diffcore.json").unlink()
    for out, message in (
        (tmp_path / "nowhere", "is not a folder"),
        (folder_of_photos, "is not a dataset of diffcore-hf"),
        (stopped, "has no finished export yet. Repeat the augment or export that writes it"),
    ):
        with pytest.raises(UserError, match=message) as error:
            describe(out)
        assert "\n" not in str(error.value)


def test_a_manifest_cannot_name_a_file_outside_the_folder(everything, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    content = manifest(out)
    os.replace(out / content["configs"]["attempts"]["train"][0], tmp_path / "outside.parquet")
    content["configs"]["attempts"]["train"] = ["../outside.parquet"]
    (out / "diffcore.json").write_bytes(manifest_bytes(content))
    with pytest.raises(UserError, match=r"\.\./outside\.parquet, which diffcore\.json names, is not a file in"):
        describe(out)


def test_a_json_file_that_is_no_description_is_not_replaced(everything, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(UserError, match="--json is .*mine.json, which exists and is not a description of a dataset"):
        describe(everything, json_file=str(tmp_path / "mine.json"))
    assert (tmp_path / "mine.json").read_text() == "{}"


def test_the_command_loads_no_model_library(everything):
    code = (
        "import sys; from diffcore_hf.commands.main import main\n"
        f"status = main(['describe', {str(everything)!r}])\n"
        "loaded = {'torch', 'transformers', 'diffusers', 'datasets'} & sys.modules.keys()\n"
        "print('loaded', sorted(loaded)); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded []" in done.stdout
    assert "closest.png shows the closest pairs" in done.stdout
