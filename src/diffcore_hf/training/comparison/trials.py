"""Trials: trains all arms and seeds of a recipe, one training after the other. Finished trainings are not repeated.

Owns the folders of the trainings, the digest that decides whether a finished training is still valid, and the
accelerator that all trainings share.

    OUT/recipe.yaml            the given recipe
    OUT/<arm>/recipe.yaml      the recipe of an arm; the only arm of a training without a comparison is named run
    OUT/<arm>/seed-<n>/        a training (engine/loop.py)
    OUT/compare.json, .md      the comparison
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from diffcore_hf.config.digests import canonical
from diffcore_hf.config.mappings import to_mapping, to_yaml
from diffcore_hf.config.mixer_presets import resolved
from diffcore_hf.config.output_names import last_part
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import write_atomic
from diffcore_hf.core.run_record import hashed_json
from diffcore_hf.training.comparison import statistics
from diffcore_hf.training.comparison.arm_checks import check_arms
from diffcore_hf.training.comparison.arms import arms_of, check_arm, check_mixer_of_all, public_recipe
from diffcore_hf.training.comparison.statistics import TrainingComparison
from diffcore_hf.training.data.training_data import TrainingData, load_data
from diffcore_hf.training.engine import loop
from diffcore_hf.training.engine.devices import make_accelerator
from diffcore_hf.training.engine.length import Length, training_length
from diffcore_hf.training.engine.result import TrainingResult

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

_NOT_IN_DIGEST = ("output", "workers", "seeds", "compare", "arms", "trackers", "push", "device", "preset")
"""Keys that do not change the result. A finished training stays valid if they change."""
_VERSIONS = ("torch", "timm", "accelerate", "datasets")


@dataclass(frozen=True)
class Trial:
    """One training of a comparison."""

    arm: str
    seed: int
    recipe: TrainRecipe
    folder: Path


def run(recipe: TrainRecipe, *, progress: bool = True) -> TrainingComparison:
    """Train every arm with every seed, and compare the arms; finished trainings are not repeated.

    Args:
        recipe: complete recipe with all arms and seeds.
        progress: show a progress bar for each training, on the main process.

    Returns:
        The comparison (compare.json), also for a single arm.

    Raises:
        UserError: the recipe or the data is not valid.
        Interrupted: the user stopped the training; the same call resumes it.
    """
    check_mixer_of_all(recipe)
    arms = arms_of(recipe)
    output = Path(recipe.output or default_output(recipe))
    _check_output(output)
    for arm in arms.values():
        check_arm(arm)
    data = {name: load_data(arm.data, arm.mix) for name, arm in arms.items()}
    _check_same_test_images(data)
    accelerator = make_accelerator(recipe, output)
    if len(arms) > 1:
        finished = [name for name in arms if _is_finished(output / name, recipe.seeds)]
        check_arms(arms, data, accelerator.num_processes, finished)
    first = next(iter(arms))
    like = training_length(arms[first], len(data[first].layout))
    if accelerator.is_main_process:
        write_atomic(output / "recipe.yaml", to_yaml(recipe).encode())
        for name, arm in arms.items():
            write_atomic(output / name / "recipe.yaml", to_yaml(public_recipe(arm)).encode())
    for note in dict.fromkeys(chain.from_iterable(arm_data.notes for arm_data in data.values())):
        log.warning(note)
    results: dict[str, list[TrainingResult]] = {name: [] for name in arms}
    steps_before = 0
    for name, arm in arms.items():
        warn_of_few_images(name, arm, data[name])
        for seed in recipe.seeds:
            trial = Trial(name, seed, arm, output / name / f"seed-{seed}")
            result = train(trial, data[name], like, accelerator, steps_before=steps_before, progress=progress)
            results[name].append(result)
            steps_before += like.steps
    comparison = _comparison(recipe, arms, data[first], results)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_atomic(output / "compare.json", hashed_json(comparison))
        text = f"{statistics.table(comparison)}\n\n{statistics.legend(comparison)}\n"
        write_atomic(output / "compare.md", text.encode())
    accelerator.end_training()
    return comparison


def train(
    trial: Trial,
    data: TrainingData,
    like: Length,
    accelerator: Accelerator,
    *,
    steps_before: int = 0,
    progress: bool = True,
) -> TrainingResult:
    """Run one training, or return its result if it is finished.

    Args:
        trial: arm, seed, recipe and folder of the training.
        data: data that was loaded for the arm.
        like: length of the first arm, which all arms use.
        accelerator: shared by all trainings.
        steps_before: number of steps of all earlier trainings, because trackers need increasing steps.
        progress: show a progress bar.

    Raises:
        UserError: the folder has a finished training with another recipe or other data.
    """
    digest = digest_of(trial.recipe, data, trial.seed, like)
    result_file = trial.folder / "result.json"
    if result_file.is_file():
        finished: TrainingResult = json.loads(result_file.read_text(encoding="utf-8"))
        if finished["digest"] != digest:
            raise UserError(
                f"{trial.folder} has a finished training with another recipe or other data. Choose another --output, "
                "or delete the folder"
            )
        return finished
    bar = tqdm(
        total=like.steps,
        desc=f"{trial.arm}, seed {trial.seed}",
        unit="step",
        disable=not (progress and accelerator.is_main_process),
        mininterval=1,
    )

    def report(record: Mapping[str, Any]) -> None:
        bar.n = record["step"]
        names = {"loss": "loss", "validation_top1": "validation"}
        shown = {short: f"{record[key]:.3f}" for key, short in names.items() if key in record}
        bar.set_postfix(shown, refresh=False)
        bar.refresh()
        if trial.recipe.trackers:
            figures = {f"{trial.arm}/seed-{trial.seed}/{key}": value for key, value in record.items() if key != "step"}
            accelerator.log(figures, step=steps_before + record["step"])

    with bar:
        training = loop.Training(
            trial.recipe, data, trial.seed, trial.folder, accelerator, like=like, digest=digest, report=report
        )
        bar.n = training.step
        result = training.run()
    accelerator.free_memory()
    return result


def _is_finished(folder: Path, seeds: Sequence[int]) -> bool:
    """Return whether the folder of an arm has the result of every seed."""
    return all((folder / f"seed-{seed}" / "result.json").is_file() for seed in seeds)


def digest_of(recipe: TrainRecipe, data: TrainingData, seed: int, like: Length) -> str:
    """Return a digest of all settings and data that determine the result of a training, 32 hex digits."""
    # The values of a preset of the mixer are covered, not its name.
    recipe = replace(recipe, mixer=resolved(recipe.mixer))
    keys = {key: value for key, value in to_mapping(recipe).items() if key not in _NOT_IN_DIGEST}
    keys["data"] = {key: value for key, value in keys["data"].items() if key not in ("path", "revision")}
    # These defaults are left out, so that digests that were computed before the keys existed stay the same.
    defaults = {"partner": "batch", "preset": None}
    keys["mixer"] = {key: value for key, value in keys["mixer"].items() if value != defaults.get(key, ...)}
    content = {
        "recipe": keys,
        "data": dict(data.identity),
        "seed": seed,
        "steps": like.steps,
        "evaluate_every": round(like.evaluate_every, 6),
    }
    return hashlib.sha256(canonical(content)).hexdigest()[:32]


def warn_of_few_images(name: str, recipe: TrainRecipe, data: TrainingData) -> None:
    """Warn if less than a third of the planned mixing can be done, because too few images were generated."""
    if recipe.mix.mode == "off" or recipe.mix.partner == "real_same_class":
        return
    share = recipe.mix.probability if recipe.mix.mode == "replace" else 1.0
    has_partner = data.layout.has_partner
    planned, effective = data.planned_share * share, float(has_partner.mean()) * share
    if effective >= planned / 3:
        return
    remedy = (
        ""
        if recipe.mix.partner == "class"
        else ". With --mix.partner class a row can use the generated image of another row of its class"
    )
    log.warning(
        f"{name}: {100 * planned:.0f} % of the rows should be mixed, but only {100 * effective:.0f} % will be, "
        f"because only {has_partner.sum()} of {len(has_partner)} have a generated image{remedy}"
    )


def default_output(recipe: TrainRecipe) -> str:
    """Return `out/train/<last part of data.path>`."""
    return f"out/train/{last_part(recipe.data.path)}"


def _check_output(output: Path) -> None:
    """Check that the output folder is new, is empty, or was written by an earlier training. Nothing is written.

    Raises:
        UserError: the path is a file, or the folder has other files.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"output {output} is a file, not a folder. Choose another with --output")
    if output.is_dir() and any(output.iterdir()) and not (output / "recipe.yaml").is_file():
        raise UserError(
            f"output {output} has files that no training wrote; nothing was changed. Choose another --output"
        )


