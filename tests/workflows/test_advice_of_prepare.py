"""Tests that follow the remedies in messages of `plan` and `augment`."""

from __future__ import annotations

import re
import shlex

import pytest
from datasets import ClassLabel, DatasetDict
from small_photos import photos

from diffcore_hf.commands.parser import parse_command
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.layers import keywords_layer
from diffcore_hf.core.errors import UserError
from diffcore_hf.workflows.augment import prepare

IN_MEMORY = {"path": "in-memory"}


def opaque():
    return photos([3, 3]).cast_column("label", ClassLabel(names=["007", "x: {y}\u2028"]))


def in_splits(counts):
    return DatasetDict({"train": photos(counts)})


def with_column(name):
    ds = photos([3, 3])
    return ds.add_column(name, ["x"] * len(ds))


NO_TEXT_TOWER = {"filter.policy": {"name": "rank", "by": "text"}}
CASES = {
    # name: dataset, keys that give the message, part of the message, keys that follow the advice
    "label column": (photos, {"source.label": "species"}, "Use --source.label", {"source.label": "label"}),
    "image column": (photos, {"source.image": "photo"}, "Use --source.image", {"source.image": "image"}),
    "label as image": (photos, {"source.image": "label"}, "Columns with images: image", {"source.image": "image"}),
    "image as label": (photos, {"source.label": "image"}, "Choose another column", {"source.label": "label"}),
    "split": (in_splits, {"source.split": "trian"}, "Use --source.split", {"source.split": "train"}),
    "added column": (lambda counts: with_column("status"), {}, "--columns.prefix dc_", {"columns.prefix": "dc_"}),
    "opaque name": (lambda counts: opaque(), {}, "--source.label_names", None),
    "unknown class": (
        photos, {"prompts.label_descriptions": {"red_foks": "a fox"}}, "red_fox",
        {"prompts.label_descriptions": {"red_fox": "a fox"}},
    ),
    "contradiction": (photos, {"prompts.negatives": ["fox"]}, "Leave it out", {"prompts.negatives": []}),
    "gamma without negatives": (
        photos, {"model.gamma": 0.0}, "Set prompts.negatives []", {"model.gamma": 0.0, "prompts.negatives": []},
    ),
    "gamma with negatives": (photos, {"model.gamma": 0.0}, "e.g. 2.0", {"model.gamma": 2.0}),
    "half precision": (photos, {"model.dtype": "float16"}, "Use --model.dtype float32", None),
    "a GPU that is not here": (photos, {"model.device": "cuda:9"}, "Use --model.device auto", None),
    "model": (photos, {"model.path": "no/such/folder"}, "Give an existing folder", {}),
    "filter": (photos, {"filter.path": "no/such/folder"}, "Give an existing folder", {}),
    "scheduler": (photos, {"model.scheduler": "NoScheduler"}, "Use a class name such as DPMSolverMultistepScheduler",
                  {"model.scheduler": "DPMSolverMultistepScheduler"}),
    "scheduler option": (
        photos, {"model.scheduler": {"name": "DDIMScheduler", "options": {"sovler": 1}}}, "its options are",
        {"model.scheduler": {"name": "DDIMScheduler", "options": {"clip_sample": False}}},
    ),
    "strategy": (photos, {"strategy": "nosuch"}, "text_to_image", {"strategy": "text_to_image"}),
    "check": (photos, {"filter.checks": ["nosuch"]}, "nosuch", {"filter.checks": []}),
    "review": (photos, {"review": "no.csv"}, "or leave it out", {}),
    "template": (photos, {"prompts.template": "{colour} {label}"}, "colour", {"prompts.template": "{label}"}),
    "fixed": (photos, {"filter.policy": {"name": "fixed"}}, "Use e.g. --filter.policy.t 0.7", None),
    "strict batch": (
        photos, {"strict": True, "batch_size": 4}, "or set strict false", {"strict": False, "batch_size": 4},
    ),
}  # fmt: skip


def as_recipe(keys, more, flags=()):
    """Returns the recipe of a call with keys; the flags of an advice override the keys."""
    layer = parse_command(["augment", "miniature", *flags]).layer if flags else {}
    return build_recipe({"source": IN_MEMORY}, keys, keywords_layer(**more), layer)


def flags_of(message):
    """Returns the last complete flag in a message, with its value."""
    return shlex.split(re.findall(r"--[a-z_.]+ (?:'[^']*'|\S+)", message)[-1].rstrip("."))


@pytest.mark.parametrize("case", CASES)
def test_the_advice_of_a_message_works(case, keys, tmp_path):
    build, wrong, message, right = CASES[case]
    ds = build([3, 3])
    out = {"output": str(tmp_path / "out")}
    with pytest.raises(UserError) as error:
        prepare(as_recipe(keys, wrong | out), ds, describe_only=True)
    assert message in str(error.value)
    if right is None:  # the message has the whole flag
        recipe = as_recipe(keys, wrong | out, flags_of(str(error.value)))
    else:
        recipe = as_recipe(keys, right | out)
    prepare(recipe, ds, describe_only=True)
