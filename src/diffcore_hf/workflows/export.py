"""Another dataset from the facts of a run, without a model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation import export as exporting
from diffcore_hf.augmentation import resolution as resolving
from diffcore_hf.augmentation.decisions import read_review
from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config import merging as layers
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import schema
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder

if TYPE_CHECKING:
    from datasets import DatasetDict

from diffcore_hf.workflows.augment import Outcome, Prepared, _check_judge, gather, publish


def reopened(out: str | Path, layer: Mapping[str, Any]) -> Prepared:
    """A folder of a run as it stands, under its last recipe with some keys changed; no model is looked at.

    Raises:
        UserError: no folder of a run, parts that were cleaned away, or a source that is gone or has changed.
    """
    folder = Folder(out)
    before = folder.run()
    if before is None:
        raise UserError(f"{out} is no folder of a run of diffcore-hf. Name the --output of an augment")
    if before.get("exported"):
        raise UserError(f"{out} is an export. Name the folder that it was exported from")
    if before.get("cleaned"):
        raise UserError(f"{out} was cleaned: its parts are gone. Augment again into a new folder")
    recipe = layers.build_recipe(before["resolved"], layer)
    read_review(recipe.review)
    data = published_rows(folder, layers.build_recipe(before["resolved"])) if before["in_memory"] else None
    source = load_source(recipe.source, data=data, folder=folder, prefix=recipe.columns.prefix)
    identity = before["attempt"]["source"]["identity"]
    if source.identity != identity:
        raise UserError(
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
        raise UserError(f"{folder.path} holds no originals and its source was in memory. Call augment with it again")
    ours = [name for name in schema.added_features(recipe.columns.prefix)]
    try:
        splits = load_dataset(str(folder.path), "default").remove_columns(ours)
    except Exception as error:
        raise UserError(
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
        UserError: see reopened; an output that is a run's or foreign; a layout that the dataset cannot have.
    """
    began = time.monotonic()
    target = Folder(output)
    target.refuse_foreign()
    if target.path.resolve() == Path(out).resolve() or ((ours := target.run()) and not ours.get("exported")):
        raise UserError(f"--output {output} is the folder of a run; its facts stay. Choose another --output")
    prepared = reopened(out, layer)
    exporting.check_layout(prepared.resolution.recipe, layout)
    material = gather(prepared)
    if material.owed:
        raise UserError(
            f"filter.references {material.recipe.filter.references} draws {material.owed} real images that {out} never "
            "looked at. Run augment with it once, or leave it as it was"
        )
    target.begin(resolving.record(prepared.resolution, None, exported=True, in_memory=False))
    summary = publish(material, prepared.resolution, target, layout)
    return Outcome(target, prepared.resolution.recipe, summary, time.monotonic() - began, 0)
