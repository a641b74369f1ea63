"""Trains the text-to-image model of the miniature world: text encoder and UNet of a `StableDiffusionPipeline`.

To train the VAE first:     python recipes/miniature/train_vae.py --output out/vae
To train on renderings:     python recipes/miniature/train_diffusion.py --vae out/vae
To continue a training:     python recipes/miniature/train_diffusion.py --vae out/vae --weights out/sd --output out/sd2
To use two CPU cores:       torchrun --nproc_per_node 2 recipes/miniature/train_diffusion.py --vae out/vae \
                                --batch-size 16
To use your own images:     python recipes/miniature/train_diffusion.py --vae out/vae --images FOLDER --size 128 \
                                --output out/sd
"""

from __future__ import annotations

import argparse
import copy
import time
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from text import make_tokenizer, tokenize
from workbench import (
    MODELS,
    Clock,
    MovingAverage,
    Pairs,
    cast,
    device,
    folder_pairs,
    pixels,
    read_record,
    rendered_pairs,
    save_whole,
    write_record,
)

from diffcore_hf.miniature.captions import vocabulary


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", required=True, help="folder that train_vae.py wrote")
    parser.add_argument("--weights", help="pipeline folder from which training continues")
    parser.add_argument("--images", help="folder of images with captions, used instead of renderings")
    parser.add_argument("--pairs", type=int, default=16_000, help="images that each process encodes before training")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--width", type=int, default=64, help="channels of the UNet at full resolution")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument(
        "--minutes",
        type=float,
        default=600,
        help="maximum duration in minutes",
    )
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=32, help="batch size of each process")
    parser.add_argument("--save-every", type=int, default=500, help="steps between two saved pipelines")
    parser.add_argument("--output", type=Path, default=MODELS / "sd")
    return parser


def make_models(tokenizer, channels: int, side: int, width: int = 64):
    """Returns a text encoder of width 96, and a UNet for latents of `side` x `side`.

    With a width of 64 channels the UNet has about 4 million parameters, with 224 about 50 million.
    """
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=256,
            projection_dim=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(width, 2 * width),
        layers_per_block=1,
        cross_attention_dim=96,
        attention_head_dim=4,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
    )
    return text_encoder, unet


def make_scheduler():
    """Returns a scheduler with the cosine schedule and v-prediction.

    The cosine schedule ends in pure noise, so that very dark and very bright images can be generated. v-prediction is
    also defined for pure noise.
    """
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        lambda_min_clipped=-5.1,
        timestep_spacing="trailing",
        steps_offset=1,
    )


@torch.no_grad()
def encode_pictures(vae, pairs, count: int) -> tuple[torch.Tensor, list[str]]:
    """Encodes the images of the next pairs. Returns scaled latents (count, C, h, w) float16, and the captions."""
    latents, captions, where = [], [], next(vae.parameters()).device
    for start in range(0, count, 64):
        images, texts = zip(*islice(pairs, min(64, count - start)), strict=True)
        with cast(where):
            mean = vae.encode(pixels(images).to(where)).latent_dist.mean
        latents.append((mean.float() * vae.config.scaling_factor).half().cpu())
        captions.extend(texts)
    return torch.cat(latents), captions


