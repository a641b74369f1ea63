"""Trains a small text-to-image model on photographs, and measures the effect of its images on a classifier.

    python -m benchmarks.photos_t2i DIR

DIR is a folder of photographs that `load_dataset` reads, such as CIFAR-10. The script needs a CUDA machine: about ten
minutes for the models, then the time for the trainings of the classifier. The classifier is not trained on the
photographs of the text-to-image model. The one exception is the row that shows the effect of these photographs
themselves. A step is skipped if its folder exists. The steps are:

1. Divide the training split: a few photographs of each class for the classifier, the others with captions for the
   models.
2. Train a VAE, a text-to-image model and a CLIP on the other photographs (scripts of recipes/miniature).
3. For each number of real images: plan, generate and filter one counterpart of each image (`diffcore-hf augment`).
4. Train the classifier from scratch in each arm, with the same number of steps, and score it once on the test split.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.evidence.photographs import scored_splits, with_bytes
from benchmarks.evidence.series import BySeed, difference, percent, points
from benchmarks.report import numbers, table
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.merging import build
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.core.dataset_columns import column_values
from diffcore_hf.core.folder import canonical_json, write_atomic
from diffcore_hf.core.image_roots import files_of
from diffcore_hf.core.loading import load_splits
from diffcore_hf.core.seeding import generator

if TYPE_CHECKING:
    from datasets import Dataset

SCRIPTS = Path(__file__).parents[1] / "recipes" / "miniature"
ARMS: dict[str, dict[str, Any]] = {
    "plain": {"mix": {"mode": "off"}},
    "genaug": {"mix": {"mode": "append", "kind": "none", "partner": "own"}},
    "mix": {"mix": {"mode": "append", "kind": "both", "partner": "own"}},
    "everything": {"mix": {"mode": "off"}},
}
WORDS = {
    "plain": "real images alone",
    "genaug": "real images and generated images, not mixed",
    "mix": "real images and generated images, mixed",
    "everything": "all photographs, also those of the text-to-image model",
}


@dataclass(frozen=True)
class Sizes:
    """Settings that decide how long the models and the classifier are trained."""

    side: int = 64
    """Side of the generated images in pixels."""
    width: int = 224
    """Channels of the UNet; 224 gives about 50 million parameters."""
    vae_steps: int = 3000
    diffusion_steps: int = 20_000
    clip_steps: int = 4000
    batch: int = 256
    pairs: int = 20_000
    """Captioned photographs that are encoded for the text-to-image model."""
    train_steps: int = 2000
    network: str = "preact_resnet18"
    denoising_steps: int = 20


def main(arguments: Sequence[str] | None = None, sizes: Sizes | None = None) -> int:
    """Runs the steps that have no result yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of photographs with columns image and label")
    parser.add_argument("--each", type=numbers, default=(20, 100), help="numbers of real images of a class")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), help="seeds of images and trainings")
    parser.add_argument("--output", type=Path, default=Path("out/photos-t2i"), help="folder of models and results")
    args = parser.parse_args(arguments)
    sizes = sizes or Sizes()
    work = args.output.resolve()
    stored = scored_splits(load_splits(str(args.data), None, None, None, section="data")[0])
    splits = {name: with_bytes(rows, files_of(str(args.data))) for name, rows in stored.items()}
    most = max(args.each)
    captioned = captioned_folder(work, splits["train"], most)
    pipeline, clip = models(work, captioned, sizes)
    texts = []
    for each in args.each:
        scores: dict[str, BySeed] = {arm: {} for arm in ARMS}
        for seed in args.seeds:
            source = real_folder(work, splits, most, each, seed)
            augmented = augment(work, source, pipeline, clip, each, seed, sizes)
            for arm in ARMS:
                data = everything_folder(work, splits, source, most) if arm == "everything" else augmented
                output = work / "trainings" / f"{arm}-{each}-{seed}"
                scores[arm] = {**scores[arm], seed: trained(data, arm, seed, output, sizes)}
        texts.append(f"{each} real images of a class:\n\n{result_table(scores)}")
    text = "\n\n".join(texts)
    write_atomic(work / "table.md", f"{text}\n".encode())
    write_atomic(work / "sizes.json", canonical_json(vars(sizes)))
    print(text)
    return 0


def divided(labels: Sequence[int], most: int) -> tuple[list[int], list[int]]:
    """Returns the rows for the classifier, `most` of each class, and the rows for the text-to-image model."""
    by_class: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        by_class.setdefault(label, []).append(row)
    own: list[int] = []
    for label, rows in sorted(by_class.items()):
        own += generator("photographs", "classifier", label).permutation(rows)[:most].tolist()
    chosen = set(own)
    return own, [row for row in range(len(labels)) if row not in chosen]


def captioned_folder(work: Path, train: Dataset, most: int) -> Path:
    """Returns the captioned photographs of the text-to-image model; writes them if they do not exist."""
    _, others = divided(column_values(train, "label"), most)
    rows = train.select(others)
    names = [train.features["label"].int2str(label) for label in column_values(rows, "label")]
    captions = [f"a photo of a {name.replace('_', ' ')}" for name in names]
    return _written(work / "captioned", {"train": rows.remove_columns("label").add_column("text", captions)})


