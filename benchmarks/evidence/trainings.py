"""Trainings: the accuracy of one arm with one network and one seed, in three groups of test images.

Owns the arms: their names, their images and their training recipes. The trainer of the package trains them. All arms
take the same number of steps with the same batch size. An arm is trained once, even if several sections of
docs/results.md use it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.evidence.folders import BEST, GENERATORS, STANDARD, exported, kept_by, made, real, truth
from benchmarks.evidence.worlds import EACH, world_folder
from diffcore_hf.config.merging import build
from diffcore_hf.config.recipe_files import read_recipe_file, shipped_files

NETS: dict[str, dict[str, Any]] = {
    "scratch": {"max_steps": 450},
    "tuned": {
        "max_steps": 150,
        "model": {"pretrained": "package:diffcore_hf.miniature/models/backbone"},
        "optimizer": {"lr": 0.0003, "head_lr": 0.003},
    },
    "longer": {"max_steps": 1350},
}
SECONDS = {"scratch": 80, "tuned": 40, "longer": 220}
EVALUATIONS = 9
# bfloat16 halves the time on processors that compute with it.
_COMMON = {"precision": "bfloat16", "workers": 0, "batch_size": 32}

PLAIN = {"mix": {"mode": "off"}}
GENERATED = {"mix": {"mode": "append", "kind": "none", "partner": "class"}}
"""The samples are all real images and, for each of them, one kept image of the same class, chosen at random."""


@dataclass(frozen=True)
class Arm:
    """The images that an arm trains on, and its training recipe."""

    train: Mapping[str, Any] = field(default_factory=lambda: GENERATED)
    """Keys of the training recipe."""
    generator: str | None = STANDARD
    """Name of the generator; None if the arm trains on real images alone."""
    keep: str = "all"
    """Name of a policy, or `oracle` or `random` (folders.kept_by)."""
    cut: tuple[str, ...] = ()
    """Names of policies. If there are any, the arm trains only on its first n kept images in the order of the plan.
    The number n is the number of images that the strictest of these policies keeps."""
    export: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the augmentation recipe for the export."""
    extra: str = "none"
    """Additional real images (worlds.world_folder)."""
    each: int = EACH
    """Number of real training images of a species, if the arm has no generator."""


def _mix(kind: str, partner: str, mode: str = "append", probability: float = 1.0) -> dict[str, Any]:
    return {"mix": {"mode": mode, "kind": kind, "partner": partner, "probability": probability}}


JUDGED = ("mean", "class_mean", "classifier", BEST, "text", "oracle")
ARMS: dict[str, Arm] = {
    "plain": Arm(PLAIN, None),
    # Section 2 of docs/results.md: the cost of the filter, with equal numbers of generated images and with equal
    # numbers of kept images.
    **{f"{STANDARD}.{keep}": Arm(keep=keep) for keep in ("all", "random", *JUDGED)},
    **{f"{STANDARD}.{keep}.equal-kept": Arm(keep=keep, cut=JUDGED) for keep in ("all", "mean", BEST, "oracle")},
    **{
        f"{generator}.{keep}": Arm(generator=generator, keep=keep)
        for generator in ("random-species", "look-alike")
        for keep in ("all", "random", "mean", BEST, "oracle")
    },
    # Section 3 of docs/results.md: guidance and filter.
    **{
        f"{generator}.{keep}": Arm(generator=generator, keep=keep)
        for generator in GENERATORS
        if generator.startswith("gamma-") and generator != STANDARD
        for keep in ("all", BEST, "oracle")
    },
    **{f"no-negatives.{keep}": Arm(generator="no-negatives", keep=keep) for keep in ("all", BEST)},
    # Section 4 of docs/results.md: contexts.
    **{f"{generator}.all": Arm(generator=generator) for generator in ("no-context", "one-context", "own-contexts")},
    "no-context.third": Arm(_mix("none", "own"), "no-context"),
    # Section 5 of docs/results.md: mixing. The first arms are those of Table 7 of the paper, where the partner of an
    # image is its own counterpart. The other arms have other partners.
    "genaug-own": Arm(_mix("none", "own")),
    "pixel-real": Arm(_mix("pixel", "real_same_class"), None),
    "patch-real": Arm(_mix("patch", "real_same_class"), None),
    "pixel-own": Arm(_mix("pixel", "own")),
    "patch-own": Arm(_mix("patch", "own")),
    "mix-own-50": Arm(_mix("both", "own"), export={"fraction": 0.5}),
    "mix-own-100": Arm(_mix("both", "own")),
    "mix-class": Arm(_mix("both", "class")),
    "mix-class-replace-0.5": Arm(_mix("both", "class", "replace", 0.5)),
    "mix-class-replace-1": Arm(_mix("both", "class", "replace")),
    **{
        f"{generator}.{name}": Arm(train, generator if name != "plain" else None, each=real(generator))
        for generator in ("real-3", "real-6")
        for name, train in (("plain", PLAIN), ("generated", GENERATED), ("mix", _mix("both", "class")))
    },
    # Section 6 of docs/results.md: classical augmentation, and more real images.
    "heavy": Arm(PLAIN | {"transform": {"randaugment": 9, "jitter": 0.4, "blur": 0.2, "erasing": 0.25}}, None),
    "mixup": Arm(PLAIN | {"mixer": "mixup"}, None),
    "cutmix": Arm(PLAIN | {"mixer": "cutmix"}, None),
    "extra-seen": Arm(PLAIN, None, extra="seen"),
    "extra-all": Arm(PLAIN, None, extra="all"),
}

