"""Measures which image regions the models of a comparison use, on birds whose masks are known.

To measure and print:            python -m benchmarks.saliency
To write it into the docs:       python -m benchmarks.saliency --write docs/saliency.md
To measure trainings of yours:   python -m benchmarks.saliency --training out/train/gain
To make a short measurement:     python -m benchmarks.saliency --arms plain,mix --seeds 0 --steps 30 --each 10

The trainings are fine-tunings of the small network of the package on the miniature world, with ideal counterparts
(masked_birds.py). There are three measurements on the test images. First, the maps and figures of `diffcore-hf
explain`. Second, the same figures of the first arm with a new random head: they show which part of the lift does not
come from the trained head. Third, each bird is rendered again in another scene, with the same pose, and the predictions
are compared. Finished trainings are kept, so a run that was stopped continues.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# The training program sets this too, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import nn

from benchmarks.masked_birds import other_context, shown_pictures, write_masked_birds
from benchmarks.report import numbers, paragraphs, settings, table, words, write_section
from diffcore_hf.config.merging import build
from diffcore_hf.config.recipe_files import read_recipe_file, shipped_files
from diffcore_hf.config.train import MixConfig
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.miniature.renderer import compose, draw_picture
from diffcore_hf.miniature.world import Picture
from diffcore_hf.training.comparison import trials
from diffcore_hf.training.comparison.finished import FinishedTrainings, finished_trainings
from diffcore_hf.training.comparison.statistics import paired_difference
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.networks.trained_model import load_model
from diffcore_hf.training.saliency.explanation import explain_model, image_figures
from diffcore_hf.training.saliency.figures import difference_text
from diffcore_hf.workflows.explain import explain_trainings, figures_text

TITLE = "Measured on the miniature birds"
PACKAGES = ("torch", "timm")
ARMS = ("plain", "mix", "cutmix")
BACKBONE = "package:diffcore_hf.miniature/models/backbone"
FINE_TUNING = {
    "model": {"pretrained": BACKBONE},
    "optimizer": {"lr": 0.0003, "head_lr": 0.003},
    "evaluate_every": 10,
    "precision": "bfloat16",
    "workers": 0,
}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=words, help="arms; the default is plain,mix,cutmix, or all arms of --training")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), help="seeds of the trainings")
    parser.add_argument("--steps", type=int, default=150, help="optimiser steps of a training")
    parser.add_argument("--each", type=int, default=100, help="test images of a species that are measured, up to 100")
    parser.add_argument("--training", type=Path, help="finished trainings on the miniature; the default is new ones")
    parser.add_argument("--work", type=Path, default=Path("out/saliency"), help="folder of images and trainings")
    parser.add_argument(
        "--write", type=Path, help="Markdown file whose section is replaced; its picture is written too"
    )
    return parser


def train(data: Path, output: Path, arms: Sequence[str], seeds: Sequence[int], steps: int) -> Path:
    """Trains the arms that are not finished. Returns the output folder."""
    shipped = read_recipe_file(shipped_files()["miniature-train"])
    keys = {"data": str(data), "compare": list(arms), "seeds": list(seeds), "max_steps": steps, "output": str(output)}
    trials.run(build(TRAIN_SCHEMA, shipped, FINE_TUNING, keys))
    return output


def with_new_head(trainings: FinishedTrainings) -> list[dict[str, float]]:
    """Returns the mean figures of the first arm with a new head, for each seed."""
    arm, recipe = next(iter(trainings.recipes.items()))
    data = load_data(recipe.data, MixConfig(mode="off"), others=("mask",))
    means = []
    for seed in trainings.seeds:
        model: Any = load_model(trainings.model_folder(arm, seed), len(data.classes))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.reset_classifier(len(data.classes))
        rows = list(range(len(data.test)))
        _, result = explain_model(model.eval(), recipe, data, rows, mask="mask")
        means.append(image_figures(result, rows).means(np.ones(len(rows), bool)))
    return means


def scenes(pictures: Sequence[Picture]) -> tuple[torch.Tensor, torch.Tensor]:
    """Renders each picture, and the same bird in another scene. Returns two tensors (N, 3, 64, 64) uint8."""
    images: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for picture in pictures:
        draw = draw_picture(np.random.default_rng(picture.seed))
        other = other_context(picture, np.random.default_rng((*picture.seed, 7)))
        for rendered, context in zip(images, (picture.context, other), strict=True):
            pixels = np.array(compose(picture.species, context, draw))
            rendered.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return torch.stack(images[0]), torch.stack(images[1])


def predictions(model: nn.Module, images: torch.Tensor) -> np.ndarray:
    """Returns the predicted class of each image, (N,)."""
    config: Any = model.pretrained_cfg
    normalisation = tuple(config["mean"]), tuple(config["std"])
    with torch.inference_mode():
        batches = [model(framing.normalised(batch, normalisation)).argmax(1) for batch in images.split(100)]
    return torch.cat(batches).numpy()


def stability(trainings: FinishedTrainings, pictures: Sequence[Picture]) -> dict[str, list[dict[str, float]]]:
    """Returns for each arm and seed the share of unchanged predictions, and the accuracy in both scenes."""
    labels = np.array([picture.species.id for picture in pictures])
    labels = np.unique(labels, return_inverse=True)[1]  # classes are numbered in the order of the species
    own, other = scenes(pictures)
    results: dict[str, list[dict[str, float]]] = {}
    for arm in trainings.arms:
        results[arm] = []
        for seed in trainings.seeds:
            model = load_model(trainings.model_folder(arm, seed), labels.max() + 1)
            before, after = predictions(model, own), predictions(model, other)
            shares = {"stay": before == after, "own": before == labels, "other": after == labels}
            results[arm].append({name: float(share.mean()) for name, share in shares.items()})
    return results


def interval(values: Sequence[float], factor: float, digits: int) -> str:
    """Returns the mean and half of its 95 % interval over the seeds."""
    over_seeds = paired_difference(values, [0.0] * len(values))
    text = f"{factor * over_seeds.mean:.{digits}f}"
    return text if over_seeds.half is None else f"{text} ± {factor * over_seeds.half:.{digits}f}"


def stability_table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Returns the shares of unchanged predictions as a Markdown table."""
    first = next(iter(results))
    stays = {arm: [run["stay"] for run in runs] for arm, runs in results.items()}
    rows = []
    for arm, runs in results.items():
        difference = paired_difference(stays[arm], stays[first])
        record = {"mean": difference.mean, "half_interval": difference.half}
        rows.append(
            [
                arm,
                interval(stays[arm], 100, 1),
                "" if arm == first else difference_text(record, 100, 1),
                *(interval([run[name] for run in runs], 100, 1) for name in ("own", "other")),
            ]
        )
    head = ("arm", "unchanged predictions, %", f"to {first}, 95 %", "top-1, first scene", "top-1, other scene")
    return table(head, rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, measures and prints; with --write, replaces a section of a page and its picture."""
    args = make_parser().parse_args(argv)
    arms = args.arms or (() if args.training else ARMS)
    birds = write_masked_birds(args.work / "birds")
    training = args.training or train(birds, args.work / "training", arms, args.seeds, args.steps)
    measured = birds if args.each >= 100 else write_masked_birds(args.work / f"birds-{args.each}", args.each)
    changes = {"data": {"path": str(measured)}}
    content = explain_trainings(training, print, arms=arms, mask="mask", changes=changes)
    trainings = finished_trainings(training, arms, changes)
    control = with_new_head(trainings)
    stays = stability(trainings, shown_pictures(args.each))
    first = trainings.arms[0]
    what = (
        f"Trainings of {args.training.name}."
        if args.training
        else f"The network is ResNet-10-T with weights of the package. It was fine-tuned for {args.steps} steps of 32 "
        "images. The counterparts of `mix` are ideal: each is a new picture of the species, rendered in another "
        "context."
    )
    layers = ", ".join(dict.fromkeys(content["layers"].values()))
    text = paragraphs(
        f"{what} The layer is `{layers}`. The masks are those of the renderer.",
        *figures_text(content).split("\n\n"),
        f"Control: with a new random head, the lift of `{first}` is "
        f"{interval([mean['lift'] for mean in control], 1, 2)}, and its hits are "
        f"{interval([mean['hit'] for mean in control], 100, 1)} %. This part of the lift and of the hits does not "
        "come from the trained head.",
        "Each test image was rendered a second time: the same bird with the same pose, in another scene. A prediction "
        "that stays the same does not depend on the scene:",
        stability_table(stays),
        settings("saliency", PACKAGES),
    )
    print(text)
    if args.write:
        picture = args.write.parent / "assets" / "saliency.png"
        picture.parent.mkdir(exist_ok=True)
        shutil.copyfile(training / "saliency.png", picture)
        caption = "![Grad-CAM maps of six test images for each arm](assets/saliency.png)"
        write_section(args.write, TITLE, f"{caption}\n\n{text}")


if __name__ == "__main__":
    main()