def models(work: Path, captioned: Path, sizes: Sizes) -> tuple[Path, Path]:
    """Returns the folders of the pipeline and of the CLIP; trains those that do not exist."""
    vae, pipeline, clip = (work / name for name in ("vae", "sd", "clip"))
    shared = ["--images", str(captioned), "--size", str(sizes.side)]
    batch = ["--batch-size", str(sizes.batch)]
    _script("train_vae.py", vae, *shared, *batch, "--steps", str(sizes.vae_steps))
    _script("train_diffusion.py", pipeline, *shared, *batch, "--steps", str(sizes.diffusion_steps), "--vae", str(vae),
            "--width", str(sizes.width), "--pairs", str(sizes.pairs), "--minutes", "10")  # fmt: skip
    _script("train_clip.py", clip, *shared, *batch, "--steps", str(sizes.clip_steps))
    return pipeline, clip


def _script(name: str, output: Path, *options: str) -> None:
    if not output.is_dir():
        subprocess.run([sys.executable, str(SCRIPTS / name), "--output", str(output), *options], check=True)


def real_folder(work: Path, splits: Mapping[str, Dataset], most: int, each: int, seed: int) -> Path:
    """Returns a dataset with `each` real images of a class and the scored splits; the seed chooses the images."""
    own, _ = divided(column_values(splits["train"], "label"), most)
    labels = column_values(splits["train"], "label")
    by_class: dict[int, list[int]] = {}
    for row in own:
        by_class.setdefault(labels[row], []).append(row)
    rows: list[int] = []
    for label, found in sorted(by_class.items()):
        rows += generator("photographs", "real", seed, label).permutation(found)[:each].tolist()
    return _written(work / "real" / f"{each}-{seed}", {**splits, "train": splits["train"].select(rows)})


def everything_folder(work: Path, splits: Mapping[str, Dataset], source: Path, most: int) -> Path:
    """Returns a dataset of the real images in `source` and all photographs of the text-to-image model."""
    from datasets import concatenate_datasets, load_dataset

    _, others = divided(column_values(splits["train"], "label"), most)
    real = load_dataset(str(source), split="train").cast(splits["train"].features)
    both = concatenate_datasets([real, splits["train"].select(others)])
    return _written(work / "everything" / source.name, {**splits, "train": both})


def _written(folder: Path, splits: Mapping[str, Dataset]) -> Path:
    """Writes a folder of Parquet files, which exists only when it is complete; an existing folder is not changed."""
    from datasets import Image

    if not folder.is_dir():
        beside = folder.with_name(f".{folder.name}")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, rows in splits.items():
            rows.cast_column("image", Image()).to_parquet(beside / f"{name}.parquet")
        beside.rename(folder)
    return folder


def augment(work: Path, source: Path, pipeline: Path, clip: Path, each: int, seed: int, sizes: Sizes) -> Path:
    """Returns the augmented dataset; generates it if it does not exist, or continues it."""
    from diffcore_hf.workflows import augment as workflow

    folder = work / "augmented" / f"{each}-{seed}"
    if not (folder / "diffcore.json").is_file():
        recipe = build_recipe(
            {"source": {"path": str(source)}, "output": str(folder), "seed": seed, "kind": "general"},
            {"prompts": {"template": "a photo of a {label}", "contexts": [""], "negatives": []}},
            {"model": {"path": str(pipeline), "steps": sizes.denoising_steps}, "filter": {"path": str(clip)}},
        )
        workflow.run(recipe, progress=False)
    return folder


def trained(data: Path, arm: str, seed: int, output: Path, sizes: Sizes) -> float:
    """Trains the classifier in one arm and returns its top-1 on the test split; a finished training is not repeated."""
    from diffcore_hf.training.comparison import trials
    from diffcore_hf.training.data.training_data import load_data
    from diffcore_hf.training.engine.devices import make_accelerator
    from diffcore_hf.training.engine.length import Length

    recipe = build(
        TRAIN_SCHEMA,
        {"data": {"path": str(data)}, "output": str(output), "max_steps": sizes.train_steps, "batch_size": 32},
        {"model": {"name": sizes.network, "pretrained": False}, "transform": {"preset": "cifar_preact_1200"}},
        {"optimizer": {"name": "adamw", "lr": 0.001, "head_lr": None, "weight_decay": 0.05}, "cache": "memory"},
        ARMS[arm],
    )
    trial = trials.Trial("run", seed, recipe, output / f"seed-{seed}")
    like = Length(sizes.train_steps, 0, sizes.train_steps / 6)
    loaded = load_data(recipe.data, recipe.mix)
    return trials.train(trial, loaded, like, make_accelerator(recipe, output), progress=False)["best"]["top1"]


def result_table(scores: Mapping[str, BySeed]) -> str:
    """Returns the table: top-1 of each arm, and its differences to the arms `plain` and `genaug`, paired by seed."""
    rows = []
    for arm, words in WORDS.items():
        gaps = [
            "base" if arm == base else points(difference(scores[arm], scores[base])) for base in ("plain", "genaug")
        ]
        rows.append([words, percent(scores[arm]), *gaps])
    head = ["trained on", "top-1, %", "difference to real images alone", "difference to generated images not mixed"]
    return table(head, rows)


if __name__ == "__main__":
    sys.exit(main())
