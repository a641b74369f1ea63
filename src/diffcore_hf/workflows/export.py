"""Writes another dataset from the facts of a run, without a model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.decisions import Decider
from diffcore_hf.augmentation.export import check_layout
from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.preparations import started_preparation, words_in
from diffcore_hf.augmentation.resolution import resolution_from_run, resolved_recipe, run_content
from diffcore_hf.augmentation.review import read_review
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core import schema
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.export_swap import exporting
from diffcore_hf.core.folder import Folder
from diffcore_hf.generation.base import targets_of
from diffcore_hf.publishing.signatures import check_key
from diffcore_hf.workflows.augment import RunResult, check_text_policy
from diffcore_hf.workflows.publication import publish
from diffcore_hf.workflows.signing import sign_folder

if TYPE_CHECKING:
    from datasets import DatasetDict


def export(
    out: str | Path, output: str | Path, layer: Mapping[str, Any], layout: str = "columns", sign: str | None = None
) -> RunResult:
    """Write another dataset from the facts of a run, without a model.

    Args:
        out: the folder of a run.
        output: the folder to write; a new folder or an earlier export.
        layer: keys of the recipe of scope `decision` or `free`.
        layout: `columns`, `rows` or `mixed`.
        sign: path of an SSH key that signs the dataset; None: it is not signed.

    Raises:
        UserError: the run cannot be opened (see `reopen`), the output is the folder of a run or has files of another
            program, the dataset cannot be written in this layout, or it cannot be signed with this key.
    """
    check_key(sign)
    started = time.monotonic()
    target = Folder(output)
    target.check_owned_or_empty()
    is_run = target.path.resolve() == Path(out).resolve()
    if is_run or ((content := target.read_run()) and not content.get("exported")):
        raise UserError(
            f"--output {output} is the folder of a run, which an export must not replace. Choose another --output"
        )
    run = reopen(out, layer)
    check_layout(run.recipe, layout)
    material = Decider.read(run).decide()
    check_references(material, out)
    target.write_run(run_content(run.resolution, None, exported=True, in_memory=False))
    target.remove_leftovers()
    with exporting(target):
        summary = publish(material, target, layout)
        if sign is not None:
            sign_folder(target, sign)
    return RunResult(target, run.recipe, summary, time.monotonic() - started, 0)


def check_references(material: Material, out: str | Path) -> None:
    """Check that the run has the embeddings of all real images that the filter draws.

    Raises:
        UserError: some are missing, because filter.references is not the value of the run.
    """
    if missing := material.missing_references:
        raise UserError(
            f"filter.references {material.recipe.filter.references} draws {missing} real images for which {out} has "
            "no embedding. Run augment with this value, or export with the old value"
        )


def reopen(out: str | Path, layer: Mapping[str, Any]) -> Run:
    """Open the folder of a run with its last recipe, in which some keys may be changed. No model is loaded.

    Raises:
        UserError: this is not the folder of a run, its parts were deleted, or the source is missing or has changed.
    """
    folder = Folder(out)
    content = folder.existing_run()
    recipe = build_recipe(resolved_recipe(content), layer)
    review = read_review(recipe.review)
    data = published_rows(folder, build_recipe(resolved_recipe(content))) if content["in_memory"] else None
    source = load_source(recipe.source, data=data, folder=folder, prefix=recipe.columns.prefix)
    identity = content["identities"]["source"]
    if source.identity != identity:
        raise UserError(
            f"source {recipe.source.path} has changed: it is now {source.identity}, but {out} was generated from "
            f"{identity}. Run augment with this --output to continue with the changed source, or restore the source"
        )
    preparation = started_preparation(content)
    plan = make_plan(source, recipe, words_in(preparation))
    resolution = resolution_from_run(recipe, review, content)
    check_text_policy(resolution)
    return Run(source, plan, folder, resolution, review, content, preparation=preparation, in_memory=data is not None)


def read_decided(out: str | Path, layer: Mapping[str, Any] | None = None) -> Material:
    """Read the facts of a run and make the decisions with its last recipe, in which some keys may be changed.

    Raises:
        UserError: the run cannot be opened (see `reopen`).
    """
    return Decider.read(reopen(out, layer or {})).decide()


def published_rows(folder: Folder, recipe: Recipe) -> DatasetDict:
    """Return the source of a run that was started with a dataset in memory.

    The rows are read from the published files of the run.

    Raises:
        UserError: the run published no originals, or its folder cannot be read.
    """
    from datasets import DatasetDict, concatenate_datasets, load_dataset

    if not recipe.include_originals:
        raise UserError(
            f"{folder.path} has no originals, and its source was in memory. Call augment with the dataset again"
        )
    targets = () if targets_of(recipe.strategy) == "own" else schema.TARGET_COLUMNS
    added = [recipe.columns.prefix + name for name in (*schema.ADDED_COLUMNS, *targets)]
    try:
        splits = load_dataset(str(folder.path), "default").remove_columns(added)
    except Exception as error:
        raise UserError(
            f"{folder.path} is incomplete ({innermost_cause(error)}), and its source was in memory. "
            "Call augment with the dataset again"
        ) from error
    if recipe.source.holdout and "validation" in splits:
        name = recipe.source.split
        splits[name] = concatenate_datasets([splits[name], splits.pop("validation")])
    return DatasetDict(splits)
