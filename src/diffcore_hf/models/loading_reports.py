"""Reports of loading: errors for weights that a model lacks, does not use, or has in another shape.

Owns the rules for missing and unexpected weights. Which names a library ignores or ties is decided by the library.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffcore_hf.core.errors import UserError
from diffcore_hf.models.safetensors_headers import FLOATS, TensorEntry, read_header

_REMEDY = "Download the model again, or use another model"


@dataclass(frozen=True)
class LoadingReport:
    """Names of the weights that do not agree between a model and its files."""

    missing: tuple[str, ...]
    """Weights of the model that the files do not have. They would be random."""
    unexpected: tuple[str, ...]
    """Weights in the files that the model does not use."""
    mismatched: tuple[str, ...]
    """Weights whose shape or type differs."""

    def require_complete(self, shown: str) -> None:
        """Raise UserError if a weight is missing, unexpected or of another shape.

        Args:
            shown: path of the model and name of its part for the error.
        """
        faults = (
            (self.mismatched, "has {} of another shape or type than its config.json states"),
            (self.missing, "lacks {} of the model"),
            (self.unexpected, "has {} that the model does not use"),
        )
        for names, fault in faults:
            if names:
                raise UserError(f"{shown} {fault.format(_counted(names))} ({_some(names)}). {_REMEDY}")


def report_of(info: Mapping[str, Any], ignored: Collection[str] = ()) -> LoadingReport:
    """Returns the report in the loading information of transformers or diffusers.

    Args:
        info: result of `from_pretrained` with `output_loading_info`.
        ignored: names of weights that the model does not need or the caller does not use.
    """
    names = {key: sorted({_name(each) for each in info.get(key) or ()} - set(ignored)) for key in _KEYS}
    return LoadingReport(*(tuple(names[key]) for key in _KEYS))


def compare_headers(model: nn.Module, files: Sequence[Path], *, prefix: str = "") -> LoadingReport:
    """Compares shapes and types of the weights of a model with the headers of its files, for the names in both.

    Args:
        model: model on the meta device.
        files: the safetensors files.
        prefix: prefix that names in the files may have or lack.
    """
    stored: dict[str, TensorEntry] = {}
    for file in files:
        stored |= read_header(file).tensors
    wrong = []
    for name, tensor in model.state_dict().items():
        variants = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
        entry = next((stored[each] for each in variants if each in stored), None)
        is_other_kind = entry is not None and (entry.dtype in FLOATS) != tensor.is_floating_point()
        if entry is not None and (entry.shape != tuple(tensor.shape) or is_other_kind):
            wrong.append(name)
    return LoadingReport((), (), tuple(sorted(wrong)))


def require_loaded(components: Mapping[str, Any], shown: str) -> None:
    """Raise UserError if a network has tensors without values, because its file lacks them.

    Args:
        components: the components of a pipeline by name.
        shown: path of the model for the error.
    """
    for name, network in components.items():
        if isinstance(network, nn.Module):
            empty = tuple(key for key, tensor in network.state_dict().items() if tensor.is_meta)
            LoadingReport(empty, (), ()).require_complete(f"{shown}: {name}")


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Builds models inside the block on the meta device, so that no memory is allocated."""
    with torch.device("meta"):
        yield


_KEYS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def _name(entry: Any) -> str:
    """Returns the name of an entry; a mismatched weight is a tuple of its name and two shapes."""
    return str(entry[0] if isinstance(entry, (tuple, list)) else entry)


def _counted(names: Sequence[str]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names):,} tensors"


def _some(names: Sequence[str], shown: int = 2) -> str:
    listed = ", ".join(names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown:,} more"
