"""Jobs: the verbs, each one function. The one file where the wings meet.

Owns the order in which augmentation, decisions, export, pictures and card follow one another. Holds no logic of
its own; prints nothing (cli.py does).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation import export as exporting
from diffcore_hf.augmentation import resolution as resolving
from diffcore_hf.augmentation.decisions import Assessor, read_review
from diffcore_hf.augmentation.ledger import REFERENCES, Facts, Ledger
from diffcore_hf.augmentation.plan import Plan, make_plan
from diffcore_hf.augmentation.resolution import Resolution
from diffcore_hf.augmentation.rounds import collect
from diffcore_hf.augmentation.source.dataset import IN_MEMORY, LoadedSource, load_source
from diffcore_hf.augmentation.source.hashes import keep_hashes
from diffcore_hf.augmentation.summary import Summary, summarise
from diffcore_hf.augmentation.tables import Material
from diffcore_hf.config import merging as layers
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, seal
from diffcore_hf.method.checks import checks_of
from diffcore_hf.publishing.card import worth
from diffcore_hf.publishing.card.dataset_card import render_card
from diffcore_hf.publishing.card.text import merge_free_sections
from diffcore_hf.workflows import pictures as exhibits

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    folder: Folder
    recipe: Recipe
    summary: Summary
    seconds: float
    made: int
    """Attempts made in this run."""
    interrupted: bool = False


def augment(
    data: str | Path | Dataset | DatasetDict | None = None,
    /,
    *,
    recipe: str | Path | Recipe | None = None,
    progress: bool = True,
    **keys: Any,
) -> Dataset:
    """The main job: a dataset in, the same dataset with generated, checked counterparts out. Run again = resume.

    Args:
        data: a Hub id, a folder, a recipe (file or shipped name), or a Dataset in memory.
        recipe: a recipe file or a Recipe, under `keys`.
        progress: show the bar.
        keys: the recipe's keys; `split` is short for `source.split`, sections are mappings.

    Returns:
        The augmented split: all columns of the source plus generated, context, prompt, seed, similarity, status and
        row_id. The folder that it lies in is the Hub repository.

    Raises:
        UserError: bad input, in one line that names the value and the remedy; nothing was written.
    """
    from datasets import load_dataset

    made, rows = as_recipe(data, recipe, keys)
    outcome = run(made, rows, progress=progress)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return load_dataset(str(outcome.folder.path), split=made.source.split)


def as_recipe(
    data: Any, recipe: str | Path | Recipe | None, keys: Mapping[str, Any]
) -> tuple[Recipe, Dataset | DatasetDict | None]:
    """The recipe of a call in Python, and the dataset in memory where one was given."""
    below = []
    rows = None if data is None or isinstance(data, (str, Path)) else data
    if isinstance(recipe, Recipe):
        below.append(layers.to_mapping(recipe))
    elif recipe is not None:
        below.append(layers.read_recipe_file(layers.shipped_recipe(str(recipe)) or recipe))
    if rows is not None:
        below.append({"source": {"path": IN_MEMORY}})
    elif data is not None:
        below.append(layers.what_layer(str(data)))
    return layers.build_recipe(*below, layers.keywords_layer(**keys)), rows


@dataclass(frozen=True)
class Prepared:
    """A run that may begin: everything was checked, nothing written, no weights loaded."""

    source: LoadedSource
    plan: Plan
    folder: Folder
    resolution: Resolution


def prepare(recipe: Recipe, data: Dataset | DatasetDict | None = None) -> Prepared:
    """Check everything that can be checked without loading weights or writing.

    Raises:
        UserError: see load_source, make_plan and resolve.
    """
    folder = Folder(recipe.output or layers.default_output(recipe))
    folder.refuse_foreign()
    inside = Path(recipe.source.path)
    if data is None and inside.is_dir() and folder.path.resolve().is_relative_to(inside.resolve()):
        raise UserError(
            f"output {folder.path} lies inside the source {recipe.source.path}, so it would become part of it. "
            "Choose another folder with --output"
        )
    before = folder.run() or {}
    if before.get("cleaned"):
        raise UserError(f"{folder.path} was cleaned, it cannot be continued. Choose another folder with --output")
    if before.get("exported"):
        raise UserError(f"output {folder.path} is an export. Continue the folder that it was exported from")
    read_review(recipe.review)
    checks_of(recipe.filter.checks)
    recipe = resolving.settle(recipe, folder)
    source = load_source(recipe.source, data=data, folder=folder, prefix=recipe.columns.prefix)
    plan = make_plan(source, recipe)
    resolution = resolving.resolve(recipe, source, folder)
    _check_judge(resolution)
    return Prepared(source, plan, folder, resolution)


def _check_judge(resolution: Resolution) -> None:
    """Refuse a judge that the tower cannot serve, before anything is embedded."""
    tower = resolution.recipe.filter
    if tower.policy.by == "text" and not resolution.filter["has_text"]:
        raise UserError(
            f"filter.policy.by is 'text', but {tower.path} has no text tower. Use --filter.policy.by classifier, "
            "or a filter.path that has one (CLIP, SigLIP)"
        )


def run(recipe: Recipe, data: Dataset | DatasetDict | None = None, *, progress: bool = True) -> Outcome:
    """Collect facts until every unit is decided, then export. An interruption by the user exports too."""
    from diffcore_hf.augmentation.stages.attempt import Attempt
    from diffcore_hf.augmentation.stages.reference import Reference

    began = time.monotonic()
    prepared = prepare(recipe, data)
    folder, source, plan = prepared.folder, prepared.source, prepared.plan
    recipe = prepared.resolution.recipe
    folder.begin(resolving.record(prepared.resolution, folder.run(), in_memory=data is not None))
    folder.log("begin", attempt=prepared.resolution.attempt_digest, recipe=prepared.resolution.recipe_digest)
    keep_hashes(source, folder)
    folder.keep_hashes(prepared.resolution.hashes)
    ledger = Ledger(folder.parts)
    before = ledger.count()
    reference = Reference(recipe.filter, strict=recipe.strict, device=recipe.model.device)
    attempt = Attempt(recipe, tower=reference.tower)
    facts = None
    try:
        facts = collect(source, plan, recipe, ledger, reference, attempt, read_review(recipe.review), progress=progress)
    except KeyboardInterrupt:
        log.info("interrupted: exporting what is finished")
    interrupted = facts is None
    material = gather(prepared, facts)
    if folder.torn():
        log.warning("%s was torn (an export was stopped half-way); it is mended now", folder.path)
    summary = publish(material, prepared.resolution, folder)
    made, seconds = ledger.count() - before, time.monotonic() - began
    folder.log("end", interrupted=interrupted, made=made, seconds=round(seconds, 1), counts=summary.counts)
    return Outcome(folder, recipe, summary, seconds, made, interrupted)


def gather(prepared: Prepared, facts: tuple[Facts, Facts] | None = None) -> Material:
    """All facts of a folder, decided.

    Args:
        facts: about references and attempts, where they are in memory already.
    """
    recipe, ledger = prepared.resolution.recipe, Ledger(prepared.folder.parts)
    references, attempts = facts or (Facts.read(ledger, [REFERENCES]), Facts.read(ledger, ledger.rounds()))
    assessor = Assessor(prepared.source, prepared.plan, recipe, ledger, references, read_review(recipe.review))
    return Material(
        prepared.source, prepared.plan, recipe, ledger, references, attempts, assessor.assess(attempts), assessor.owed
    )


def publish(material: Material, resolution: Resolution, folder: Folder, layout: str = "columns") -> Summary:
    """Write tables, pictures and card beside the folder's files and swap them in, the manifest last."""
    summary = summarise(material)
    staging = folder.staging()
    shards, files = exporting.write_tables(material, staging, layout)
    assets = staging / "assets"
    assets.mkdir()
    (assets / "contact_sheet.png").write_bytes(exhibits.contact_sheet(material))
    (assets / "similarity.png").write_bytes(exhibits.histogram(material))
    source = material.source
    manifest = exporting.manifest(
        shards,
        files,
        assets,
        resolution.known_by("attempt", "decision"),
        layout=layout,
        originals=material.recipe.include_originals,
        attempt_digest=resolution.attempt_digest,
        recipe_digest=resolution.recipe_digest,
        resolved={
            "source": {"path": source.name, "identity": source.identity, "licence": source.licence},
            "model": dict(resolution.model),
            "filter": dict(resolution.filter),
        },
        counts=summary.counts,
    )
    old = folder.path / "README.md"
    measured = worth.read_comparison(folder.path, json.loads(seal(manifest))["hash"])
    text = render_card(
        exhibits.card_facts(material, manifest, summary, measured, exporting.dataset_info(staging, shards, files))
    )
    text = merge_free_sections(text, old.read_text(encoding="utf-8") if old.is_file() else None)
    (staging / "README.md").write_text(text, encoding="utf-8")
    folder.swap_in(staging, manifest)
    return summary
