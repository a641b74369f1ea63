"""Optimisers and learning-rate schedules; timm provides all of them.

Owns the construction from `optimizer` and `schedule` of a recipe: parameter groups with their own learning rates, and
the conversion of epochs to steps. The steps are taken in loop.py.

timm's schedulers scale the `initial_lr` of each group and multiply it by `lr_scale` (layer decay). So the ratio of the
learning rates of classifier and other layers stays the same.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from timm.optim import (  # type: ignore[attr-defined]  # timm re-exports them without __all__
    create_optimizer_v2,
    get_optimizer_info,
    list_optimizers,
)
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.scheduler_factory import create_scheduler_v2
from torch import nn

from diffcore_hf.config.train import OptimizerConfig, ScheduleConfig
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.training.networks.timm_source import unknown_in_timm

WARMUP_START = 0.01
"""The first learning rate of a warm-up, as a share of the lowest rate of all groups."""
_LOOKAHEAD = "lookahead_"


def optimiser(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build an optimiser of timm for the trainable parameters of a network.

    Weight decay applies to biases and norms if `decay_norms` is true. It never applies to parameters that the network
    itself excludes, such as position embeddings. The classifier is the result of `model.get_classifier()`.

    Args:
        model: a network of timm, before DDP and torch.compile.
        config: section `optimizer` of the recipe.

    Raises:
        UserError: timm does not have the optimiser, this training cannot use it, or it needs a library that is not
            installed.
    """
    name = config.name.lower()
    check_known(name)
    try:
        optimizer = create_optimizer_v2(
            model,
            opt=name,
            lr=config.lr,
            weight_decay=config.weight_decay,
            filter_bias_and_bn=not config.decay_norms,
            layer_decay=config.layer_decay,
            **_momentum(name, config),
        )
    except (ImportError, AssertionError) as error:  # timm raises these types if apex, bitsandbytes or a GPU is missing
        raise UserError(
            f"optimizer.name is {name!r}, which cannot be built: {innermost_cause(error)}. "
            "Use e.g. --optimizer.name adamw"
        ) from error
    if config.head_lr is not None:
        head = {id(parameter) for parameter in _head(model)}
        # The list is changed in place, because Lookahead and its inner optimiser share it.
        optimizer.param_groups[:] = _split(optimizer.param_groups, head, config.head_lr)
    return optimizer


def _split(groups: Iterable[dict[str, Any]], head: set[int], head_lr: float) -> list[dict[str, Any]]:
    """Return the groups; a group with parameters of the classifier and other parameters is split in two."""
    result = []
    for group in groups:
        for in_head, rate in ((False, group["lr"]), (True, head_lr)):
            params = [parameter for parameter in group["params"] if (id(parameter) in head) is in_head]
            if params:
                result.append(group | {"params": params, "lr": rate})
    return result


def scheduler(optimizer: torch.optim.Optimizer, config: ScheduleConfig, epochs: float, total_steps: int) -> Scheduler:
    """Build a scheduler of timm that counts steps.

    Call `step_update(step)` before each step 0, 1, ... on every process. The warm-up replaces the first steps of the
    schedule and does not delay the other steps. During the warm-up the rate of each group rises linearly, from a
    hundredth of the lowest rate of all groups. min_lr is the same for all groups.

    Args:
        optimizer: optimiser with the learning rates of its groups; the scheduler sets them to the rates of step 0.
        config: section `schedule` of the recipe; milestones and warm-up are in epochs.
        epochs: number of epochs of the recipe, to which milestones and warm-up refer.
        total_steps: number of steps of this training, to which the schedule is scaled.
    """
    kinds: Mapping[str, dict[str, Any]] = {
        "cosine": {"sched": "cosine"},
        "linear": {"sched": "poly", "decay_rate": 1.0},  # decay_rate is the power of the polynomial
        "multistep": {"sched": "multistep", "decay_rate": config.decay},
        "constant": {"sched": "multistep", "decay_rate": 1.0},
    }
    milestones = config.milestones if config.name == "multistep" else ()
    lowest = min(group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)
    schedule, _ = create_scheduler_v2(
        optimizer,
        **kinds[config.name],
        num_epochs=total_steps,
        # timm applies milestone m from step m - 1, so 1 is added.
        decay_milestones=[steps + 1 for steps in sorted(_steps(milestones, epochs, total_steps))],
        min_lr=config.min_lr,
        warmup_epochs=_steps([config.warmup], epochs, total_steps)[0],
        warmup_lr=lowest * WARMUP_START,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    if schedule is None:
        raise ValueError(f"timm built no schedule of kind {config.name!r}")
    schedule.step_update(0)
    return schedule


def _steps(epoch_numbers: Iterable[float], epochs: float, total_steps: int) -> list[int]:
    return [round(number / epochs * total_steps) for number in epoch_numbers]


def _head(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of the classifier; distilled networks have two classifiers."""
    network: Any = model  # timm's networks have methods that nn.Module does not declare
    classifier = network.get_classifier()
    heads = classifier if isinstance(classifier, tuple) else (classifier,)
    return list(itertools.chain.from_iterable(head.parameters() for head in heads))


def check_known(name: str) -> None:
    """Check that timm has an optimiser of this name, and that this package can use it.

    Raises:
        UserError: timm does not have it, or it needs second derivatives.
    """
    base_name = name.removeprefix(_LOOKAHEAD)
    known = [str(known_name) for known_name in list_optimizers()]
    if base_name not in known:
        raise unknown_in_timm("optimizer.name", name, known, "sgd")
    if get_optimizer_info(base_name).second_order:
        raise UserError(
            f"optimizer.name is {name!r}, which needs second derivatives, but this training computes none. "
            "Use e.g. --optimizer.name adamw"
        )


def _momentum(name: str, config: OptimizerConfig) -> dict[str, Any]:
    """Return the argument that sets the momentum of the recipe: `momentum`, `betas` (momentum is beta1), or none."""
    info = get_optimizer_info(name.removeprefix(_LOOKAHEAD))
    defaults = info.defaults or {}
    if info.has_momentum:
        # torch refuses Nesterov momentum with a momentum of 0.
        plain = {"nesterov": False} if defaults.get("nesterov") and not config.momentum else {}
        return {"momentum": config.momentum} | plain
    if not info.has_betas or isinstance(info.opt_class, str):
        return {}
    signature = inspect.signature(info.opt_class).parameters.get("betas")
    betas = defaults.get("betas") or (signature.default if signature else None)
    # The betas of Adafactor are None by default, because it keeps no first moment.
    return {"betas": (config.momentum, *betas[1:])} if isinstance(betas, tuple) else {}
