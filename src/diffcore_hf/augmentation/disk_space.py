"""Disk space: the bytes that a run and its export still have to write, compared with the free bytes of the disk.

Owns the estimates and the error that says how much is missing. An export is written beside the old one before it
replaces it, so both need space at the same time.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from diffcore_hf.augmentation.run import Run
from diffcore_hf.core.errors import UserError

PUBLISHED_COPIES = 3
"""Number of copies of a counterpart in an export: in the configurations `default`, `generated` and `attempts`."""
BYTES_A_PIXEL = {"jpeg": 0.35, "webp": 1.2, "png": 1.6}
"""Bytes per pixel of a photo-like image, measured on 512 x 512 renderings: JPEG quality 95 and lossless formats."""
ATTEMPTS_A_UNIT = 1.5
"""Expected number of attempts of a unit."""
COUNTED_PARTS = 500
"""Largest number of parts whose attempts are counted. If there are more, the number of attempts is estimated."""
SAFE = 0.5
"""An estimate before the first part can be twice the true size.

So a run is refused only if less than this share of the estimate is free.
"""


def peak(run: Run) -> float:
    """Return the largest number of bytes that are needed at the same time: the parts of all attempts, the old export
    and the new one.

    While an export is written, there is one more copy of the images (image_spool.py).
    """
    copies = ATTEMPTS_A_UNIT + 2 * PUBLISHED_COPIES + 1
    return len(run.plan) * _image_estimate(run) * copies + 2 * _originals(run)


class DiskSpace:
    """The space that a run needs, with the sizes of the parts that exist.

    Args:
        run: the run.
    """

    def __init__(self, run: Run):
        self._run = run
        sizes = {path: _size(path) for path in run.ledger.attempt_parts()}
        self._bytes = sum(sizes.values())
        sample = list(sizes)[:: len(sizes) // COUNTED_PARTS + 1]
        counted = sum(sizes[path] for path in sample)
        attempts = run.ledger.count(sample)
        self._attempts = round(attempts * self._bytes / counted) if counted else attempts
        self._originals = _originals(run)

    def check_start(self) -> None:
        """Compare the free space with the expected parts and the new export.

        Raises:
            UserError: the free space is far below the estimate, so the run could not be exported.
        """
        run = self._run
        units = run.plan.limited(run.recipe.limit)
        image = self._bytes / self._attempts if self._attempts else _image_estimate(run)
        parts = max(0.0, units * ATTEMPTS_A_UNIT * image - self._bytes)
        safe = 1.0 if self._attempts else SAFE
        needed = parts + units * image * (PUBLISHED_COPIES + 1)
        _require(run.folder.path, safe * needed + self._originals, "this run with its export")

    def add(self, path: Path | None, attempts: int) -> None:
        """Add a new part and compare the free space with the export of all finished attempts.

        Raises:
            UserError: the finished attempts could not be exported if the run continued.
        """
        if path is None or not attempts:
            return
        self._bytes += _size(path)
        self._attempts += attempts
        units = min(self._attempts, self._run.plan.limited(self._run.recipe.limit))
        export = units * self._bytes / self._attempts * PUBLISHED_COPIES + self._originals
        _require(self._run.folder.path, export, "the export of the finished attempts", kept=True)


def check_export(run: Run, folder: Path, images: int) -> None:
    """Compare the free space of a disk with an export.

    Args:
        run: the run.
        folder: the folder to which the export is written.
        images: number of bytes of its generated images, each counted once.

    Raises:
        UserError: the export does not fit.
    """
    _require(folder, images * PUBLISHED_COPIES + _originals(run), "the new export", kept=True)


def text_of(count: float) -> str:
    """Return a number of bytes as text."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _require(folder: Path, needed: float, purpose: str, *, kept: bool = False) -> None:
    """Raise UserError if a disk has less free space than needed."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    free = shutil.disk_usage(existing).free
    if free >= needed:
        return
    remedy = "Finished attempts are kept. Free space, and run the same command again"
    raise UserError(
        f"the disk of {folder} has {text_of(free)} free, but {purpose} needs about {text_of(needed)}: about "
        f"{text_of(needed - free)} are missing. {remedy if kept else 'Free space, or use --output on another disk'}"
    )


def _image_estimate(run: Run) -> float:
    """Return the expected number of bytes of a generated image."""
    recipe = run.recipe
    size = recipe.model.size or recipe.store_size or 512  # the size is None only if the model does not state it
    side = min(size, recipe.store_size or size)
    return side * side * BYTES_A_PIXEL[recipe.image_format]


def _originals(run: Run) -> int:
    """Return the number of bytes of the real images in an export."""
    return sum(sum(sizes) for sizes in run.source.sizes.values()) if run.recipe.include_originals else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process renamed a damaged part
        return 0
