"""Writes copies of the kept images of a run, with signed C2PA manifests, into a new folder. The run is not changed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffcore_hf import __version__
from diffcore_hf.augmentation.decisions import Decider
from diffcore_hf.augmentation.marks import mark_of
from diffcore_hf.augmentation.material import Material
from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.folder import check_target, sync_directory, write_atomic
from diffcore_hf.core.image_formats import signature
from diffcore_hf.core.leftovers import is_leftover, remove, temporary_name
from diffcore_hf.publishing.content_credentials import SUFFIXES, ImageSigner
from diffcore_hf.workflows.export import check_references, reopen

_BATCH = 64
"""Number of images that are in memory at the same time."""


def export_signed(
    out: str | Path, target: str | Path, layer: Mapping[str, Any], certificate: str | None, key: str | None
) -> int:
    """Write a signed copy of each kept image of a run. The name of a copy is the hash of the generated image.

    Two equal images have one copy. The folder appears when all copies are complete.

    Args:
        out: the folder of a run.
        target: the folder to write; a new or an empty folder outside `out`.
        layer: keys of the recipe of scope `decision`, which change the choice of the kept images.
        certificate: path of a PEM file with the certificate of the key and those of its issuers.
        key: path of a PEM file with the private key.

    Returns:
        The number of copies.

    Raises:
        UserError: the target is not such a folder, no signature can be made with certificate and key, the run cannot be
            opened, or it has no kept image.
    """
    folder = Path(target)
    _check_folder(folder, Path(out))
    if certificate is None or key is None:
        missing = "--c2pa_certificate" if certificate is None else "--c2pa_key"
        raise UserError(f"--c2pa needs a certificate and its key. Add {missing} FILE.pem")
    signer = ImageSigner(certificate, key, ("diffcore-hf", __version__))
    material = Decider.read(reopen(out, layer)).decide()
    check_references(material, out)
    if not material.kept:
        raise UserError(
            f"{out} has no kept image, so no image can be signed. Run augment again for more attempts, or change the "
            "filter, e.g. --filter.policy.name all"
        )
    for path in folder.parent.glob(f".{folder.name}.*.tmp"):
        if is_leftover(path.name):
            remove(path)
    staging = temporary_name(folder)
    staging.mkdir(parents=True)
    try:
        count = _write(material, signer, staging)
        _publish(staging, folder)
    finally:
        remove(staging)
    return count


def _check_folder(folder: Path, out: Path) -> None:
    """Check, before a long computation, that the folder can be created outside the folder of the run."""
    if folder.name in ("", ".."):
        raise UserError(
            f"--c2pa is {str(folder)!r}, which is not the name of a new folder. Give e.g. --c2pa out/signed"
        )
    if os.path.lexists(folder):
        _check_empty(folder)
    else:
        check_target(folder)
    if folder.resolve().is_relative_to(out.resolve()):
        raise UserError(f"--c2pa is {folder}, which is inside {out}. Choose a new folder outside of it")


def _check_empty(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir() or any(folder.iterdir()):
        raise UserError(f"--c2pa is {folder}, which exists already and was not changed. Choose a new folder")


def _write(material: Material, signer: ImageSigner, staging: Path) -> int:
    """Write the copies, in the order of the parts, and return their number."""
    from tqdm.auto import tqdm

    mark = mark_of(material.run.resolution)
    attempts = sorted(material.kept, key=lambda attempt: material.location(attempt))
    written: set[str] = set()
    with tqdm(total=len(attempts), desc="signing", unit="image", delay=3, leave=False) as bar:
        for batch in _batches(attempts):
            for attempt, image in zip(batch, material.images(batch), strict=True):
                assert image is not None  # an attempt without an image is never kept
                name = str(material.attempts.image_sha256[attempt])
                if name not in written:
                    path = staging / f"{name}{SUFFIXES[signature(image[:64]) or '']}"
                    write_atomic(path, signer.signed(image, mark))
                    written.add(name)
            bar.update(len(batch))
    return len(written)


def _batches(attempts: Sequence[int]) -> list[Sequence[int]]:
    return [attempts[start : start + _BATCH] for start in range(0, len(attempts), _BATCH)]


def _publish(staging: Path, folder: Path) -> None:
    """Rename the staging folder to `folder`, which must be missing or empty."""
    sync_directory(staging)
    try:
        if os.path.lexists(folder):
            folder.rmdir()
        staging.rename(folder)
    except OSError as error:
        if environment_fault(error) is not None:
            raise
        raise UserError(
            f"--c2pa is {folder}, which another process created meanwhile ({innermost_cause(error)}). Choose a new "
            "folder"
        ) from error
    sync_directory(folder.parent)
