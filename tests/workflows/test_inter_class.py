"""Runs with inter_class on photos: plan, augment, preview, export, push, load, train, and growth by a class."""

import json
import shutil

import pytest
import torch
from run_folders import go, manifest, published, rows
from small_photos import picture, write_photos

from diffcore_hf.config.merging import build
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.run_record import hashed_json
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import plan as plan_workflow
from diffcore_hf.workflows import train as train_workflow
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.preview import preview
from diffcore_hf.workflows.verify import verify
from testing import hub_steps as steps
from testing.hub_double.fixtures import client, hub  # noqa: F401 (fixtures)

STRATEGY = {"name": "inter_class", "options": {"strength": [0.5, 1.0]}, "gamma_label": 0.5}
KEEP_ALL = {"filter.policy": {"name": "all"}, "max_attempts": 1}


@pytest.fixture(scope="module")
def out(make, tmp_path_factory):
    """Returns the folder of a finished run in which every image is kept."""
    folder = tmp_path_factory.mktemp("inter") / "out"
    go(make(folder, strategy=STRATEGY, **KEEP_ALL))
    return folder


def labels(folder, name="default"):
    """Returns row id -> (target class, weight) of kept images."""
    table = rows(folder, name)
    keys = table["row_id"][:] if name == "default" else zip(table["row_id"][:], table["copy"][:], strict=True)
    return dict(zip(keys, zip(table["target_label"][:], table["target_weight"][:], strict=True), strict=True))


def test_plan_shows_the_targets_and_prompts_of_other_classes(make, tmp_path):
    recipe = make(tmp_path / "out", strategy="inter_class")
    lines = plan_workflow.text(augment.prepare(recipe)).splitlines()
    strategy = next(line for line in lines if line.startswith("strategy"))
    assert strategy == "strategy    inter_class (strength 0.7, fit crop, targets other, label weight strength ** 1)"


def test_a_run_publishes_labels_that_its_checks_accept(out):
    assert verify(str(out)) == []
    weights = {round(weight, 3) for _, weight in labels(out, "generated").values()}
    assert weights == {0.707, 1.0}
    assert manifest(out)["recipe"]["strategy"] == {
        "name": "inter_class",
        "targets": "other",
        "gamma_label": 0.5,
        "options": {"fit": "crop", "strength": [0.5, 1.0]},
    }
    card = (out / "README.md").read_text()
    for words in ("`inter_class`", "`target_label`", "`target_weight`", "gamma_label = 0.5"):
        assert words in card
    assert "image of the same class" not in card


def test_an_image_is_that_of_image_to_image_with_the_prompt_of_the_target(out, make, tmp_path):
    """The prompts have no context. So the two prompts of a row differ only in their class."""
    go(make(tmp_path / "own", strategy={"name": "image_to_image", "options": {"strength": [0.5, 1.0]}}, **KEEP_ALL))
    inter, own = ({row["row_id"]: row for row in rows(folder, "attempts")} for folder in (out, tmp_path / "own"))
    assert inter.keys() == own.keys()
    for row_id, row in inter.items():
        assert (row["seed"], row["strength"], row["context"]) == tuple(
            own[row_id][name] for name in ("seed", "strength", "context")
        )
        assert row["prompt"] != own[row_id]["prompt"]
        assert row["image_sha256"] != own[row_id]["image_sha256"]


def test_parts_do_not_change_an_image_and_a_repeated_run_makes_none(out, make, tmp_path):
    go(make(tmp_path / "out", strategy=STRATEGY, part_size=1, **KEEP_ALL))
    assert published(tmp_path / "out") == published(out)
    assert go(make(tmp_path / "out", strategy=STRATEGY, **KEEP_ALL)).new_attempts == 0


def test_preview_and_exports_of_every_layout_work_without_a_model(out, tmp_path):
    assert len(preview(out)) == 3
    assert len(preview(out, 2)) == 1
    assert len(preview(out, mixed=True)) == 1
    for layout in ("rows", "mixed"):
        export(out, tmp_path / layout, {"strategy": {"gamma_label": 1.0}}, layout)
        assert verify(str(tmp_path / layout)) == []


