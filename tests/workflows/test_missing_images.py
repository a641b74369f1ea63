"""Tests of a source whose images are missing: each strategy refuses it in one line before weights are loaded."""

import pytest
from datasets import Dataset
from run_folders import go
from small_photos import photos, picture, write_photos

from diffcore_hf import join_originals
from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.base import STRATEGIES
from diffcore_hf.workflows import augment
from diffcore_hf.workflows.describe import describe
from diffcore_hf.workflows.export import export

PREFIX = {"columns": {"prefix": "dc_"}}


@pytest.fixture(scope="module")
def bare(done, tmp_path_factory):
    """Returns a dataset that was published without its original images."""
    folder = tmp_path_factory.mktemp("bare") / "out"
    export(done.folder.path, folder, {"include_originals": False})
    return folder


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_dataset_without_its_originals_is_refused_by_each_strategy(name, bare, make, tmp_path, no_weights):
    recipe = make(tmp_path / "out", source=str(bare), strategy=name, **PREFIX)
    with pytest.raises(UserError, match=r"all 10 planned rows are missing") as error:
        augment.prepare(recipe)
    assert "\n" not in str(error.value)
    assert "--source.path FOLDER" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_remedy_of_the_error_works(bare, make, folder_of_photos, tmp_path):
    """The joined dataset has the images, and a run on it can be prepared."""
    joined = join_originals(bare, folder_of_photos)
    source = {"path": "in-memory", "root": str(folder_of_photos)}
    recipe = make(tmp_path / "out", source=source, strategy="image_to_image", **PREFIX)
    assert len(augment.prepare(recipe, joined).plan) == 10


def test_a_source_with_one_readable_image_is_not_refused(make, tmp_path):
    ds = photos([2, 2])
    cells = [{"bytes": picture(0, 0), "path": None}, None, None, None]
    ds = Dataset.from_dict({"image": cells, "label": ds["label"][:]}, features=ds.features)
    recipe = make(tmp_path / "out", source="in-memory", strategy="image_to_image")
    assert len(augment.prepare(recipe, ds).plan) == 4


def test_describe_needs_no_real_image_and_refuses_another_tower_before_it_is_loaded(bare, done, no_weights):
    assert "all classes" in describe(bare).text
    with pytest.raises(UserError, match="does not contain the real images, so --tower cannot embed them") as error:
        describe(bare, tower=done.recipe.filter.path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kept_bytes", "message"),
    [
        (20, "class 'green_frog' has 0 references, and a learned token needs 3"),
        (60, "class 'green_frog' has no reference whose pixels can be decoded"),
    ],
)
def test_damaged_references_are_no_references_of_a_learned_token(kept_bytes, message, make, tmp_path):
    """A file without its header is found by `prepare`. A file without its pixels is found when it is decoded."""
    folder = write_photos(tmp_path / "photos", [3, 3])
    for number, file in enumerate(sorted((folder / "green_frog").iterdir())):
        file.unlink()
        file.with_suffix(".png").write_bytes(picture(1, number, image_format="PNG")[:kept_bytes])
    options = {"name": "learned_tokens", "options": {"steps": 1, "batch": 1}}
    keys = {"source": str(folder), "strategy": options, "limit": 1, "filter.policy": "all", "max_attempts": 1}
    with pytest.raises(UserError, match=message) as error:
        go(make(tmp_path / "out", **keys))
    assert "\n" not in str(error.value)
    augment.prepare(make(tmp_path / "out", **keys, **{"select.classes": ["red_fox"]}))
