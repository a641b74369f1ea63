"""The command line of the program that trains: its own options, beside every key of a training recipe.

Owns these words and which file --config means. How argv is read is flags.py; the recipe is recipe.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.commands.definitions import Verb
from diffcore_hf.config.fields import option
from diffcore_hf.config.merging import read_recipe_file, shipped_files
from diffcore_hf.config.train_rules import TRAIN_SCHEMA
from diffcore_hf.core.errors import UserError


@dataclass(frozen=True)
class TrainOptions:
    """Train a network on an augmented dataset, mixing real and generated images, and compare it with others."""

    config: str | None = option(None, help="A recipe file or the name of a shipped one (miniature-train, ...).")
    evaluate: str | None = option(
        None, help="A folder of a trained model (.../best): score it on the test split, train nothing."
    )


TRAIN = Verb(
    "recipes/train.py", TrainOptions, None, "",
    ("recipes/train.py --config miniature-train",
     "recipes/train.py --data.path out/photos --model resnet50 --epochs 10",
     "--num_processes 8 recipes/train.py --config cub-train --compare plain,genaug,mix --seeds 0,1,2",
     "-m diffcore_hf.training --config recipe.yaml --mix.partner class"),
    takes=lambda key, scope: True,
    schema=TRAIN_SCHEMA,
    program="accelerate launch",
)  # fmt: skip


def shipped_training_recipes() -> dict[str, Path]:
    """Name -> file of the training recipes that come with the package; each name ends in -train."""
    return {name: path for name, path in sorted(shipped_files().items()) if name.endswith("-train")}


def config_layer(config: str) -> Mapping[str, Any]:
    """The layer that --config stands for: an existing file, else a shipped training recipe's name.

    Raises:
        UserError: neither of them, or no recipe.
    """
    path, shipped = Path(config), shipped_training_recipes()
    try:
        there = "file" if path.is_file() else "folder" if config and path.is_dir() else ""
    except (OSError, ValueError):
        there = ""
    if there == "file" and path.suffix in (".yaml", ".yml"):
        return read_recipe_file(path, begin="data: {path: out/photos}")
    if config in shipped:
        return read_recipe_file(shipped[config])
    if there:
        raise UserError(f"config is {config!r}, a {there}, but no recipe (.yaml). For data use --data.path {config}")
    name = path.stem
    near = [f"{name}-train"] if f"{name}-train" in shipped else difflib.get_close_matches(name, shipped, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the shipped ones are {', '.join(shipped)}"
    raise UserError(f"config is {config!r}, no file and no shipped training recipe; {hint}")