def _check_same_test_images(data: Mapping[str, TrainingData]) -> None:
    """Check that all arms are scored on the same images.

    Raises:
        UserError: two arms have different test images or classes.
    """
    (first, base), *others = data.items()
    for name, arm_data in others:
        if (arm_data.classes, list(arm_data.test.row_ids)) != (base.classes, list(base.test.row_ids)):
            raise UserError(
                f"arms {first} and {name} would be scored on different images or classes. "
                "Use the same test split for all arms"
            )


def _comparison(
    recipe: TrainRecipe,
    arms: Mapping[str, TrainRecipe],
    data: TrainingData,
    results: Mapping[str, Sequence[TrainingResult]],
) -> TrainingComparison:
    models = [f"{arm.model.name}, {'pretrained' if arm.model.pretrained else 'from scratch'}" for arm in arms.values()]
    first_result = next(iter(results.values()))[0]
    return {
        "format": 1,
        "data": dict(data.identity),
        "model": " or ".join(dict.fromkeys(models)),
        "parameters": first_result["parameters"],
        "batch_size": recipe.batch_size,
        "transform": recipe.transform.preset,
        "split": data.test.name,
        "images": first_result["last"]["count"],
        "validation": data.validation is not None,
        "seeds": list(recipe.seeds),
        "arms": statistics.summarise(results, data.classes),
        "notes": list(data.notes),
        "versions": {name: version(name) for name in _VERSIONS},
    }
