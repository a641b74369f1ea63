"""Trains the CLIP of the miniature world: a `CLIPModel` with tokenizer and image processor on images with captions.

To train the CLIP of the package:        python recipes/miniature/train_clip.py --species unseen
To train on all forty species:           python recipes/miniature/train_clip.py --species seen --output out/clip-seen
To train on images with captions:        python recipes/miniature/train_clip.py --images FOLDER --size 96 \
                                             --output out/clip

The CLIP of the package is trained without the species of the dataset (`unseen`).
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from text import make_tokenizer, tokenize
from workbench import (
    MODELS,
    Clock,
    cast,
    device,
    folder_pairs,
    optimizer_for,
    pixels,
    rendered_pairs,
    save_whole,
    write_record,
)

from diffcore_hf.miniature.species import OTHER_SPECIES, SPECIES

SEEN = {"unseen": OTHER_SPECIES, "seen": SPECIES}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--species", choices=tuple(SEEN), default="unseen", help="species that the renderings show")
    parser.add_argument("--images", help="folder of images with captions, used instead of renderings")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--output", type=Path, default=MODELS / "clip")
    return parser


def make_clip(tokenizer, size: int):
    """Builds a CLIP: vision 128 wide, 4 layers, patches of 8; text 96 wide, 2 layers; 96 shared dimensions."""
    from transformers import CLIPConfig, CLIPModel

    vision = {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": size,
        "patch_size": 8,
        "projection_dim": 96,
    }
    text = {
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "projection_dim": 96,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=96))


def contrastive_loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, captions: list[str]) -> torch.Tensor:
    """Returns CLIP's symmetric cross-entropy on unit (B, d) embeddings.

    If several images have the same caption, each of them is a correct match for it.
    """
    numbers = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    ids = torch.tensor([numbers[caption] for caption in captions], device=image.device)
    target = (ids[:, None] == ids[None, :]).float()
    target = target / target.sum(dim=1, keepdim=True)
    logits = scale.exp() * image @ text.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def shifted(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Returns the images with a random change of brightness for each."""
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(images), 1, 1, 1))).float()
    return (images + 1) * gain - 1


def main() -> None:
    """Trains the CLIP and saves it."""
    from transformers import CLIPImageProcessor

    args = make_parser().parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    pairs = (
        folder_pairs(args.images, args.seed, args.size)
        if args.images
        else rendered_pairs(args.seed, args.size, SEEN[args.species], flaws=0.03, asides=0.03)
    )
    pairs = ((image, text) for image, text in pairs if text)
    where, rng = device(), np.random.default_rng(args.seed)
    tokenizer = make_tokenizer([text for _, text in islice(pairs, 4000)])
    model = make_clip(tokenizer, args.size).to(where)
    optimizer, schedule = optimizer_for(list(model.parameters()), args.steps, 1e-3)
    clock = Clock(args.steps)
    for step in range(1, args.steps + 1):
        images, captions = zip(*islice(pairs, args.batch_size), strict=True)
        with cast(where):
            out = model(
                **tokenize(tokenizer, captions, "longest").to(where),
                pixel_values=shifted(pixels(images), rng).to(where),
            )
        scale = model.logit_scale.clamp(max=np.log(50))
        loss = contrastive_loss(out.image_embeds.float(), out.text_embeds.float(), scale, captions)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        clock.report(step, loss=loss.item())
    processor = CLIPImageProcessor(
        size={"shortest_edge": args.size},
        crop_size={"height": args.size, "width": args.size},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )

    def write(folder: Path) -> None:
        model.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        processor.save_pretrained(folder)
        shown = f"renderings of {len(SEEN[args.species])} species ({args.species}) in 10 contexts"
        write_record(
            folder,
            data=args.images or shown,
            size=args.size,
            seed=args.seed,
            steps=args.steps,
            batch_size=args.batch_size,
            seconds=clock.seconds(),
            final_loss=loss.item(),
        )

    save_whole(args.output, write)


if __name__ == "__main__":
    main()
