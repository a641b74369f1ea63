"""Measures how many planted leaks are found, and how many honest images are reported.

To print the table:            python -m benchmarks.leaks --photos FOLDER
To make a short measurement:   python -m benchmarks.leaks --photos FOLDER --images 40 --honest 100

A *leak* is a changed image of a split that is compared with this split. *Honest images* are training images without a
change. The bound is calibrated with one half of the honest images, which are compared with the validation split. For
the table, leaks of the test split and the other half of the honest images are compared with the test split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.planted import CHANGES
from diffcore_hf.augmentation.picture_prints import print_of
from diffcore_hf.core.images import decode
from diffcore_hf.method.copies.closeness import BOUND
from diffcore_hf.method.copies.nomination import NOMINEES, PrintIndex
from diffcore_hf.method.copies.prints import Print
from diffcore_hf.method.copies.registration import closest

FALSE_ALARMS = 0.005
"""Share of honest calibration images whose score may be above the calibrated bound."""


@dataclass(frozen=True)
class Scores:
    """The scores of some images against one split."""

    scores: list[float]
    """Score of the closest image."""
    is_right: list[bool]
    """Whether the closest image is the original; false for honest images."""
    is_nominated: list[bool]
    """Whether the original is among the nominees."""

    def found(self, bound: float) -> float:
        """Returns the share of images whose score reaches the bound."""
        return float(np.mean([score >= bound for score in self.scores]))


class Split:
    """The prints of a split and their index."""

    def __init__(self, images: Sequence[Image.Image]):
        self.images = images
        self.prints: list[Print] = [print_of(image) for image in images]
        self.index = PrintIndex(self.prints)

    def compare(self, images: Sequence[Image.Image], originals: Sequence[int] | None = None) -> Scores:
        """Returns the scores of some images.

        Args:
            images: the tested images.
            originals: index of the original of each image; None: they are honest images.
        """
        tested = [print_of(image) for image in images]
        found = Scores([], [], [])
        for position, (picture, nominees) in enumerate(zip(tested, self.index.nominate(tested), strict=True)):
            match = closest(picture, [self.prints[nominee] for nominee in nominees])
            assert match is not None
            original = -1 if originals is None else originals[position]
            found.scores.append(match.score)
            found.is_right.append(nominees[match.image] == original)
            found.is_nominated.append(original in nominees)
        return found

    def planted(self, count: int, seed: int) -> dict[str, Scores]:
        """Returns the scores of changed images of this split, by change."""
        found = {}
        for name, change in CHANGES.items():
            random = Random(f"{seed} {name}")
            chosen = random.sample(range(len(self.images)), min(count, len(self.images)))
            found[name] = self.compare([change(self.images[index], random) for index in chosen], chosen)
        return found


def measure(splits: Mapping[str, Sequence[Image.Image]], images: int, honest: int, *, seed: int = 0) -> dict[str, Any]:
    """Returns the calibrated bound and the shares that are found, by change.

    Args:
        splits: images of train, validation and test.
        images: number of leaks of each change.
        honest: number of honest images in each half.
        seed: seed of the choices.
    """
    train = Random(seed).sample(range(len(splits["train"])), min(2 * honest, len(splits["train"])))
    halves = [[splits["train"][index] for index in train[half::2]] for half in (0, 1)]
    calibration = Split(splits["validation"]).compare(halves[0])
    test = Split(splits["test"])
    planted, others = test.planted(images, seed), test.compare(halves[1])
    return {
        "calibrated": round(float(np.quantile(calibration.scores, 1 - FALSE_ALARMS)), 3),
        "bound": BOUND,
        "nominees": NOMINEES,
        "honest": len(others.scores),
        "images": images,
        "false_alarms": others.found(BOUND),
        "quantiles": {str(q): float(np.quantile(others.scores, q)) for q in (0.5, 0.9, 0.99, 1.0)},
        "scores": {"calibration": sorted(calibration.scores), "honest": sorted(others.scores)},
        "kinds": {
            name: {
                "scores": sorted(scores.scores),
                "found": scores.found(BOUND),
                "right": float(np.mean(scores.is_right)),
                "nominated": float(np.mean(scores.is_nominated)),
                "low": float(np.quantile(scores.scores, 0.05)),
            }
            for name, scores in planted.items()
        },
    }


def table(results: Mapping[str, Any]) -> str:
    """Returns the table for the documentation."""
    names = list(results)
    lines = [
        f"| images | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
    ]
    for change in CHANGES:
        cells = [f"{100 * results[name]['kinds'][change]['found']:.1f} %" for name in names]
        lines.append(f"| leak: {change} | {' | '.join(cells)} |")
    cells = [f"{100 * results[name]['false_alarms']:.2f} %" for name in names]
    return "\n".join([*lines, f"| honest images | {' | '.join(cells)} |"])


def photographs(path: str) -> dict[str, list[Image.Image]]:
    """Returns the images of a dataset with the splits train, validation and test."""
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    loaded = load_dataset(path).cast_column("image", ImageFeature(decode=False))
    return {split: [decode(cell) for cell in loaded[split]["image"]] for split in ("train", "validation", "test")}


def main(arguments: list[str] | None = None) -> None:
    """Measures the datasets and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", help="dataset with the splits train, validation and test")
    parser.add_argument("--miniature", type=Path, help="a folder that `diffcore-hf miniature` wrote")
    parser.add_argument("--images", type=int, default=372, help="leaks of each change")
    parser.add_argument("--honest", type=int, default=1500, help="honest images in each half")
    parser.add_argument("--output", type=Path, help="file to which the figures are written")
    args = parser.parse_args(arguments)
    results = {}
    for name, path in (("photographs", args.photos), ("miniature", args.miniature)):
        if path is not None:
            results[name] = measure(photographs(str(path)), args.images, args.honest)
    if args.output is not None:
        args.output.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
