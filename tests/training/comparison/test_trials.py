"""Tests of arms and seeds: finished trainings are not repeated, arms are comparable, and bad input gives an error."""

from __future__ import annotations

import json
import logging

import pytest
from augmented_photos import augmented, write_augmented

from diffcore_hf.commands.train import main
from diffcore_hf.training.comparison import trials
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.engine import devices, loop

OWN = {"half": {"mix": {"mode": "replace", "probability": 0.5}}}


def flags(recipe, *more):
    """Return the command line for a recipe of the fixture."""
    return [
        "--data.path", recipe.data.path, "--output", recipe.output, "--model.name", recipe.model.name,
        "--model.pretrained", "false", "--transform.preset", recipe.transform.preset, "--transform.size", "32",
        "--batch_size", "4", "--max_steps", "3", "--workers", "0", "--device", "cpu", *more,
    ]  # fmt: skip


def test_the_results_of_all_arms_and_seeds_are_written_as_one_table(train_recipe, tmp_path):
    recipe = train_recipe(compare=["plain", "mix", "half"], seeds=[0, 1], arms=OWN, max_steps=3)
    comparison = trials.run(recipe, progress=False)
    out = tmp_path / "trained"
    assert [arm["name"] for arm in comparison["arms"]] == ["plain", "mix", "half"]
    assert {arm["steps"] for arm in comparison["arms"]} == {3} and {
        arm["samples_seen"] for arm in comparison["arms"]
    } == {12}
    stored = json.loads((out / "compare.json").read_text())
    assert len(stored.pop("hash")) == 64 and stored == json.loads(json.dumps(comparison))
    assert (out / "compare.md").read_text().startswith("| arm")
    assert all(
        (out / arm / f"seed-{seed}" / "result.json").is_file() for arm in ("plain", "mix", "half") for seed in (0, 1)
    )
    assert str(tmp_path) not in (out / "compare.json").read_text()


def test_a_finished_training_is_not_repeated(train_recipe, monkeypatch):
    first = trials.run(train_recipe(compare=["plain", "mix"], max_steps=2), progress=False)
    trained = []
    run = loop.Training.run
    monkeypatch.setattr(loop.Training, "run", lambda self: (trained.append(self.folder.parent.name), run(self))[1])
    repeated = trials.run(train_recipe(compare=["plain", "mix"], max_steps=2), progress=False)
    assert (trained, repeated) == ([], first)
    trials.run(train_recipe(compare=["plain", "mix", "patch"], max_steps=2, seeds=[0]), progress=False)
    assert trained == ["patch"]


def test_all_arms_take_as_many_steps_as_the_first_arm(train_recipe):
    recipe = train_recipe(compare=["plain", "mix"], max_steps=None, epochs=2, mix={"mode": "off"})
    comparison = trials.run(recipe, progress=False)
    plain, mix = comparison["arms"]
    assert plain["steps"] == mix["steps"] == round(2 * 15 / 4)
    assert plain["epochs"] == pytest.approx(2, abs=0.2) and mix["epochs"] == pytest.approx(30 / 27, abs=0.15)


def test_a_single_training_needs_no_arms(train_recipe, tmp_path):
    comparison = trials.run(train_recipe(max_steps=2), progress=False)
    assert [arm["name"] for arm in comparison["arms"]] == ["run"]
    assert (tmp_path / "trained" / "run" / "seed-0" / "last" / "model.safetensors").is_file()


def test_another_recipe_does_not_overwrite_a_finished_training(train_recipe):
    trials.run(train_recipe(max_steps=2), progress=False)
    with pytest.raises(
        ValueError, match="has a finished training with another recipe or other data. Choose another --output"
    ):
        trials.run(train_recipe(max_steps=2, optimizer={"lr": 0.01}), progress=False)


