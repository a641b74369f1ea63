"""Runs trainings, reports the table of results, writes model cards, and adds the result to the dataset card.

Owns the order of these steps, and joins training and publishing. This module prints nothing. It passes each message to
the function `report`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffcore_hf.config.merging import build
from diffcore_hf.config.recipe_files import read_recipe_file
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.core.folder import Folder, write_atomic
from diffcore_hf.core.run_record import hashed_json
from diffcore_hf.publishing.audit.files import COMPARISON, SIGNATURES
from diffcore_hf.publishing.card import worth
from diffcore_hf.publishing.card.model_card import ModelFacts, render_model_card
from diffcore_hf.publishing.card.text import merge_free_sections
from diffcore_hf.publishing.hub.model import push_model
from diffcore_hf.training.comparison import statistics, trials
from diffcore_hf.training.comparison.arms import SINGLE
from diffcore_hf.training.engine import evaluation

Report = Callable[[str], None]
"""Callback that receives each message for the user."""


def train(recipe: TrainRecipe, report: Report, *, progress: bool = True) -> None:
    """Train every arm with every seed, report the table, and write the cards. Push the model if `push` is set.

    Args:
        recipe: the complete recipe.
        report: called in the main process only.
        progress: show a progress bar for each training.

    Raises:
        UserError: the input is not valid.
        Interrupted: the user stopped the training; the same call resumes it.
    """
    comparison = trials.run(recipe, progress=progress)
    if not is_main_process():
        return
    table, legend = statistics.table(comparison), statistics.legend(comparison)
    report(f"\n{table}\n\n{legend}\n")

    output = Path(recipe.output or trials.default_output(recipe))
    cards = write_model_cards(output, comparison, table if recipe.compare else "", legend)
    report(f"{output}/compare.json contains these figures. Trained models, each with a card; timm can load them:")
    for card in cards:
        report(f"  {card.parent}")

    if recipe.push:
        report(push_model(_model_to_push(recipe, output), recipe.push))

    if dataset_card := write_worth(recipe.data.path, comparison):
        figures = dataset_card.with_name("compare.json")
        report(f"{dataset_card} now states this result, and {figures} contains the figures")


def evaluate(folder: str, flags: Mapping[str, Any], report: Report, recipe_file: Mapping[str, Any] | None) -> None:
    """Score a trained model on the test split and report the figures.

    Args:
        folder: the folder of the model.
        flags: the layer from the flags of the command line.
        report: called in the main process only.
        recipe_file: the layer of a recipe file. None means the recipe.yaml of the training that wrote the folder, if it
            exists.

    Raises:
        UserError: the input is not valid.
    """
    if recipe_file is None:
        path = evaluation.recipe_of(folder)
        recipe_file = read_recipe_file(path) if path else {}
    scores = evaluation.evaluate(folder, build(TRAIN_SCHEMA, recipe_file, flags))
    if is_main_process():
        report(scores)


def is_main_process() -> bool:
    """Return whether this process writes files and reports. Only the first process of a training does."""
    return os.environ.get("RANK", "0") == "0"


def write_model_cards(output: Path, comparison: Mapping[str, Any], table: str, legend: str) -> list[Path]:
    """Write the card of every model of a finished training folder.

    Sections that a person added to an old card are kept.

    Args:
        output: the folder of the trainings.
        comparison: content of compare.json in that folder.
        table: the comparison as Markdown; empty if nothing was compared.
        legend: the text below the table.
    """
    cards = []
    for arm in comparison["arms"]:
        for seed in comparison["seeds"]:
            run = output / arm["name"] / f"seed-{seed}"
            models = [run / kind for kind in ("best", "last")]
            # Without a validation split there is no folder `best`.
            cards += [
                _write_model_card(model, comparison, table, legend)
                for model in models
                if (model / "config.json").is_file()
            ]
    return cards


def _write_model_card(model: Path, comparison: Mapping[str, Any], table: str, legend: str) -> Path:
    run = model.parent
    recipe = read_recipe_file(run.parent / "recipe.yaml")
    facts = ModelFacts(
        recipe={**recipe, "data": recipe["data"] | {"path": comparison["data"]["path"]}},
        result=json.loads((run / "result.json").read_text(encoding="utf-8")),
        comparison=comparison,
        classes=json.loads((model / "config.json").read_text(encoding="utf-8"))["label_names"],
        table=table,
        legend=legend,
    )
    card = model / "README.md"
    old = card.read_text(encoding="utf-8") if card.is_file() else None
    write_atomic(card, merge_free_sections(render_model_card(facts), old).encode())
    return card


def _model_to_push(recipe: TrainRecipe, output: Path) -> Path:
    """Return the folder of the model of the last arm and first seed: `best` if it exists, else `last`."""
    run = output / (recipe.compare[-1] if recipe.compare else SINGLE) / f"seed-{recipe.seeds[0]}"
    return run / ("best" if (run / "best").is_dir() else "last")


def write_worth(data_path: str | Path, comparison: Mapping[str, Any]) -> Path | None:
    """Write the result of a comparison into the folder of its dataset, and a sentence about it into the card.

    Args:
        data_path: the dataset of the trainings.
        comparison: content of compare.json of the trainings.

    Returns:
        The path of the card. None means that no sentence was written, for one of these reasons: only one arm was
        trained; the data is not a folder of this project, or has changed since the training; the card has no line for
        the sentence.
    """
    folder = Folder(data_path)
    manifest = folder.manifest()
    if manifest is None or manifest.get("hash") != comparison["data"]["hash"] or len(comparison["arms"]) < 2:
        return None
    (folder.path / SIGNATURES[COMPARISON]).unlink(missing_ok=True)
    write_atomic(folder.path / COMPARISON, hashed_json(comparison))
    card = folder.path / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if worth.START not in text:
        return None
    write_atomic(card, worth.with_sentence(text, worth.sentence(worth.parse_comparison(comparison))).encode())
    return card
