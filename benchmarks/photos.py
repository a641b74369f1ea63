"""Pairs of photos for the benchmarks: of a dataset at hand, or stand-ins that are rendered.

Owns which images are measured, and the parquet file through which every side reads them.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import PIL.Image

from diffcore_hf.core import images, seeding

CLASSES = 10
REAL, GENERATED = (375, 500), (512, 512)
"""Height and width of stand-ins: a usual photo of the fine-grained datasets, and a usual generated image."""
SPECTRUM = 1.5
"""Amplitude falls with frequency to this power: such a JPEG weighs what one of a photo of the size does."""


def write_pairs(folder: Path, count: int, data: str | None = None) -> str:
    """Write `count` rows (image, generated, label) as `folder`/train.parquet, which `load_dataset(folder)` reads.

    Args:
        folder: a new one.
        count: rows; fewer where the dataset has fewer.
        data: a folder or Hub id with a column `image`; where it has no column `generated`, the images of its second
            half stand in for the counterparts of the first. None: stand-ins of noise with the spectrum of photos.

    Returns:
        What was written, for the line of settings.
    """
    from datasets import ClassLabel, Dataset, Features, Image

    folder.mkdir(parents=True)
    pairs = [_rendered(row) for row in range(count)] if data is None else _stored(data, count)
    features = Features({"image": Image(), "generated": Image(), "label": ClassLabel(num_classes=CLASSES)})
    rows = [
        {
            "image": {"bytes": real, "path": None},
            "generated": {"bytes": generated, "path": None},
            "label": place % CLASSES,
        }
        for place, (real, generated) in enumerate(pairs)
    ]
    Dataset.from_list(rows, features=features).to_parquet(folder / "train.parquet")
    weights = " and ".join(
        f"{np.mean([len(each) for each in side]) / 1000:.0f} kB" for side in zip(*pairs, strict=True)
    )
    what = f"of {Path(data).name}" if data else "rendered (500x375 JPEG q90, 512x512 JPEG q95 4:4:4)"
    return f"{len(pairs)} pairs {what}, {weights} on average"


def _rendered(row: int) -> tuple[bytes, bytes]:
    """A real stand-in as cameras and websites store photos, and a generated one as we store it."""
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


def _stored(data: str, count: int) -> list[tuple[bytes, bytes]]:
    """Pairs of a dataset's first split, bytes as they are."""
    from diffcore_hf.core.loading import load_splits
    from diffcore_hf.training.pool import undecoded

    rows = next(iter(load_splits(data, None, None, None, section="data")[0].values()))
    if "image" not in rows.column_names:
        raise SystemExit(f"{data} has no column image; its columns: {', '.join(rows.column_names)}")
    rows = undecoded(rows, "image", "generated")
    if "generated" in rows.column_names:
        cells = ((row["image"], row["generated"]) for row in rows if row["generated"] is not None)
    else:
        half = len(rows) // 2
        cells = zip(rows.select(range(half))["image"], rows.select(range(half, 2 * half))["image"], strict=True)
    pairs = [(images.read_bytes(real), images.read_bytes(other)) for real, other in itertools.islice(cells, count)]
    if not pairs:
        raise SystemExit(f"{data} has no pair of images")
    return pairs
