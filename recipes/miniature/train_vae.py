"""Trains the VAE of the miniature world: an `AutoencoderKL` from 64x64 pixels to 16x16 latents with 8 channels.

To train on renderings:    python recipes/miniature/train_vae.py --output out/vae
To continue a training:    python recipes/miniature/train_vae.py --weights out/vae --output out/vae2
To train the decoder:      python recipes/miniature/train_vae.py --weights out/vae --decoder-only --output out/vae2
To use your own images:    python recipes/miniature/train_vae.py --images FOLDER --size 128 --output out/vae

Train only the decoder if a UNet was already trained on the latents, because then the latents must not change.
"""

from __future__ import annotations

import argparse
import math
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from workbench import (
    Clock,
    cast,
    device,
    folder_pairs,
    optimizer_for,
    pixels,
    read_record,
    rendered_pairs,
    save_whole,
    write_record,
)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="folder of images with captions, used instead of renderings")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--weights", help="VAE folder from which training continues")
    parser.add_argument("--decoder-only", action="store_true", help="do not change the encoder and its scale")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--output", type=Path, required=True)
    return parser


def make_vae(size: int):
    """Returns a VAE with few channels at full resolution, because convolutions take the most time there.

    Every norm has one group. With so few channels, several groups would remove the brightness and colour of an image.
    """
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=size,
        latent_channels=8,
        block_out_channels=(16, 48, 96),
        layers_per_block=1,
        norm_num_groups=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        mid_block_add_attention=False,
    )


def reconstruction_loss(decoded: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Returns the absolute and squared error of the pixels, plus the absolute error of the edges.

    Edges are differences of neighbouring pixels. The last term makes them sharp.
    """
    error = decoded - real
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.3 * edges


@torch.no_grad()
def latent_scale(vae, images: torch.Tensor) -> float:
    """Returns `scaling_factor`: one over the standard deviation of the latents."""
    return float(1 / vae.encode(images).latent_dist.mean.float().std())


def main() -> None:
    """Trains the VAE and saves it."""
    from diffusers import AutoencoderKL

    args = make_parser().parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    pairs = folder_pairs(args.images, args.seed, args.size) if args.images else rendered_pairs(args.seed, args.size)
    where = device()
    vae = AutoencoderKL.from_pretrained(args.weights, use_safetensors=True) if args.weights else make_vae(args.size)
    vae = vae.train().to(where, memory_format=torch.channels_last)
    if args.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer, schedule = optimizer_for(trained, args.steps, args.lr)
    clock, earlier = Clock(args.steps), read_record(args.weights)
    for step in range(1, args.steps + 1):
        images = pixels([image for image, _ in islice(pairs, args.batch_size)])
        images = images.to(where, memory_format=torch.channels_last)
        with cast(where):
            latents = vae.encode(images).latent_dist
            # The latents of a UNet are never exact, so the decoder is trained on slightly noisy ones.
            noisy = latents.sample() + 0.05 * torch.randn_like(latents.mean)
            decoded = vae.decode(noisy).sample.float()
        loss = reconstruction_loss(decoded, images) + 5e-9 * latents.kl().mean()
        loss = loss + 1e-4 * latents.mean.float().square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        clock.report(step, loss=loss.item(), mean_abs=F.l1_loss(decoded, images).item())
    vae.eval()
    images = pixels([image for image, _ in islice(pairs, 256)]).to(where)
    if not args.decoder_only:
        vae.register_to_config(scaling_factor=latent_scale(vae, images))
    with torch.no_grad():
        error = F.mse_loss(vae(images).sample, images).item()

    def write(folder: Path) -> None:
        vae.save_pretrained(folder)
        write_record(
            folder,
            data=args.images or "renderings of 40 species in 10 contexts",
            size=args.size,
            seed=args.seed,
            steps=args.steps,
            batch_size=args.batch_size,
            seconds=clock.seconds(),
            went_on_from=earlier,
            decoder_only=args.decoder_only,
            final_loss=loss.item(),
            psnr=-10 * math.log10(error / 4),
        )

    save_whole(args.output, write)


if __name__ == "__main__":
    main()