def v_loss(unet, states: torch.Tensor, latents: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
    """Returns the mean squared error of the predicted velocity (Salimans & Ho 2022) at uniform times.

    z_t = sqrt(a_t) x + sqrt(1 - a_t) e and v = sqrt(a_t) e - sqrt(1 - a_t) x, where a_t are the cumulative alphas.
    """
    times = torch.randint(len(alphas), (len(latents),), device=latents.device)
    noise, a = torch.randn_like(latents), alphas[times][:, None, None, None]
    noisy, velocity = a.sqrt() * latents + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * latents
    with cast(latents.device):
        predicted = unet(noisy, times, encoder_hidden_states=states).sample
    return F.mse_loss(predicted.float(), velocity)


def average_over_processes(parameters: list[torch.nn.Parameter], share: float) -> float:
    """Replaces the gradients by their means over torchrun's processes, and returns their mean finished share."""
    if not dist.is_initialized():
        return share
    flat = torch.cat([*(p.grad.reshape(-1) for p in parameters), torch.tensor([share], device=parameters[0].device)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for p, part in zip(parameters, flat[:-1].split([p.numel() for p in parameters]), strict=True):
        p.grad.copy_(part.view_as(p))
    return flat[-1].item()


def learning_rate(share: float, peak: float) -> float:
    """Returns the learning rate at a share of the training, in [0, 1].

    It increases linearly over the first 2 %. Then it follows a cosine down to 1 % of the peak.
    """
    share = min(share, 1.0)
    decay = 0.01 + 0.99 * (1 + torch.cos(torch.tensor(torch.pi * share)).item()) / 2
    return peak * min(share * 50 + 0.01, decay)


def main() -> None:
    """Trains the model, and saves it at regular steps and at the end."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline
    from diffusers.models.attention_processor import AttnProcessor

    args = make_parser().parse_args()
    torch.set_num_threads(1)
    where, rank = device(), 0
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
        rank = dist.get_rank()
    vae = AutoencoderKL.from_pretrained(args.vae, use_safetensors=True).to(where).eval()

    def pairs_of(seed: int) -> Pairs:
        return folder_pairs(args.images, seed, args.size) if args.images else rendered_pairs(seed, args.size)

    clock = Clock(args.steps)
    pictures, captions = encode_pictures(vae, pairs_of(args.seed + rank), args.pairs)
    torch.manual_seed(args.seed)  # Every process creates the same models. Later, each process draws its own noise.
    vae_record, earlier = read_record(args.vae), read_record(args.weights)
    if args.weights:
        start = StableDiffusionPipeline.from_pretrained(args.weights, use_safetensors=True, dtype=torch.float32)
        tokenizer, text_encoder, unet = start.tokenizer, start.text_encoder, start.unet
    else:
        texts = [text for _, text in islice(pairs_of(args.seed), 4000)]
        tokenizer = make_tokenizer(texts + ([] if args.images else vocabulary()))
        text_encoder, unet = make_models(tokenizer, pictures.shape[1], pictures.shape[2], args.width)
    text_encoder, unet = text_encoder.to(where).train(), unet.to(where, memory_format=torch.channels_last).train()
    # This attention is a third faster on a CPU. The pipeline does not store it.
    unet.set_attn_processor(AttnProcessor())
    tokens = tokenize(tokenizer, captions).input_ids
    torch.manual_seed(args.seed + rank)
    scheduler = make_scheduler()
    alphas, average = scheduler.alphas_cumprod.to(where), MovingAverage(text_encoder, unet)
    optimizer = torch.optim.AdamW(average.live, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)

    def write(folder: Path) -> None:
        average.swap()
        models = [copy.deepcopy(model).half().eval() for model in (vae, text_encoder, unet)]
        average.swap()
        StableDiffusionPipeline(
            *models[:2], tokenizer, models[2], scheduler, None, None, requires_safety_checker=False
        ).save_pretrained(folder)
        write_record(
            folder,
            data=args.images or "renderings of 40 species in 10 contexts, 5 % of them flawed",
            pairs=args.pairs,
            size=args.size,
            seed=args.seed,
            steps=step,
            batch_size=args.batch_size,
            processes=dist.get_world_size() if dist.is_initialized() else 1,
            vae=vae_record,
            went_on_from=earlier,
            seconds=clock.seconds(),
            final_loss=mean_loss,
        )

    start_time, mean_loss = time.monotonic(), 1.0
    for step in range(1, args.steps + 1):
        share = max(step / args.steps, (time.monotonic() - start_time) / (60 * args.minutes))
        chosen = torch.randint(len(pictures), (args.batch_size,))
        latents = pictures[chosen].float().to(where, memory_format=torch.channels_last)
        with cast(where):
            states = text_encoder(tokens[chosen].to(where)).last_hidden_state
        loss = v_loss(unet, states, latents, alphas)
        loss.backward()
        share = average_over_processes(average.live, share)
        optimizer.param_groups[0]["lr"] = learning_rate(share, args.lr)
        torch.nn.utils.clip_grad_norm_(average.live, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update()
        mean_loss += 0.02 * (loss.item() - mean_loss)
        if rank == 0:
            clock.report(step, loss=mean_loss, lr=optimizer.param_groups[0]["lr"])
        if rank == 0 and (step % args.save_every == 0 or step == args.steps or share >= 1):
            save_whole(args.output, write)
        if share >= 1:
            break


if __name__ == "__main__":
    main()