def test_a_folder_with_other_files_is_not_changed(train_recipe, tmp_path):
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="has files that no training wrote; nothing was changed"):
        trials.run(train_recipe(), progress=False)
    assert [path.name for path in (tmp_path / "trained").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("kept", "mix", "warned"),
    [(1, {}, True), (1, {"partner": "real_same_class"}, False), (1, {"mode": "off"}, False), (10, {}, False),
     (1, {"mode": "replace", "probability": 0.5}, True)],
)  # fmt: skip
def test_a_warning_says_that_few_rows_have_a_generated_image(tmp_path, train_recipe, caplog, kept, mix, warned):
    folder = write_augmented(
        tmp_path / "few", train=augmented((10, 10), without=range(kept, 10)), test=augmented((2, 2))
    )
    recipe = train_recipe(data={"path": str(folder)}, mix=mix)
    with caplog.at_level(logging.WARNING):
        trials.warn_of_few_images("mix", recipe, load_data(recipe.data, recipe.mix))
    assert ("only 2 of 20 have" in caplog.text) == warned


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--compare", "plain,blend"], "compare has 'blend', which is not an arm. The arms are plain, genaug"),
        (
            ["--compare", "plain,x", "--arms", "{x: {mix: {knd: patch}}}"],
            "arms.x: mix.knd is not a key of a recipe; did you",
        ),
        (["--model.name", "resnet19"], "resnet19"),
        (["--data.path", "nowhere"], "data.path is 'nowhere', which is neither an existing folder"),
        (["--precision", "float16"], "precision is 'float16', which training on a CPU cannot use"),
        (["--trackers", "trackio"], "trackers has 'trackio', which is not installed. Run: pip install trackio"),
        (["--transform.preset", "imagenet"], "transform.preset is 'imagenet', not one of"),
        (["--model.pretrained", "true"], "--model.pretrained false"),
        (["--config", "miniature"], "did you mean miniature-train?"),
    ],
)
def test_bad_input_gives_a_one_line_error_and_writes_nothing(train_recipe, tmp_path, capsys, monkeypatch, more, line):
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    recipe = train_recipe()
    assert main(flags(recipe, *more)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([each for each in lines if each.startswith("train: ")]) == 1 and line in lines[-1]
    assert not list((tmp_path / "trained").glob("*/*/result.json"))


def test_the_program_prints_one_table_and_evaluates_the_trained_model(train_recipe, tmp_path, capsys):
    recipe = train_recipe()
    assert main(flags(recipe, "--compare", "plain,mix")) == 0
    out = capsys.readouterr().out
    assert out.count("| arm") == 1 and "plain" in out and "compare.json contains these figures" in out
    best = tmp_path / "trained" / "mix" / "seed-0" / "best"
    assert main(["--evaluate", str(best)]) == 0
    output = capsys.readouterr().out
    comparison = json.loads((tmp_path / "trained" / "compare.json").read_text())
    assert f"top-1 {100 * comparison['arms'][1]['top1']:.2f}, top-5" in output


def test_a_model_with_other_classes_raises_an_error(train_recipe, tmp_path, capsys):
    assert main(flags(train_recipe())) == 0
    other = write_augmented(tmp_path / "other", train=augmented((3, 3)), test=augmented((2, 2)))
    best = str(tmp_path / "trained" / "run" / "seed-0" / "best")
    assert main(["--evaluate", best, "--data.path", str(other)]) == 2
    assert "the model has 3 classes, but the dataset has 2" in capsys.readouterr().err


def test_training_scores_are_written_to_tensorboard(train_recipe, tmp_path):
    pytest.importorskip("tensorboard", reason="no tensorboard here")
    trials.run(train_recipe(trackers=["tensorboard"], max_steps=2), progress=False)
    assert list((tmp_path / "trained" / "trackers").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("key", ["batch_size", "epochs", "max_steps", "seeds"])
def test_an_arm_cannot_change_keys_that_all_arms_share(train_recipe, key):
    recipe = train_recipe(compare=["plain", "big"], arms={"big": {key: [8] if key == "seeds" else 8}})
    with pytest.raises(ValueError, match=f"arms.big has {key}, which must be the same for all arms"):
        trials.run(recipe, progress=False)


def test_the_legend_names_arms_with_other_networks(train_recipe):
    recipe = train_recipe(compare=["plain", "other"], arms={"other": {"model": {"name": "test_vit"}}}, max_steps=2)
    assert trials.run(recipe, progress=False)["model"] == "test_resnet, from scratch or test_vit, from scratch"


def test_an_invalid_later_arm_is_reported_before_the_first_arm_is_trained(train_recipe, tmp_path):
    for arm, line in (({"model": {"name": "nope"}}, "timm does not have"), ({"optimizer": {"name": "sgdd"}}, "sgdd")):
        with pytest.raises(ValueError, match=line):
            trials.run(train_recipe(compare=["plain", "b"], arms={"b": arm}), progress=False)
    assert not (tmp_path / "trained").exists()


def test_arms_with_different_test_rows_raise_an_error(train_recipe, tmp_path):
    other = write_augmented(tmp_path / "other", train=augmented(), test=augmented((3, 3, 3), start=60))
    recipe = train_recipe(compare=["plain", "b"], arms={"b": {"data": {"path": str(other)}}})
    with pytest.raises(ValueError, match="arms plain and b would be scored on different images"):
        trials.run(recipe, progress=False)


def test_scoring_a_model_on_classes_in_another_order_raises_an_error(train_recipe, tmp_path, capsys):
    assert main(flags(train_recipe())) == 0
    rows = augmented()
    names = rows.features["label"].names
    reordered = rows.cast_column("label", rows.features["label"].__class__(names=names[::-1]))
    other = write_augmented(tmp_path / "other", train=reordered, test=reordered)
    best = str(tmp_path / "trained" / "run" / "seed-0" / "best")
    assert main(["--evaluate", best, "--data.path", str(other)]) == 2
    assert "the classes of the model and of the dataset differ, or their order differs" in capsys.readouterr().err


def test_a_comparison_writes_its_cards_into_the_folder_of_an_interrupted_comparison(train_recipe, tmp_path, capsys):
    recipe = train_recipe()
    (tmp_path / "trained" / "plain" / "seed-0" / "best").mkdir(parents=True)
    (tmp_path / "trained" / "plain" / "seed-0" / "best" / "config.json").write_text("{}")
    (tmp_path / "trained" / "recipe.yaml").write_text("data: x")
    assert main(flags(recipe, "--compare", "mix,patch")) == 0
    assert len(list((tmp_path / "trained").glob("*/*/*/README.md"))) == 4
    capsys.readouterr()
