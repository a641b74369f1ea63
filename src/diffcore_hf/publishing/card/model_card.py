"""The model card: README.md in the folder of a trained model, a pure function of the facts of its training.

Owns the card's metadata and the values of hub_cards/model_card.md.jinja. The facts come from a training's folder
(result.json, compare.json, recipe.yaml).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from diffcore_hf.publishing.card.dataset_card import title
from diffcore_hf.publishing.card.header import header
from diffcore_hf.publishing.card.template import fill_template
from diffcore_hf.publishing.card.text import Markdown, fenced

_LOWEST = 10
"""Number of classes in the table of the lowest accuracies."""


@dataclass(frozen=True)
class ModelFacts:
    """All facts that the card of a model shows."""

    recipe: Mapping[str, Any]
    """Training recipe as plain values, with the changes of the arm."""
    result: Mapping[str, Any]
    """Content of the training's result.json."""
    comparison: Mapping[str, Any]
    """Content of compare.json."""
    classes: list[str]
    """Names of the classes in the order of the labels."""
    table: str
    """Table of the compared arms in Markdown; empty if there was one arm."""
    legend: str
    """Text under the table."""


def render_model_card(facts: ModelFacts) -> str:
    """Return the card: YAML metadata, then Markdown. Equal facts give equal text."""
    from huggingface_hub import ModelCardData

    values = ModelCardData(**_metadata(facts)).to_dict()
    return f"---\n{header(values)}\n---\n\n{fill_template('model_card.md.jinja', _view(facts))}"


def _metadata(facts: ModelFacts) -> dict[str, Any]:
    data: dict[str, Any] = {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "diffcore"],
    }
    if facts.comparison["data"]["commit"]:
        data["datasets"] = [facts.comparison["data"]["path"]]
    return data


def _view(facts: ModelFacts) -> dict[str, Any]:
    result, recipe = facts.result, facts.recipe
    scores = [(kind, result[kind]) for kind in ("best", "last") if kind in result]
    by_class = (result.get("best") or result["last"])["by_class"]
    ranked = sorted((share, name) for share, name in zip(by_class, facts.classes, strict=True) if share is not None)
    return {
        "name": recipe["model"]["name"],
        "title": title(facts.comparison["data"]).replace("A local dataset", "a local dataset"),
        "split": result["split"],
        "images": result["last"]["count"],
        "scores": scores,
        "validation": "best" in result,
        "result": result,
        "arms": Markdown(facts.table),
        "legend": facts.legend,
        "how": _training_sentences(recipe),
        "batch_size": recipe["batch_size"],
        "weights": bool(recipe["model"]["pretrained"]),
        "worst": [(name, share) for share, name in ranked[:_LOWEST]],
        "recipe_yaml": fenced(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100), "yaml"),
    }


def _training_sentences(recipe: Mapping[str, Any]) -> str:
    """Describe how the recipe uses the real images in training."""
    mix, mixer = recipe["mix"], recipe["mixer"]["name"]
    partner = "another real image of the class" if mix["partner"] == "real_same_class" else "a generated counterpart"
    change = f"replaced by {partner}" if mix["kind"] == "none" else f"mixed with {partner} (Eq. 6 to 8)"
    sentences = {
        "off": "The model was trained on the real images only.",
        "append": f"The model was trained on the real images unchanged, and again on real images {change}.",
        "replace": f"The model was trained on real images that were {change} with a fixed probability.",
    }
    sentence = sentences[mix["mode"]]
    return f"{sentence} Images of a batch were mixed by {mixer}." if mixer else sentence
