"""Tiny random pipelines of every family with their tokenizers, built without network access."""

from __future__ import annotations

import diffusers
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


def seeded(build, *arguments, **options):
    """Returns `build(...)` with the same weights in every run; the global generator is not changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(*arguments, **options)
