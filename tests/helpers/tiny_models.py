"""Tiny random models of every family with their tokenizers, built without network access and saved to folders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import diffusers
import safetensors.torch
import timm
import tokenizers
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

SIDE = 16


def clip_tokenizer(length: int = 16) -> transformers.CLIPTokenizer:
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=length)


def t5_tokenizer() -> transformers.T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=16)


def clip_text(projection: bool = False, width: int = 32):
    tokenizer = clip_tokenizer()
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=16,
        projection_dim=width,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def t5_text():
    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()), d_model=32, d_ff=37, d_kv=8, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return transformers.T5EncoderModel(config)


def vae(channels: int = 4, **options):
    return diffusers.AutoencoderKL(
        block_out_channels=[8, 16],
        in_channels=3,
        out_channels=3,
        norm_num_groups=4,
        latent_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        sample_size=SIDE,
        **options,
    )


def unet(**options):
    return diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=SIDE // 2,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        **{"in_channels": 4} | options,
    )


def scheduler(**options):
    options = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"} | options
    return diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **options)


def sd(checker: torch.nn.Module | None = None, **unet_options):
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        scheduler=scheduler(),
        unet=unet(cross_attention_dim=32, attention_head_dim=4, **unet_options),
        safety_checker=checker,
        feature_extractor=image_processor() if checker else None,
        requires_safety_checker=False,
    )


def sdxl():
    denoiser = unet(
        cross_attention_dim=64,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=80,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(),
        unet=denoiser,
        scheduler=scheduler(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(projection=True),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def sd3():
    denoiser = diffusers.SD3Transformer2DModel(
        sample_size=SIDE // 2,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=4,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=denoiser,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip_text(True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_text(),
        tokenizer_3=t5_tokenizer(),
    )


def flux():
    denoiser = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
        guidance_embeds=True,
    )
    return diffusers.FluxPipeline(
        transformer=denoiser,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae(1, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=t5_tokenizer(),
    )


def z_image():
    letters = sorted(ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate([*letters, "<|endoftext|>"])}
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocab, merges=[])
    tokenizer.chat_template = "{{ messages[0]['content'] }}:"
    text = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    denoiser = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    torch.nn.init.normal_(denoiser.x_pad_token, std=0.02)
    torch.nn.init.normal_(denoiser.cap_pad_token, std=0.02)
    return diffusers.ZImagePipeline(
        transformer=denoiser,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        tokenizer=tokenizer,
        vae=vae(shift_factor=0.06, scaling_factor=1.5),
        text_encoder=transformers.Qwen3Model(text),
    )


PIPELINES = {"SD": sd, "SDXL": sdxl, "SD3": sd3, "Flux": flux, "Z-Image": z_image}


def instruct_pix2pix():
    parts = dict(sd().components) | {"unet": unet(cross_attention_dim=32, attention_head_dim=4, in_channels=8)}
    parts = {name: part for name, part in parts.items() if name != "image_encoder"}
    return diffusers.StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)


def flux_kontext():
    return diffusers.FluxKontextPipeline(**flux().components)


EDITORS = {"InstructPix2Pix": instruct_pix2pix, "Flux Kontext": flux_kontext}


def image_processor(size: int = 24):
    return transformers.CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


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


def seeded(build, *arguments, **options):
    """Returns `build(...)` with the same weights in every run; the global generator is not changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(*arguments, **options)


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
