"""Embeds and generates a sample of the attempts of a dataset again, with the models of its recipe.

Owns the choice of the sample and the bounds of the comparison. Both checks load weights, so `verify` does them only if
a number is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.marks import mark_of_run
from diffcore_hf.config.augment import FilterConfig, Recipe
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.image_formats import UnreadableImage
from diffcore_hf.core.images import decode_bytes, sha256, to_array
from diffcore_hf.core.schema import AttemptKey
from diffcore_hf.method.thresholds import row_cosines
from diffcore_hf.publishing.audit.references import embeddings_of
from diffcore_hf.publishing.audit.shards import Shards, image_bytes
from diffcore_hf.publishing.card.reproduction import is_hub
from diffcore_hf.publishing.description.images import real_images
from diffcore_hf.workflows.export import reopen

if TYPE_CHECKING:
    import pyarrow as pa

LOWEST_COSINE = 0.995
"""Lowest cosine between the stored and the new embedding of a generated image. The stored one was computed before the
image was encoded. In the demo, the cosine was at least 0.9996 for JPEG. For different images it was at most 0.992."""
LOWEST_REAL_COSINE = 0.9995
"""Lowest cosine for a real image. Its bytes are the same, so only rounding differs."""
HIGHEST_DIFFERENCE = 4.0
"""Highest mean difference of two images in levels of 0 to 255, if the run is not `strict`. Rounding differs between
devices and batch sizes."""
_OWN_PACKAGE = "package:diffcore_hf."
"""Prefix of a path in this package. No other package is used, because the author of a dataset could choose it."""
_IMAGES = 64
"""Number of images in memory at a time."""


@dataclass(frozen=True)
class Sampled:
    """One attempt of the sample."""

    key: AttemptKey
    image: bytes
    image_sha256: str
    embedding: np.ndarray
    """(d,) float16."""

    def __str__(self) -> str:
        return f"{self.key[0]} copy {self.key[1]} attempt {self.key[2]}"


def sampled(shards: Shards, count: int) -> list[Sampled]:
    """Return the attempts with a published image and an embedding whose hashes are the smallest.

    The hash is that of the key of an attempt, so equal datasets have equal samples.
    """
    chosen: list[tuple[bytes, Sampled]] = []
    columns = ["row_id", "copy", "attempt", "image_sha256"]
    for table in shards.batches("attempts", [*columns, "embedding"], "image"):
        keys = zip(*(table[name].to_pylist() for name in columns), strict=True)
        contents = zip(image_bytes(table, "image"), embeddings_of(table["embedding"]), strict=True)
        for (row_id, copy, attempt, recorded), (image, embedding) in zip(keys, contents, strict=True):
            if image is not None and embedding.size:
                found = Sampled((row_id, copy, attempt), image, recorded, embedding)
                chosen.append((seeding.digest("verified", *found.key), found))
        chosen = sorted(chosen, key=lambda pair: pair[0])[:count]
    return [found for _, found in chosen]


def rescored(folder: Folder, shards: Shards, count: int) -> list[str]:
    """Embed a sample of generated and real images again. Return the faults, one line each.

    Raises:
        UserError: the image tower of the dataset cannot be loaded, or it has changed.
    """
    from diffcore_hf.augmentation.stages.reference import Reference

    attempts = sampled(shards, count)
    stored = _stored_embeddings(shards, {attempt.key[0] for attempt in attempts})
    real = [(row_id, image) for row_id, image in real_images(folder.path, shards, list(stored)) if row_id in stored]
    stage = Reference(_tower(folder, shards))
    faults = _distant(
        [str(attempt) for attempt in attempts],
        _embedded(stage, [attempt.image for attempt in attempts]),
        [attempt.embedding for attempt in attempts],
        LOWEST_COSINE,
    )
    faults += _distant(
        [row_id for row_id, _ in real],
        _embedded(stage, [image for _, image in real]),
        [stored[row_id] for row_id, _ in real],
        LOWEST_REAL_COSINE,
    )
    return faults


def regenerated(folder: Folder, shards: Shards, count: int) -> list[str]:
    """Generate a sample of the attempts again. Return the faults, one line each.

    With `strict`, the images must have the same bytes. This holds on the same kind of device.

    Raises:
        UserError: the folder is not that of a run, its source or a model has changed, or a model cannot be loaded.
    """
    from diffcore_hf.augmentation.worker import Worker
    from diffcore_hf.core.quiet import quiet_datasets

    run = reopen(folder.path, {})
    content = folder.existing_run()
    _check_model(run.recipe, content["identities"])
    ledger = Ledger(folder.parts)
    worker = Worker(run.source, run.plan, run.recipe, ledger, mark_of_run(content), run.preparation)
    faults = []
    attempts = sorted(sampled(shards, count), key=lambda attempt: attempt.key[2])
    planned = set(zip(run.plan.row_ids, run.plan.copies.tolist(), strict=True))
    for number, group in groupby(attempts, key=lambda attempt: attempt.key[2]):
        known = []
        for attempt in group:
            if attempt.key[:2] in planned:
                known.append(attempt)
            else:
                faults.append(f"{attempt} is not in the plan of the run")
        for start in range(0, len(known), _IMAGES):
            part = known[start : start + _IMAGES]
            with quiet_datasets():
                table = worker.attempt_part([attempt.key[:2] for attempt in part], number)
            faults += _different(part, table, strict=run.recipe.strict)
    return faults


def _different(attempts: Sequence[Sampled], table: pa.Table, *, strict: bool) -> list[str]:
    """Return a fault for each attempt whose image differs from the one that was generated again."""
    faults = []
    rows = zip(table["generated_image"].to_pylist(), table["reason"].to_pylist(), strict=True)
    for attempt, (cell, reason) in zip(attempts, rows, strict=True):
        if cell is None:
            faults.append(f"{attempt} was not generated again ({reason})")
        elif sha256(cell["bytes"]) == attempt.image_sha256:
            continue
        elif strict:
            faults.append(f"{attempt} differs from the image that was generated again, although strict is true")
        else:
            try:
                difference = mean_difference(attempt.image, cell["bytes"])
            except UnreadableImage as error:
                faults.append(f"{attempt} has an image that cannot be decoded ({error})")
                continue
            if difference > HIGHEST_DIFFERENCE:
                faults.append(
                    f"{attempt} differs from the image that was generated again: the mean difference is "
                    f"{difference:.1f} levels of 255, more than {HIGHEST_DIFFERENCE:g}"
                )
    return faults


def mean_difference(one: bytes, other: bytes) -> float:
    """Return the mean absolute difference of two encoded images in levels of 0 to 255; infinity for other sizes."""
    pixels = [to_array(decode_bytes(content)).astype(np.float64) for content in (one, other)]
    if pixels[0].shape != pixels[1].shape:
        return float("inf")
    return float(np.abs(pixels[0] - pixels[1]).mean())


def _stored_embeddings(shards: Shards, wanted: set[str]) -> dict[str, np.ndarray]:
    """Return the stored embeddings of some real images."""
    found: dict[str, np.ndarray] = {}
    for table in shards.batches("references", ["row_id", "embedding"]):
        rows = zip(table["row_id"].to_pylist(), embeddings_of(table["embedding"]), strict=True)
        found |= {row_id: embedding for row_id, embedding in rows if row_id in wanted and embedding.size}
    return found


def _embedded(stage: Any, images: Sequence[bytes]) -> list[np.ndarray | None]:
    """Return the embedding of each image; None for an image that cannot be decoded."""
    return [embedding for part in _parts(images) for embedding in stage.run(part)["embedding"]]


def _parts(images: Sequence[bytes]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(images), _IMAGES):
        yield [{"bytes": image, "path": None} for image in images[start : start + _IMAGES]]


def _distant(
    names: Sequence[str], found: Sequence[np.ndarray | None], stored: Sequence[np.ndarray], lowest: float
) -> list[str]:
    """Return a fault for each image whose new embedding differs from the stored one."""
    faults = []
    for name, own, other in zip(names, found, stored, strict=True):
        if own is None or np.shape(own) != np.shape(other):
            faults.append(
                f"{name} cannot be embedded, or its embedding has another length with the image tower of the recipe"
            )
            continue
        cosine = float(row_cosines(np.asarray(own)[None], np.asarray(other)[None])[0])
        if not cosine >= lowest:
            faults.append(f"{name} has another embedding: its cosine to the stored one is {cosine:.4f}, below {lowest}")
    return faults


def _tower(folder: Folder, shards: Shards) -> FilterConfig:
    """Return the image tower of a dataset: that of the run in the folder, or a public one that the manifest names.

    Raises:
        UserError: the tower is not known here, or it has changed.
    """
    from diffcore_hf.models.tower_resolution import resolve_filter

    recorded = shards.manifest["resolved"].get("filter") or {}
    path, identity = str(recorded.get("path") or ""), recorded.get("identity")
    run = folder.read_run()
    if run is not None:
        config = build_recipe({"source": {"path": "-"}, "filter": _section(run["resolved"]["filter"])}).filter
    elif is_hub(recorded):
        config = FilterConfig(path=path, revision=identity)
    elif path.startswith(_OWN_PACKAGE) and ".." not in path:
        config = FilterConfig(path=path)
    else:
        raise UserError(
            f"{folder.path} does not name a public image tower, because the run used a local folder or another "
            "package. Use --rescore in the folder of the run"
        )
    config, record = resolve_filter(config)
    if record["identity"] != identity:
        raise UserError(
            f"the image tower {config.path} is now {record['identity']}, but the dataset was made with {identity}. "
            "Restore it, or leave out --rescore"
        )
    return config


def _section(stored: Any) -> dict[str, Any]:
    return {name: stored[name] for name in ("path", "revision") if stored.get(name) is not None}


def _check_model(recipe: Recipe, identities: Any) -> None:
    """Raise UserError if the model of a run has changed."""
    from diffcore_hf.generation.base import strategy_class
    from diffcore_hf.models.model_resolution import resolve_model

    if not strategy_class(recipe.strategy.name).uses_model:
        return
    _, record = resolve_model(recipe.model)
    if record["identity"] != identities["model"]:
        raise UserError(
            f"the model {recipe.model.path} is now {record['identity']}, but the run used {identities['model']}. "
            "Restore it, or leave out --regenerate"
        )
