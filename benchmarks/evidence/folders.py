"""Folders: the augmented datasets, one for each seed and generator.

Owns the generators, the images of a folder that a policy keeps, and the species that each image shows according to the
oracle. Each folder is augmented once with policy `all`. The images that another policy keeps are then exported.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.evidence.worlds import EACH, locked, world_folder
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.recipe_files import read_recipe_file, shipped_recipe
from diffcore_hf.core.folder import RUN_FORMAT, Folder, canonical_json, write_atomic
from diffcore_hf.miniature.oracle import Oracle
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, SPECIES, look_alike
from diffcore_hf.workflows import augment as augment_workflow
from diffcore_hf.workflows import export as export_workflow

STANDARD = "gamma-2"
# Name -> keys that differ from the shipped recipe of the miniature.
GENERATORS: dict[str, dict[str, Any]] = {
    "gamma-0.5": {"model": {"gamma": 0.5}},
    "gamma-1": {"model": {"gamma": 1.0}},
    STANDARD: {"model": {"gamma": 2.0}},
    "gamma-4": {"model": {"gamma": 4.0}},
    "gamma-6.5": {"model": {"gamma": 6.5}},
    "no-negatives": {"prompts": {"negatives": []}},
    "random-species": {"prompts": {"template": "a photo of a {drawn_random}, a {kind}, {context}"}},
    "look-alike": {"prompts": {"template": "a photo of a {drawn_alike}, a {kind}, {context}"}},
    "no-context": {"prompts": {"contexts": [""]}},
    "one-context": {"prompts": {"contexts": ["in heavy snow"]}},
    "own-contexts": {"prompts": {"template": "a photo of a {label}, a {kind}, {scene}", "contexts": [""]}},
    "real-3": {"copies": 12},
    "real-6": {"copies": 6},
}
_REAL = {"real-3": 3, "real-6": 6}
# bfloat16 halves the time on processors that compute with it.
_COMMON = {"copies": 3, "max_attempts": 1, "filter": {"policy": {"name": "all"}}, "model": {"dtype": "bfloat16"}}
SECONDS = 140
"""Estimate of the time for a folder of 720 attempts on one core."""

POLICIES: dict[str, dict[str, Any]] = {
    "all": {"name": "all"},
    "mean": {"name": "mean"},
    "quantile": {"name": "quantile"},
    "class_mean": {"name": "rank", "by": "class_mean"},
    "classifier": {"name": "rank", "by": "classifier"},
    "context_free": {"name": "rank", "by": "context_free"},
    "text": {"name": "rank", "by": "text"},
}
BEST = "context_free"
"""The best policy. Comparisons with policy `all` show only this policy if they cannot show every policy."""
KINDS = ("right", "other species", "look-alike", "outside")

Key = tuple[str, int]
"""Row id and copy of a unit; its only attempt is attempt 0."""


def real(name: str) -> int:
    """Returns the number of real training images of a species in the source of a generator."""
    return _REAL.get(name, EACH)


def made(work: Path, name: str, seed: int) -> Path:
    """Returns the folder of a generator. Creates it if it does not exist, and continues a run that was killed."""
    return augmented(work / "made" / f"{name}-{seed}", world_folder(work, seed, real(name)), seed, GENERATORS[name])


def augmented(folder: Path, source: Path, seed: int, *layers: Mapping[str, Any]) -> Path:
    """Returns a folder of generated images that are all kept. Creates it if it does not exist.

    A folder of another folder format cannot be read, so it is deleted and created again.

    Args:
        folder: the output folder.
        source: the dataset.
        seed: seed of the recipe.
        layers: keys that differ from the shipped recipe of the miniature and from _COMMON.
    """
    with locked(folder):
        if folder.is_dir() and _folder_format(folder) != RUN_FORMAT:
            shutil.rmtree(folder)
        if not (folder / "diffcore.json").is_file():
            outcome = augment_workflow.run(recipe_of(folder, source, seed, *layers), progress=False)
            if outcome.interrupted:
                raise KeyboardInterrupt
    return folder


def _folder_format(folder: Path) -> int:
    """Returns the folder format of a run; that of this version if the run has written nothing yet."""
    path = Folder(folder).run_file
    return json.loads(path.read_text(encoding="utf-8")).get("format", 1) if path.is_file() else RUN_FORMAT


def recipe_of(folder: Path, source: Path, seed: int, *layers: Mapping[str, Any]) -> Recipe:
    """Returns the recipe of `augmented`."""
    of_run = {
        "source": {"path": str(source)},
        "output": str(folder),
        "seed": seed,
        "batch_size": 16,
        "max_faulty": None,
    }
    return build_recipe(read_recipe_file(shipped_recipe("miniature")), of_run, _COMMON, *layers)


class Shown(NamedTuple):
    """The result of the oracle for one generated image."""

    label: int
    """Class that the image has to show, an index into DATASET_SPECIES."""
    species: int
    """Species that the image shows, an index into SPECIES."""
    asked: str
    """Context of the prompt; "" if the prompt names no context."""
    context: str
    """Context that the image shows."""

    @property
    def kind(self) -> str:
        """Returns one of KINDS."""
        wanted, shown = DATASET_SPECIES[self.label], SPECIES[self.species]
        if shown == wanted:
            return "right"
        if shown == look_alike(wanted):
            return "look-alike"
        return "other species" if shown in DATASET_SPECIES else "outside"


def truth(folder: Path) -> dict[Key, Shown]:
    """Returns unit -> result of the oracle for its image. The oracle runs once, and its results are stored."""
    from datasets import load_dataset

    path = folder / ".diffcore" / "truth.json"
    if not path.is_file():
        rows = load_dataset(str(folder), "generated", split="train")
        species, contexts = Oracle.load().classify(rows["image"][:])
        seen = zip(species.tolist(), [CONTEXTS[place] for place in contexts.tolist()], strict=True)
        drawn = rows["target_label"][:] if "target_label" in rows.column_names else [None] * len(rows)
        labels = [own if other is None else other for own, other in zip(rows["label"][:], drawn, strict=True)]
        units = zip(rows["row_id"][:], rows["copy"][:], labels, rows["context"][:], seen, strict=True)
        lines = [[row_id, copy, label, shown, asked, scene] for row_id, copy, label, asked, (shown, scene) in units]
        write_atomic(path, canonical_json(lines))
    lines = json.loads(path.read_text(encoding="utf-8"))
    return {(row_id, copy): Shown(*rest) for row_id, copy, *rest in lines}


def kept(folder: Path, policy: Mapping[str, Any]) -> list[Key]:
    """Returns the units that have a counterpart under a policy, in the order of the plan."""
    layer = {"filter": {"policy": dict(policy)}}
    material = export_workflow.read_decided(folder, layer)
    return [
        (material.plan.row_ids[unit], int(material.plan.copies[unit]))
        for unit in np.flatnonzero(material.decisions.counterpart >= 0).tolist()
    ]


def kept_by(work: Path, name: str, seed: int, keep: str) -> list[Key]:
    """Returns the units that are kept by a policy, by the `oracle`, or at `random`.

    The oracle keeps the images of the right species. `random` keeps about as many units as BEST.
    """
    return chosen(made(work, name, seed), keep)


def chosen(folder: Path, keep: str) -> list[Key]:
    """Returns the units of a folder that are kept by a policy, by the `oracle`, or at `random`, as in `kept_by`."""
    if keep == "oracle":
        shown = truth(folder)
        return [key for key in kept(folder, POLICIES["all"]) if shown[key].kind == "right"]
    if keep == "random":
        share = len(kept(folder, POLICIES[BEST])) / len(kept(folder, POLICIES["all"]))
        return kept(folder, {"name": "random", "p": round(share, 3)})
    return kept(folder, POLICIES[keep])


def measure(work: Path, name: str, seed: int) -> dict[str, Any]:
    """Counts the images of a generator by the species that they show, and counts those that each policy accepts."""
    folder = made(work, name, seed)
    shown = truth(folder)
    contexts = list(dict.fromkeys(image.asked for image in shown.values()))
    return {
        "attempts": len(shown),
        "shows": {kind: sum(image.kind == kind for image in shown.values()) for kind in KINDS},
        "right_context": float(np.mean([image.context == image.asked for image in shown.values()])),
        "right_by_context": {
            context: float(np.mean([image.kind == "right" for image in shown.values() if image.asked == context]))
            for context in contexts
        },
        "accepted": {policy: _by_kind(shown, kept_by(work, name, seed, policy)) for policy in POLICIES},
    }


def _by_kind(shown: Mapping[Key, Shown], keys: Sequence[Key]) -> dict[str, int]:
    return {kind: sum(shown[key].kind == kind for key in keys) for kind in KINDS}


def exported(folder: Path, output: Path, keep: Sequence[Key], layer: Mapping[str, Any] | None = None) -> Path:
    """Exports only the images of a folder that are in `keep`. A review rejects all other images."""
    everything = kept(folder, {"name": "all"})
    chosen = set(keep)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row_id", "copy", "attempt", "verdict", "note"])
    writer.writerows([*key, 0, "reject", ""] for key in everything if key not in chosen)
    shutil.rmtree(output, ignore_errors=True)
    review = output.with_name(f"{output.name}-review.csv")
    write_atomic(review, text.getvalue().encode())
    export_workflow.export(folder, output, {"review": str(review), **(layer or {})})
    return output
