"""Tests of the checks of all arms before the first training: networks, mixers, data and batch sizes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.comparison import arm_checks, trials

REFUSED = {"convnext": {"transmix", "snapmix"}, "vit": {"snapmix", "attentive_cutmix", "automix", "samix"}}
"""Network -> mixers that it cannot use."""
VIT = {"model": {"name": "test_vit", "pretrained": False}, "transform": {"size": 64}}
"""Keys of a network without batch norm."""


@pytest.mark.parametrize("kind", REFUSED)
def test_one_error_before_any_training_names_all_arms_that_the_network_cannot_use(train_recipe, tmp_path, kind):
    """The remedy in the message leaves these arms out. The remaining arms are then trained."""
    recipe = train_recipe(
        compare=["plain", "cutmix", *sorted(REFUSED[kind])], model={"name": f"test_{kind}"}, max_steps=2
    )
    with pytest.raises(UserError, match="^compare has arms that cannot be trained: ") as caught:
        trials.run(recipe, progress=False)
    text = str(caught.value)
    assert all(f"{name}, because " in text for name in REFUSED[kind]) and "\n" not in text
    assert not (tmp_path / "trained").exists()
    remedy = re.findall(r"Use --compare (\S+), or", text)[0].split(",")
    comparison = trials.run(replace(recipe, compare=tuple(remedy)), progress=False)
    assert [arm["name"] for arm in comparison["arms"]] == ["plain", "cutmix"]


def test_an_arm_with_a_network_of_its_own_is_accepted(train_recipe):
    own = {"transmix": {"mix": {"mode": "off"}, "mixer": "transmix", "model": {"name": "test_vit"}}}
    recipe = train_recipe(compare=["plain", "transmix"], arms=own, max_steps=2, transform={"size": 64})
    assert [arm["steps"] for arm in trials.run(recipe, progress=False)["arms"]] == [2, 2]


@pytest.mark.parametrize(
    ("arm", "keys", "line"),
    [
        ({"mixer": {"name": "mixup", "partner": "own"}, "mix": {"mode": "off"}}, {}, "arm b: mixer.name is 'mixup', "),
        (
            {"mixer": "mixup"},
            {"batch_size": 1, **VIT},
            "arm b: batch_size is 1, of which each of 1 processes takes 1 image",
        ),
        ({"mixer": {"name": "manifold_mixup", "options": {"layers": [9]}}}, {}, "arm b: mixer.options.layers has 9"),
        ({"mixer": "mixup,cutmix"}, {}, "a training has one mixer. Use e.g. --mixer.name mixup, or compare them with"),
        (
            {"mixer": {"name": "attentive_cutmix", "options": {"teacher": "resnet18", "teacher_weights": "nowhere"}}},
            {},
            "arm b: mixer.options.teacher is 'resnet18', which cannot be loaded",
        ),
    ],
)
def test_an_invalid_later_arm_is_reported_before_the_first_arm_is_trained(train_recipe, tmp_path, arm, keys, line):
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        trials.run(train_recipe(compare=["plain", "b"], arms={"b": arm}, **keys), progress=False)
    assert "\n" not in str(caught.value) and not (tmp_path / "trained").exists()


def test_each_network_is_built_once_and_finished_arms_build_no_network(train_recipe, monkeypatch):
    built = []
    create = arm_checks.backbones.create
    recipe = train_recipe(compare=["plain", "mixup", "cutmix"], max_steps=1)
    monkeypatch.setattr(trials, "train", lambda *arguments, **keys: pytest.fail("trained"))
    monkeypatch.setattr(arm_checks.backbones, "create", lambda *arguments: (built.append(1), create(*arguments))[1])
    with pytest.raises(pytest.fail.Exception):
        trials.run(recipe, progress=False)
    assert built == [1]
    monkeypatch.undo()
    first = trials.run(recipe, progress=False)
    monkeypatch.setattr(arm_checks.backbones, "create", lambda *arguments: pytest.fail("built"))
    assert trials.run(recipe, progress=False) == first
