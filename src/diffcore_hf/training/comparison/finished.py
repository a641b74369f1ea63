"""Finished trainings: reads the output folder of a training whose arms and seeds are all finished.

Owns the checks of the folder and of the names of arms, and the folders of the models. The folder is written by
trials.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.config.merging import build
from diffcore_hf.config.recipe_files import read_recipe_file
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.manifest import is_file_path
from diffcore_hf.training.comparison.statistics import TrainingComparison


@dataclass(frozen=True)
class FinishedTrainings:
    """The trainings in an output folder."""

    folder: Path
    recipes: Mapping[str, TrainRecipe]
    """Recipe of each arm."""
    seeds: tuple[int, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms."""
        return tuple(self.recipes)

    def model_folder(self, arm: str, seed: int) -> Path:
        """Return the folder of the model that the comparison scores: `best` if it exists, else `last`.

        Raises:
            UserError: the model was deleted.
        """
        training = self.folder / arm / f"seed-{seed}"
        for kind in ("best", "last"):
            if (training / kind / "config.json").is_file():
                return training / kind
        raise UserError(f"{training} has no model. Delete this folder, then run the same training again")


def finished_trainings(
    folder: str | Path, arms: Sequence[str] = (), changes: Mapping[str, Any] | None = None
) -> FinishedTrainings:
    """Read the output folder of a training.

    Args:
        folder: `output` of a training, with or without a comparison.
        arms: names of the arms to return, in this order; empty: all arms.
        changes: keys that replace the same keys of each recipe, such as another `data.path`.

    Raises:
        UserError: the folder is not the output of a training, the training is not finished, or an arm does not exist.
    """
    folder = Path(folder)
    _check_folder(folder)
    comparison = _comparison(folder / "compare.json")
    existing = [arm["name"] for arm in comparison["arms"]]
    for arm in arms:
        if arm not in existing:
            raise UserError(f"arms has {arm!r}, which {folder} does not have. Its arms are {', '.join(existing)}")
    given = read_recipe_file(folder / "recipe.yaml")
    recipes = {}
    for arm in dict.fromkeys(arms or existing):
        recipe_file = folder / arm / "recipe.yaml"
        if not recipe_file.is_file():
            raise UserError(f"{recipe_file} does not exist. Run the same training again to write it")
        recipe = read_recipe_file(recipe_file)
        # The recipe of an arm has no paths of this machine, so `data` is read from the recipe of the folder.
        recipes[arm] = build(TRAIN_SCHEMA, {**recipe, "data": given["data"]}, changes or {})
    return FinishedTrainings(folder, recipes, tuple(comparison["seeds"]))


def is_training(folder: str | Path) -> bool:
    """Return whether a folder is the output of a training, finished or not."""
    recipe = Path(folder) / "recipe.yaml"
    return os.path.isfile(recipe) and "data" in read_recipe_file(recipe)


def _check_folder(folder: Path) -> None:
    if os.path.isfile(folder / "compare.json") and is_training(folder):
        return
    above = next((parent for parent in folder.resolve().parents if os.path.isfile(parent / "compare.json")), None)
    if above is not None and is_training(above):
        arm = folder.resolve().relative_to(above).parts[0]
        raise UserError(f"{folder} is a part of the training {above}. Name {above}, with --arms {arm}")
    if is_training(folder):
        raise UserError(
            f"{folder} has no compare.json, because not all of its trainings are finished. Run the same training again"
        )
    raise UserError(f"{folder} is not the output of a training. Give the --output of recipes/train.py")


def _is_name(value: object) -> bool:
    """Return whether a value can be the name of an arm, and of its folder."""
    return isinstance(value, str) and is_file_path(value) and value not in ("", "..") and Path(value).name == value


def _comparison(path: Path) -> TrainingComparison:
    try:
        comparison: TrainingComparison = json.loads(path.read_text(encoding="utf-8"))
        arms, seeds = comparison["arms"], comparison["seeds"]
        if not isinstance(arms, list) or not all(_is_name(arm["name"]) for arm in arms) or not arms:
            raise ValueError("it has no list of arms with names")
        if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds) or not seeds:
            raise ValueError("it has no list of seeds")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({innermost_cause(error)}). Run the same training again to write it"
        ) from error
    return comparison