FIRST = (
    "plain",
    *(f"{STANDARD}.{keep}" for keep in ("all", "random", "mean", BEST, "oracle")),
    *("no-context.all", "genaug-own", "mix-own-100", "mix-class", "heavy", "extra-all"),
    *(f"{generator}.{keep}" for generator in ("random-species", "look-alike") for keep in ("all", BEST)),
)
"""Arms of the main tables. They are measured with every seed before the other arms."""

TUNED = (
    "plain",
    *(f"{STANDARD}.{keep}" for keep in ("all", "mean", BEST, "oracle")),
    *(f"gamma-{gamma}.{keep}" for gamma in ("1", "4", "6.5") for keep in ("all", BEST)),
    *("no-context.all", "one-context.all", "own-contexts.all"),
    *("mix-own-100", "mix-class"),
)
"""Arms with which the pretrained network is also fine-tuned."""

LONGER = ("genaug-own", "mix-own-100")
"""Arms that are also trained three times as long, because mixed images may need more steps."""


def nets(arm: str) -> list[str]:
    """Returns the networks that an arm is trained with."""
    also = {"tuned": arm in TUNED, "longer": arm in LONGER}
    return ["scratch", *(net for net, wanted in also.items() if wanted)]


def measure(work: Path, name: str, net: str, seed: int) -> dict[str, Any]:
    """Trains one arm and returns its scores."""
    arm = ARMS[name]
    place = work / "trainings" / f"{name}-{net}-{seed}"
    keep = () if arm.generator is None else _keep(work, arm, seed)
    if (
        arm.generator
        and arm.keep != "all"
        and not arm.cut
        and len(keep) == len(kept_by(work, arm.generator, seed, "all"))
    ):
        return {"kept": len(keep), "same_as": f"{arm.generator}.all"}
    if arm.generator is None:
        data = world_folder(work, seed, arm.each, arm.extra)
    else:
        data = exported(made(work, arm.generator, seed), place / "data", keep, arm.export)
    result = trained(data, NETS[net], arm.train, seed, place / "training")
    fact = {"real": 20 * arm.each, "kept": 0, **result}
    if arm.generator:
        shown = truth(made(work, arm.generator, seed))
        units = _served(data, arm)
        fact |= {"kept": len(units), "right": sum(shown[unit].kind == "right" for unit in units)}
    shutil.rmtree(place)
    return fact


def _served(data: Path, arm: Arm) -> list[tuple[str, int]]:
    """Returns the generated images that a training uses.

    These are the images of all copies, or only copy 0 of each row if the partner is the own counterpart.
    """
    from datasets import load_dataset

    rows = load_dataset(str(data), "generated", split="train").select_columns(["row_id", "copy"])
    units = list(zip(rows["row_id"][:], rows["copy"][:], strict=True))
    return [unit for unit in units if unit[1] == 0] if arm.train["mix"]["partner"] == "own" else units


def trained(data: Path, net: Mapping[str, Any], train: Mapping[str, Any], seed: int, output: Path) -> dict[str, Any]:
    """Trains an arm. Returns the scores of the model with the best validation score and of the last model."""
    from diffcore_hf.config.train_schema import TRAIN_SCHEMA
    from diffcore_hf.training.comparison import trials
    from diffcore_hf.training.data.training_data import load_data
    from diffcore_hf.training.engine.devices import make_accelerator
    from diffcore_hf.training.engine.length import Length

    recipe = build(
        TRAIN_SCHEMA,
        read_recipe_file(shipped_files()["miniature-train"]),
        {"data": {"path": str(data), "group": "group"}, "output": str(output)},
        _COMMON, net, train,
    )  # fmt: skip
    loaded = load_data(recipe.data, recipe.mix)
    steps = recipe.max_steps
    like = Length(steps, 0, steps / EVALUATIONS)
    trial = trials.Trial("run", seed, recipe, output / f"seed-{seed}")
    result = trials.train(trial, loaded, like, make_accelerator(recipe, output), progress=False)
    return {
        **{key: result[key] for key in ("steps", "epochs", "samples_seen", "best_step", "validation_top1")},
        **{kind: {key: result[kind][key] for key in ("top1", "by_group")} for kind in ("best", "last")},
    }


def _keep(work: Path, arm: Arm, seed: int) -> list[tuple[str, int]]:
    keep = kept_by(work, arm.generator, seed, arm.keep)
    if not arm.cut:
        return keep
    smallest = min(len(kept_by(work, arm.generator, seed, policy)) for policy in arm.cut)
    return keep[:smallest]
