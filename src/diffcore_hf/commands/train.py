"""The program that trains: `accelerate launch recipes/train.py` and `accelerate launch -m diffcore_hf.training`.

Owns the reading of argv, the printing and the exit status. The work is in workflows/train.py.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from diffcore_hf.commands import parser
from diffcore_hf.commands.definitions import TRAIN
from diffcore_hf.commands.errors import run_program
from diffcore_hf.config.layers import config_layer
from diffcore_hf.config.merging import build
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.core import signals


def main(argv: Sequence[str] | None = None) -> int:
    """Train, compare or evaluate, and return the exit status.

    0: success. 1: fault. 2: bad input. 128 plus the number of a signal: interrupted, such as 130 after Ctrl-C.
    """
    # Without this setting, OpenMP threads use a core while they wait. The loader's processes need the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prints = os.environ.get("LOCAL_RANK", "0") == "0"
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("diffcore_hf").setLevel(logging.INFO if prints else logging.ERROR)

    def action() -> int:
        command = parser.parse(sys.argv[1:] if argv is None else argv, TRAIN)
        config, model = command.options["config"], command.options["evaluate"]
        recipe_file = config_layer(config) if config else None
        if model:
            from diffcore_hf.workflows.train import evaluate

            evaluate(model, command.layer, print, recipe_file)
            return 0
        return _train(build(TRAIN_SCHEMA, recipe_file or {}, command.layer))

    hint = ". Finished trainings are kept. The same command resumes"
    return run_program("train", action, prints=prints, resume_hint=lambda: hint)


def _train(recipe: TrainRecipe) -> int:
    from diffcore_hf.models.weights_access import check_local
    from diffcore_hf.training.networks.timm_source import check_names

    check_names(recipe)
    check_local(recipe.model.pretrained)
    from diffcore_hf.training.engine.loop import Interrupted
    from diffcore_hf.workflows.train import train

    try:
        train(recipe, print)
    except Interrupted as error:
        line = f"{signals.name_of(error.number)}: {error}: run the same command again to resume"
        print(f"\n{line}", file=sys.stderr)
        return 128 + error.number
    return 0


if __name__ == "__main__":
    sys.exit(main())
