"""Tests of the behaviour that all stages share, when `datasets.map` runs them."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import pytest
from datasets import Image

from diffcore_hf.augmentation.stages.attempt import Attempt
from diffcore_hf.augmentation.stages.generate import Generate
from diffcore_hf.augmentation.stages.reference import Reference
from diffcore_hf.augmentation.stages.score import Score
from diffcore_hf.core import images


@pytest.fixture(params=["Generate", "Score", "Attempt", "Reference"])
def stage(request, recipe):
    make = {"Generate": lambda: Generate(recipe.model), "Score": lambda: Score(recipe.filter)}
    make |= {"Attempt": lambda: Attempt(recipe), "Reference": lambda: Reference(recipe.filter)}
    return make[request.param]()


@pytest.fixture
def ready(planned, photos):
    """Returns the planned rows with generated images, which Score reads."""
    return planned.add_column("generated_image", photos[::-1], feature=Image())


def test_a_stage_does_not_change_the_original_images(stage, ready, photos, cells):
    removed = [name for name in stage.adds if name in ready.column_names]
    if removed:
        ready = ready.rename_columns({name: f"their_{name}" for name in removed})
    reads = {name: f"their_{name}" for name in stage.reads if name in removed}
    mapped = stage.map(ready, columns=reads)
    assert list(mapped.features) == [*ready.features, *stage.adds]
    for name, feature in ready.features.items():
        assert mapped.features[name] == feature
    for column, expected in [("source_image", photos), ("second", photos[::-1])]:
        column = f"their_{column}" if column in removed else column
        stored = cells(mapped, column)
        assert [images.sha256(cell["bytes"]) for cell in stored] == [images.sha256(cell["bytes"]) for cell in expected]
        assert [cell["path"] for cell in stored] == [cell["path"] for cell in expected]


def test_a_stage_that_is_called_with_a_whole_batch_raises_an_error(stage, planned):
    with pytest.raises(TypeError, match=r"got a whole batch.*\.map\(dataset\).*input_columns=") as error:
        stage(planned[:2])
    assert "\n" not in str(error.value)
    with pytest.raises(TypeError, match="whole batch"):
        planned.map(stage, batched=True)


def test_a_pickled_stage_contains_no_weights(stage, ready, recipe):
    ready = ready.remove_columns([name for name in stage.adds if name in ready.column_names])
    before = stage.map(ready)
    again = pickle.loads(pickle.dumps(stage))
    assert len(pickle.dumps(stage)) < 10_000
    for holder in (again, getattr(again, "generating", again), getattr(again, "scoring", again)):
        assert getattr(holder, "_strategy", None) is None
        assert getattr(holder, "_tower", None) is None
    assert again.fingerprint(ready) == stage.fingerprint(ready)
    assert again.map(ready)._fingerprint == before._fingerprint


def test_the_fingerprint_depends_on_the_configuration_and_not_on_the_batch_size(
    planned, model, tower, recipe, tmp_path
):
    stage = Generate(model)
    first = stage.fingerprint(planned)
    assert len(first) == 32
    assert first == Generate(model, batch_size=3).fingerprint(planned)
    assert first == Generate(dataclasses.replace(model, offload="model")).fingerprint(planned)
    others = [Generate(dataclasses.replace(model, steps=2)), Generate(dataclasses.replace(model, gamma=1.0))]
    others += [Generate(model, image_format="png"), Generate(model, store_size=8), Generate(model, strict=True)]
    others += [Attempt(recipe), Score(tower), Reference(tower)]
    prints = {first, *(other.fingerprint(planned) for other in others), stage.fingerprint(planned.select([0]))}
    prints.add(stage.fingerprint(planned, ["second", "negative_prompt", "seed"]))
    assert len(prints) == len(others) + 3

    class Newer(Generate):
        VERSION = Generate.VERSION + "+"

    Newer.__name__ = "Generate"
    assert Newer(model).fingerprint(planned) not in prints


def test_moving_the_weights_does_not_change_the_fingerprint(planned, tower, tmp_path):
    import shutil

    shutil.copytree(tower.path, tmp_path / "elsewhere")
    moved = dataclasses.replace(tower, path=str(tmp_path / "elsewhere"))
    assert Score(moved).fingerprint(planned) == Score(tower).fingerprint(planned)


def test_missing_and_conflicting_columns_raise_an_error(planned, model, tower):
    with pytest.raises(
        ValueError, match=r"Score reads 'generated_image', which the dataset does not have; its columns: .*columns="
    ):
        Score(tower).map(planned)
    clash = planned.rename_column("second", "generated_image")
    with pytest.raises(ValueError, match=r"Generate adds 'generated_image', which the dataset has already"):
        Generate(model).map(clash)
    replaced = Generate(model).map(clash, remove_columns="generated_image")
    assert replaced.column_names[-1] == "generated_image"


def test_a_stage_reads_columns_under_other_names(planned, model):
    renamed = planned.rename_columns({"prompt": "caption"})
    mapped = Generate(model).map(renamed, columns={"prompt": "caption"})
    assert mapped["generated_image"][:] == Generate(model).map(planned)["generated_image"][:]


def test_two_processes_generate_the_same_images_as_one(planned, model):
    one = Generate(model, strict=True).map(planned)
    two = Generate(model, strict=True).map(planned, num_proc=2)
    assert one["generated_image"][:] == two["generated_image"][:]


def test_importing_stages_loads_no_model_library():
    code = (
        "import sys; from diffcore_hf.augmentation.stages import attempt, generate, reference, score, stage;"
        "assert not {'torch', 'diffusers', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
