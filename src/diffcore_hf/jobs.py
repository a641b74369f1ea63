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

from diffcore_hf import exhibits
from diffcore_hf.augmentation import export as exporting
from diffcore_hf.augmentation import resolution as resolving
from diffcore_hf.augmentation.assessment import Assessor, read_review
from diffcore_hf.augmentation.parts import REFERENCES, Facts, Ledger
from diffcore_hf.augmentation.plan import Plan, make_plan
from diffcore_hf.augmentation.resolution import Resolution
from diffcore_hf.augmentation.rounds import collect
from diffcore_hf.augmentation.source import IN_MEMORY, Source, keep_hashes, load_source
from diffcore_hf.augmentation.summary import Summary, summarise
from diffcore_hf.augmentation.tables import Material
from diffcore_hf.core import layers, schema
from diffcore_hf.core.folder import Folder, canonical_json, seal, write_whole
from diffcore_hf.core.recipe import Recipe
from diffcore_hf.publishing import worth
from diffcore_hf.publishing.card import render_card
from diffcore_hf.publishing.model_card import ModelFacts, render_model_card
from diffcore_hf.publishing.text import merge_free_sections

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
        ValueError: bad input, in one line that names the value and the remedy; nothing was written.
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

    source: Source
    plan: Plan
    folder: Folder
    resolution: Resolution


