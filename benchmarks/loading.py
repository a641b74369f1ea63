"""Compares the loader of this package with loaders from the documentation of datasets, in training images per second.

To print a table:             python -m benchmarks.loading
To use your own images:       python -m benchmarks.loading --data DATASET    (folder or Hub id, see photos.py)
To write it into the docs:    python -m benchmarks.loading --write docs/performance.md
To make a short measurement:  python -m benchmarks.loading --workers 0 --rounds 3 --steps 2

There are two tasks at 224 pixels. In task `pairs` (preset fgvc_scratch_224), a real and a generated image are resized
to 256, cropped and flipped, and every pair is mixed. In task `images` (preset imagenet_fast100), one image gets a
random resized crop and a flip, as in the image-classification example of transformers. Every loader returns normalised
float32 batches in the main process, except `ours, uint8`: a GPU would normalise its batches. The loaders alternate in
one run. The table gives the median of the rounds, and the range in parentheses. A ratio compares two measurements of
the same round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.photos import stored_pairs
from benchmarks.plain import NORMALISATION, SIZE, PlainImages, PlainPairs, plain_batches
from benchmarks.report import numbers, paragraphs, settings, spread, table, write_section
from diffcore_hf.config.train import DataConfig, MixConfig, TrainRecipe, TransformConfig
from diffcore_hf.core import images
from diffcore_hf.core.jpeg import fast_decoder
from diffcore_hf.core.loading import load_splits
from diffcore_hf.training.data import framing, loader
from diffcore_hf.training.data.samples import train_samples
from diffcore_hf.training.data.training_data import TrainingData, load_data

TITLE = "What loading costs"
PACKAGES = ("torch", "torchvision", "datasets", "simplejpeg", "pillow")
ARMS = ("ours", "ours, uint8", "plain", "decoding alone", "by Pillow")
TASKS = {"pairs": ("image", "generated"), "images": ("image",)}
PRESETS = {"pairs": "fgvc_scratch_224", "images": "imagenet_fast100"}


LEGEND = """The task `pairs` loads a real and a generated image and mixes them. The task `images` loads one image.
The columns on the left are ratios. The other columns are samples per second of five loaders:

- `ours`: the loader of this package.
- `ours, uint8`: the same loader without normalisation, which a GPU can do.
- `plain`: the loader in the documentation of `datasets`, with `with_transform`, Pillow and float32.
- `decoding alone`: decodes the images with simplejpeg and does not resize them. No loader that decodes whole images can
  be faster.
- `by Pillow`: decodes the images with Pillow and does not resize them."""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder or Hub id with images; the default is random images")
    parser.add_argument("--pairs", type=int, default=128, help="number of pairs of images")
    parser.add_argument("--batch", type=int, default=64, help="batch size")
    parser.add_argument("--workers", type=numbers, default=(0, 2), help="numbers of loader processes to measure")
    parser.add_argument("--steps", type=int, default=6, help="timed batches of a measurement, for each worker")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each loader")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is replaced")
    return parser


class Decoding(Dataset):
    """Dataset that only decodes images. It is an upper bound for every loader that decodes whole images."""

    def __init__(self, data: TrainingData, columns: Sequence[str], fast: Any):
        self._rows, self._columns, self._fast = data.train.rows, columns, fast

    def __getitems__(self, wanted: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        rows = self._rows[[sample for _, sample in wanted]]
        for name in self._columns:
            for cell in rows[name].to_pylist():
                images.decode_pixels(cell, self._fast)
        return {"images": torch.zeros(len(wanted))}


def our_batches(data: TrainingData, rows: Dataset, batch: int, workers: int) -> DataLoader:
    """Returns the loader of the training program for the samples of a training or for a `Decoding` dataset."""
    sampler = loader.StepBatches(len(data.train), batch, 0, 0, 10**6 // batch, accumulate=1, rank=0, world=1)
    return loader.batches(rows, sampler, workers=workers, pin=False)


def rate(batches: Iterable[dict[str, Tensor]], steps: int, workers: int, normalise: bool) -> float:
    """Returns images per second. The first batch of each worker is not timed."""
    each = max(1, workers)
    source, count = iter(batches), 0
    for _ in range(each):
        next(source)
    start = time.perf_counter()
    for _ in range(steps * each):
        batch = next(source)["images"]
        if normalise:
            batch = framing.normalised(batch, NORMALISATION)
        count += len(batch)
    return count / (time.perf_counter() - start)


def loaders(folder: Path, task: str, batch: int) -> dict[str, Callable[[int], DataLoader]]:
    """Returns, for each arm, a function from the number of workers to its loader."""
    paired = task == "pairs"
    config = TrainRecipe(
        DataConfig(str(folder)),
        mix=MixConfig(mode="replace" if paired else "off"),
        transform=TransformConfig(PRESETS[task], SIZE),
    )
    data = load_data(config.data, config.mix)
    rows = load_splits(str(folder), None, None, None, section="data")[0]["train"].select_columns(
        [*TASKS[task], "label"]
    )
    samples = train_samples(config, data, 0)
    fast, slow = Decoding(data, TASKS[task], fast_decoder()), Decoding(data, TASKS[task], None)
    return {
        "ours": lambda workers: our_batches(data, samples, batch, workers),
        "ours, uint8": lambda workers: our_batches(data, samples, batch, workers),
        "plain": lambda workers: plain_batches(rows, PlainPairs() if paired else PlainImages(), batch, workers),
        "decoding alone": lambda workers: our_batches(data, fast, batch, workers),
        "by Pillow": lambda workers: our_batches(data, slow, batch, workers),
    }


def measure(arms: dict[str, Callable[[int], DataLoader]], workers: int, steps: int, rounds: int) -> list[str]:
    """Measures one task with one number of workers. Returns the cells of its row."""
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        turn = number % len(ARMS)
        # The first arm changes from round to round, so that each arm is first equally often.
        for name in ARMS[turn:] + ARMS[:turn]:
            rates[name].append(rate(arms[name](workers), steps, workers, name == "ours"))
    ratios = [[a / b for a, b in zip(rates[name], rates["plain"], strict=True)] for name in ARMS[:2]]
    return [*(spread(each, "{:.2f}") for each in ratios), *(spread(rates[name], "{:,.0f}") for name in ARMS)]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures both tasks with every number of workers."""
    args = make_parser().parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    with stored_pairs(args.pairs, args.data) as (folder, what):
        for task in TASKS:
            arms = loaders(folder, task, args.batch)
            for workers in args.workers:
                rows.append([task, str(workers), *measure(arms, workers, args.steps, args.rounds)])
                print("  ".join(rows[-1]), flush=True)
    text = paragraphs(
        table(("task", "loader processes", "`ours` / `plain`", "`ours, uint8` / `plain`", *ARMS), rows),
        *LEGEND.split("\n\n"),
        f"Each process has one thread and loads batches of {args.batch}. The images are {what}. The loaders alternate "
        f"in {args.rounds} rounds of {args.steps} batches per process. The table gives the median (minimum to "
        f"maximum). {settings('loading', PACKAGES)}",
    )
    print(text)
    if args.write:
        write_section(args.write, TITLE, text)


if __name__ == "__main__":
    main()
