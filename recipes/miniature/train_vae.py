"""Train the miniature's VAE: an `AutoencoderKL`, 64x64 pixels to 16x16 latents of 8 channels.

Renderings:          python recipes/miniature/train_vae.py --output out/vae
Any captioned folder: python recipes/miniature/train_vae.py --images FOLDER --size 128 --output out/vae
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from workbench import Clock, cast, device, folder_pairs, optimizer_for, pixels, rendered_pairs, save_whole, write_record


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="a captioned image folder in place of renderings")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--output", type=Path, required=True)
    return parser


def make_vae(size: int):
    """Narrow at full resolution, where a convolution costs most."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=size,
        latent_channels=8,
        block_out_channels=(16, 48, 96),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        mid_block_add_attention=False,
    )


def reconstruction_loss(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of pixels and of their neighbours' differences, which keeps edges sharp."""
    rows = F.l1_loss(made.diff(dim=2), real.diff(dim=2))
    columns = F.l1_loss(made.diff(dim=3), real.diff(dim=3))
    return F.l1_loss(made, real) + rows + columns


@torch.no_grad()
def latent_scale(vae, images: torch.Tensor) -> float:
    """One over the latents' standard deviation: what `scaling_factor` holds."""
    return float(1 / vae.encode(images).latent_dist.mean.float().std())


def main() -> None:
    """Train and save."""
    args = make_parser().parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    pairs = folder_pairs(args.images, args.seed, args.size) if args.images else rendered_pairs(args.seed, args.size)
    where = device()
    vae = make_vae(args.size).to(where, memory_format=torch.channels_last)
    optimizer, schedule = optimizer_for(list(vae.parameters()), args.steps, 2e-3)
    clock = Clock(args.steps)
    for step in range(1, args.steps + 1):
        images = pixels([image for image, _ in islice(pairs, args.batch_size)])
        images = images.to(where, memory_format=torch.channels_last)
        with cast(where):
            latents = vae.encode(images).latent_dist
            made = vae.decode(latents.sample()).sample.float()
        loss = reconstruction_loss(made, images) + 1e-5 * latents.kl().mean() / 2048
        loss = loss + 1e-4 * latents.mean.float().square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        clock.tell(step, loss=loss.item(), mean_abs=F.l1_loss(made, images).item())
    scale = latent_scale(vae, pixels([image for image, _ in islice(pairs, 256)]).to(where))
    vae.register_to_config(scaling_factor=scale)

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
            final_loss=loss.item(),
            mean_abs=F.l1_loss(made, images).item(),
        )

    save_whole(args.output, write)


if __name__ == "__main__":
    main()