def prepare(recipe: Recipe, data: Dataset | DatasetDict | None = None) -> Prepared:
    """Check everything that can be checked without loading weights or writing.

    Raises:
        ValueError: see load_source, make_plan and resolve.
    """
    folder = Folder(recipe.output or layers.default_output(recipe))
    folder.refuse_foreign()
    inside = Path(recipe.source.path)
    if data is None and inside.is_dir() and folder.path.resolve().is_relative_to(inside.resolve()):
        raise ValueError(
            f"output {folder.path} lies inside the source {recipe.source.path}, so it would become part of it. "
            "Choose another folder with --output"
        )
    before = folder.run() or {}
    if before.get("cleaned"):
        raise ValueError(f"{folder.path} was cleaned, it cannot be continued. Choose another folder with --output")
    if before.get("exported"):
        raise ValueError(f"output {folder.path} is an export. Continue the folder that it was exported from")
    read_review(recipe.review)
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
        raise ValueError(
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


def reopened(out: str | Path, layer: Mapping[str, Any]) -> Prepared:
    """A folder of a run as it stands, under its last recipe with some keys changed; no model is looked at.

    Raises:
        ValueError: no folder of a run, parts that were cleaned away, or a source that is gone or has changed.
    """
    folder = Folder(out)
    before = folder.run()
    if before is None:
        raise ValueError(f"{out} is no folder of a run of diffcore-hf. Name the --output of an augment")
    if before.get("exported"):
        raise ValueError(f"{out} is an export. Name the folder that it was exported from")
    if before.get("cleaned"):
        raise ValueError(f"{out} was cleaned: its parts are gone. Augment again into a new folder")
    recipe = layers.build_recipe(before["resolved"], layer)
    read_review(recipe.review)
    data = published_rows(folder, layers.build_recipe(before["resolved"])) if before["in_memory"] else None
    source = load_source(recipe.source, data=data, folder=folder, prefix=recipe.columns.prefix)
    identity = before["attempt"]["source"]["identity"]
    if source.identity != identity:
        raise ValueError(
            f"source {recipe.source.path} is {source.identity} now, but {out} was made from {identity}. "
            "Bring the source back as it was"
        )
    plan = make_plan(source, recipe)
    resolution = resolving.reopened(recipe, before)
    _check_judge(resolution)
    return Prepared(source, plan, folder, resolution)


def published_rows(folder: Folder, recipe: Recipe) -> DatasetDict:
    """The source of a run over a dataset in memory, taken back from what the run published."""
    from datasets import DatasetDict, concatenate_datasets, load_dataset

    if not recipe.include_originals:
        raise ValueError(f"{folder.path} holds no originals and its source was in memory. Call augment with it again")
    ours = [name for name in schema.added_features(recipe.columns.prefix)]
    try:
        splits = load_dataset(str(folder.path), "default").remove_columns(ours)
    except Exception as error:
        raise ValueError(
            f"{folder.path} is torn ({error}), and its source was in memory. Call augment with the dataset again"
        ) from error
    if recipe.source.holdout and "validation" in splits:
        name = recipe.source.split
        splits[name] = concatenate_datasets([splits[name], splits.pop("validation")])
    return DatasetDict(splits)


def export(out: str | Path, output: str | Path, layer: Mapping[str, Any], layout: str = "columns") -> Outcome:
    """Another finished dataset from the same facts, without a model.

    Args:
        out: the folder of a run.
        output: the folder to write: new, or an earlier export.
        layer: keys of the recipe of scope `decision` or `free`.
        layout: `columns`, `rows` or `mixed`.

    Raises:
        ValueError: see reopened; an output that is a run's or foreign; a layout that the dataset cannot have.
    """
    began = time.monotonic()
    target = Folder(output)
    target.refuse_foreign()
    if target.path.resolve() == Path(out).resolve() or ((ours := target.run()) and not ours.get("exported")):
        raise ValueError(f"--output {output} is the folder of a run; its facts stay. Choose another --output")
    prepared = reopened(out, layer)
    exporting.check_layout(prepared.resolution.recipe, layout)
    material = gather(prepared)
    if material.owed:
        raise ValueError(
            f"filter.references {material.recipe.filter.references} draws {material.owed} real images that {out} never "
            "looked at. Run augment with it once, or leave it as it was"
        )
    target.begin(resolving.record(prepared.resolution, None, exported=True, in_memory=False))
    summary = publish(material, prepared.resolution, target, layout)
    return Outcome(target, prepared.resolution.recipe, summary, time.monotonic() - began, 0)


def preview(out: str | Path, samples: int | None = None, *, mixed: bool = False) -> list[Path]:
    """Pictures of a run beside what it published: a contact sheet and histograms, or one other sheet.

    Args:
        out: the folder of a run; for `mixed` any that holds counterparts, exports as well.
        samples: so many attempts before any filter, instead.
        mixed: rows beside the training images that mixing makes of them, instead.

    Returns:
        The PNG files, in OUT/.diffcore/preview.
    """
    if mixed:
        from diffcore_hf.exhibits_mixed import mixed_batch

        path = Folder(out).private / "preview" / "mixed.png"
        write_whole(path, mixed_batch(out))
        return [path]
    prepared = reopened(out, {})
    material = gather(prepared)
    if not len(material.attempts):
        raise ValueError(f"{out} has no attempt yet. Run augment first, with --limit 20 for a quick look")
    if samples is not None:
        pictures = {f"samples-{samples}.png": exhibits.samples(material, samples)}
    else:
        pictures = {
            "contact_sheet.png": exhibits.contact_sheet(material),
            "similarity.png": exhibits.histogram(material),
            "similarity_by_class.png": exhibits.class_histograms(material),
        }
    folder = prepared.folder.private / "preview"
    for name, content in pictures.items():
        write_whole(folder / name, content)
    return [folder / name for name in pictures]


def after_training(data_path: str | Path, comparison: Mapping[str, Any]) -> Path | None:
    """Put the result of a comparison into the dataset folder that it was measured on, and its sentence into the card.

    Args:
        data_path: what was trained on.
        comparison: compare.json of the trainings.

    Returns:
        The card; None where the data is no folder of ours, changed since, or has no place for it, or where nothing was
        compared.
    """
    folder = Folder(data_path)
    manifest = folder.manifest()
    if manifest is None or manifest.get("hash") != comparison["data"]["hash"] or len(comparison["arms"]) < 2:
        return None
    write_whole(folder.path / "compare.json", canonical_json(comparison))
    card = folder.path / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if worth.START not in text:
        return None
    write_whole(card, worth.with_sentence(text, worth.sentence(comparison)).encode())
    return card


def model_cards(output: str | Path, comparison: Mapping[str, Any], table: str, legend: str) -> list[Path]:
    """Write the card of every model of a finished training folder; what a person wrote in its free sections stays.

    Args:
        output: the folder of the trainings.
        comparison: its compare.json.
        table: the comparison as Markdown; empty where nothing was compared.
        legend: what stands under it.
    """
    cards = []
    runs = [Path(output) / arm["name"] / f"seed-{seed}" for arm in comparison["arms"] for seed in comparison["seeds"]]
    for config in [run / kind / "config.json" for run in runs for kind in ("best", "last")]:
        run = config.parent.parent
        if not config.is_file():  # without validation there is no best one
            continue
        recipe = layers.read_recipe_file(run.parent / "recipe.yaml")
        data = recipe["data"] | {"path": comparison["data"]["path"]}
        facts = ModelFacts(
            recipe={**recipe, "data": data},
            result=json.loads((run / "result.json").read_text(encoding="utf-8")),
            comparison=comparison,
            classes=json.loads(config.read_text(encoding="utf-8"))["label_names"],
            table=table,
            legend=legend,
        )
        card = config.with_name("README.md")
        old = card.read_text(encoding="utf-8") if card.is_file() else None
        write_whole(card, merge_free_sections(render_model_card(facts), old).encode())
        cards.append(card)
    return cards
