"""The card of a trained model: README.md beside its weights, made of the facts of its training; and its way to the Hub.

Owns what the card says, its metadata and the one commit by which a model is pushed. The facts come from a training's
folder (result.json, compare.json, recipe.yaml); every value is escaped where it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing.card.dataset_card import filled, title
from diffcore_hf.publishing.card.text import Markdown, fenced

_MODES = {
    "off": "trained on alone",
    "append": "trained on as they are, and once more {}",
    "replace": "{} by chance",
}
_WORST = 10


@dataclass(frozen=True)
class ModelFacts:
    """All that the card of a model is made of."""

    recipe: Mapping[str, Any]
    """The training recipe as plain values, arm included."""
    result: Mapping[str, Any]
    """result.json of the training."""
    comparison: Mapping[str, Any]
    """compare.json."""
    classes: list[str]
    table: str
    """The comparison as Markdown, where there was one; else empty."""
    legend: str


def render_model_card(facts: ModelFacts) -> str:
    """The card: YAML metadata, then Markdown. The same facts give the same text."""
    from huggingface_hub import ModelCardData

    header = ModelCardData(**_metadata(facts)).to_yaml()
    return f"---\n{header}\n---\n\n{filled('model_card.md.jinja', _view(facts))}"


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
        "how": _how(recipe),
        "batch_size": recipe["batch_size"],
        "weights": bool(recipe["model"]["pretrained"]),
        "worst": [(name, share) for share, name in ranked[:_WORST]],
        "recipe_yaml": fenced(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100), "yaml"),
    }


def _how(recipe: Mapping[str, Any]) -> str:
    """What happened to the real images, in the words of the recipe."""
    mix, mixer = recipe["mix"], recipe["mixer"]["name"]
    partner = "another real image of the class" if mix["partner"] == "real_same_class" else "generated counterparts"
    meeting = f"replaced by {partner}" if mix["kind"] == "none" else f"mixed with {partner} (Eq. 6 to 8)"
    how = _MODES[mix["mode"]].format(meeting)
    return f"{how}, with {mixer} across each batch" if mixer else how


def push_model(folder: Path, repo_id: str) -> str:
    """Put a model's folder on the Hub in one commit; returns its address.

    Raises:
        UserError: in one line, whatever the Hub says; the model stays where it is and may be pushed again.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    try:
        api = HfApi()
        made = api.create_repo(repo_id, exist_ok=True)
        operations = [CommitOperationAdd(path.name, path) for path in files]
        api.create_commit(made.repo_id, operations, commit_message="A model trained with diffcore-hf")
    except Exception as error:  # a dozen types of the client's, and those of the network
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise UserError(f"push {repo_id}: {type(error).__name__}: {first}. {folder} is whole; push it again") from error
    return made.url
