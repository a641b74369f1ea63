"""Each registered strategy, and preset da-fusion, goes through plan, augment, preview, export, push, load and train."""

from dataclasses import replace

import pytest
import tiny_adapters
import tiny_models
from run_folders import go, manifest, rows

from diffcore_hf.config.merging import build
from diffcore_hf.config.strategy_presets import STRATEGY_PRESETS
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.generation.base import STRATEGIES, strategy_class
from diffcore_hf.generation.learned_tokens import LearnedTokensStrategy
from diffcore_hf.publishing.card.text import escape_md
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import plan as plan_workflow
from diffcore_hf.workflows import train as train_workflow
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.preview import preview
from diffcore_hf.workflows.verify import verify
from testing import hub_steps as steps
from testing.hub_double.fixtures import client, hub  # noqa: F401 (fixtures)

KEYS = {"filter.policy": {"name": "all"}, "max_attempts": 1, "limit": 4}
OPTIONS = {"learned_tokens": {"steps": 2, "batch": 1}}
"""Options of a strategy whose defaults take long."""


def keys_of(name, folder):
    """Returns the keys of a recipe for a strategy; `edit` and `structure` need weights of their own."""
    keys = {**KEYS, "strategy": {"name": name, "options": OPTIONS.get(name)}}
    if name == "structure":
        control = tiny_models.seeded(tiny_adapters.save_controlnet, "SD", folder / "control")
        adapter = tiny_models.seeded(tiny_adapters.save_ip_adapter, "SD", folder / "adapter")
        keys["strategy"]["options"] = {"controlnet": str(control), "ip_adapter": str(adapter)}
    if name == "edit":
        tiny_models.seeded(tiny_models.instruct_pix2pix).save_pretrained(folder)
        keys["model.path"] = str(folder)
    return keys


PRESET = {
    "preset": "da-fusion",
    "model.steps": 50,
    "prompts.contexts": [""],
    "filter.policy": "all",
    "max_attempts": 1,
    "limit": 4,
}
"""Preset da-fusion. The other keys have the values of the preset, because the recipe of the tests sets them too."""


def train(folder, output):
    """Trains one step on a folder, and returns the folder of the model."""
    keys = {
        "data": {"path": str(folder), "holdout": 0.3},
        "model": {"name": "test_resnet", "pretrained": False},
        "transform": {"preset": "tiny_preact_1200", "size": 32},
        "max_steps": 1,
        "batch_size": 4,
        "workers": 0,
        "device": "cpu",
        "output": str(output),
    }
    train_workflow.train(build(TRAIN_SCHEMA, keys), lambda text: None, progress=False)
    return output / "run" / "seed-0" / "last"


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_goes_from_plan_to_training(name, hub, client, make, tmp_path):  # noqa: F811 (fixtures)
    out, options = tmp_path / "out", {**strategy_class(name).defaults, **OPTIONS.get(name, {})}
    card = goes_from_plan_to_training(name, make(out, **keys_of(name, tmp_path / "model")), hub, client, tmp_path)
    identities = manifest(out)["resolved"]["model"].get("weights", {})
    assert set(identities) == ({"controlnet", "ip_adapter"} if name == "structure" else set())
    for option, value in options.items():
        if option.removesuffix("_revision") not in identities:
            assert escape_md(f"{option} {value}") in card
    for option, record in identities.items():
        assert escape_md(f"{option} {record['identity']}") in card


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
def test_preset_da_fusion_goes_from_plan_to_training(hub, client, make, tmp_path, monkeypatch):  # noqa: F811 (fixtures)
    """The recipe has all values of the preset. Only the trainings of the tokens are shortened."""
    recipe = make(tmp_path / "out", **PRESET)
    preset = STRATEGY_PRESETS["da-fusion"]
    assert recipe.strategy.options == preset.values["strategy"]["options"]
    long = LearnedTokensStrategy.settings_of_training.fget
    short = property(lambda strategy: replace(long(strategy), steps=2))
    monkeypatch.setattr(LearnedTokensStrategy, "settings_of_training", short)
    card = goes_from_plan_to_training("learned_tokens", recipe, hub, client, tmp_path)
    assert escape_md(preset.method) in card
    strengths = {row["strength"] for row in rows(tmp_path / "out", "attempts")}
    assert strengths <= {0.25, 0.5, 0.75, 1.0}
    assert manifest(tmp_path / "out")["recipe"]["strategy"]["options"]["per"] == "class"


def goes_from_plan_to_training(name, recipe, hub, client, tmp_path):  # noqa: F811 (fixtures)
    """Runs all steps for a strategy, and returns the card."""
    out = tmp_path / "out"
    text = plan_workflow.text(augment.prepare(recipe))
    assert name == "text_to_image" or f"strategy    {name} (" in text

    go(recipe)
    assert verify(str(out)) == []
    kept = [row["row_id"] for row in rows(out) if row["status"] == "kept"]
    assert len(kept) == 4
    card = (out / "README.md").read_text()
    if name != "text_to_image":
        assert manifest(out)["recipe"]["strategy"]["name"] == name
        assert f"`{name}`" in card
        assert "arXiv:" in card

    assert all(path.is_file() for path in preview(out))
    export(out, tmp_path / "export", {}, "rows")
    assert verify(str(tmp_path / "export")) == []

    repo = hub.repo_id()
    client(steps.push, out, repo, "v1.0.0")
    pushed = client(steps.rows, repo, "v1.0.0")["train"]
    assert sorted(row["row_id"] for row in pushed if row["status"] == "kept") == sorted(kept)

    assert (train(out, tmp_path / "trained") / "config.json").is_file()
    return card
