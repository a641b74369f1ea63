"""Folders of models from an unknown author who wants to run code, to read other files or to stop the program.

Owns the table of such folders. Each case starts from an intact folder and changes it. The folders need no torch: their
weights are single numbers. A case must be refused before torch is imported.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_folders import (
    GIANT,
    NESTED,
    SETTINGS,
    UNET,
    Kind,
    Outside,
    header,
    one_tensor,
    weights,
    with_fifo,
    with_index,
    with_link,
    with_nested_values,
    with_sparse_file,
    with_text,
    with_values,
    without_file,
)


@dataclass(frozen=True)
class Case:
    """A hostile folder: its kind, the change, and keys of an adapter in the recipe."""

    kind: Kind
    change: Callable[[Path, Outside], Any]
    weight_name: str | None = None


def _holes(folder: Path, outside: Outside) -> None:
    """Replace the weights by a complete file of 256 GiB that takes no space."""
    size = 2**38
    with (folder / UNET).open("wb") as file:
        file.write(header(json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}), b""))
        file.truncate(file.tell() + size)


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


def _settings(content: Any) -> Callable[[Path, Outside], Any]:
    return with_text("lora.safetensors", one_tensor(__metadata__={SETTINGS: json.dumps(content)}))


_OTHER = {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}
_PIPELINE: dict[str, Callable[[Path, Outside], Any]] = {
    "index is a list": with_text("model_index.json", "[]"),
    "index is a number": with_text("model_index.json", "1"),
    "index is not JSON": with_text("model_index.json", "import os"),
    "index is empty": with_text("model_index.json", ""),
    "index is binary": with_text("model_index.json", b"\xff\xfe\0\0"),
    "index is nested": with_text("model_index.json", NESTED),
    "index is a nested object": with_text("model_index.json", '{"a":' * 500 + "1" + "}" * 500),
    "index is oversized": with_text("model_index.json", json.dumps({"a": "x" * 2**24})),
    "index has a number of many digits": with_text("model_index.json", '{"a": ' + "1" * 10**5 + "}"),
    "index is a FIFO": with_fifo("model_index.json"),
    "index is endless": with_link("model_index.json", lambda outside: "/dev/zero"),
    "index is a terminal": with_link("model_index.json", lambda outside: "/dev/tty"),
    "index is the environment": with_link("model_index.json", lambda outside: "/proc/self/environ"),
    "index is outside": with_link("model_index.json", lambda outside: outside.text),
    "index is a dangling link": with_link("model_index.json", lambda outside: "nothing"),
    "index is a link to itself": with_link("model_index.json", lambda outside: "model_index.json"),
    "pipeline is code": with_values("model_index.json", _class_name=["pipeline", "Mine"]),
    "pipeline is unknown": with_values("model_index.json", _class_name="NoPipeline"),
    "pipeline is a network": with_values("model_index.json", _class_name="UNet2DConditionModel"),
    "pipeline is a path": with_values("model_index.json", _class_name="../outside/x"),
    "pipeline is null": with_values("model_index.json", _class_name=None),
    "component of another library": with_values("model_index.json", unet=["os", "system"]),
    "component is code": with_values("model_index.json", unet=["unet_code", "Net"]),
    "component of a private name": with_values("model_index.json", unet=["diffusers", "__loader__"]),
    "component is an object": with_values("model_index.json", unet={"library": "os"}),
    "component has three names": with_values("model_index.json", unet=["diffusers", "UNet2DConditionModel", "os"]),
    "component is outside": with_values("model_index.json", **{"../outside": ["diffusers", "AutoencoderKL"]}),
    "component is missing": with_values("model_index.json", image_encoder=["transformers", "CLIPVisionModel"]),
    "component is a linked folder": _linked_folder,
    "scheduler is a network": with_values("model_index.json", scheduler=["diffusers", "UNet2DModel"]),
    "scheduler is unknown": with_values("model_index.json", scheduler=["diffusers", "NoScheduler"]),
    "scheduler is an object": with_values("model_index.json", scheduler=["diffusers", {"a": 1}]),
    "scheduler is a number": with_values("model_index.json", scheduler=5),
    "scheduler has giant numbers": with_values("scheduler/scheduler_config.json", num_train_timesteps=GIANT),
    "scheduler has giant floats": with_values("scheduler/scheduler_config.json", num_train_timesteps=1e12),
    "configuration is a list": with_text("unet/config.json", "[]"),
    "configuration is nested": with_text("unet/config.json", NESTED),
    "configuration is a FIFO": with_fifo("unet/config.json"),
    "configuration is outside": with_link("unet/config.json", lambda outside: outside.text),
    "image is giant": with_values("unet/config.json", sample_size=10**7),
    "image is more than giant": with_values("unet/config.json", sample_size=GIANT),
    "image is infinite": with_text("unet/config.json", '{"sample_size": 1e999}'),
    "image is negative": with_values("unet/config.json", sample_size=-8),
    "image has an empty size": with_values("unet/config.json", sample_size=[]),
    "layers are giant": with_values("unet/config.json", layers_per_block=10**7),
    "blocks are many": with_values("vae/config.json", block_out_channels=[8] * 10**6),
    "encoder is deep": with_values("text_encoder/config.json", num_hidden_layers=10**6),
    "weights are a FIFO": with_fifo(UNET),
    "weights are outside": with_link(UNET, lambda outside: outside.weights),
    "weights are endless": with_link(UNET, lambda outside: "/dev/zero"),
    "weights are pickled": _pickle_only,
    "weights are a pickle with another name": lambda folder, outside: (folder / UNET).write_bytes(
        outside.pickled.read_bytes()
    ),
    "weights are empty": with_text(UNET, ""),
    "weights are sparse": _holes,
    "weights are larger than a disk": with_sparse_file(UNET, 2**41),
    "header is longer than the file": with_text(UNET, (2**40).to_bytes(8, "little") + b"{}"),
    "header is oversized": with_text(UNET, header(json.dumps({"__metadata__": {"a": "x" * 2**24}}))),
    "header is a list": with_text(UNET, header("[]")),
    "header is nested": with_text(UNET, header(NESTED)),
    "header is not JSON": with_text(UNET, header("x" * 50)),
    "header has an unknown type": with_text(UNET, one_tensor(dtype="PICKLE")),
    "header has a type that is a list": with_text(UNET, one_tensor(dtype=["F32"])),
    "header has a negative shape": with_text(UNET, one_tensor(shape=(-1, -1))),
    "header has a giant shape": with_text(UNET, one_tensor(shape=(2**40, 2**40))),
    "header has a fractional shape": with_text(UNET, one_tensor(shape=(1.0,))),
    "header has offsets past the end": with_text(UNET, one_tensor(shape=(100,), offsets=(0, 400))),
    "header has negative offsets": with_text(UNET, one_tensor(offsets=(-4, 0))),
    "header has overlapping tensors": with_text(UNET, one_tensor(other=_OTHER)),
    "header has a gap": with_text(UNET, one_tensor(offsets=(4, 8))),
    "header has metadata that is a list": with_text(UNET, one_tensor(__metadata__=[1])),
    "data follow the tensors": with_text(UNET, one_tensor() + b"pickle"),
    "shards are a pickle outside": with_index({"weight": "../../outside/x.bin"}),
    "shards are weights outside": with_index({"weight": "../../outside/x.safetensors"}),
    "shards have an absolute path": with_index({"weight": "/etc/passwd.safetensors"}),
    "shards are a pickle inside": with_index({"weight": "x.bin"}),
    "shards are missing": with_index({"weight": "model-00001-of-00002.safetensors"}),
    "shards lack a tensor": with_index({"more": "diffusion_pytorch_model.safetensors"}),
    "shards are a list": with_index(["weight"]),
    "shards are numbers": with_index({"weight": 5}),
    "shards of a variant are outside": with_index(
        {"weight": "../x.safetensors"}, "unet/diffusion_pytorch_model.safetensors.index.fp16.json"
    ),
    "shard index is a FIFO": with_fifo("unet/diffusion_pytorch_model.safetensors.index.json"),
    "shard index is nested": with_text("unet/diffusion_pytorch_model.safetensors.index.json", NESTED),
    "shard index is a list": with_text("unet/diffusion_pytorch_model.safetensors.index.json", "[]"),
    "attention is a kernel": with_values("text_encoder/config.json", attn_implementation="evil/kernels:attention"),
    "attention is a private key": with_values("text_encoder/config.json", _attn_implementation="evil/kernels"),
    "attention of a part is a kernel": with_nested_values(
        "text_encoder/config.json", "text_config", attn_implementation={"": "evil/kernels"}
    ),
    "experts are a kernel": with_values("text_encoder/config.json", _experts_implementation="deepgemm"),
    "kernels are switched on": with_values("text_encoder/config.json", use_kernels=True),
    "fusion is configured": with_values("text_encoder/config.json", fusion_config={"a": True}),
    "quantisation fetches code": with_values("text_encoder/config.json", quantization_config={"quant_method": "mxfp4"}),
    "quantisation is a list": with_values("text_encoder/config.json", quantization_config=["mxfp4"]),
    "weights are named by a key": with_values("text_encoder/config.json", transformers_weights="../../x.safetensors"),
    "network has another backbone": with_values("text_encoder/config.json", backbone="evil/backbone"),
    "base model is named by a key": with_values("text_encoder/config.json", base_model_name_or_path="/outside"),
    "vocabulary is oversized": with_sparse_file("tokenizer/vocab.json", 2**27, b"{"),
    "merges are a FIFO": with_fifo("tokenizer/merges.txt"),
    "merges are outside": with_link("tokenizer/merges.txt", lambda outside: outside.text),
    "tokenizer model is outside": with_link("tokenizer/spiece.model", lambda outside: outside.pickled),
    "tokenizer is a list": with_text("tokenizer/tokenizer_config.json", "[]"),
    "tokenizer is nested": with_text("tokenizer/tokenizer.json", '{"a":' + NESTED),
    "chat template is oversized": with_text("tokenizer/chat_template.jinja", "x" * 2**21),
}
_TOWER: dict[str, Callable[[Path, Outside], Any]] = {
    "tower configuration is a list": with_text("config.json", "[]"),
    "tower configuration is a FIFO": with_fifo("config.json"),
    "tower configuration is the environment": with_link("config.json", lambda outside: "/proc/self/environ"),
    "tower has no weights": without_file("model.safetensors"),
    "tower is deep": with_nested_values("config.json", "vision_config", num_hidden_layers=10**9),
    "tower attention is a kernel": with_nested_values("config.json", "vision_config", attn_implementation="evil/k"),
    "crop is giant": with_values("preprocessor_config.json", crop_size={"height": 10**6, "width": 10**6}),
    "crop is a giant number": with_values("preprocessor_config.json", crop_size=10**9),
    "crop is a giant float": with_values("preprocessor_config.json", size={"shortest_edge": 1e9}),
    "crop is negative": with_values("preprocessor_config.json", size={"shortest_edge": -1}),
    "patches are many": with_values("preprocessor_config.json", max_num_patches=10**7),
    "processor is a FIFO": with_fifo("preprocessor_config.json"),
    "processor is a list": with_text("preprocessor_config.json", "[]"),
    "timm network is on the Hub": with_values("config.json", model_type="timm_wrapper", architecture="hf-hub:evil/x"),
    "timm network is outside": with_values("config.json", model_type="timm_wrapper", architecture="local-dir:/outside"),
    "timm network is pretrained": with_values("config.json", architecture="resnet18", model_args={"pretrained": True}),
    "timm network has a checkpoint": with_values(
        "config.json", architecture="resnet18", model_args={"checkpoint_path": "/outside/x.bin"}
    ),
}
_BACKBONE: dict[str, Callable[[Path, Outside], Any]] = {
    "network configuration is a list": with_text("config.json", "[]"),
    "network configuration is nested": with_text("config.json", NESTED),
    "network weights are a FIFO": with_fifo("model.safetensors"),
    "network weights are outside": with_link("model.safetensors", lambda outside: outside.weights),
    "network arguments name a file": with_values("config.json", model_args={"checkpoint_path": "/outside/x.bin"}),
}
_ADAPTER: dict[str, Callable[[Path, Outside], Any]] = {
    "adapter is a FIFO": with_fifo("lora.safetensors"),
    "adapter is outside": with_link("lora.safetensors", lambda outside: outside.weights),
    "adapter is endless": with_link("lora.safetensors", lambda outside: "/dev/zero"),
    "adapter is a pickle": lambda folder, outside: (folder / "lora.safetensors").write_bytes(
        outside.pickled.read_bytes()
    ),
    "adapter header is nested": with_text("lora.safetensors", header(NESTED)),
    "adapter has no tensors": with_text("lora.safetensors", header("{}", b"")),
    "adapter is one of several": _several,
    "adapter settings import a module": _settings({"unet.megatron_config": {"a": 1}, "unet.megatron_core": "evil"}),
    "adapter settings name code": _settings({"auto_mapping": {"parent_library": "evil"}}),
    "adapter settings compute": _settings({"unet.init_lora_weights": "pissa"}),
    "adapter settings are a list": _settings([]),
    "adapter settings are nested": with_text("lora.safetensors", one_tensor(__metadata__={SETTINGS: NESTED})),
    "adapter settings are not JSON": with_text("lora.safetensors", one_tensor(__metadata__={SETTINGS: "import os"})),
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
    nothing = with_text("x.bin", pickle.dumps(1))
    return found | {name: Case("adapter", nothing, weight_name) for name, weight_name in named.items()}
