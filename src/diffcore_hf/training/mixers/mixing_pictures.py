"""The pictures that PixMix mixes into the images: files of a folder, or pictures that a function draws.

A function of a number and a side draws a picture. The default function draws fractals. A recipe can name another one as
`module:function`, such as the scenes of the miniature world.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.extensions import load_function
from diffcore_hf.core.images import UnreadableImage, to_array, to_rgb
from diffcore_hf.method.mixing import resized
from diffcore_hf.training.data.pairs import decoded

DRAWN = 64
"""Number of different pictures that a function draws."""
FRACTALS = f"{__name__}:fractal"
"""Name of the function that draws fractals."""
_MARGIN = 8 / 7
"""Shorter side of a picture as a multiple of the crop, like 256 for a crop of 224."""
_WALKERS, _MOVES, _SKIPPED = 512, 80, 10
"""For a fractal: number of points, number of moves of each point, and number of first moves that are not drawn."""


def picture_files(folder: str) -> tuple[str, ...]:
    """Return the paths of the images in a folder and its subfolders, sorted.

    Raises:
        UserError: no file in the folder has the suffix of an image format, or no such file can be decoded.
    """
    endings = Image.registered_extensions()
    path = Path(folder).expanduser()
    files = [file for file in path.rglob("*") if file.suffix.lower() in endings and file.is_file()]
    if not files:
        raise UserError(
            f"mixer.options.pictures is {folder!r}, which is not a folder with images. Name a folder of images, or "
            "omit the option to use fractals"
        )
    paths = tuple(sorted(map(str, files)))
    _of_file(paths, 0.0, side=8)
    return paths


def drawing_function(pictures: str) -> str:
    """Return the name of the function that draws pictures, after it has drawn one.

    Raises:
        UserError: there is no such function, or it does not return a picture of the requested side.
    """
    _drawn(pictures, 0, 8)
    return pictures


@lru_cache(maxsize=DRAWN)
def _drawn(function: str, number: int, side: int) -> Tensor:
    """Return a picture that a function draws, (3, side, side) uint8.

    Raises:
        UserError: there is no such function, it raises an error, or its result is no picture of the side.
    """
    key = "mixer.options.pictures"
    draw = load_function(function, key)
    remedy = "Return an RGB image of PIL with `side` pixels a side, or omit the option to use fractals"
    try:
        picture = draw(number, side)
    except Exception as error:  # the function is written by the user
        raise UserError(
            f"{key} is {function!r}, which raises an error for number {number} and side {side}: "
            f"{innermost_cause(error)}. {remedy}"
        ) from error
    if isinstance(picture, Image.Image):
        picture = torch.from_numpy(to_array(to_rgb(picture)).copy()).permute(2, 0, 1)
    if not isinstance(picture, Tensor) or picture.dtype != torch.uint8 or picture.shape != (3, side, side):
        raise UserError(f"{key} is {function!r}, which does not draw a picture of {side} x {side} pixels. {remedy}")
    return picture.contiguous()


def picture_crop(
    pictures: Sequence[str] | str, position: tuple[float, float, float], height: int, width: int
) -> Tensor:
    """Return a crop of a mixing picture, (3, height, width) uint8.

    Args:
        pictures: result of `picture_files`, or of `drawing_function`.
        position: three shares in [0, 1): the position of the picture in its list, and the top and the left of the crop.
        height: height of the crop in pixels.
        width: width of the crop in pixels.

    Raises:
        UserError: none of the files can be decoded.
    """
    share, top_share, left_share = position
    side = int(np.ceil(_MARGIN * max(height, width)))
    drawn = isinstance(pictures, str)
    picture = _drawn(pictures, int(share * DRAWN), side) if drawn else _of_file(pictures, share, side)
    top = int(top_share * (picture.shape[1] - height + 1))
    left = int(left_share * (picture.shape[2] - width + 1))
    return picture[:, top : top + height, left : left + width]


def _of_file(files: Sequence[str], share: float, side: int) -> Tensor:
    """Return the picture at a position; a file that cannot be decoded is replaced by the next one."""
    first = int(share * len(files))
    reason = ""
    for number in range(len(files)):
        path = files[(first + number) % len(files)]
        try:
            return _read(path, side)
        except (UnreadableImage, OSError) as error:
            reason = reason or f"{path}: {error}"
    raise UserError(
        f"mixer.options.pictures has no image that can be decoded ({reason}). Omit the option to use fractals"
    )


@lru_cache(maxsize=128)
def _read(path: str, side: int) -> Tensor:
    """Return the image of a file, (3, h, w) uint8, with `side` as its shorter side."""
    image = decoded({"bytes": Path(path).read_bytes(), "path": None})
    height, width = image.shape[-2:]
    scale = side / min(height, width)
    return resized(image, max(side, round(height * scale)), max(side, round(width * scale)))


def fractal(number: int, side: int) -> Tensor:
    """Draw the attractor of a random iterated function system, (3, side, side) uint8.

    The result depends only on `number` and `side`. There are two to four contractions. Each move of a point applies one
    of them, chosen at random. A point carries the running mean of the colours of its contractions. The brightness of a
    pixel is the logarithm of its number of points.
    """
    random = seeding.generator("fractal", number)
    count = int(random.integers(2, 5))
    matrices, shifts, colours = _contractions(random, count)
    points, paint = random.uniform(-1, 1, (_WALKERS, 2)), random.random((_WALKERS, 3))
    visited, painted = [], []
    for _ in range(_MOVES):
        chosen = random.integers(count, size=_WALKERS)
        points = np.einsum("nij,nj->ni", matrices[chosen], points) + shifts[chosen]
        paint = (paint + colours[chosen]) / 2
        visited.append(points)
        painted.append(paint)
    where, colour = np.concatenate(visited[_SKIPPED:]), np.concatenate(painted[_SKIPPED:])
    low, high = where.min(0), where.max(0)
    cells = np.minimum((side * (where - low) / np.maximum(high - low, 1e-9)).astype(np.int64), side - 1)
    flat = cells[:, 0] * side + cells[:, 1]
    density = np.bincount(flat, minlength=side * side)
    sums = np.stack([np.bincount(flat, colour[:, channel], side * side) for channel in range(3)])
    brightness = np.log1p(density) / np.log1p(density.max())
    pixels = random.random((3, 1)) / 4 * (1 - brightness) + sums / np.maximum(density, 1) * brightness**0.3
    return torch.from_numpy((255 * pixels.clip(0, 1)).round().astype(np.uint8).reshape(3, side, side))


def _contractions(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw matrices (count, 2, 2) with singular values from 0.3 to 0.85, shifts (count, 2) and colours (count, 3)."""
    scales = random.uniform(0.3, 0.85, (count, 2))
    first, second = (_rotations(random.uniform(0, 2 * np.pi, count)) for _ in range(2))
    return first * scales[:, None, :] @ second, random.uniform(-1, 1, (count, 2)), random.random((count, 3))


def _rotations(angles: np.ndarray) -> np.ndarray:
    """Return rotation matrices: (N,) radians -> (N, 2, 2)."""
    cosine, sine = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
