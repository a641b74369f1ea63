"""Tiny random ControlNets and IP-Adapters, built without network access and saved to folders."""

from __future__ import annotations

from pathlib import Path

import diffusers
import safetensors.torch
import torch
from tiny_models import PIPELINES
from tiny_towers import save_clip_vision


def save_controlnet(family: str, folder: Path) -> Path:
    """Saves a ControlNet for the UNet of a family. Its output layers are not zero, so that it has an effect."""
    network = diffusers.ControlNetModel.from_unet(PIPELINES[family]().unet, conditioning_embedding_out_channels=(8, 16))
    for layer in (*network.controlnet_down_blocks, network.controlnet_mid_block, network.controlnet_cond_embedding):
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder)
    return folder


def save_ip_adapter(family: str, folder: Path, tokens: int = 4) -> Path:
    """Saves an IP-Adapter for the UNet of a family, with its image encoder, as the repositories on the Hub have it."""
    denoiser = PIPELINES[family]().unet
    save_clip_vision(folder / "image_encoder")
    width = denoiser.config.cross_attention_dim
    tensors = {
        "image_proj.proj.weight": 0.2 * torch.randn(tokens * width, 20),
        "image_proj.proj.bias": torch.randn(tokens * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    number = 1
    for name in denoiser.attn_processors:
        if not name.endswith("attn2.processor"):
            continue
        inner = denoiser.get_submodule(name.removesuffix(".processor")).to_q.out_features
        tensors |= {f"ip_adapter.{number}.to_{part}_ip.weight": 0.2 * torch.randn(inner, width) for part in ("k", "v")}
        number += 2
    safetensors.torch.save_file(tensors, folder / "ip_adapter.safetensors")
    return folder
