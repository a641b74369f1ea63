"""Tiny random image towers and a captioner, built without network access and saved to folders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import timm
import tokenizers
import torch
import transformers
from tiny_models import clip_text, clip_tokenizer, image_processor, t5_tokenizer


def _vision(config_class, **options):
    return config_class(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=24,
        patch_size=8,
        **options,
    )


def save_clip(folder: Path) -> Path:
    text = clip_text().config
    config = transformers.CLIPConfig(
        text_config=text.to_dict(), vision_config=_vision(transformers.CLIPVisionConfig).to_dict(), projection_dim=20
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    image_processor().save_pretrained(folder)
    return folder


def save_clip_vision(folder: Path) -> Path:
    config = _vision(transformers.CLIPVisionConfig, projection_dim=20)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    image_processor().save_pretrained(folder)
    return folder


def save_siglip(folder: Path) -> Path:
    tokenizer = t5_tokenizer()
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "max_position_embeddings": 16, "projection_size": 32}
    vision = _vision(transformers.SiglipVisionConfig).to_dict()
    transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder)
    return folder


def save_dinov2(folder: Path) -> Path:
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=24, patch_size=8
    )
    transformers.Dinov2Model(config).save_pretrained(folder)
    transformers.BitImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}).save_pretrained(
        folder
    )
    return folder


def save_siglip2(folder: Path) -> Path:
    tokenizer = t5_tokenizer()
    shared = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = shared | {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_size": 32}
    vision = shared | {"patch_size": 8, "num_patches": 9}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    transformers.Siglip2Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=9).save_pretrained(folder)
    return folder


def save_swin(folder: Path) -> Path:
    """Saves a transformer without a class token."""
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    transformers.SwinModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_timm(architecture: str, folder: Path) -> Path:
    """Saves the folder that timm pushes to the Hub, which transformers reads as a `timm_wrapper` checkpoint."""
    options = {"img_size": 32} if "vit" in architecture else {}
    model = timm.create_model(architecture, pretrained_cfg_overlay={"input_size": (3, 32, 32)}, **options)
    timm.models.save_for_hf(model, folder, model_args=options or None, safe_serialization=True)
    return folder


TOWERS = {
    "clip": save_clip,
    "clip_vision": save_clip_vision,
    "siglip": save_siglip,
    "siglip2": save_siglip2,
    "dinov2": save_dinov2,
    "swin": save_swin,
    "timm_cnn": partial(save_timm, "test_resnet"),
    "timm_vit": partial(save_timm, "test_vit"),
}


def save_captioner(folder: Path) -> Path:
    """Saves a captioner (BLIP) whose tokens are words. Its captions are random words."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "in",
        "on",
        "near",
        "snow",
        "grass",
        "water",
        "trees",
        "fog",
        "sand",
        "rain",
    ]
    vocab = {word: number for number, word in enumerate(words)}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="[UNK]")),
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[CLS]",
        eos_token="[SEP]",
    )
    shared = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 4}
    text = shared | {
        "vocab_size": len(words),
        "encoder_hidden_size": 32,
        "max_position_embeddings": 40,
        "bos_token_id": 2,
        "sep_token_id": 3,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
    vision = shared | {"image_size": 24, "patch_size": 8}
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    model = transformers.BlipForConditionalGeneration(config)
    torch.nn.init.normal_(model.text_decoder.cls.predictions.transform.dense.weight)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.BlipImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder)
    return folder
