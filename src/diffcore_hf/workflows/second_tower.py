"""Embeddings of another image tower for `describe --tower`, stored in OUT so that each image is embedded once.

Owns the file of a tower: OUT/.diffcore/describe/<16 hex of the identity of the tower>.npz, with the hashes of image
files and their embeddings. A damaged file is ignored and written again.
"""

from __future__ import annotations

import hashlib
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np

from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, write_with
from diffcore_hf.method.arrays import Embeddings
from diffcore_hf.publishing.audit.shards import Shards
from diffcore_hf.publishing.description.embedded import EmbeddedImages
from diffcore_hf.publishing.description.images import kept_images, real_images

_IMAGES = 256
"""Number of images in memory at a time."""
_SECONDS = 60
"""Time after which new embeddings are written, so that a killed process loses at most this time."""


def embedded_again(folder: Folder, shards: Shards, images: EmbeddedImages, tower: str) -> EmbeddedImages:
    """Return the same images with the embeddings of another tower. Images without one are left out.

    Kept images are embedded as they are stored: after they were reduced to `store_size` and encoded.

    Raises:
        UserError: the tower cannot be loaded, or the folder does not contain the real images.
    """
    config, identity = _resolved(tower)
    path = folder.private / "describe" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"
    known = _read(path)
    real = dict(zip(images.real_ids, images.real_sha256, strict=True))
    kept = dict(zip(images.kept_keys, images.kept_sha256, strict=True))
    missing_real = [row_id for row_id, sha256 in real.items() if sha256 and sha256 not in known]
    missing_kept = [key for key, sha256 in kept.items() if sha256 and sha256 not in known]
    contents = real_images(folder.path, shards, missing_real)
    first = list(islice(contents, 1))
    if real and not first and not any(sha256 in known for sha256 in real.values()):
        raise UserError(
            f"{folder.path} does not contain the real images, so --tower cannot embed them. Leave --tower out, or "
            "describe an export with --include_originals true"
        )
    if missing_real or missing_kept:
        found = chain(
            ((real[row_id], content) for row_id, content in chain(first, contents)),
            ((kept[key], content) for key, content in kept_images(folder.path, shards, missing_kept)),
        )
        _embed(config, found, known, path)
    return _with_embeddings(images, known)


def _resolved(tower: str) -> tuple[FilterConfig, str]:
    """Return the tower at its commit, and its identity.

    Raises:
        UserError: it is not an image tower; the message names the flag.
    """
    from diffcore_hf.models.tower_resolution import resolve_filter

    if not tower.strip():
        raise UserError("--tower is empty. Give a Hub id or a folder, e.g. --tower facebook/dinov2-small")
    try:
        config, record = resolve_filter(FilterConfig(path=tower))
    except UserError as error:
        raise _named(error, tower) from error
    return config, record["identity"]


def _named(error: UserError, tower: str) -> UserError:
    """Return the error with the name of the flag in the place of the key of a recipe."""
    text = str(error).replace("filter.path", "--tower")
    return UserError(text if "--tower" in text else f"--tower {tower}: {text}")


def _embed(config: FilterConfig, found: Iterator[tuple[str, bytes]], known: dict[str, Embeddings], path: Path) -> None:
    """Add the embeddings of some images to `known`, and write the file, also after an error."""
    from diffcore_hf.augmentation.stages.reference import Reference

    stage = Reference(config)
    written = time.monotonic()
    try:
        while chunk := list(islice(found, _IMAGES)):
            facts = stage.run([{"bytes": content, "path": None} for _, content in chunk])
            for (sha256, _), embedding in zip(chunk, facts["embedding"], strict=True):
                if embedding is not None:
                    known[sha256] = embedding
            if time.monotonic() - written > _SECONDS:
                _write(path, known)
                written = time.monotonic()
    except UserError as error:
        raise _named(error, config.path) from error
    finally:
        _write(path, known)


def _read(path: Path) -> dict[str, Embeddings]:
    """Return hash -> (d,) float16 embedding from a file; {} if there is no readable file."""
    if not path.is_file():  # np.load would wait for a writer of a named pipe
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            hashes, embeddings = arrays["sha256"].astype(str), arrays["embeddings"].astype(np.float16)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}
    if hashes.ndim != 1 or embeddings.ndim != 2 or len(hashes) != len(embeddings):
        return {}
    return dict(zip(hashes.tolist(), embeddings, strict=True))


def _write(path: Path, known: dict[str, Embeddings]) -> None:
    """Write the embeddings of a tower; nothing if there are none."""
    if known:
        hashes, embeddings = np.array(list(known)), np.stack(list(known.values())).astype(np.float16)

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:
                np.savez(file, sha256=hashes, embeddings=embeddings)

        write_with(path, write)


def _with_embeddings(images: EmbeddedImages, known: dict[str, Embeddings]) -> EmbeddedImages:
    """Return the images that have an embedding of finite numbers in `known`."""
    usable = {sha256 for sha256, row in known.items() if np.isfinite(row).all() and row.any()}
    real = [row for row, sha256 in enumerate(images.real_sha256) if sha256 in usable]
    kept = [row for row, sha256 in enumerate(images.kept_sha256) if sha256 in usable]
    return replace(
        images,
        real_ids=[images.real_ids[row] for row in real],
        real_labels=images.real_labels[real],
        real=_stacked(known[images.real_sha256[row]] for row in real),
        real_sha256=[images.real_sha256[row] for row in real],
        kept_keys=[images.kept_keys[row] for row in kept],
        kept_labels=images.kept_labels[kept],
        kept=_stacked(known[images.kept_sha256[row]] for row in kept),
        kept_sha256=[images.kept_sha256[row] for row in kept],
        left_out=images.left_out + len(images.real_ids) - len(real) + len(images.kept_keys) - len(kept),
    )


def _stacked(rows: Iterable[Embeddings]) -> Embeddings:
    """Return rows as a matrix; (0, 0) for no row."""
    listed = list(rows)
    return np.stack(listed) if listed else np.zeros((0, 0), np.float16)
