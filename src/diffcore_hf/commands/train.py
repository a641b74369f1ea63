"""The program that trains: `accelerate launch recipes/train.py` and `accelerate launch -m diffcore_hf.training`.

An entry point like cli.py: it alone in this folder reads argv, prints, and calls upon jobs where another wing is
concerned (the card of the dataset). Errors for a user are one line and exit status 2.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffcore_hf.commands import parser as flags
from diffcore_hf.commands.errors import run_program
from diffcore_hf.commands.train_definition import TRAIN, config_layer
from diffcore_hf.config.merging import build, read_recipe_file
from diffcore_hf.config.train_rules import TRAIN_SCHEMA


def main(argv: Sequence[str] | None = None) -> int:
    """Train, compare or evaluate; returns the exit status: 0 done, 2 bad input, 130 interrupted."""
    # Threads that wait by spinning take the cores from the loader's processes; it costs nothing on idle cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    speaks = os.environ.get("LOCAL_RANK", "0") == "0"
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("diffcore_hf").setLevel(logging.INFO if speaks else logging.ERROR)

    def action() -> int:
        command = flags.parse(sys.argv[1:] if argv is None else argv, TRAIN)
        config, model = command.options["config"], command.options["evaluate"]
        return _evaluate(model, config, command.layer) if model else _train(config, command.layer)

    kept = ". What was finished is kept; the same command continues the run"
    return run_program("train", action, prints=speaks, resume_hint=lambda: kept)


def _train(config: str | None, layer: Mapping[str, Any]) -> int:
    recipe = build(TRAIN_SCHEMA, config_layer(config) if config else {}, layer)
    from diffcore_hf.training.comparison import statistics as compare
    from diffcore_hf.training.comparison import trials
    from diffcore_hf.training.engine.loop import Interrupted

    output = recipe.output or trials.default_output(recipe)
    try:
        comparison = trials.run(recipe)
    except Interrupted as error:
        print(f"\n{error}: the same command goes on from there", file=sys.stderr)
        return 130
    if os.environ.get("RANK", "0") != "0":
        return 0
    table, legend = compare.table(comparison), compare.legend(comparison)
    print(f"\n{table}\n\n{legend}\n")
    from diffcore_hf.workflows import train as train_workflow

    cards = train_workflow.model_cards(output, comparison, table if recipe.compare else "", legend)
    print(f"{output}/compare.json holds these figures. Models that timm loads, each with its card:")
    for card in cards:
        print(f"  {card.parent}")
    if recipe.push:
        from diffcore_hf.publishing.card.model_card import push_model

        run = Path(output) / (recipe.compare[-1] if recipe.compare else trials.SINGLE) / f"seed-{recipe.seeds[0]}"
        print(push_model(run / ("best" if (run / "best").is_dir() else "last"), recipe.push))
    if card := train_workflow.after_training(recipe.data.path, comparison):
        print(f"{card} says so now, and {card.with_name('compare.json')} holds the figures")
    return 0


def _evaluate(folder: str, config: str | None, layer: Mapping[str, Any]) -> int:
    from diffcore_hf.training.engine import evaluation

    below = (
        config_layer(config) if config else read_recipe_file(found) if (found := evaluation.recipe_of(folder)) else {}
    )
    scores = evaluation.evaluate(folder, build(TRAIN_SCHEMA, below, layer))
    if os.environ.get("RANK", "0") == "0":
        print(scores)
    return 0


if __name__ == "__main__":
    sys.exit(main())
