"""Trials: all arms and seeds of a recipe, one training after the other, each finished one kept.

Owns the arms, the folders of the trainings, what makes a finished one still valid, and the accelerator that they share.

    OUT/recipe.yaml            what was asked for
    OUT/<arm>/seed-<n>/        a training (loop.py); without a comparison the arm is called run
    OUT/compare.json, .md      the table
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from diffcore_hf.config.digests import canonical
from diffcore_hf.config.mappings import to_mapping, to_yaml
from diffcore_hf.config.merging import build
from diffcore_hf.config.output_names import last_part
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.config.train_schema import ARMS, TRAIN_SCHEMA
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import canonical_json, write_whole
from diffcore_hf.training.comparison import statistics as compare
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.cache import NO_FRAMES
from diffcore_hf.training.data.training_data import TrainingData, load_data
from diffcore_hf.training.engine import loop
from diffcore_hf.training.engine.devices import make_accelerator
from diffcore_hf.training.engine.length import Length, training_length
from diffcore_hf.training.engine.optimisers import check_known
from diffcore_hf.training.mixers.registry import make_mixer
from diffcore_hf.training.networks.timm_names import architecture_of

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

SINGLE = "run"
"""Name of the arm where nothing is compared."""
# What changes no result, so that a finished training stays valid under another value of it.
_FREE = ("output", "workers", "seeds", "compare", "arms", "trackers", "push", "device", "preset")
# What all arms share: equal steps of equally many samples, and one place for the results.
_SHARED = (
    *("batch_size", "epochs", "max_steps", "evaluate_every", "precision", "deterministic", "device"),
    *("seeds", "compare", "arms", "output", "trackers", "push", "preset"),
)
_VERSIONS = ("torch", "timm", "accelerate", "datasets")


@dataclass(frozen=True)
class Trial:
    """One training of the plan."""

    arm: str
    seed: int
    recipe: TrainRecipe
    folder: Path


def arms_of(recipe: TrainRecipe) -> dict[str, TrainRecipe]:
    """Name -> recipe of each arm that is compared; the recipe itself where nothing is.

    Raises:
        UserError: an arm that there is not, or a key in one that there is not.
    """
    if not recipe.compare:
        return {SINGLE: recipe}
    known = ARMS | dict(recipe.arms or {})
    arms = {}
    for name in recipe.compare:
        if name not in known:
            raise UserError(f"compare has {name!r}, which is no arm; there are {', '.join(known)}. Declare it in arms")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise UserError(f"arms has {name!r}, which cannot be a folder. Use letters, digits, and any of ._+-")
        changes = known[name]
        if fixed := [key for key in _SHARED if key in changes]:
            raise UserError(
                f"arms.{name} has {fixed[0]}, which is the same for all arms, or they could not be compared. Set it in "
                "the recipe itself"
            )
        mixes = "kind" in changes.get("mix", {}) and "mode" not in changes["mix"]
        # An arm that mixes, over a recipe that does not.
        mode = {"mix": {"mode": "append"}} if mixes and recipe.mix.mode == "off" else {}
        try:
            arms[name] = build(TRAIN_SCHEMA, to_mapping(recipe), mode, changes)
        except ValueError as error:
            raise UserError(f"arms.{name}: {error}") from error
    return arms


def run(recipe: TrainRecipe, *, progress: bool = True) -> dict[str, Any]:
    """Train every arm with every seed, and compare them; what is finished is not done again.

    Args:
        recipe: complete.
        progress: show a bar for each training, on the main process.

    Returns:
        The comparison (compare.json), also of a single arm.

    Raises:
        UserError: bad input, in one line.
        Interrupted: by the user; the same call goes on.
    """
    arms = arms_of(recipe)
    output = Path(recipe.output or default_output(recipe))
    _refuse_foreign(output)
    for arm in arms.values():
        _check_early(arm)
    loaded = {name: load_data(arm.data, arm.mix) for name, arm in arms.items()}
    _check_alike(loaded)
    accelerator = make_accelerator(recipe, output)
    first = next(iter(arms))
    like = training_length(arms[first], len(loaded[first].layout))
    if accelerator.is_main_process:
        write_whole(output / "recipe.yaml", to_yaml(recipe).encode())
        for name, arm in arms.items():
            write_whole(output / name / "recipe.yaml", to_yaml(_told(arm)).encode())
    for note in dict.fromkeys(note for data in loaded.values() for note in data.notes):
        log.warning(note)
    results: dict[str, list[dict[str, Any]]] = {}
    for name, arm in arms.items():
        warn_of_few(name, arm, loaded[name])
        for seed in recipe.seeds:
            trial = Trial(name, seed, arm, output / name / f"seed-{seed}")
            done = sum(map(len, results.values()))
            result = train(trial, loaded[name], like, accelerator, before=done * like.steps, progress=progress)
            results.setdefault(name, []).append(result)
    comparison = _comparison(recipe, arms, loaded[first], results)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_whole(output / "compare.json", canonical_json(comparison))
        text = f"{compare.table(comparison)}\n\n{compare.legend(comparison)}\n"
        write_whole(output / "compare.md", text.encode())
    accelerator.end_training()
    return comparison


def train(
    trial: Trial,
    data: TrainingData,
    like: Length,
    accelerator: Accelerator,
    *,
    before: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """One training, or its result where it is finished.

    Args:
        trial: what to train.
        data: loaded for it.
        like: the length of the first arm, which all take.
        accelerator: shared by all trainings.
        before: steps of the trainings before it: trackers want steps that rise.
        progress: show a bar.
    """
    digest = digest_of(trial.recipe, data, trial.seed, like)
    done = trial.folder / "result.json"
    if done.is_file():
        result = json.loads(done.read_text(encoding="utf-8"))
        if result["digest"] != digest:
            raise UserError(
                f"{trial.folder} is finished, but by another recipe or on other data. Choose another --output, or "
                "delete the folder"
            )
        return result
    bar = tqdm(
        total=like.steps, desc=f"{trial.arm}, seed {trial.seed}", unit="step",
        disable=not (progress and accelerator.is_main_process), mininterval=1,
    )  # fmt: skip

    def report(line: Mapping[str, Any]) -> None:
        bar.n = line["step"]
        shown = {"loss": "loss", "validation_top1": "validation"}
        bar.set_postfix({short: f"{line[key]:.3f}" for key, short in shown.items() if key in line}, refresh=False)
        bar.refresh()
        if trial.recipe.trackers:
            figures = {f"{trial.arm}/seed-{trial.seed}/{key}": value for key, value in line.items() if key != "step"}
            accelerator.log(figures, step=before + line["step"])

    with bar:
        training = loop.Training(
            trial.recipe, data, trial.seed, trial.folder, accelerator, like=like, digest=digest, report=report
        )
        bar.n = training.step
        result = training.run()
    accelerator.free_memory()
    return result


def digest_of(recipe: TrainRecipe, data: TrainingData, seed: int, like: Length) -> str:
    """32 hex over all that decides a training."""
    keys = {key: value for key, value in to_mapping(recipe).items() if key not in _FREE}
    keys["data"] = {key: value for key, value in keys["data"].items() if key not in ("path", "revision")}
    whole = {"recipe": keys, "data": dict(data.identity), "seed": seed}
    whole |= {"steps": like.steps, "evaluate_every": round(like.evaluate_every, 6)}
    return hashlib.sha256(canonical(whole)).hexdigest()[:32]


def warn_of_few(name: str, recipe: TrainRecipe, data: TrainingData) -> None:
    """Warn where far fewer generated images are seen than the recipe asks for: below a third."""
    if recipe.mix.mode == "off" or recipe.mix.partner == "real_same_class":
        return
    share = recipe.mix.probability if recipe.mix.mode == "replace" else 1.0
    served = data.layout.has_partner
    asked, effective = data.planned_share * share, float(served.mean()) * share
    if effective < asked / 3:
        remedy = "" if recipe.mix.partner == "class" else "; --mix.partner class serves every row of a class"
        log.warning(
            "%s: %.0f %% of the rows were to be mixed, but %.0f %% will be: only %d of %d have a generated image%s",
            name, 100 * asked, 100 * effective, served.sum(), len(served), remedy,
        )  # fmt: skip


def _told(arm: TrainRecipe) -> TrainRecipe:
    """The recipe of one arm, as it may be shown: without its sisters, and without a path of this machine."""
    weights = arm.model.pretrained
    if isinstance(weights, str) and Path(weights).expanduser().exists():
        weights = "local"
    model = replace(arm.model, pretrained=weights)
    return replace(arm, model=model, compare=(), arms=None, seeds=arm.seeds[:1], output=None, push=None)


def _check_early(arm: TrainRecipe) -> None:
    """Raise UserError for what would else be told only when the arm's turn has come, perhaps hours later."""
    architecture_of(arm.model.name)
    check_known(arm.optimizer.name)
    make_mixer(arm.mixer, classes=2)
    if framing.protocol_of(arm.transform).resize is None and arm.cache == "memory":
        raise UserError(NO_FRAMES)


