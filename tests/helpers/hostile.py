"""Datasets whose image cells and links name files that do not belong to the dataset."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, List
from datasets import Image as ImageFeature
from PIL import Image, PngImagePlugin
from small_photos import picture

CANARY = "canary-51d7ab"
"""Text in every file that must not be read."""
FEATURES = Features(
    {
        "image": ImageFeature(),
        "label": ClassLabel(names=["red fox", "blue jay"]),
        "second": ImageFeature(),
        "several": List(ImageFeature()),
        "nested": {"inner": ImageFeature()},
    }
)


def outside_files(folder: Path) -> dict[str, Path]:
    """Write files that do not belong to a dataset: a text, and an image of an accepted format."""
    folder.mkdir(parents=True, exist_ok=True)
    secret, image = folder / "secret.txt", folder / "private.png"
    secret.write_text(f"password {CANARY}")
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", CANARY)
    Image.new("RGB", (24, 20), (9, 9, 9)).save(image, pnginfo=text)
    return {"text": secret, "image": image}


def hostile_paths(folder: Path) -> dict[str, str]:
    """Return kind of file -> path. If a cell of a dataset in `folder` names this path, no file may be read."""
    outside = outside_files(folder.parent / "outside")
    if not (folder.parent / "fifo.png").exists():
        os.mkfifo(folder.parent / "fifo.png")
        os.mknod(folder.parent / "socket.png", stat.S_IFSOCK | 0o600)
    return {
        "text": str(outside["text"]),
        "image": str(outside["image"]),
        "dots": f"{folder}/../outside/private.png",
        "environment": "/proc/self/environ",
        "variable": "$HF_TOKEN",
        "home": "~/secret.txt",
        "relative": "../outside/private.png",
        "FIFO": str(folder.parent / "fifo.png"),
        "socket": str(folder.parent / "socket.png"),
        "device": "/dev/zero",
        "null byte": f"{outside['image']}\0.png",
        "URL": f"file://{outside['image']}",
    }


def hostile_dataset(folder: Path, good: int = 6) -> Dataset:
    """Return a dataset with some good rows. For each hostile path, one row has it in every column of images."""
    paths = hostile_paths(folder)
    cells: list[dict[str, Any]] = [{"bytes": picture(row % 2, row), "path": None} for row in range(good)]
    cells += [{"bytes": None, "path": path} for path in paths.values()]
    cells.append({"bytes": f"text {CANARY}".encode(), "path": None})
    rows = {
        "image": cells,
        "label": [row % 2 for row in range(len(cells))],
        "second": cells,
        "several": [[cells[0], cell] for cell in cells],
        "nested": [{"inner": cell} for cell in cells],
    }
    return Dataset.from_dict(rows, features=FEATURES)


def write_parquet(rows: Dataset, file: Path) -> None:
    """Write a dataset and keep its paths. `Dataset.to_parquet` would replace them by the bytes of the files."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows.data.table, file)


def link_folder(folder: Path) -> Path:
    """Write a folder of photos. Its class folders also contain links and files that must not be read."""
    paths = hostile_paths(folder)
    for label, name in enumerate(("red_fox", "blue_jay")):
        for number in range(4):
            photo = folder / name / f"{number}.jpg"
            photo.parent.mkdir(parents=True, exist_ok=True)
            photo.write_bytes(picture(label, number))
    (folder / "red_fox" / "z.jpg").symlink_to(paths["text"])
    (folder / "red_fox" / "y.png").symlink_to(paths["image"])
    (folder / "red_fox" / "x.png").symlink_to("/proc/self/environ")
    (folder / "red_fox" / "w.png").symlink_to("/dev/zero")
    (folder / "other").symlink_to(Path(paths["image"]).parent)
    (folder / "blue_jay" / "notes.jpg").write_text(f"text {CANARY}")
    os.mkfifo(folder / "blue_jay" / "fifo.jpg")
    os.mknod(folder / "socket.jpg", stat.S_IFSOCK | 0o600)
    return folder


def everything(folder: Path) -> bytes:
    """Return the bytes of all files below a folder, and the uncompressed values of its Parquet files."""
    parts: list[bytes] = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts.append(file.read_bytes())
        if file.suffix == ".parquet":
            parts += [repr(column.to_pylist()).encode() for column in pq.read_table(file).columns]
    return b"\n".join(parts)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """Return the encoded bytes of an image."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()
