"""Runs with image_to_image on photos: plan, augment, card, and errors that come before weights are loaded."""

import json

import pytest
from run_folders import attempts_of, go, manifest, published

from diffcore_hf.core.errors import UserError
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import plan as plan_workflow

I2I = {"name": "image_to_image", "options": {"strength": 0.5}}


def test_a_run_names_the_strategy_and_its_cost(make, tmp_path):
    recipe = make(tmp_path / "out", strategy=I2I, limit=4, max_attempts=1, **{"filter.policy": {"name": "all"}})
    lines = plan_workflow.text(augment.prepare(recipe)).splitlines()
    assert "strategy    image_to_image (strength 0.5, fit crop)" in lines
    assert "cost        2 evaluations of the denoising network for an image, 0.50 times those of text_to_image" in lines
    go(recipe)
    folder = tmp_path / "out"
    assert manifest(folder)["recipe"]["strategy"] == {
        "name": "image_to_image",
        "options": {"strength": 0.5, "fit": "crop"},
    }
    card = (folder / "README.md").read_text()
    for words in ("image_to_image", "strength 0.5", "SDEdit"):
        assert words in card
    before = published(folder)
    go(make(folder, strategy="image_to_image", limit=4, max_attempts=1, **{"filter.policy": {"name": "all"}}))
    assert published(folder) == before  # 0.5 and crop are the defaults


def test_parts_do_not_change_an_image(make, tmp_path):
    outputs = []
    for size in (1, 4):
        out = tmp_path / f"out-{size}"
        go(make(out, strategy=I2I, limit=4, max_attempts=1, part_size=size))
        outputs.append({name: content for name, content in published(out).items() if name.startswith("attempts/")})
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"strategy": I2I | {"options": {"strength": 0.3}}},
            "leaves no denoising step of model.steps 2. Use --strateg",
        ),
        ({"strategy": I2I | {"options": {"strenth": 0.3}}}, "strategy.options has 'strenth'"),
    ],
)
def test_a_strength_without_a_step_is_refused_before_weights_are_loaded(changed, message, make, tmp_path, no_weights):
    with pytest.raises(UserError, match=message):
        augment.prepare(make(tmp_path / "out", **changed))
    assert not (tmp_path / "out").exists()


def test_the_preset_real_guidance_runs_and_filters_by_the_captions(make, tmp_path):
    recipe = make(tmp_path / "out", preset="real-guidance", limit=4, **{"model.steps": 8})
    assert recipe.strategy.options == {"strength": 0.15}
    assert recipe.prompts.contexts != ("",)  # the keys of the recipe override the preset
    faithful = {"prompts": {"contexts": [""], "negatives": []}, "filter.policy": "text_softmax", "model.steps": 8}
    recipe = make(tmp_path / "out", preset="real-guidance", limit=4, **faithful)
    outcome = go(recipe)
    assert outcome.summary.counts["attempts"] >= 4
    assert set(attempts_of(tmp_path / "out").values()) <= {"kept", "low_similarity", "duplicate"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "turned into probabilities by a softmax" in card
    assert "Real-Guidance (He et al. 2023" in card


def test_text_softmax_can_follow_another_policy_in_the_same_folder(make, tmp_path):
    go(make(tmp_path / "out", limit=4, max_attempts=1))
    parts = tmp_path / "out" / ".diffcore" / "parts" / "r0"
    before = sorted(parts.rglob("*.parquet"))
    go(make(tmp_path / "out", limit=4, max_attempts=1, **{"filter.policy": "text_softmax"}))
    assert sorted(parts.rglob("*.parquet")) == before
    assert json.loads((tmp_path / "out" / "diffcore.json").read_text())["recipe"]["filter"]["policy"] == {
        "name": "text_softmax"
    }
