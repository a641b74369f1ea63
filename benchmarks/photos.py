"""Pairs of images for the benchmarks: from a dataset of the user, or random images that resemble photos.

Owns the choice of images, and the Parquet file that all loaders read.
"""

from __future__ import annotations

import io
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import PIL.Image

from diffcore_hf.core import images, seeding
from diffcore_hf.core.dataset_columns import undecoded
from diffcore_hf.core.image_roots import files_of
from diffcore_hf.core.loading import load_splits
from diffcore_hf.core.quiet import quiet_datasets

CLASSES = 10
REAL, GENERATED = (375, 500), (512, 512)
"""Height and width of random images: typical for photos of the fine-grained datasets and for generated images."""
SPECTRUM = 1.5
"""The amplitude is divided by the frequency to this power, so that JPEG files are as large as those of photos."""

Pair = tuple[bytes, bytes]
"""Encoded bytes of a real and a generated image."""


@contextmanager
def stored_pairs(count: int, data: str | None = None) -> Iterator[tuple[Path, str]]:
    """Creates a temporary folder with one Parquet file (image, generated, label) that `load_dataset` reads.

    Args:
        count: maximum number of rows.
        data: a folder or Hub id whose first split has a column `image`. If it has no column `generated`, the second
            half of its images is used as counterparts of the first half. None: noise with the spectrum of photos.

    Yields:
        The folder, and a short description of its images, which the benchmark prints with its settings.
    """
    from datasets import config

    pairs = [_rendered(row) for row in range(count)] if data is None else _stored(data, count)
    kilobytes = [sum(map(len, side)) / len(side) / 1000 for side in zip(*pairs, strict=True)]
    what = (
        f"of {Path(data).name}"
        if data
        else "of rendered images (500x375 pixels with JPEG quality 90, and 512x512 pixels with JPEG quality 95)"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pairs"
        _write(folder, pairs)
        # The cache of `datasets` is in the temporary folder, not in the home folder of the user.
        with mock.patch.object(config, "HF_DATASETS_CACHE", Path(name) / "cache"):
            yield folder, f"{len(pairs)} pairs {what}, {kilobytes[0]:.0f} and {kilobytes[1]:.0f} kB on average"


def _write(folder: Path, pairs: list[Pair]) -> None:
    from datasets import ClassLabel, Dataset, Features, Image

    rows = {
        "image": [{"bytes": real, "path": None} for real, _ in pairs],
        "generated": [{"bytes": generated, "path": None} for _, generated in pairs],
        "label": [row % CLASSES for row in range(len(pairs))],
    }
    features = Features({"image": Image(), "generated": Image(), "label": ClassLabel(num_classes=CLASSES)})
    folder.mkdir()
    with quiet_datasets():
        Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")


def _rendered(row: int) -> Pair:
    """Returns a random pair. The real image is encoded like a typical photo, and the generated image as in exports."""
    grain = seeding.generator("bench", row)
    buffer = io.BytesIO()
    PIL.Image.fromarray(_noise(grain, *REAL)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), images.encode(_noise(grain, *GENERATED))


def _noise(grain: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns (height, width, 3) uint8: coloured noise whose amplitude is proportional to 1 / frequency ** SPECTRUM."""
    down, right = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width
    weight = np.maximum(np.hypot(down, right), 1) ** -SPECTRUM
    planes = np.fft.irfft2(np.fft.rfft2(grain.standard_normal((4, height, width))) * weight, s=(height, width))
    planes /= planes.std(axis=(1, 2), keepdims=True)
    return (128 + 50 * planes[:1] + 15 * planes[1:]).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def _stored(data: str, count: int) -> list[Pair]:
    """Returns pairs of a dataset, with unchanged bytes."""
    splits, commit = load_splits(data, None, None, None, section="data")
    rows, files = next(iter(splits.values())), files_of(data, commit)
    if "image" not in rows.column_names:
        raise SystemExit(f"{data} has no column 'image'. Its columns are: {', '.join(rows.column_names)}")
    rows = undecoded(rows, "image", "generated")
    if "generated" in rows.column_names:
        cells = ((row["image"], row["generated"]) for row in rows if row["image"] and row["generated"])
    else:
        cells = zip(rows["image"], rows.skip(len(rows) // 2)["image"], strict=False)
    shown = itertools.islice(cells, min(count, len(rows)))
    pairs = [(images.read_bytes(real, files), images.read_bytes(generated, files)) for real, generated in shown]
    if len(pairs) < 2 * CLASSES:
        raise SystemExit(f"{data} has {len(pairs)} pairs of images, but at least {2 * CLASSES} are needed")
    return pairs
