"""Measures the accuracy of the models of the miniature world: the text-to-image model, the oracle and CLIP.

To print all figures and draw a sheet:     python recipes/miniature/evaluate.py --sheet out/sheet.png
To repeat those of docs/performance.md:    python recipes/miniature/evaluate.py --steps 16 --repeats 2 --threads 2
To use other weights and no negatives:     python recipes/miniature/evaluate.py --sd out/sd --negative ""
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import date
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from workbench import MODELS, device

from diffcore_hf.miniature.captions import CAPTION
from diffcore_hf.miniature.oracle import Oracle
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, SPECIES, look_alike
from diffcore_hf.miniature.world import PROMPTED_CONTEXTS, World

SETTINGS = ("steps", "guidance", "negative", "repeats", "threads", "seed")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sd", default=str(MODELS / "sd"), help="a pipeline folder")
    parser.add_argument("--clip", default=str(MODELS / "clip"), help="a CLIP folder")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps")
    parser.add_argument("--guidance", type=float, default=3.0, help="guidance_scale, 1 + gamma")
    parser.add_argument("--negative", default="blurry, deformed, low quality")
    parser.add_argument("--repeats", type=int, default=1, help="images for each species and prompted context")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sheet", type=Path, help="file for a contact sheet with a row for each species and a column for each context"
    )
    return parser


def generate(args: argparse.Namespace, prompts: list[str]) -> tuple[list[Image.Image], float]:
    """Generates one image for each prompt, in batches of 16, and returns the images and the seconds."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(args.sd, use_safetensors=True, dtype=torch.float32)
    pipeline.to(device()).set_progress_bar_config(disable=True)
    images, start = [], time.monotonic()
    for first in range(0, len(prompts), 16):
        part = prompts[first : first + 16]
        noise = [torch.Generator().manual_seed(args.seed + first + i) for i in range(len(part))]
        images += pipeline(
            part,
            negative_prompt=[args.negative] * len(part),
            guidance_scale=args.guidance,
            num_inference_steps=args.steps,
            generator=noise,
        ).images
    return images, time.monotonic() - start


def judge_generator(args: argparse.Namespace, oracle: Oracle) -> tuple[dict, list[Image.Image]]:
    """Measures the generated images of all species in the prompted contexts, one image for each prompt.

    Returns:
        The shares of images with the right species and the right context, and the images.
    """
    asked = list(product(DATASET_SPECIES, PROMPTED_CONTEXTS)) * args.repeats
    images, seconds = generate(args, [CAPTION.format(name=s.name, context=c) for s, c in asked])
    species, contexts = oracle.classify(images)
    right_species = species == [s.id for s, _ in asked]
    right_context = contexts == [CONTEXTS.index(c) for _, c in asked]
    alike = species == [look_alike(s).id for s, _ in asked]
    by_species = {s.name: float(np.mean(right_species[[a == s for a, _ in asked]])) for s in DATASET_SPECIES}
    by_context = {c: float(np.mean(right_context[[a == c for _, a in asked]])) for c in PROMPTED_CONTEXTS}
    return {
        "right_species": float(right_species.mean()),
        "right_context": float(right_context.mean()),
        "both": float((right_species & right_context).mean()),
        "look_alike_instead": float(alike.mean()),
        "worst_species": dict(sorted(by_species.items(), key=lambda item: item[1])[:5]),
        "context": by_context,
        "seconds_an_image": seconds / len(images),
    }, images


def judge_oracle(oracle: Oracle, rng: np.random.Generator, count: int = 2000) -> dict:
    """Returns the accuracy of the oracle on new renderings of all species in all contexts."""
    species, contexts = rng.integers(len(SPECIES), size=count), rng.integers(len(CONTEXTS), size=count)
    images = [render(SPECIES[s], CONTEXTS[c], rng) for s, c in zip(species, contexts, strict=True)]
    species_ids, context_ids = oracle.classify(images)
    return {"species": float((species_ids == species).mean()), "context": float((context_ids == contexts).mean())}


@torch.inference_mode()
def embed(folder: str, images: list[Image.Image]) -> np.ndarray:
    """Returns unit CLIP image embeddings, (N, d) float64."""
    from transformers import AutoImageProcessor, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).eval()
    pixels = AutoImageProcessor.from_pretrained(folder)(images, return_tensors="pt").pixel_values
    vectors = torch.cat([model(part).image_embeds for part in pixels.split(256)]).double().numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def judge_clip(folder: str, seed: int, per_cell: int = 3) -> dict:
    """Returns the accuracy of two classifiers on CLIP embeddings: the nearest class mean and a linear discriminant.

    Both are fitted to the training split of a world and tested on new renderings in all contexts.
    """
    world, rng = World(seed), np.random.default_rng(seed + 7)
    train = world.pictures("train")
    labels = np.array([DATASET_SPECIES.index(picture.species) for picture in train])
    fit = embed(folder, [render(p.species, p.context, np.random.default_rng(p.seed)) for p in train])
    cells = list(product(range(len(DATASET_SPECIES)), CONTEXTS, range(per_cell)))
    test = embed(folder, [render(DATASET_SPECIES[label], context, rng) for label, context, _ in cells])
    truth = np.array([label for label, _, _ in cells])
    means = np.stack([fit[labels == k].mean(axis=0) for k in range(len(DATASET_SPECIES))])
    within = fit - means[labels]
    pooled = within.T @ within / (len(fit) - len(means))
    shrunk = 0.7 * pooled + 0.3 * np.trace(pooled) / len(pooled) * np.eye(len(pooled))
    weights = np.linalg.solve(shrunk, means.T)
    scores = test @ weights - 0.5 * np.einsum("kd,dk->k", means, weights)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    return {
        "class_mean": float(((test @ unit.T).argmax(1) == truth).mean()),
        "discriminant": float((scores.argmax(1) == truth).mean()),
    }


def contact_sheet(images: list[Image.Image], columns: int, scale: int = 2) -> Image.Image:
    """Draws images of one size in rows, enlarged, with a thin white line between them."""
    side = images[0].width * scale
    sheet = Image.new("RGB", (columns * (side + 2), -(-len(images) // columns) * (side + 2)), "white")
    for i, image in enumerate(images):
        sheet.paste(
            image.resize((side, side), Image.Resampling.LANCZOS), (i % columns * (side + 2), i // columns * (side + 2))
        )
    return sheet


def main() -> None:
    """Measures and prints one JSON record."""
    args = make_parser().parse_args()
    torch.set_num_threads(args.threads)
    oracle, rng = Oracle.load(), np.random.default_rng(args.seed + 12345)
    generator, images = judge_generator(args, oracle)
    if args.sheet:
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(images, len(PROMPTED_CONTEXTS)).save(args.sheet)
    record = {
        "generator": generator,
        "oracle": judge_oracle(oracle, rng),
        "clip": judge_clip(args.clip, args.seed),
        "settings": {name: getattr(args, name) for name in SETTINGS},
        "date": str(date.today()),
        "device": f"{device()} ({platform.machine()})",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
