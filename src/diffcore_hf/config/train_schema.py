"""The schema of a training recipe: ranges of values, rules between fields, short forms, presets and arms."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from diffcore_hf.config.fields import RecipeSchema, Rule, shown
from diffcore_hf.config.mixer_presets import check_preset
from diffcore_hf.config.train import (
    BackboneConfig,
    DataConfig,
    MixerConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainRecipe,
    TransformConfig,
)
from diffcore_hf.core.errors import UserError

_SHARE = Rule("a number in [0, 1]", lambda v: 0 <= v <= 1, "0.5")
_BELOW_ONE = Rule("a number in [0, 1)", lambda v: 0 <= v < 1, "0.1")
_POSITIVE = Rule("a number above 0", lambda v: v > 0, "1.0")
_AT_LEAST_0 = Rule("a number of at least 0", lambda v: v >= 0, "0")
_COUNT = Rule("an integer of at least 1", lambda v: v >= 1, "1")

RULES: dict[str, Rule] = {
    "data.path": Rule("a folder or a Hub id", lambda v: bool(v.strip()), "out/miniature"),
    "data.train": Rule("a text", lambda v: bool(v.strip()), "train"),
    "data.holdout": _BELOW_ONE,
    "model.name": Rule("a model name of timm", lambda v: bool(v.strip()), "resnet50"),
    "model.pretrained": Rule("true, false or a path", lambda v: isinstance(v, bool) or bool(v.strip()), "true"),
    "model.drop_path": _BELOW_ONE,
    "mix.probability": _SHARE,
    "mix.pi": _SHARE,
    "mix.alpha": _POSITIVE,
    "transform.size": Rule("an integer from 8 to 4096, or null", lambda v: 8 <= v <= 4096, "224"),
    "transform.randaugment": Rule("an integer from 0 to 30, or null", lambda v: 0 <= v <= 30, "9"),
    "transform.jitter": _AT_LEAST_0,
    "transform.blur": _SHARE,
    "transform.erasing": _SHARE,
    "mixer.name": Rule("one mixer, module:Class or null", lambda v: bool(v.strip()), "cutmix"),
    "mixer.probability": _SHARE,
    "optimizer.lr": _POSITIVE._replace(example="0.01"),
    "optimizer.head_lr": _POSITIVE._replace(example="0.01"),
    "optimizer.momentum": _BELOW_ONE._replace(example="0.9"),
    "optimizer.weight_decay": _AT_LEAST_0,
    "optimizer.layer_decay": _POSITIVE._replace(example="0.75"),
    "schedule.milestones": Rule("rising epochs above 0", lambda v: all(a < b for a, b in pairwise((0, *v))), "150,225"),
    "schedule.decay": _POSITIVE._replace(example="0.1"),
    "schedule.warmup": _AT_LEAST_0,
    "schedule.min_lr": _AT_LEAST_0,
    "epochs": _POSITIVE._replace(example="30"),
    "max_steps": _COUNT._replace(example="450"),
    # The list of the samples of a step is in memory. The largest published batch sizes are about 32,768.
    "batch_size": Rule("an integer from 1 to 65536", lambda v: 1 <= v <= 65536, "32"),
    "accumulate": _COUNT,
    "clip": _POSITIVE,
    "smoothing": _BELOW_ONE,
    "ema": Rule("a number in (0, 1), or null", lambda v: 0 < v < 1, "0.999"),
    "workers": Rule("an integer of at least 0, or null", lambda v: v >= 0, "4"),
    "evaluate_every": _POSITIVE,
    "seeds": Rule("one or more integers, each once", lambda v: len(v) > 0 and len(set(v)) == len(v), "0,1,2"),
    "compare": Rule("names of arms, each once", lambda v: len(set(v)) == len(v), "plain,mix"),
    "arms": Rule(
        "a map from arm names without commas to keys of this recipe",
        lambda v: all(name.strip() and "," not in name for name in v),
        "'{big: {model: resnet50}}'",
    ),
    "output": Rule("a folder", lambda v: bool(v.strip()) and "\0" not in v, "out/train"),
}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "model": {"pretrained": False},
        "mix": {"mode": "append", "kind": "both", "partner": "own", "pi": 0.5},
        "transform": {"preset": "fgvc_scratch_224"},
        "optimizer": {"name": "sgd", "lr": 0.01, "head_lr": None, "weight_decay": 5e-4},
        "schedule": {"name": "multistep", "milestones": [150, 225], "decay": 0.1},
        "epochs": 300,
        "batch_size": 16,
    }
}

ARMS: dict[str, dict[str, Any]] = {
    "plain": {"mix": {"mode": "off"}},
    "genaug": {"mix": {"kind": "none"}},
    "pixel": {"mix": {"kind": "pixel"}},
    "patch": {"mix": {"kind": "patch"}},
    "mix": {"mix": {"kind": "both"}},
    "randaugment": {"mix": {"mode": "off"}, "transform": {"randaugment": 9}},
}
"""The built-in arms without a mixer. Each registered mixer is an arm too (training/comparison/arms.py). The key `arms`
adds arms or replaces these."""


def check(recipe: TrainRecipe) -> None:
    """Check the rules between fields.

    Raises:
        UserError: a rule is broken; the message describes the first one.
    """
    if recipe.schedule.name == "multistep" and not recipe.schedule.milestones:
        raise UserError(
            "schedule.milestones is empty, but schedule multistep needs at least one milestone. Use e.g. "
            "--schedule.milestones 150,225"
        )
    if recipe.mixer.name is None and recipe.mixer.options:
        raise UserError(
            f"mixer.options is {shown(recipe.mixer.options)}, but no mixer is named. Use e.g. --mixer.name mixup"
        )
    check_preset(recipe.mixer)
    if recipe.transform.augmix and recipe.mixer.name in ("augmix", "pixmix"):
        raise UserError(
            f"transform.augmix is true and mixer.name is {recipe.mixer.name!r}: images would be mixed twice. Use "
            "--transform.augmix false"
        )
    if recipe.batch_size % recipe.accumulate:
        raise UserError(
            f"batch_size is {recipe.batch_size}, which cannot be divided by accumulate "
            f"({recipe.accumulate}). Use a multiple of {recipe.accumulate}"
        )
    if recipe.mix.kind == "none" and recipe.mix.partner == "real_same_class":
        raise UserError(
            "mix.kind is 'none' with mix.partner 'real_same_class': a sample would be the real image of another row. "
            "Use --mix.kind both, or --mix.mode off"
        )


TRAIN_SCHEMA = RecipeSchema(
    recipe=TrainRecipe,
    rules=RULES,
    check=check,
    shorthand={
        DataConfig: "path",
        BackboneConfig: "name",
        TransformConfig: "preset",
        MixerConfig: "name",
        OptimizerConfig: "name",
        ScheduleConfig: "name",
    },
    presets=PRESETS,
    describing_keys={
        ("data",): ("path", ("name", "revision")),
        ("mixer",): ("name", ("preset", "probability", "options")),
        ("schedule",): ("name", ("milestones", "decay")),
    },
)
