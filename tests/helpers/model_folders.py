"""Small folders of models without torch, and changes that make them hostile.

A change is a function of the folder of a model and of the files outside of it.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save

CANARY = "canary-7c21e9"
"""Text in every file outside the model. No error may contain it."""
Kind = Literal["pipeline", "tower", "adapter", "backbone"]
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
SETTINGS = "lora_adapter_metadata"
NESTED = "[" * 100_000
GIANT = 10**12


class Executed:
    """Object whose unpickling makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@dataclass(frozen=True)
class Outside:
    """Files outside of the model that must not be read."""

    text: Path
    weights: Path
    pickled: Path
    folder: Path
    marker: Path
    """File that exists after something was executed."""


def write_outside(folder: Path) -> Outside:
    """Write the files outside of all models."""
    folder.mkdir(parents=True)
    marker = folder / "executed"
    found = Outside(folder / "secret.json", folder / "x.safetensors", folder / "x.bin", folder, marker)
    found.text.write_text(json.dumps({"password": CANARY}))
    found.weights.write_bytes(weights())
    found.pickled.write_bytes(pickle.dumps(Executed(marker)))
    return found


def weights(**shapes: int) -> bytes:
    """Return a safetensors file with vectors of these lengths."""
    return save({name: np.zeros(length, np.float32) for name, length in (shapes or {"weight": 1}).items()})


def write_pipeline(folder: Path) -> None:
    """Write the folder of a pipeline with valid configuration files. Its weights cannot be loaded."""
    objects = {
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline",
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "safety_checker": [None, None],
            "requires_safety_checker": False,
        },
        "scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler", "num_train_timesteps": 1000},
        "text_encoder/config.json": {"model_type": "clip_text_model", "num_hidden_layers": 2},
        "tokenizer/tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "model_max_length": int(1e30)},
        "tokenizer/vocab.json": {"a": 0},
        "unet/config.json": {"sample_size": 8, "layers_per_block": 1},
        "vae/config.json": {"block_out_channels": [8, 16], "sample_size": 16},
    }
    for name, content in objects.items():
        write_json(folder, name, content)
    (folder / "tokenizer/merges.txt").write_text("#version\n")
    for name in (UNET, TEXT, "vae/diffusion_pytorch_model.safetensors"):
        (folder / name).write_bytes(weights())


def write_tower(folder: Path) -> None:
    """Write the folder of an image tower with valid configuration files. Its weights cannot be loaded."""
    write_json(folder, "config.json", {"model_type": "clip", "architectures": ["CLIPModel"]})
    size = {"height": 24, "width": 24}
    processor = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 24}, "crop_size": size}
    write_json(folder, "preprocessor_config.json", processor)
    (folder / "model.safetensors").write_bytes(weights())


def write_backbone(folder: Path) -> None:
    """Write the folder of a network of timm."""
    write_json(folder, "config.json", {"architecture": "resnet18", "num_classes": 3})
    (folder / "model.safetensors").write_bytes(weights())


def write_adapter(folder: Path) -> None:
    """Write the folder of an adapter."""
    folder.mkdir(parents=True)
    (folder / "lora.safetensors").write_bytes(weights())


WRITERS: dict[Kind, Callable[[Path], None]] = {
    "pipeline": write_pipeline,
    "tower": write_tower,
    "backbone": write_backbone,
    "adapter": write_adapter,
}


def write_json(folder: Path, name: str, content: Any) -> None:
    """Write a JSON file below a folder."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content))


def with_text(name: str, content: str | bytes) -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def with_values(name: str, **values: Any) -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        target = folder / name
        write_json(folder, name, (json.loads(target.read_text()) if target.exists() else {}) | values)

    return change


def with_nested_values(name: str, key: str, **values: Any) -> Callable[[Path, Outside], Any]:
    return with_values(name, **{key: values})


def with_fifo(name: str) -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def with_link(name: str, target: Callable[[Outside], str | Path]) -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target(outside))

    return change


def with_sparse_file(name: str, size: int, head: bytes = b"") -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        with (folder / name).open("wb") as file:
            file.write(head)
            file.truncate(size)

    return change


def without_file(name: str) -> Callable[[Path, Outside], Any]:
    return lambda folder, outside: (folder / name).unlink()


def with_index(value: Any, name: str = "unet/diffusion_pytorch_model.safetensors.index.json") -> Callable[..., Any]:
    return with_values(name, metadata={}, weight_map=value)


def header(content: str | bytes, data: bytes = b"\0" * 4) -> bytes:
    """Return a safetensors file with this header."""
    raw = content.encode() if isinstance(content, str) else content
    return len(raw).to_bytes(8, "little") + raw + data


def one_tensor(shape: Any = (1,), offsets: Any = (0, 4), dtype: Any = "F32", **more: Any) -> bytes:
    return header(json.dumps({"weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}} | more))
