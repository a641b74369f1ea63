"""Checkpoints: all that a training needs to go on, in one safetensors file that exists whole or not at all.

Owns the file: tensors of weights, averaged weights and optimiser under their prefixes, plain values as JSON in its
header. No pickles. Random state is none: every draw follows from (seed, step). Finished models are trained_model.py's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import write_with


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps."""

    step: int
    """Steps that are done."""
    digest: str
    """Of the recipe that it belongs to."""
    values: Mapping[str, Any]
    """Plain values: the best score so far, the loss scale."""
    tensors: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averaged: nn.Module | None,
        mixer: nn.Module | None = None,
    ) -> None:
        """Put the state of the network, the optimiser, the averaged weights and the mixer back."""
        model.load_state_dict(_below(self.tensors, "model."))
        if mixer is not None:
            mixer.load_state_dict(_below(self.tensors, "mixer."))
        if averaged is not None:
            averaged.load_state_dict(_below(self.tensors, "ema."))
        state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in self.optimizer["state"].items()}
        for name, tensor in _below(self.tensors, "optimizer.").items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        groups = [dict(group) for group in self.optimizer["param_groups"]]
        for name, tensor in _below(self.tensors, "group.").items():
            number, _, key = name.partition(".")
            groups[int(number)][key] = tensor
        # What is no plain value (a dtype) was not kept: the optimiser has it anew.
        now = optimizer.state_dict()["param_groups"]
        groups = [fresh | kept for fresh, kept in zip(now, groups, strict=True)]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def write(
    path: Path,
    step: int,
    digest: str,
    values: Mapping[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averaged: nn.Module | None,
    mixer: nn.Module | None = None,
) -> None:
    """Write a checkpoint in place of the one before it; an interrupted write leaves that one as it is."""
    from safetensors.torch import save_file

    plain: dict[str, Any] = {"state": {}, "param_groups": []}
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, group in enumerate(optimizer.state_dict()["param_groups"]):
        tensors |= {f"group.{number}.{key}": value for key, value in group.items() if isinstance(value, Tensor)}
        plain["param_groups"].append({key: value for key, value in group.items() if _is_plain(value)})
    if averaged is not None:
        tensors |= {f"ema.{name}": tensor for name, tensor in averaged.state_dict().items()}
    if mixer is not None:
        tensors |= {f"mixer.{name}": tensor for name, tensor in mixer.state_dict().items()}
    for number, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{key}"] = value
            elif _is_plain(value):
                plain["state"].setdefault(number, {})[key] = value
    header = {"step": step, "digest": digest, "values": dict(values), "optimizer": plain}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_with(path, lambda temporary: save_file(whole, temporary, metadata={"training": json.dumps(header)}))


def read(path: Path) -> Checkpoint | None:
    """The checkpoint, or None where there is none yet.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except Exception as error:  # safetensors raises its own types, and KeyError on a file that is not ours
        raise UserError(f"{path} is damaged ({error}). Delete it to train from the start") from error
    return Checkpoint(header["step"], header["digest"], header["values"], tensors, header["optimizer"])


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
