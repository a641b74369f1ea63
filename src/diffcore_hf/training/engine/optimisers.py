"""Optimisers and learning rates, all of them timm's.

Owns how a recipe's `optimizer` and `schedule` become timm's: the groups of parameters with their own rates, and epochs
turned into steps. Does not own the steps themselves, nor any optimiser.

timm's schedulers scale each group from its own `initial_lr` and by its `lr_scale` (layer decay), so that the classifier
keeps its distance from the rest throughout.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn

from diffcore_hf.config.train import OptimizerConfig, ScheduleConfig
from diffcore_hf.core.errors import UserError

WARMUP_BEGINS = 0.01
"""A warm-up begins at this share of the (lowest) learning rate."""
_LOOKAHEAD = "lookahead_"


def optimiser(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """timm's optimiser over the trainable parameters of a model.

    Biases and norms decay or not as the recipe says; what a network of timm itself exempts (position embeddings) never
    does. The classifier is what `model.get_classifier()` names.

    Args:
        model: a network of timm, not yet wrapped or compiled.
        config: the recipe's `optimizer`.

    Raises:
        UserError: timm does not know it, it cannot be used here, or it needs what is not installed.
    """
    name = config.name.lower()
    check_known(name)
    try:
        made = create_optimizer_v2(
            model,
            opt=name,
            lr=config.lr,
            weight_decay=config.weight_decay,
            filter_bias_and_bn=not config.decay_norms,
            layer_decay=config.layer_decay,
            **_momentum(name, config),
        )
    except (ImportError, AssertionError) as error:  # timm's way to say that apex or bitsandbytes or a GPU is missing
        raise UserError(f"optimizer.name is {name!r}: {error}. Use e.g. --optimizer.name adamw") from error
    if config.head_lr is not None:
        head = {id(parameter) for parameter in _head(model)}
        # In place: Lookahead and the optimiser inside it share the list.
        made.param_groups[:] = _split(made.param_groups, head, config.head_lr)
    return made


def _split(groups: Iterable[dict[str, Any]], head: set[int], head_lr: float) -> list[dict[str, Any]]:
    """timm's groups, those cut in two that hold parameters of the classifier and others; all else stays as it was."""
    result = []
    for group in groups:
        for inside, rate in ((False, group["lr"]), (True, head_lr)):
            params = [parameter for parameter in group["params"] if (id(parameter) in head) is inside]
            if params:
                result.append(group | {"params": params, "lr": rate})
    return result


def scheduler(optimizer: torch.optim.Optimizer, config: ScheduleConfig, epochs: float, total_steps: int) -> Scheduler:
    """timm's scheduler, counted in steps: `step_update(step)` before step `step` = 0, 1, ..., in every process.

    The warm-up takes the place of the schedule's first steps, it does not push it back. It rises linearly to each
    group's own rate, from a hundredth of the lowest one. min_lr is the same for all groups.

    Args:
        optimizer: with its groups' rates; its rates are those of step 0 afterwards.
        config: the recipe's `schedule`; milestones and warm-up are in epochs.
        epochs: of the recipe, over which it is laid out.
        total_steps: that this training takes.
    """
    kind = {
        "cosine": {"sched": "cosine"},
        "linear": {"sched": "poly", "decay_rate": 1.0},  # the power
        "multistep": {"sched": "multistep", "decay_rate": config.decay},
        "constant": {"sched": "multistep", "decay_rate": 1.0},
    }[config.name]
    milestones = config.milestones if config.name == "multistep" else ()
    lowest = min(group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)
    made, _ = create_scheduler_v2(
        optimizer,
        **kind,
        num_epochs=total_steps,
        # timm lets a milestone m apply from index m - 1 on.
        decay_milestones=[steps + 1 for steps in sorted(_steps(milestones, epochs, total_steps))],
        min_lr=config.min_lr,
        warmup_epochs=_steps([config.warmup], epochs, total_steps)[0],
        warmup_lr=lowest * WARMUP_BEGINS,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    made.step_update(0)
    return made


def _steps(at: Iterable[float], epochs: float, total_steps: int) -> list[int]:
    return [round(epoch / epochs * total_steps) for epoch in at]


def _head(model: nn.Module) -> list[nn.Parameter]:
    """Parameters of the classifier, or classifiers: distilled networks have two."""
    heads = model.get_classifier()
    return [parameter for head in (heads if isinstance(heads, tuple) else (heads,)) for parameter in head.parameters()]


def check_known(name: str) -> None:
    bare = name.removeprefix(_LOOKAHEAD)
    if bare not in (known := list_optimizers()):
        near = difflib.get_close_matches(bare, known, n=3)
        raise UserError(
            f"optimizer.name is {name!r}, which timm does not know; the nearest: {', '.join(near) or 'none'}. "
            f"Use e.g. --optimizer.name {near[0] if near else 'sgd'}"
        )
    if get_optimizer_info(bare).second_order:
        raise UserError(
            f"optimizer.name is {name!r}, which needs second derivatives; the trainer computes none. "
            "Use e.g. --optimizer.name adamw"
        )


def _momentum(name: str, config: OptimizerConfig) -> dict[str, Any]:
    """`momentum`, or the betas with it in the first place, as the optimiser has it."""
    info = get_optimizer_info(name.removeprefix(_LOOKAHEAD))
    defaults = info.defaults or {}
    if info.has_momentum:
        # torch refuses Nesterov's form of none.
        plain = {"nesterov": False} if defaults.get("nesterov") and not config.momentum else {}
        return {"momentum": config.momentum} | plain
    if not info.has_betas or isinstance(info.opt_class, str):
        return {}
    signature = inspect.signature(info.opt_class).parameters.get("betas")
    betas = defaults.get("betas") or (signature.default if signature else None)
    # Adafactor's are null by default: it keeps no first moment.
    return {"betas": (config.momentum, *betas[1:])} if isinstance(betas, tuple) else {}
