"""Tests of the training recipe: a flag or a file can set each key, and each error has one line with a remedy."""

import re

import pytest

from diffcore_hf.commands.definitions import TRAIN
from diffcore_hf.commands.parser import parse
from diffcore_hf.config import recipe_files
from diffcore_hf.config.fields import leaves
from diffcore_hf.config.layers import config_layer
from diffcore_hf.config.mappings import to_mapping, to_yaml
from diffcore_hf.config.merging import build
from diffcore_hf.config.recipe_files import shipped_training_recipes
from diffcore_hf.config.train import (
    BackboneConfig,
    DataConfig,
    MixerConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainRecipe,
    TransformConfig,
)
from diffcore_hf.config.train_schema import ARMS, TRAIN_SCHEMA
from diffcore_hf.config.yaml_text import read_yaml


def built(**sections):
    return build(TRAIN_SCHEMA, {"data": "out/photos"}, sections)


def shown(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


@pytest.mark.parametrize("key", [key for key in leaves(TrainRecipe) if key != "data.path"])
def test_every_key_is_a_flag_that_accepts_its_default(key):
    plain = built()
    value = to_mapping(plain)
    for name in key.split("."):
        value = value[name]
    layer = parse([f"--{key}", shown(value)], TRAIN).layer
    assert layer != {}
    assert built(**layer) == plain


def test_only_the_data_is_required():
    assert built() == TrainRecipe(DataConfig("out/photos"))
    assert built() == build(TRAIN_SCHEMA, parse(["--data.path", "out/photos"], TRAIN).layer)


def test_flags_override_the_file_the_preset_and_the_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("data: {path: org/birds, train: all}\npreset: paper\nbatch_size: 64\noptimizer: {lr: 1}\n")
    command = parse(["--config", str(file), "--optimizer.lr", "2", "--data.train", "train"], TRAIN)
    recipe = build(TRAIN_SCHEMA, config_layer(command.options["config"]), command.layer)
    assert (recipe.clip, recipe.epochs, recipe.batch_size, recipe.optimizer.lr) == (None, 300.0, 64, 2.0)
    assert recipe.schedule == ScheduleConfig("multistep", milestones=(150.0, 225.0))
    assert recipe.optimizer == OptimizerConfig("sgd", lr=2.0, head_lr=None)
    assert recipe.data == DataConfig("org/birds")


def test_a_text_in_place_of_a_section_is_its_path_or_name():
    recipe = built(data="org/d", model="resnet50", transform="imagenet_300", optimizer="adamw", schedule="linear")
    assert (recipe.data, recipe.model) == (DataConfig("org/d"), BackboneConfig("resnet50"))
    assert (recipe.transform, recipe.optimizer) == (TransformConfig("imagenet_300"), OptimizerConfig("adamw"))
    assert recipe.schedule == ScheduleConfig("linear")


def test_another_name_removes_only_the_keys_that_describe_the_old_name():
    below = {
        "data": {"path": "org/a", "name": "x", "revision": "v1", "train": "all", "label": "species"},
        "model": {"name": "resnet50", "pretrained": "org/weights"},
        "optimizer": {"name": "adamw", "momentum": 0.8},
        "schedule": {"name": "multistep", "milestones": [3, 5], "decay": 0.5, "warmup": 1},
        "mixer": {"name": "mixup", "per": "batch", "probability": 0.5, "options": {"alpha": 0.2}},
    }
    above = {"data": "b", "model": "vit", "optimizer": "sgd", "schedule": "cosine", "mixer": "cutmix"}
    recipe = build(TRAIN_SCHEMA, below, above)
    assert recipe.data == DataConfig("b", train="all", label="species")
    assert recipe.model == BackboneConfig("vit", pretrained="org/weights")
    assert recipe.optimizer == OptimizerConfig("sgd", momentum=0.8)
    assert recipe.schedule == ScheduleConfig("cosine", warmup=1.0)
    assert recipe.mixer == MixerConfig("cutmix", per="batch")


@pytest.mark.parametrize(
    ("layer", "key", "value"),
    [
        ({"seeds": "0,1,2"}, "seeds", (0, 1, 2)),
        ({"seeds": 5}, "seeds", (5,)),
        ({"seeds": [3, 4]}, "seeds", (3, 4)),
        ({"compare": "plain, mix"}, "compare", ("plain", "mix")),
        ({"compare": ""}, "compare", ()),
        ({"trackers": "wandb"}, "trackers", ("wandb",)),
        ({"epochs": 2}, "epochs", 2.0),
        ({"arms": {1: {"mix": {"pi": 1}}}}, "arms", {"1": {"mix": {"pi": 1}}}),
    ],
)
def test_values_are_converted_to_their_declared_types(layer, key, value):
    recipe = built(**layer)
    assert getattr(recipe, key) == value
    assert type(getattr(recipe, key)) is type(value)


@pytest.mark.parametrize("given", [True, False, "timm/resnet50.a1_in1k"])
def test_pretrained_is_a_boolean_or_a_path(given):
    assert built(model={"pretrained": given}).model.pretrained == given


def test_arms_are_replaced_name_by_name():
    below = {"arms": {"big": {"model": {"name": "resnet50"}, "epochs": 3}, "small": {"model": "resnet10t"}}}
    recipe = build(TRAIN_SCHEMA, {"data": "d"}, below, {"arms": {"big": {"model": {"compile": True}}}})
    assert recipe.arms == {"big": {"model": {"compile": True}}, "small": {"model": "resnet10t"}}


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_can_be_merged_as_a_layer(name):
    assert build(TRAIN_SCHEMA, to_mapping(built(epochs=3)), ARMS[name]).epochs == 3.0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"data": {}}, "data.path is missing. Use e.g. --data.path out/miniature"),
        ({"data": ""}, "data.path is '', not a folder or a Hub id. Use e.g. out/miniature"),
        ({"data": {"path": "a", "holdout": 1}}, "data.holdout is 1.0, not a number in [0, 1). Use e.g. 0.1"),
        ({"epocs": 3}, "epocs is not a key of a recipe; did you mean epochs?"),
        ({"lr": 3}, "lr is not a key of a recipe; did you mean optimizer.lr"),
        ({"model": {"nmae": "x"}}, "model.nmae is not a key of a recipe; did you mean model.name"),
        ({"preset": "papr"}, "preset is 'papr', not paper or null"),
        ({"model": {"pretrained": 3}}, "model.pretrained is 3, not true, false or a path. Use e.g. true"),
        ({"model": {"pretrained": " "}}, "model.pretrained is ' ', not true, false or a path"),
        ({"model": {"stem_stride": 3}}, "model.stem_stride is 3, not 1, 2 or null"),
        ({"mix": {"kind": "pixl"}}, "mix.kind is 'pixl', not both, pixel, patch or none; did you mean pixel?"),
        ({"batch_size": 10**12}, "batch_size is 1000000000000, not an integer from 1 to 65536. Use e.g. 32"),
        ({"transform": {"size": 10**6}}, "transform.size is 1000000, not an integer from 8 to 4096, or null"),
        ({"mix": {"alpha": 0}}, "mix.alpha is 0.0, not a number above 0. Use e.g. 1.0"),
        ({"seeds": "0,one"}, "seeds[1] is 'one', not an integer. Use e.g. 0,1,2"),
        ({"seeds": "0,0"}, "seeds is [0, 0], not one or more integers, each once. Use e.g. 0,1,2"),
        ({"seeds": ""}, "seeds is [], not one or more integers, each once. Use e.g. 0,1,2"),
        ({"seeds": "0,1.5"}, "seeds[1] is '1.5', not an integer"),
        ({"compare": "mix,mix"}, "compare is ['mix', 'mix'], not names of arms, each once. Use e.g. plain,mix"),
        ({"compare": [1]}, "compare[0] is 1, not a text. Quote it: '1'"),
        ({"trackers": "wand"}, "trackers[0] is 'wand', not tensorboard, trackio or wandb; did you mean wandb?"),
        ({"arms": {"big": 3}}, "arms.big is 3, not a section of keys. Give keys below it"),
        ({"arms": {"a,b": {}}}, "arms is {'a,b': {}}, not a map from arm names without commas"),
        ({"schedule": {"milestones": "5,3"}}, "schedule.milestones is [5.0, 3.0], not rising epochs above 0"),
        ({"schedule": "multistep"}, "schedule.milestones is empty, but schedule multistep needs at least one"),
        (
            {"batch_size": 6, "accumulate": 4},
            "batch_size is 6, which cannot be divided by accumulate (4)",
        ),
        (
            {"mixer": {"options": {"alpha": 1}}},
            "mixer.options is {'alpha': 1}, but no mixer is named",
        ),
        (
            {"mixer": "pixmix", "transform": {"augmix": True}},
            "transform.augmix is true and mixer.name is 'pixmix': images would be mixed twice. Use --transform.augmix",
        ),
        ({"mixer": {"per": "imag"}}, "mixer.per is 'imag', not image or batch; did you mean image?"),
        ({"mix": {"kind": "none", "partner": "real_same_class"}}, "mix.kind is 'none' with mix.partner"),
    ],
)
def test_a_wrong_value_raises_a_one_line_error_with_a_remedy(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        build(TRAIN_SCHEMA, layer if "data" in layer else {"data": "out/photos", **layer})
    assert "\n" not in str(caught.value)


def test_a_recipe_can_be_rebuilt_from_its_values_and_from_its_yaml():
    recipe = built(preset="paper", seeds="1,2", arms={"big": {"model": "resnet50"}}, model={"pretrained": "org/w"})
    assert build(TRAIN_SCHEMA, to_mapping(recipe)) == recipe
    assert build(TRAIN_SCHEMA, read_yaml(to_yaml(recipe))) == recipe


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Replace the shipped recipes, and change to a folder with recipe files and other files."""
    (tmp_path / "package").mkdir()
    for name in ("cub", "cub-train", "miniature-train", "cars-ablation-train"):
        (tmp_path / "package" / f"{name}.yaml").write_text(f"data: out/{name}\n")
    monkeypatch.setattr(recipe_files.resources, "files", lambda package: tmp_path / "package")
    (tmp_path / "work" / "photos").mkdir(parents=True)
    (tmp_path / "work" / "mine.yaml").write_text("data: mine\n")
    (tmp_path / "work" / "empty.yaml").write_text("")
    (tmp_path / "work" / "data.csv").touch()
    monkeypatch.chdir(tmp_path / "work")


def test_a_training_recipe_is_a_file_or_a_name(shipped):
    assert list(shipped_training_recipes()) == ["cars-ablation-train", "cub-train", "miniature-train"]
    assert recipe_files.shipped_recipes() == ["cub"]
    assert config_layer("mine.yaml") == {"data": "mine"}
    assert config_layer("cub-train") == {"data": "out/cub-train"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("cub", "config is 'cub', neither a file nor a shipped training recipe; did you mean cub-train?"),
        ("minature", "did you mean miniature-train?"),
        ("recipes/cub-train.yaml", "did you mean cub-train?"),
        ("xyzzy", "the shipped recipes are cars-ablation-train, cub-train, miniature-train"),
        ("", "the shipped recipes are"),
        ("x" * 5000, "the shipped recipes are"),
        ("photos", "config is 'photos', a folder, not a recipe (.yaml). For data use --data.path photos"),
        ("data.csv", "config is 'data.csv', a file, not a recipe (.yaml)"),
        ("empty.yaml", "empty.yaml: contains no keys of a recipe. Start it with e.g. data: {path: out/photos}"),
    ],
)
def test_an_invalid_config_gives_a_one_line_error(shipped, config, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        config_layer(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", shipped_training_recipes())
def test_a_shipped_training_recipe_builds(name):
    build(TRAIN_SCHEMA, config_layer(name))
