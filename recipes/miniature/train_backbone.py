"""Pretrains the backbone of the miniature world: timm's resnet10t on the twenty species that no dataset shows.

python recipes/miniature/train_backbone.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from workbench import MODELS, Clock, cast, device, optimizer_for, pixels, save_timm, save_whole, write_record

from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import OTHER_SPECIES


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--output", type=Path, default=MODELS / "backbone")
    return parser


def batch(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Renders a batch of the other species in all contexts: (B, 3, 64, 64) in [-1, 1], and labels below 20."""
    labels = rng.integers(len(OTHER_SPECIES), size=count)
    images = [render(OTHER_SPECIES[label], CONTEXTS[rng.integers(len(CONTEXTS))], rng) for label in labels]
    return pixels(images), torch.from_numpy(labels)


def main() -> None:
    """Trains the backbone, tests it on new renderings, and saves it."""
    import timm

    args = make_parser().parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng, where = np.random.default_rng(args.seed), device()
    model = timm.create_model("resnet10t", num_classes=len(OTHER_SPECIES))
    model = model.to(where, memory_format=torch.channels_last)
    optimizer, schedule = optimizer_for(list(model.parameters()), args.steps, 2e-3)
    clock = Clock(args.steps)
    for step in range(1, args.steps + 1):
        images, labels = (t.to(where) for t in batch(rng, args.batch_size))
        with cast(where):
            logits = model(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        clock.report(step, loss=loss.item())
    images, labels = batch(np.random.default_rng(args.seed + 1_000_000), 1000)
    with torch.no_grad():
        predicted = torch.cat([model.eval()(part.to(where)).argmax(1).cpu() for part in images.split(250)])

    def write(folder: Path) -> None:
        save_timm(folder, model, "resnet10t", len(OTHER_SPECIES), label_names=[s.name for s in OTHER_SPECIES])
        write_record(
            folder,
            data="renderings of the 20 species that the dataset does not show, in 10 contexts",
            seed=args.seed,
            steps=args.steps,
            batch_size=args.batch_size,
            seconds=clock.seconds(),
            final_loss=loss.item(),
            accuracy=float((predicted == labels).float().mean()),
        )

    save_whole(args.output, write)


if __name__ == "__main__":
    main()
