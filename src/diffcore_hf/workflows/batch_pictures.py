"""Draws the first training batch of any arm, with its labels.

Owns the choice of the recipe, and joins training and publishing. The batch is computed in training/engine, and the
sheet is drawn in publishing/pictures. This module imports torch, so it is imported only to draw this sheet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffcore_hf.config.layers import config_layer
from diffcore_hf.config.merging import build
from diffcore_hf.config.mixer_presets import resolved
from diffcore_hf.config.recipe_files import read_recipe_file
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.publishing.pictures.batch_sheet import COLUMNS, BatchSection, BatchTile, batch_sheet
from diffcore_hf.publishing.pictures.card_sheet import png_bytes
from diffcore_hf.training.comparison.arms import arms_of, check_arm
from diffcore_hf.training.comparison.finished import is_training
from diffcore_hf.training.data.training_data import TrainingData, load_data
from diffcore_hf.training.engine.devices import make_accelerator
from diffcore_hf.training.engine.first_batch import FirstBatch, first_batch
from diffcore_hf.training.mixers.names import MIXERS
from diffcore_hf.training.mixers.unsupported import Unsupported
from diffcore_hf.workflows.class_names import shown_names
from diffcore_hf.workflows.mixed_pictures import training_size

TITLE = "The first training batch of each arm"
LEGEND = "Images as the network gets them, {size}, and the weight of each class in the label. Network: {network}"


def picture_path(out: str | Path) -> Path:
    """Return the file of the picture: in the private folder of a local folder, otherwise in the current folder."""
    if Path(out).is_dir():
        return Folder(out).private / "preview" / "batch.png"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(out)).strip("-.")
    return Path(f"{name}-batch.png")


def training_batch(out: str | Path, arms: Sequence[str], config: str | None, flags: Mapping[str, Any]) -> bytes:
    """Draw the first training batch of each arm as PNG.

    Args:
        out: a dataset to train on, or the output of a training, whose recipe is then used.
        arms: names of arms, as in `compare` of a training recipe.
        config: file or name of a training recipe; None: the recipe of the training, or one with a small network.
        flags: layer of keys of the training recipe. They replace the values of the recipe.

    Raises:
        UserError: an arm does not exist, its mixer does not work with the network, or the data cannot be loaded.
    """
    recipe = _recipe(out, arms, config, flags)
    recipes = arms_of(recipe, "batch")
    sections, sizes = [], []
    accelerator = make_accelerator(replace(recipe, trackers=()), Path(out))
    for name, arm in recipes.items():
        try:
            check_arm(arm)
            data = load_data(arm.data, arm.mix)
            batch = first_batch(arm, data, recipe.seeds[0], Folder(out).private / "preview" / "training", accelerator)
        except Unsupported as error:
            others = [other for other in recipes if other != name] or ["plain"]
            raise UserError(
                f"batch has {name}, but {error.reason}. Use --batch {','.join(others)}, or another --model.name"
            ) from error
        except UserError as error:
            raise UserError(f"arm {name}: {error}") from error
        sections.append(BatchSection(name, _note(arm, batch), _tiles(batch, data, 2 if len(recipes) == 1 else 1)))
        sizes.append(batch.images.shape[-1])
    network = f"{recipe.model.name}, {'pretrained' if recipe.model.pretrained else 'random weights'}"
    size = " and ".join(f"{side} pixels" for side in dict.fromkeys(sizes))
    return png_bytes(batch_sheet(sections, title=TITLE, legend=LEGEND.format(size=size, network=network)))


def _recipe(out: str | Path, arms: Sequence[str], config: str | None, flags: Mapping[str, Any]) -> TrainRecipe:
    """Return the recipe of the arms. The flags override `config`, and `config` overrides the recipe of a training."""
    if config is not None:
        layers = (
            [config_layer(config), {"data": {"path": str(out)}}] if not is_training(out) else [config_layer(config)]
        )
    elif is_training(out):
        layers = [read_recipe_file(Path(out) / "recipe.yaml")]
    else:
        # Without a recipe, no pretrained weights are loaded, so that nothing has to be downloaded.
        layers = [{"data": {"path": str(out)}, "model": {"pretrained": False}}]
    recipe = build(
        TRAIN_SCHEMA, *layers, _with_mixer_of_arm(arms, flags), {"compare": list(arms), "output": None, "push": None}
    )
    if config is None and not is_training(out) and recipe.transform.size is None:
        data = load_data(recipe.data, replace(recipe.mix, mode="off"))
        cells = data.train.rows[:COLUMNS][data.columns.image].to_pylist()
        recipe = replace(recipe, transform=replace(recipe.transform, size=training_size(cells)))
    return recipe


def _with_mixer_of_arm(arms: Sequence[str], flags: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the flags. If exactly one arm is a mixer, keys of a mixer without a name become keys of this arm.

    With `--batch plain,cutmix --mixer.options '{alpha: 0.2}'`, only arm cutmix has a mixer with options.
    """
    section = flags.get("mixer")
    mixers = [arm for arm in arms if arm in MIXERS]
    if not isinstance(section, Mapping) or "name" in section or len(mixers) != 1 or "arms" in flags:
        return flags
    keys = {"mix": {"mode": "off"}, "mixer": {"name": mixers[0], **section}}
    return {**{key: value for key, value in flags.items() if key != "mixer"}, "arms": {mixers[0]: keys}}


def _note(arm: TrainRecipe, batch: FirstBatch) -> str:
    """Return the text beside the name of an arm."""
    mixer = resolved(arm.mixer)
    parts = []
    if mixer.name and mixer.options:
        parts.append(", ".join(f"{name}: {value}" for name, value in mixer.options.items()))
    if batch.mixed_inside:
        parts.append("the features are mixed inside the network, not the images")
    return "; ".join(parts)


def _tiles(batch: FirstBatch, data: TrainingData, rows: int) -> list[BatchTile]:
    """Return the first images of the batch with their labels."""
    tiles, names = [], shown_names(data.classes)
    for pixels, weights in zip(batch.images[: rows * COLUMNS], batch.targets, strict=False):
        # A weight below half a percent would be shown as 0 %.
        shown = {names[index]: float(weights[index]) for index in weights.argsort(descending=True).tolist()}
        labels = {name: weight for name, weight in shown.items() if weight >= 0.005}
        tiles.append(BatchTile(pixels.permute(1, 2, 0).numpy(), labels))
    return tiles
