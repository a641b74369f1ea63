"""Folders of models from an unknown author who wants to run code, to read other files or to stop the program.

Owns the table of such folders. Each case starts from an intact folder and changes it. The folders need no torch: their
weights are single numbers. A case must be refused before torch is imported.
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
    """Write the folder of a pipeline whose values can be resolved. Its weights cannot be loaded."""
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
    """Write the folder of an image tower whose record can be made. Its weights cannot be loaded."""
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


@dataclass(frozen=True)
class Case:
    """A hostile folder: its kind, the change, and keys of an adapter in the recipe."""

    kind: Kind
    change: Callable[[Path, Outside], Any]
    weight_name: str | None = None


def _text(name: str, content: str | bytes) -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def _values(name: str, **values: Any) -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        target = folder / name
        write_json(folder, name, (json.loads(target.read_text()) if target.exists() else {}) | values)

    return change


def _nested_values(name: str, key: str, **values: Any) -> Callable[[Path, Outside], Any]:
    return _values(name, **{key: values})


def _fifo(name: str) -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def _link(name: str, target: Callable[[Outside], str | Path]) -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target(outside))

    return change


def _holes(folder: Path, outside: Outside) -> None:
    """Replace the weights by a complete file of 256 GiB that takes no space."""
    size = 2**38
    with (folder / UNET).open("wb") as file:
        file.write(header(json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}), b""))
        file.truncate(file.tell() + size)


def _sparse(name: str, size: int, head: bytes = b"") -> Callable[[Path, Outside], Any]:
    def change(folder: Path, outside: Outside) -> None:
        with (folder / name).open("wb") as file:
            file.write(head)
            file.truncate(size)

    return change


def _remove(name: str) -> Callable[[Path, Outside], Any]:
    return lambda folder, outside: (folder / name).unlink()


def _index(value: Any, name: str = "unet/diffusion_pytorch_model.safetensors.index.json") -> Callable[..., Any]:
    return _values(name, metadata={}, weight_map=value)


def _linked_folder(folder: Path, outside: Outside) -> None:
    for file in (folder / "unet").iterdir():
        file.unlink()
    (folder / "unet").rmdir()
    (folder / "unet").symlink_to(outside.folder)


def _pickle_only(folder: Path, outside: Outside) -> None:
    (folder / UNET).unlink()
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(outside.pickled.read_bytes())


def _several(folder: Path, outside: Outside) -> None:
    (folder / "second.safetensors").write_bytes(weights())


def header(content: str | bytes, data: bytes = b"\0" * 4) -> bytes:
    """Return a safetensors file with this header."""
    raw = content.encode() if isinstance(content, str) else content
    return len(raw).to_bytes(8, "little") + raw + data


def _tensor(shape: Any = (1,), offsets: Any = (0, 4), dtype: Any = "F32", **more: Any) -> bytes:
    return header(json.dumps({"weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}} | more))


def _settings(content: Any) -> Callable[[Path, Outside], Any]:
    return _text("lora.safetensors", _tensor(__metadata__={SETTINGS: json.dumps(content)}))


_OTHER = {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}
_PIPELINE: dict[str, Callable[[Path, Outside], Any]] = {
    "index is a list": _text("model_index.json", "[]"),
    "index is a number": _text("model_index.json", "1"),
    "index is not JSON": _text("model_index.json", "import os"),
    "index is empty": _text("model_index.json", ""),
    "index is binary": _text("model_index.json", b"\xff\xfe\0\0"),
    "index is nested": _text("model_index.json", NESTED),
    "index is a nested object": _text("model_index.json", '{"a":' * 500 + "1" + "}" * 500),
    "index is oversized": _text("model_index.json", json.dumps({"a": "x" * 2**24})),
    "index has a number of many digits": _text("model_index.json", '{"a": ' + "1" * 10**5 + "}"),
    "index is a FIFO": _fifo("model_index.json"),
    "index is endless": _link("model_index.json", lambda outside: "/dev/zero"),
    "index is a terminal": _link("model_index.json", lambda outside: "/dev/tty"),
    "index is the environment": _link("model_index.json", lambda outside: "/proc/self/environ"),
    "index is outside": _link("model_index.json", lambda outside: outside.text),
    "index is a dangling link": _link("model_index.json", lambda outside: "nothing"),
    "index is a link to itself": _link("model_index.json", lambda outside: "model_index.json"),
    "pipeline is code": _values("model_index.json", _class_name=["pipeline", "Mine"]),
    "pipeline is unknown": _values("model_index.json", _class_name="NoPipeline"),
    "pipeline is a network": _values("model_index.json", _class_name="UNet2DConditionModel"),
    "pipeline is a path": _values("model_index.json", _class_name="../outside/x"),
    "pipeline is null": _values("model_index.json", _class_name=None),
    "component of another library": _values("model_index.json", unet=["os", "system"]),
    "component is code": _values("model_index.json", unet=["unet_code", "Net"]),
    "component of a private name": _values("model_index.json", unet=["diffusers", "__loader__"]),
    "component is an object": _values("model_index.json", unet={"library": "os"}),
    "component has three names": _values("model_index.json", unet=["diffusers", "UNet2DConditionModel", "os"]),
    "component is outside": _values("model_index.json", **{"../outside": ["diffusers", "AutoencoderKL"]}),
    "component is missing": _values("model_index.json", image_encoder=["transformers", "CLIPVisionModel"]),
    "component is a linked folder": _linked_folder,
    "scheduler is a network": _values("model_index.json", scheduler=["diffusers", "UNet2DModel"]),
    "scheduler is unknown": _values("model_index.json", scheduler=["diffusers", "NoScheduler"]),
    "scheduler is an object": _values("model_index.json", scheduler=["diffusers", {"a": 1}]),
    "scheduler is a number": _values("model_index.json", scheduler=5),
    "scheduler has giant numbers": _values("scheduler/scheduler_config.json", num_train_timesteps=GIANT),
    "scheduler has giant floats": _values("scheduler/scheduler_config.json", num_train_timesteps=1e12),
    "configuration is a list": _text("unet/config.json", "[]"),
    "configuration is nested": _text("unet/config.json", NESTED),
    "configuration is a FIFO": _fifo("unet/config.json"),
    "configuration is outside": _link("unet/config.json", lambda outside: outside.text),
    "image is giant": _values("unet/config.json", sample_size=10**7),
    "image is more than giant": _values("unet/config.json", sample_size=GIANT),
    "image is infinite": _text("unet/config.json", '{"sample_size": 1e999}'),
    "image is negative": _values("unet/config.json", sample_size=-8),
    "image has an empty size": _values("unet/config.json", sample_size=[]),
    "layers are giant": _values("unet/config.json", layers_per_block=10**7),
    "blocks are many": _values("vae/config.json", block_out_channels=[8] * 10**6),
    "encoder is deep": _values("text_encoder/config.json", num_hidden_layers=10**6),
    "weights are a FIFO": _fifo(UNET),
    "weights are outside": _link(UNET, lambda outside: outside.weights),
    "weights are endless": _link(UNET, lambda outside: "/dev/zero"),
    "weights are pickled": _pickle_only,
    "weights are a pickle with another name": lambda folder, outside: (folder / UNET).write_bytes(
        outside.pickled.read_bytes()
    ),
    "weights are empty": _text(UNET, ""),
    "weights are sparse": _holes,
    "weights are larger than a disk": _sparse(UNET, 2**41),
    "header is longer than the file": _text(UNET, (2**40).to_bytes(8, "little") + b"{}"),
    "header is oversized": _text(UNET, header(json.dumps({"__metadata__": {"a": "x" * 2**24}}))),
    "header is a list": _text(UNET, header("[]")),
    "header is nested": _text(UNET, header(NESTED)),
    "header is not JSON": _text(UNET, header("x" * 50)),
    "header has an unknown type": _text(UNET, _tensor(dtype="PICKLE")),
    "header has a type that is a list": _text(UNET, _tensor(dtype=["F32"])),
    "header has a negative shape": _text(UNET, _tensor(shape=(-1, -1))),
    "header has a giant shape": _text(UNET, _tensor(shape=(2**40, 2**40))),
    "header has a fractional shape": _text(UNET, _tensor(shape=(1.0,))),
    "header has offsets past the end": _text(UNET, _tensor(shape=(100,), offsets=(0, 400))),
    "header has negative offsets": _text(UNET, _tensor(offsets=(-4, 0))),
    "header has overlapping tensors": _text(UNET, _tensor(other=_OTHER)),
    "header has a gap": _text(UNET, _tensor(offsets=(4, 8))),
    "header has metadata that is a list": _text(UNET, _tensor(__metadata__=[1])),
    "data follow the tensors": _text(UNET, _tensor() + b"pickle"),
    "shards are a pickle outside": _index({"weight": "../../outside/x.bin"}),
    "shards are weights outside": _index({"weight": "../../outside/x.safetensors"}),
    "shards have an absolute path": _index({"weight": "/etc/passwd.safetensors"}),
    "shards are a pickle inside": _index({"weight": "x.bin"}),
    "shards are missing": _index({"weight": "model-00001-of-00002.safetensors"}),
    "shards lack a tensor": _index({"more": "diffusion_pytorch_model.safetensors"}),
    "shards are a list": _index(["weight"]),
    "shards are numbers": _index({"weight": 5}),
    "shards of a variant are outside": _index(
        {"weight": "../x.safetensors"}, "unet/diffusion_pytorch_model.safetensors.index.fp16.json"
    ),
    "shard index is a FIFO": _fifo("unet/diffusion_pytorch_model.safetensors.index.json"),
    "shard index is nested": _text("unet/diffusion_pytorch_model.safetensors.index.json", NESTED),
    "shard index is a list": _text("unet/diffusion_pytorch_model.safetensors.index.json", "[]"),
    "attention is a kernel": _values("text_encoder/config.json", attn_implementation="evil/kernels:attention"),
    "attention is a private key": _values("text_encoder/config.json", _attn_implementation="evil/kernels"),
    "attention of a part is a kernel": _nested_values(
        "text_encoder/config.json", "text_config", attn_implementation={"": "evil/kernels"}
    ),
    "experts are a kernel": _values("text_encoder/config.json", _experts_implementation="deepgemm"),
    "kernels are switched on": _values("text_encoder/config.json", use_kernels=True),
    "fusion is configured": _values("text_encoder/config.json", fusion_config={"a": True}),
    "quantisation fetches code": _values("text_encoder/config.json", quantization_config={"quant_method": "mxfp4"}),
    "quantisation is a list": _values("text_encoder/config.json", quantization_config=["mxfp4"]),
    "weights are named by a key": _values("text_encoder/config.json", transformers_weights="../../x.safetensors"),
    "network has another backbone": _values("text_encoder/config.json", backbone="evil/backbone"),
    "base model is named by a key": _values("text_encoder/config.json", base_model_name_or_path="/outside"),
    "vocabulary is oversized": _sparse("tokenizer/vocab.json", 2**27, b"{"),
    "merges are a FIFO": _fifo("tokenizer/merges.txt"),
    "merges are outside": _link("tokenizer/merges.txt", lambda outside: outside.text),
    "tokenizer model is outside": _link("tokenizer/spiece.model", lambda outside: outside.pickled),
    "tokenizer is a list": _text("tokenizer/tokenizer_config.json", "[]"),
    "tokenizer is nested": _text("tokenizer/tokenizer.json", '{"a":' + NESTED),
    "chat template is oversized": _text("tokenizer/chat_template.jinja", "x" * 2**21),
}
_TOWER: dict[str, Callable[[Path, Outside], Any]] = {
    "tower configuration is a list": _text("config.json", "[]"),
    "tower configuration is a FIFO": _fifo("config.json"),
    "tower configuration is the environment": _link("config.json", lambda outside: "/proc/self/environ"),
    "tower has no weights": _remove("model.safetensors"),
    "tower is deep": _nested_values("config.json", "vision_config", num_hidden_layers=10**9),
    "tower attention is a kernel": _nested_values("config.json", "vision_config", attn_implementation="evil/k"),
    "crop is giant": _values("preprocessor_config.json", crop_size={"height": 10**6, "width": 10**6}),
    "crop is a giant number": _values("preprocessor_config.json", crop_size=10**9),
    "crop is a giant float": _values("preprocessor_config.json", size={"shortest_edge": 1e9}),
    "crop is negative": _values("preprocessor_config.json", size={"shortest_edge": -1}),
    "patches are many": _values("preprocessor_config.json", max_num_patches=10**7),
    "processor is a FIFO": _fifo("preprocessor_config.json"),
    "processor is a list": _text("preprocessor_config.json", "[]"),
    "timm network is on the Hub": _values("config.json", model_type="timm_wrapper", architecture="hf-hub:evil/x"),
    "timm network is outside": _values("config.json", model_type="timm_wrapper", architecture="local-dir:/outside"),
    "timm network is pretrained": _values("config.json", architecture="resnet18", model_args={"pretrained": True}),
    "timm network has a checkpoint": _values(
        "config.json", architecture="resnet18", model_args={"checkpoint_path": "/outside/x.bin"}
    ),
}
_BACKBONE: dict[str, Callable[[Path, Outside], Any]] = {
    "network configuration is a list": _text("config.json", "[]"),
    "network configuration is nested": _text("config.json", NESTED),
    "network weights are a FIFO": _fifo("model.safetensors"),
    "network weights are outside": _link("model.safetensors", lambda outside: outside.weights),
    "network arguments name a file": _values("config.json", model_args={"checkpoint_path": "/outside/x.bin"}),
}
_ADAPTER: dict[str, Callable[[Path, Outside], Any]] = {
    "adapter is a FIFO": _fifo("lora.safetensors"),
    "adapter is outside": _link("lora.safetensors", lambda outside: outside.weights),
    "adapter is endless": _link("lora.safetensors", lambda outside: "/dev/zero"),
    "adapter is a pickle": lambda folder, outside: (folder / "lora.safetensors").write_bytes(
        outside.pickled.read_bytes()
    ),
    "adapter header is nested": _text("lora.safetensors", header(NESTED)),
    "adapter has no tensors": _text("lora.safetensors", header("{}", b"")),
    "adapter is one of several": _several,
    "adapter settings import a module": _settings({"unet.megatron_config": {"a": 1}, "unet.megatron_core": "evil"}),
    "adapter settings name code": _settings({"auto_mapping": {"parent_library": "evil"}}),
    "adapter settings compute": _settings({"unet.init_lora_weights": "pissa"}),
    "adapter settings are a list": _settings([]),
    "adapter settings are nested": _text("lora.safetensors", _tensor(__metadata__={SETTINGS: NESTED})),
    "adapter settings are not JSON": _text("lora.safetensors", _tensor(__metadata__={SETTINGS: "import os"})),
}


def cases() -> dict[str, Case]:
    """Return name -> hostile folder."""
    tables: dict[Kind, dict[str, Callable[[Path, Outside], Any]]] = {
        "pipeline": _PIPELINE,
        "tower": _TOWER,
        "backbone": _BACKBONE,
        "adapter": _ADAPTER,
    }
    found = {name: Case(kind, change) for kind, table in tables.items() for name, change in table.items()}
    named = {
        "adapter names a pickle": "x.bin",
        "adapter names weights outside": "../outside/x.safetensors",
        "adapter names a missing file": "other.safetensors",
    }
    nothing = _text("x.bin", pickle.dumps(1))
    return found | {name: Case("adapter", nothing, weight_name) for name, weight_name in named.items()}
