"""Checkpoints: the state of a training between two steps, in one safetensors file that is written atomically.

Owns the file. The file has the tensors of weights, averaged weights, optimiser and mixer. A prefix in the name of a
tensor states which of these it belongs to. Plain values are JSON in the header. There is no pickled data. Random state
is not stored, because every draw depends only on (seed, step). Models of finished trainings are written by
networks/trained_model.py.
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

from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.folder import write_with


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training between two steps."""

    step: int
    """Number of finished steps."""
    digest: str
    """Digest of the training that wrote the checkpoint."""
    values: Mapping[str, Any]
    """Plain values: the best score so far, the loss scale."""
    tensors: Mapping[str, Tensor]
    """Tensors by prefixed name."""
    optimizer: Mapping[str, Any]
    """State and parameter groups of the optimiser, without tensors."""

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averaged: nn.Module | None,
        mixer: nn.Module | None = None,
    ) -> None:
        """Load the state into the network, the optimiser, the averaged weights and the mixer."""
        model.load_state_dict(_with_prefix(self.tensors, "model."))
        if averaged is not None:
            averaged.load_state_dict(_with_prefix(self.tensors, "ema."))
        if mixer is not None:
            mixer.load_state_dict(_with_prefix(self.tensors, "mixer."))
        state: dict[int, dict[str, Any]] = {int(index): dict(v) for index, v in self.optimizer["state"].items()}
        for name, tensor in _with_prefix(self.tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        groups = [dict(group) for group in self.optimizer["param_groups"]]
        for name, tensor in _with_prefix(self.tensors, "group.").items():
            index, _, key = name.partition(".")
            groups[int(index)][key] = tensor
        # Values that JSON cannot store, such as a dtype, are taken from the new optimiser.
        new_groups = optimizer.state_dict()["param_groups"]
        groups = [new | stored for new, stored in zip(new_groups, groups, strict=True)]
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
    """Replace the checkpoint at `path`; an interrupted write leaves the earlier checkpoint unchanged."""
    from safetensors.torch import save_file

    plain: dict[str, Any] = {"state": {}, "param_groups": []}
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, group in enumerate(optimizer.state_dict()["param_groups"]):
        tensors |= {f"group.{index}.{key}": value for key, value in group.items() if isinstance(value, Tensor)}
        plain["param_groups"].append({key: value for key, value in group.items() if _is_plain(value)})
    if averaged is not None:
        tensors |= {f"ema.{name}": tensor for name, tensor in averaged.state_dict().items()}
    if mixer is not None:
        tensors |= {f"mixer.{name}": tensor for name, tensor in mixer.state_dict().items()}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            elif _is_plain(value):
                plain["state"].setdefault(index, {})[key] = value
    header = {"step": step, "digest": digest, "values": dict(values), "optimizer": plain}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_with(path, lambda temporary: save_file(stored, temporary, metadata={"training": json.dumps(header)}))


def read(path: Path) -> Checkpoint | None:
    """Return the checkpoint; None if the file does not exist.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except Exception as error:  # safetensors has types of its own; KeyError: the header is missing
        raise UserError(f"{path} is damaged ({innermost_cause(error)}). Delete it to train from the start") from error
    return Checkpoint(header["step"], header["digest"], header["values"], tensors, header["optimizer"])


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
