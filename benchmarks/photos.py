"""Pairs of photos for the benchmarks: of a dataset at hand, or stand-ins that are rendered.

Owns which images are measured, and the parquet file through which every side reads them.
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
from diffcore_hf.core.loading import load_splits
from diffcore_hf.core.quiet import quiet_datasets

CLASSES = 10
REAL, GENERATED = (375, 500), (512, 512)
"""Height and width of stand-ins: a usual photo of the fine-grained datasets, and a usual generated image."""
SPECTRUM = 1.5
"""Amplitude falls with frequency to this power: as JPEG they weigh what photos of these sizes do."""

Pair = tuple[bytes, bytes]
"""A real and a generated image as they are stored."""


@contextmanager
def stored_pairs(count: int, data: str | None = None) -> Iterator[tuple[Path, str]]:
    """A folder of one parquet file (image, generated, label), which `load_dataset` reads; gone afterwards.

    Args:
        count: rows; fewer where the dataset has fewer.
        data: a folder or Hub id whose first split has a column `image`; where it has no `generated`, the second half of
            its images stand in for counterparts of the first. None: noise with the spectrum of photos.

    Yields:
        The folder, and what is in it for the line of settings.
    """
    from datasets import config

    pairs = [_rendered(row) for row in range(count)] if data is None else _found(data, count)
    kilobytes = [sum(map(len, side)) / len(side) / 1000 for side in zip(*pairs, strict=True)]
    what = f"of {Path(data).name}" if data else "rendered (500x375 JPEG q90, 512x512 JPEG q95 4:4:4)"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pairs"
        _write(folder, pairs)
        # What `datasets` prepares of it lies beside it, not in the user's cache.
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
    """The real one as cameras and websites store photos, the generated one as we store them."""
    grain = seeding.generator("bench", row)
    buffer = io.BytesIO()
    PIL.Image.fromarray(_noise(grain, *REAL)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), images.encode(_noise(grain, *GENERATED))


def _noise(grain: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: brightness and colour of noise whose amplitude falls as 1 / frequency ** SPECTRUM."""
    down, right = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width
    weight = np.maximum(np.hypot(down, right), 1) ** -SPECTRUM
    planes = np.fft.irfft2(np.fft.rfft2(grain.standard_normal((4, height, width))) * weight, s=(height, width))
    planes /= planes.std(axis=(1, 2), keepdims=True)
    return (128 + 50 * planes[:1] + 15 * planes[1:]).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def _found(data: str, count: int) -> list[Pair]:
    """Pairs of a dataset, bytes as they are."""
    rows = next(iter(load_splits(data, None, None, None, section="data")[0].values()))
    if "image" not in rows.column_names:
        raise SystemExit(f"{data} has no column 'image'; its columns: {', '.join(rows.column_names)}")
    rows = undecoded(rows, "image", "generated")
    if "generated" in rows.column_names:
        cells = ((row["image"], row["generated"]) for row in rows if row["image"] and row["generated"])
    else:
        cells = zip(rows["image"], rows.skip(len(rows) // 2)["image"], strict=False)
    pairs = [tuple(map(images.read_bytes, pair)) for pair in itertools.islice(cells, min(count, len(rows)))]
    if len(pairs) < 2 * CLASSES:
        raise SystemExit(f"{data} has {len(pairs)} pairs of images; {2 * CLASSES} are the least")
    return pairs
