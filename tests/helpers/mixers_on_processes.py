"""Trains two steps with every mixer in each process of `torchrun`, and writes what each process mixed.

Arguments: folder of the data, and folder of the results. Process r writes `<r>.json`. Its keys are the name of a mixer
and a value of `per`. Each value has the rows, partners and draws of each step, and hashes of the network and the mixer
after the last step.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffcore_hf.config.merging import build
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.engine import loop
from diffcore_hf.training.engine.devices import make_accelerator
from diffcore_hf.training.mixers.base import BatchContext, Mixer
from diffcore_hf.training.mixers.names import MIXERS
from diffcore_hf.training.mixers.pairwise import PairwiseMixer

OTHER_NETWORK = {"transmix": {"model": {"name": "test_vit", "pretrained": False}, "transform": {"size": 64}}}


def recorded(name: str, per: str, data: Path, output: Path) -> dict[str, Any]:
    """Train two steps, and return what this process mixed."""
    base = {
        "data": {"path": str(data)}, "model": {"name": "test_resnet", "pretrained": False}, "mix": {"mode": "off"},
        "transform": {"preset": "tiny_preact_1200", "size": 32}, "optimizer": {"lr": 0.05, "head_lr": None},
        "max_steps": 2, "batch_size": 8, "workers": 0, "device": "cpu", "mixer": {"name": name, "per": per},
    }  # fmt: skip
    recipe = build(TRAIN_SCHEMA, base, OTHER_NETWORK.get(name, {}))
    accelerator = make_accelerator(recipe, output)
    training = loop.Training(recipe, load_data(recipe.data, recipe.mix), 0, output / name / per, accelerator)
    mixer = training.parts.mixer
    assert mixer is not None
    found: dict[str, Any] = {"rows": [], "partners": [], "drawn": []}
    mixer.register_forward_pre_hook(lambda _, arguments: _record_batch(mixer, arguments[0], found))
    batches, window = iter(training.batches()), loop.Window(accelerator.device)
    for _ in range(2):
        training.train_step(batches, window)
        training.step += 1
    found |= {"network": _hash(training.parts.network, buffers=False), "mixer": _hash(mixer, buffers=True)}
    accelerator.free_memory()
    return found


def _record_batch(mixer: Mixer, context: BatchContext, found: dict[str, Any]) -> None:
    rows = [key.row_id for key in context.keys]
    found["rows"].append(rows)
    if isinstance(mixer, PairwiseMixer):
        state = context.generator.bit_generator.state
        partners, _, drawn = mixer._draws(context)
        context.generator.bit_generator.state = state
        found["partners"].append([rows[partner] for partner in partners])
        found["drawn"].append(drawn.tolist())


def _hash(module: nn.Module, *, buffers: bool) -> str:
    tensors = [*module.parameters(), *(module.buffers() if buffers else ())]
    return hashlib.sha256(b"".join(tensor.detach().cpu().numpy().tobytes() for tensor in tensors)).hexdigest()


def main(data: str, output: str) -> None:
    """Train with every mixer in this process, and write the recorded rows, partners, draws and hashes."""
    torch.set_num_threads(1)
    results = {
        f"{name} {per}": recorded(name, per, Path(data), Path(output)) for name in MIXERS for per in ("image", "batch")
    }
    (Path(output) / f"{os.environ['RANK']}.json").write_text(json.dumps(results))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
