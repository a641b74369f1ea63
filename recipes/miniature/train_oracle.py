"""Trains the oracle of the miniature world: a small timm network that classifies species (40) and contexts (10).

python recipes/miniature/train_oracle.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from workbench import MODELS, Clock, cast, device, flawed, optimizer_for, pixels, save_timm, save_whole, write_record

from diffcore_hf.miniature.captions import FLAWS
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import SPECIES

ARCHITECTURE = {
    "architecture": "resnet10t",
    "num_classes": len(SPECIES) + len(CONTEXTS),
    "model_args": {"channels": (32, 64, 128, 256), "stem_width": 16},
}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--output", type=Path, default=MODELS / "oracle")
    return parser


def batch(rng: np.random.Generator, count: int, flaws: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Renders a batch, (B, 3, 64, 64) in [-1, 1], with species and context ids. A share `flaws` has a mild flaw."""
    species, contexts = rng.integers(len(SPECIES), size=count), rng.integers(len(CONTEXTS), size=count)
    images = [render(SPECIES[s], CONTEXTS[c], rng) for s, c in zip(species, contexts, strict=True)]
    # Generated images are slightly blurred and distorted, so the oracle must not depend on sharp edges.
    kinds = [kind for kind in FLAWS if kind not in ("crop", "coarse")]
    images = [flawed(i, str(rng.choice(kinds)), rng) if rng.random() < flaws else i for i in images]
    return pixels(images), torch.from_numpy(species), torch.from_numpy(contexts)


def losses(logits: torch.Tensor, species: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
    """Returns the sum of two cross-entropies. The first 40 logits are for species, the last 10 for contexts."""
    heads = logits.float().split([len(SPECIES), len(CONTEXTS)], dim=1)
    return F.cross_entropy(heads[0], species) + F.cross_entropy(heads[1], contexts)


@torch.no_grad()
def accuracy(model: torch.nn.Module, rng: np.random.Generator, count: int = 2000) -> tuple[float, float]:
    """Returns the accuracy for species and the accuracy for contexts, on new renderings."""
    images, species, contexts = batch(rng, count, flaws=0.0)
    where = next(model.parameters()).device
    logits = torch.cat([model(part.to(where)).float().cpu() for part in images.split(250)])
    heads = logits.split([len(SPECIES), len(CONTEXTS)], dim=1)
    right_species, right_contexts = heads[0].argmax(1) == species, heads[1].argmax(1) == contexts
    return float(right_species.float().mean()), float(right_contexts.float().mean())


def main() -> None:
    """Trains the oracle, tests it on new renderings, and saves it."""
    import timm

    args = make_parser().parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng, where = np.random.default_rng(args.seed), device()
    model = timm.create_model(
        ARCHITECTURE["architecture"], num_classes=ARCHITECTURE["num_classes"], **ARCHITECTURE["model_args"]
    ).to(where, memory_format=torch.channels_last)
    optimizer, schedule = optimizer_for(list(model.parameters()), args.steps, 3e-3)
    clock = Clock(args.steps)
    for step in range(1, args.steps + 1):
        images, species, contexts = (t.to(where) for t in batch(rng, args.batch_size, flaws=0.3))
        with cast(where):
            logits = model(images.contiguous(memory_format=torch.channels_last))
        loss = losses(logits, species, contexts)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        clock.report(step, loss=loss.item())
    right_species, right_context = accuracy(model.eval(), np.random.default_rng(args.seed + 1_000_000))

    def write(folder: Path) -> None:
        save_timm(folder, model, **ARCHITECTURE)
        write_record(
            folder,
            data="renderings of 40 species in 10 contexts, 30 % of them blurred, noisy or distorted",
            seed=args.seed,
            steps=args.steps,
            batch_size=args.batch_size,
            seconds=clock.seconds(),
            final_loss=loss.item(),
            right_species=right_species,
            right_context=right_context,
        )

    save_whole(args.output, write)


if __name__ == "__main__":
    main()