def default_output(recipe: TrainRecipe) -> str:
    """`out/train/<last part of data.path>`."""
    return f"out/train/{last_part(recipe.data.path)}"


def _refuse_foreign(output: Path) -> None:
    """Raise UserError where the path holds something that no training of ours made. Writes nothing."""
    if output.exists() and not output.is_dir():
        raise UserError(f"output {output} is a file, not a folder. Choose another with --output")
    if output.is_dir() and any(output.iterdir()) and not (output / "recipe.yaml").is_file():
        raise UserError(
            f"output {output} holds files that no training made; nothing was touched. Choose another --output"
        )


def _check_alike(loaded: Mapping[str, TrainingData]) -> None:
    """Arms are scored on the same images."""
    (first, base), *others = loaded.items()
    for name, data in others:
        if (data.classes, list(data.test.row_ids)) != (base.classes, list(base.test.row_ids)):
            raise UserError(
                f"arms {first} and {name} would be scored on other images or classes. Compare on one test split"
            )


def _comparison(
    recipe: TrainRecipe,
    arms: Mapping[str, TrainRecipe],
    data: TrainingData,
    results: Mapping[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    models = {
        f"{arm.model.name}, {'pretrained' if arm.model.pretrained else 'from scratch'}": None for arm in arms.values()
    }
    return {
        "format": 1,
        "data": dict(data.identity),
        "model": " or ".join(models),
        "parameters": next(iter(results.values()))[0]["parameters"],
        "batch_size": recipe.batch_size,
        "transform": recipe.transform.preset,
        "split": data.test.name,
        "images": next(iter(results.values()))[0]["last"]["count"],
        "validation": data.validation is not None,
        "seeds": list(recipe.seeds),
        "arms": compare.summarise(results, data.classes),
        "notes": list(data.notes),
        "versions": {name: version(name) for name in _VERSIONS},
    }