@pytest.mark.usefixtures("hub")
def test_a_pushed_version_has_the_labels(hub, client, out):  # noqa: F811 (fixtures)
    repo = hub.repo_id()
    client(steps.push, out, repo, "v1.0.0")
    assert client(steps.call, "verify", f"{repo}@v1.0.0") == []
    pushed = client(steps.rows, repo, "v1.0.0")["train"]
    assert {row["row_id"]: (row["target_label"], row["target_weight"]) for row in pushed} == labels(out)


@pytest.mark.parametrize(
    "mix",
    [
        {"mode": "append"},
        {"mode": "replace", "partner": "own", "probability": 1.0},
        {"mode": "replace", "partner": "own", "probability": 0.5},
        {"mode": "replace", "partner": "any", "probability": 0.3},
    ],
    ids=["append", "replace by the own image", "replace half by the own image", "replace some by any image"],
)
def test_a_training_uses_the_images_in_all_four_ways(out, tmp_path, mix):
    keys = {
        "data": {"path": str(out), "holdout": 0.3},
        "model": {"name": "test_resnet", "pretrained": False},
        "transform": {"preset": "tiny_preact_1200", "size": 32},
        "mix": {"kind": "none"} | mix,
        "max_steps": 2,
        "batch_size": 4,
        "workers": 0,
        "device": "cpu",
        "output": str(tmp_path / "trained"),
    }
    recipe = build(TRAIN_SCHEMA, keys)
    assert load_data(recipe.data, recipe.mix).has_soft_labels
    train_workflow.train(recipe, lambda text: None, progress=False)
    assert (tmp_path / "trained" / "run" / "seed-0" / "last" / "config.json").is_file()


def test_a_new_class_makes_only_the_images_that_show_it_again(make, tmp_path):
    source = write_photos(tmp_path / "photos", [6, 6, 6])
    keys = {"source": str(source), "strategy": STRATEGY, **KEEP_ALL}
    first = go(make(tmp_path / "out", **keys))
    before = labels(tmp_path / "out")
    names = rows(tmp_path / "out").features["label"].names
    (source / "zebra").mkdir()
    for number in range(2):
        (source / "zebra" / f"{number}.jpg").write_bytes(picture(4, number))
    grown = go(make(tmp_path / "out", **keys))
    after = labels(tmp_path / "out")
    assert rows(tmp_path / "out").features["label"].names == [*names, "zebra"]
    moved = [row_id for row_id, label in before.items() if after[row_id] != label]
    assert {after[row_id][0] for row_id in moved} <= {3}
    assert len(moved) <= 12  # about 6 of 18 units are expected to draw the new class
    assert (first.new_attempts, grown.new_attempts) == (18, len(moved) + 2)
    go(make(tmp_path / "new", **keys))
    assert published(tmp_path / "new") == published(tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"filter.policy": {"name": "mean"}}, "filter.policy is mean.*Use --filter.policy rank"),
        ({"strategy": STRATEGY | {"options": {"strength": 0.2}}}, "leaves no denoising step"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_before_weights_are_loaded(more, message, make, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "to", lambda *arguments, **keywords: pytest.fail("weights were loaded"))
    with pytest.raises(UserError, match=message):
        augment.prepare(make(tmp_path / "out", **({"strategy": STRATEGY} | more)))
    assert not (tmp_path / "out").exists()


def test_an_old_folder_without_targets_in_run_json_is_still_exported(done, tmp_path):
    shutil.copytree(done.folder.path, tmp_path / "out")
    path = tmp_path / "out" / ".diffcore" / "run.json"
    content = json.loads(path.read_text())
    del content["resolved"]["strategy"]["targets"]
    del content["resolved"]["strategy"]["gamma_label"]
    path.write_bytes(hashed_json(content))
    export(tmp_path / "out", tmp_path / "export", {})
    assert published(tmp_path / "export") == published(done.folder.path)
