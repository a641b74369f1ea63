"""What follows a training: the cards of its models, and its result in the card of the dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.config import merging as layers
from diffcore_hf.core.folder import Folder, canonical_json, write_whole
from diffcore_hf.publishing.card import worth
from diffcore_hf.publishing.card.model_card import ModelFacts, render_model_card
from diffcore_hf.publishing.card.text import merge_free_sections

if TYPE_CHECKING:
    pass


def after_training(data_path: str | Path, comparison: Mapping[str, Any]) -> Path | None:
    """Put the result of a comparison into the dataset folder that it was measured on, and its sentence into the card.

    Args:
        data_path: what was trained on.
        comparison: compare.json of the trainings.

    Returns:
        The card; None where the data is no folder of ours, changed since, or has no place for it, or where nothing was
        compared.
    """
    folder = Folder(data_path)
    manifest = folder.manifest()
    if manifest is None or manifest.get("hash") != comparison["data"]["hash"] or len(comparison["arms"]) < 2:
        return None
    write_whole(folder.path / "compare.json", canonical_json(comparison))
    card = folder.path / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if worth.START not in text:
        return None
    write_whole(card, worth.with_sentence(text, worth.sentence(comparison)).encode())
    return card


def model_cards(output: str | Path, comparison: Mapping[str, Any], table: str, legend: str) -> list[Path]:
    """Write the card of every model of a finished training folder; what a person wrote in its free sections stays.

    Args:
        output: the folder of the trainings.
        comparison: its compare.json.
        table: the comparison as Markdown; empty where nothing was compared.
        legend: what stands under it.
    """
    cards = []
    runs = [Path(output) / arm["name"] / f"seed-{seed}" for arm in comparison["arms"] for seed in comparison["seeds"]]
    for config in [run / kind / "config.json" for run in runs for kind in ("best", "last")]:
        run = config.parent.parent
        if not config.is_file():  # without validation there is no best one
            continue
        recipe = layers.read_recipe_file(run.parent / "recipe.yaml")
        data = recipe["data"] | {"path": comparison["data"]["path"]}
        facts = ModelFacts(
            recipe={**recipe, "data": data},
            result=json.loads((run / "result.json").read_text(encoding="utf-8")),
            comparison=comparison,
            classes=json.loads(config.read_text(encoding="utf-8"))["label_names"],
            table=table,
            legend=legend,
        )
        card = config.with_name("README.md")
        old = card.read_text(encoding="utf-8") if card.is_file() else None
        write_whole(card, merge_free_sections(render_model_card(facts), old).encode())
        cards.append(card)
    return cards
