"""Tests of the shipped training recipes: each is valid, states its commands, and trains on artificial data.

A stand-in is an artificial dataset of a few images of noise. It has the number of classes, the splits and the image
size of the real dataset. If the real dataset has a test split without labels, so has the stand-in. A test writes the
stand-in to the path that the recipe reads.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from augmented_photos import write_augmented
from PIL import Image as Picture

from diffcore_hf.commands.definitions import TRAIN
from diffcore_hf.commands.parser import parse
from diffcore_hf.config.layers import config_layer
from diffcore_hf.config.merging import build
from diffcore_hf.config.recipe_files import shipped_recipes, shipped_training_recipes
from diffcore_hf.config.train import OptimizerConfig, ScheduleConfig, TrainRecipe
from diffcore_hf.config.train_schema import ARMS, TRAIN_SCHEMA
from diffcore_hf.training.comparison import trials
from diffcore_hf.training.comparison.arm_checks import check_arms
from diffcore_hf.training.comparison.arms import arms_of
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.mixers.names import MIXERS

DOCS = Path(__file__).parents[2] / "docs" / "training.md"
PAPERS = sorted(set(shipped_training_recipes()) - {"miniature-train"})
"""Recipes of the experiments of the paper. The recipe miniature-train is no experiment of the paper."""
NO_LABELS = "no labels"


@dataclass(frozen=True)
class Real:
    """The properties of a real dataset that its stand-in has."""

    classes: int
    splits: tuple[str, ...]
    size: tuple[int, int]
    scored: str


PHOTOGRAPH = (320, 280)
REAL = {
    "out/cifar100": Real(100, ("train", "test"), (32, 32), "test"),
    "out/tiny-imagenet": Real(200, ("train", "valid"), (64, 64), "valid"),
    "out/imagenet": Real(1000, ("train", "validation", f"test, {NO_LABELS}"), PHOTOGRAPH, "validation"),
    "out/cub": Real(200, ("train", "test"), PHOTOGRAPH, "test"),
    "out/cars": Real(196, ("train", "test"), PHOTOGRAPH, "test"),
    "out/cars-50": Real(196, ("train", "test"), PHOTOGRAPH, "test"),
    "out/caltech101": Real(101, ("train", "validation"), PHOTOGRAPH, "validation"),
    "out/flowers": Real(102, ("train", "validation", "test"), PHOTOGRAPH, "test"),
}
STAND_IN = {"batch_size": 4, "max_steps": 2, "model": {"pretrained": False}, "workers": 0, "device": "cpu"}


def head(name: str) -> str:
    """Return the comment at the top of a recipe."""
    lines = shipped_training_recipes()[name].read_text().splitlines()
    return "\n".join(lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))])


def commands(name: str) -> list[list[str]]:
    """Return the arguments of each command in the comment at the top of a recipe, without recipes/train.py."""
    text = re.sub(r" \\\n#\s+", " ", head(name))
    lines = re.findall(r"^# +accelerate launch .*recipes/train\.py (.*)$", text, re.M)
    return [shlex.split(line) for line in lines]


def recipe_of(argv: list[str], **keys) -> TrainRecipe:
    """Return the recipe of a command line."""
    command = parse(argv, TRAIN)
    return build(TRAIN_SCHEMA, config_layer(command.options["config"]), command.layer, keys)


def own_backbone(argv: list[str]) -> bool:
    """Return whether a command is a single training. Commands with arms or seeds train the same networks again."""
    return "--compare" not in argv and "--seeds" not in argv


def noise(random: np.random.Generator, size: tuple[int, int]) -> dict:
    buffer = BytesIO()
    Picture.fromarray(random.integers(0, 256, (*size[::-1], 3), np.uint8)).save(buffer, "JPEG")
    return {"bytes": buffer.getvalue(), "path": None}


def write_stand_in(path: str) -> None:
    """Write a stand-in. Each split except train has two rows.

    Split train has eight rows: two rows of each of four classes. One row of each class has a counterpart.
    """
    from datasets import ClassLabel, Dataset, Features, Image, Value

    real, random = REAL[path], np.random.default_rng(0)
    label = ClassLabel(names=[f"class {number}" for number in range(real.classes)])
    features = Features({"image": Image(), "label": label, "generated": Image(), "row_id": Value("string")})

    def rows(split: str) -> Dataset:
        last = real.classes - 1
        labels = [0, 0, 1, 1, last - 1, last - 1, last, last] if split == "train" else [0, last]
        generated = [
            noise(random, (96, 96)) if split == "train" and row % 2 == 0 else None for row in range(len(labels))
        ]
        columns = {
            "image": [noise(random, real.size) for _ in labels],
            "label": [-1 if NO_LABELS in split else code for code in labels],
            "generated": generated,
            "row_id": [f"{split}/{row}" for row in range(len(labels))],
        }
        return Dataset.from_dict(columns, features=features)

    write_augmented(Path(path), **{split.partition(",")[0]: rows(split) for split in real.splits})


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Change into an empty folder. The models are deleted directly after the test, because they take hundreds of MB."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_every_experiment_of_the_paper_has_a_recipe():
    assert {
        "cifar100-train",
        "tiny-imagenet-train",
        "imagenet-train",
        "cub-train",
        "cars-train",
        "caltech101-train",
        "flowers-train",
        "cub-finetune-train",
        "vits-train",
        "cars-ablation-train",
    } == set(PAPERS)


@pytest.mark.parametrize("name", PAPERS)
def test_the_head_of_a_recipe_states_its_command_its_needs_and_what_the_paper_reports(name):
    text = head(name)
    assert ["--config", name] in commands(name)
    for word in ("Needs", "The paper's", "GPU", "not measured"):
        assert word in text, word
    assert max(map(len, shipped_training_recipes()[name].read_text().splitlines())) <= 120


@pytest.mark.parametrize("name", PAPERS)
def test_every_command_in_the_head_of_a_recipe_is_valid(name):
    folders = set()
    for argv in commands(name):
        recipe = recipe_of(argv)
        assert recipe.output.startswith("out/train/")
        assert REAL.keys() >= {arm.data.path for arm in arms_of(recipe).values()}
        folders.add((recipe.output, recipe.data.path, recipe.model, recipe.transform))
    assert len({folder for folder, *_ in folders}) == len(folders), "two trainings in one folder"
    known = list(ARMS | (recipe.arms or {}))
    assert list(arms_of(recipe_of(["--config", name], compare=known))) == known


@pytest.mark.parametrize("name", PAPERS)
def test_the_head_names_the_shipped_recipe_that_writes_the_data(name):
    source = recipe_of(["--config", name]).data.path.removeprefix("out/")
    assert source in shipped_recipes()
    assert f"diffcore-hf augment {source}" in head(name)


def test_recipes_write_into_different_folders():
    folders = [recipe_of(["--config", name]).output for name in shipped_training_recipes()]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_without_its_data_gives_a_one_line_error(name, elsewhere, capsys):
    from diffcore_hf.commands.train import main

    assert main(["--config", name, "--device", "cpu"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("train: data.path is 'out/") and line.count("\n") == 1
    assert not (elsewhere / "out").exists()


@pytest.mark.parametrize(
    ("name", "epochs", "batch", "optimizer", "schedule", "loss"),
    [
        (
            "cifar100-train",
            1200,
            100,
            OptimizerConfig("sgd", 0.1, None, 0.9, 1e-4),
            ScheduleConfig("multistep", (400.0, 800.0), 0.1),
            "softmax_bce",
        ),
        (
            "tiny-imagenet-train",
            1200,
            100,
            OptimizerConfig("sgd", 0.2, None, 0.9, 1e-4),
            ScheduleConfig("multistep", (600.0, 900.0), 0.1),
            "softmax_bce",
        ),
        (
            "imagenet-train",
            300,
            256,
            OptimizerConfig("sgd", 0.1, None, 0.9, 1e-4),
            ScheduleConfig("multistep", (75.0, 150.0, 225.0), 0.1),
            "cross_entropy",
        ),
        *[
            (
                name,
                300,
                16,
                OptimizerConfig("sgd", 0.01, None, 0.9, 5e-4),
                ScheduleConfig("multistep", (150.0, 225.0), 0.1),
                "cross_entropy",
            )
            for name in ("cub-train", "cars-train", "caltech101-train", "flowers-train")
        ],
        (
            "cub-finetune-train",
            30,
            32,
            OptimizerConfig("sgd", 0.001, 0.01, 0.9, 5e-4),
            ScheduleConfig("cosine"),
            "cross_entropy",
        ),
        (
            "cars-ablation-train",
            128,
            64,
            OptimizerConfig("sgd", 0.025, None, 0.9, 5e-4),
            ScheduleConfig("cosine"),
            "cross_entropy",
        ),
    ],
)
def test_each_training_recipe_has_the_settings_of_its_publication(name, epochs, batch, optimizer, schedule, loss):
    recipe = recipe_of(["--config", name])
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.loss) == (epochs, batch, optimizer, loss)
    assert recipe.schedule == schedule
    assert (recipe.mix.mode, recipe.mix.partner, recipe.mix.kind, recipe.mix.pi) == ("append", "own", "both", 0.5)


def test_the_ablation_recipe_has_the_arms_of_table_7():
    recipe = recipe_of(["--config", "cars-ablation-train"])
    arms_by_name = {
        name: (arm.mix.mode, arm.mix.kind, arm.mix.partner, arm.data.path) for name, arm in arms_of(recipe).items()
    }
    assert arms_by_name.pop("plain")[0] == "off"
    assert arms_by_name == {
        "genaug": ("append", "none", "own", "out/cars"),
        "pixel_real": ("append", "pixel", "real_same_class", "out/cars"),
        "patch_real": ("append", "patch", "real_same_class", "out/cars"),
        "genaug_pixel": ("append", "pixel", "own", "out/cars"),
        "genaug_patch": ("append", "patch", "own", "out/cars"),
        "mix-50": ("append", "both", "own", "out/cars-50"),
        "mix-100": ("append", "both", "own", "out/cars"),
    }
    text = shipped_training_recipes()["cars-ablation-train"].read_text()
    arms = dict(re.findall(r"^  ([\w-]+): \{.*: (\d\d\.\d\d)$", text, re.M))
    assert list(arms.values()) == ["85.86", "87.68", "88.08", "88.92", "89.50", "90.62", "91.85", "92.74"]
    assert list(arms) == list(recipe.compare)


QUICK = ("cifar100-train", "tiny-imagenet-train")
TRAININGS = [
    pytest.param(argv, marks=[] if argv[1] in QUICK else pytest.mark.slow, id=" ".join(argv[1:]))
    for name in PAPERS
    for argv in commands(name)
    if own_backbone(argv)
]


@pytest.mark.parametrize("argv", TRAININGS)
def test_a_command_trains_for_two_steps_on_artificial_data(argv, elsewhere):
    recipe = recipe_of(argv, **STAND_IN)
    for path in {arm.data.path for arm in arms_of(recipe).values()}:
        write_stand_in(path)
    comparison = trials.run(recipe, progress=False)
    real = REAL[recipe.data.path]
    assert (comparison["split"], comparison["images"]) == (real.scored, 2)
    assert [arm["name"] for arm in comparison["arms"]] == list(arms_of(recipe))
    for arm in comparison["arms"]:
        assert (arm["steps"], arm["samples_seen"]) == (2, 8)
        folder = elsewhere / recipe.output / arm["name"] / "seed-0"
        result = json.loads((folder / "result.json").read_text())
        assert result["samples_per_epoch"] == 8 + mixed_rows(arms_of(recipe)[arm["name"]])
        model_config = json.loads((folder / "last" / "config.json").read_text())
        assert (model_config["num_classes"], model_config["pretrained_cfg"]["input_size"][-1]) == (
            real.classes,
            size_of(recipe),
        )
        losses = [json.loads(line).get("loss") for line in (folder / "log.jsonl").read_text().splitlines()]
        assert all(np.isfinite(loss) for loss in losses if loss is not None) and any(losses)


def mixed_rows(arm: TrainRecipe) -> int:
    """Return how many of the eight rows are mixed.

    The partner `real_same_class` is another row of the class, which all eight rows have. The partner `own` is the
    counterpart, which four rows have.
    """
    if arm.mix.mode == "off":
        return 0
    return 8 if arm.mix.partner == "real_same_class" else 4


def size_of(recipe: TrainRecipe) -> int:
    from diffcore_hf.training.data.framing import protocol_of

    return protocol_of(recipe.transform).size


def test_the_docs_name_every_recipe():
    text = DOCS.read_text()
    for name in shipped_training_recipes():
        assert f"`{name}`" in text, name


def test_the_miniature_compares_every_mixer_with_a_network_that_can_use_it(folder):
    """The command is in the first lines of the recipe. No arm is refused."""
    path = DOCS.parents[1] / "recipes" / "miniature-train.yaml"
    text = path.read_text(encoding="utf-8").replace("\\\n#", " ")
    (names,) = [re.sub(r"\s", "", found) for found in re.findall(r"--compare (\s*plain,mixup.*)", text)]
    assert sorted(names.split(",")) == sorted(["plain", "plain_vit", *MIXERS])
    recipe = build(TRAIN_SCHEMA, config_layer(str(path)), {"compare": names.split(","), "data": {"path": str(folder)}})
    arms = arms_of(recipe)
    check_arms(arms, {name: load_data(arm.data, arm.mix) for name, arm in arms.items()}, 1)
