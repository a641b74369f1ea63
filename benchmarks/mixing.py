"""Measures the overhead of mixing, A_O = (T_aug - T_van) / T_van (Eq. 9), against the same training without it.

To print a table:             python -m benchmarks.mixing
To use your own images:       python -m benchmarks.mixing --data DATASET    (folder or Hub id, see photos.py)
To write it into the docs:    python -m benchmarks.mixing --write docs/performance.md
To make a short measurement:  python -m benchmarks.mixing --batches 16 --rounds 3

There are three arms: plain (no mixing), mix (every sample is mixed with its counterpart, which is the worst case) and
mixup (the images of a batch are mixed with each other). The arms alternate: in each round, every arm takes one step of
the training loop of this package, which includes loading. All arms take the same number of steps with the same number
of samples. A ratio compares two steps of the same round. The table gives the median of the rounds, and the range in
parentheses. Loader processes share the cores with the network, as they do in a training.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

# The training program sets this too, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from benchmarks.photos import stored_pairs
from benchmarks.report import numbers, paragraphs, settings, spread, table, words, write_section
from diffcore_hf.config.merging import build
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.config.train_schema import TRAIN_SCHEMA
from diffcore_hf.training.comparison.arms import arms_of
from diffcore_hf.training.data import row_mixer
from diffcore_hf.training.data.samples import TrainSamples
from diffcore_hf.training.data.training_data import TrainingData, load_data
from diffcore_hf.training.engine import loop
from diffcore_hf.training.engine.devices import make_accelerator
from diffcore_hf.training.engine.training_log import Window

ARMS = ("plain", "mix", "mixup")
PACKAGES = ("torch", "torchvision", "timm", "accelerate", "simplejpeg", "pillow")
TITLE = "What mixing costs a training"
PAPER = """The paper reports 68.2, 59.3 and 58.9 % for its method at batch sizes 16, 32 and 64. It reports 0.9, 0.6 and
0.4 % for Mixup."""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder or Hub id with images; the default is random images")
    parser.add_argument("--pairs", type=int, default=64, help="number of pairs of images")
    parser.add_argument("--batches", type=numbers, default=(16, 32, 64), help="batch sizes")
    ways = "numbers of loader processes, or `memory` for images that are decoded beforehand"
    parser.add_argument("--loading", type=words, default=("2", "0", "memory"), help=ways)
    parser.add_argument("--rounds", type=int, default=4, help="rounds of the largest batch; smaller batches take more")
    parser.add_argument("--model", default="resnet18", help="name of a timm model")
    parser.add_argument("--size", type=int, default=224, help="side of the training image in pixels")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is replaced")
    return parser


class Arm:
    """One training that takes one step at a time."""

    def __init__(self, recipe: TrainRecipe, data: TrainingData):
        folder = Path(recipe.data.path).with_name("training")  # nothing is written into it before the first evaluation
        accelerator = make_accelerator(recipe, folder)
        self._training = loop.Training(recipe, data, 0, folder, accelerator)
        self._window = Window(accelerator.device)
        self._batches = iter(self._training.batches())

    def step(self) -> float:
        """Takes one step. Returns the time in seconds, including the time to wait for its batch."""
        start = time.perf_counter()
        self._training.train_step(self._batches, self._window)
        self._training.step += 1
        return time.perf_counter() - start

    @property
    def samples(self) -> TrainSamples:
        """Returns the samples that the loader of this training reads."""
        return self._training.samples


def mixing_seconds(samples: TrainSamples, epochs: int = 4) -> tuple[float, float]:
    """Measures apply_mix in one thread, as in a loader process.

    Returns:
        Seconds per image with a cold and with a warm processor cache, median over the epochs. The first call for an
        image comes after its decoding, so the cache is cold. The second call follows directly, so the cache is warm.
    """
    spent: list[tuple[float, float]] = []

    def timed(*args, apply_mix=row_mixer.apply_mix):
        times = [time.perf_counter()]
        for _ in range(2):
            mixed = apply_mix(*args)
            times.append(time.perf_counter())
        spent.append((times[1] - times[0], times[2] - times[1]))
        return mixed

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with mock.patch.object(row_mixer, "apply_mix", timed):
        for epoch in range(1 + epochs):
            samples.__getitems__([(epoch, place) for place in range(len(samples))])
    torch.set_num_threads(threads)
    seconds = np.array(spent).reshape(1 + epochs, -1, 2)[1:].mean(axis=1)  # the first epoch only fills the caches
    first, again = np.median(seconds, axis=0)
    return float(first), float(again)


def measure(recipe: TrainRecipe, data: dict[str, TrainingData], rounds: int) -> list[str]:
    """Measures one batch size with one way of loading. Returns the cells of its row."""
    arms = {name: Arm(arm, data[name]) for name, arm in arms_of(recipe).items()}
    for arm in arms.values():  # the first step prepares kernels and fills the queue of the loader
        arm.step()
    seconds: dict[str, list[float]] = {name: [] for name in ARMS}
    for number in range(rounds):
        # The first arm changes from round to round, so that each arm is first equally often.
        for name in ARMS[number % 3 :] + ARMS[: number % 3]:
            seconds[name].append(arms[name].step())
    plain = statistics.median(seconds["plain"])
    overhead = {name: [100 * (a / b - 1) for a, b in zip(seconds[name], seconds["plain"], strict=True)]
                for name in ("mix", "mixup")}  # fmt: skip
    cost = [100 * each * recipe.batch_size / plain for each in mixing_seconds(arms["mix"].samples)]
    return [
        f"{plain:.2f} s",
        *(spread(overhead[name], "{:.1f}") + " %" for name in overhead),
        f"{cost[0]:.2f} % ({cost[1]:.2f} %)",
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Measures every batch size with every way of loading."""
    args = make_parser().parse_args(argv)
    with stored_pairs(args.pairs, args.data) as (folder, what):
        rows = []
        for loading, batch in itertools.product(args.loading, args.batches):
            recipe = build(TRAIN_SCHEMA, {
                "data": str(folder), "preset": "paper", "model": args.model, "batch_size": batch,
                "transform": {"size": args.size}, "max_steps": 10**6, "device": "cpu", "compare": ARMS,
                **({"cache": "memory"} if loading == "memory" else {"workers": int(loading)}),
                "arms": {"mix": {"mix": {"mode": "replace", "probability": 1.0}}},
            })  # fmt: skip
            data = {arm: load_data(each.data, each.mix) for arm, each in arms_of(recipe).items()}
            rounds = args.rounds * max(args.batches) // batch
            rows.append([str(batch), loading, str(rounds), *measure(recipe, data, rounds)])
            print("  ".join(rows[-1]), flush=True)
    head = ("batch size", "loading", "number of steps", "time of a plain step", "overhead of mixing",
            "overhead of Mixup", "computation of the mix")  # fmt: skip
    text = paragraphs(
        table(head, rows),
        "The overhead is the additional time of a training step, divided by the time of a plain step (A_O, Eq. 9 of "
        f"the paper). Every sample is mixed. {PAPER}",
        "The column *loading* is the number of loader processes, which share the cores with the network. With 0, the "
        "training process loads the images between two steps. With `memory`, all images were decoded before the "
        "training (`cache: memory`). The column *computation of the mix* is the time in `apply_mix`, divided by the "
        "time of a plain step. The first figure is for a cold processor cache, the figure in parentheses for a warm "
        "processor cache.",
        f"The network is {args.model} from scratch at {args.size} pixels, with preset `paper`, float32 and "
        f"{torch.get_num_threads()} CPU threads. The images are {what}. Plain and mixed steps alternate in rounds. The "
        "table gives the median of the ratios within a round (minimum to maximum). "
        f"{settings('mixing', PACKAGES)}",
    )
    print(text)
    if args.write:
        write_section(args.write, TITLE, text)


if __name__ == "__main__":
    main()
