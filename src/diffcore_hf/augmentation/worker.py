"""Worker: computes the facts of one part and commits it to the ledger.

Owns the input columns of the stages, and the stages of one process. A task contains only keys of units or rows. So the
process that computes it opens the source itself. Does not choose the parts to compute (rounds.py) or the process that
computes them (executors/).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from diffcore_hf.augmentation.crashes import CurrentBatch
from diffcore_hf.augmentation.inputs import CLASS_INDICES, Inputs, StrategyInputs
from diffcore_hf.augmentation.ledger import Ledger, round_name
from diffcore_hf.augmentation.marks import mark_of_run
from diffcore_hf.augmentation.part_files import CLASSES, REFERENCES
from diffcore_hf.augmentation.plan import Plan, make_plan
from diffcore_hf.augmentation.preparations import Preparation, digest_of, started_preparation, words_in
from diffcore_hf.augmentation.prepared_files import check_files, write_list
from diffcore_hf.augmentation.row_list import row_list_identity
from diffcore_hf.augmentation.source.dataset import LoadedSource, load_source
from diffcore_hf.augmentation.stages.stage import Stage
from diffcore_hf.augmentation.tasks import (
    AttemptTask,
    CaptionTask,
    CommittedPart,
    OnProgress,
    PreparationTask,
    ReferenceTask,
    Task,
)
from diffcore_hf.augmentation.unit_images import UnitImages, source_images
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import images, schema, seeding, signals
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.image_marks import ImageMark
from diffcore_hf.core.locks import locked
from diffcore_hf.core.quiet import quiet_datasets
from diffcore_hf.core.schema import SOURCE_IMAGE, UnitKey
from diffcore_hf.generation.base import make_strategy

if TYPE_CHECKING:
    from datasets import Dataset, Features

    from diffcore_hf.augmentation.stages.attempt import Attempt
    from diffcore_hf.augmentation.stages.reference import Reference


def compute_part(output: str, recipe: Recipe, task: Task) -> CommittedPart:
    """Compute one part in this process and commit it. All arguments and the result can be pickled.

    The source is opened and the weights are loaded on the first call in a process.

    Args:
        output: the output folder, whose run.json exists.
        recipe: the resolved recipe of the run. Its source is on disk or on the Hub.
        task: the task.
    """
    global _opened
    if _opened is None or _opened[0] != (output, recipe):
        _opened = (output, recipe), Worker.open(output, recipe)
    with quiet_datasets():
        return _opened[1].compute(task)


_opened: tuple[tuple[str, Recipe], Worker] | None = None
"""The worker of this process for `compute_part`, with the output and recipe for which it was opened."""


class Worker:
    """Computes parts with the models of this process, which are loaded on first use.

    Args:
        source: the loaded source.
        plan: the plan of the run.
        recipe: the resolved recipe.
        ledger: the ledger to which parts are written.
        mark: the XMP mark of the images; None: a worker that makes no images.
        preparation: the preparation that the run keeps, see `Run`.
    """

    def __init__(
        self,
        source: LoadedSource,
        plan: Plan,
        recipe: Recipe,
        ledger: Ledger,
        mark: ImageMark | None,
        preparation: Preparation | None = None,
    ):
        self.source, self.plan, self.recipe, self.ledger, self.mark = source, plan, recipe, ledger, mark
        self.preparation = preparation
        self._current_batch = CurrentBatch(ledger.directory.parent)

    @classmethod
    def open(cls, output: str, recipe: Recipe) -> Worker:
        """Open the source of a run and return its worker.

        Raises:
            UserError: the source or the file of `select.rows` changed after the run had started.
        """
        folder = Folder(output)
        source = load_source(recipe.source, folder=folder, prefix=recipe.columns.prefix)
        run = folder.read_run()
        if run is not None and run["identities"]["source"] != source.identity:
            raise UserError(
                f"source {recipe.source.path} was changed while the run was working. Run the same command again: it "
                "continues with the changed source"
            )
        preparation = started_preparation(run)
        plan = make_plan(source, recipe, words_in(preparation))
        if run is not None and row_list_identity(recipe.select) != run["identities"].get("rows"):
            raise UserError(
                f"select.rows {recipe.select.rows} was changed while the run was working. Run the same command again: "
                "it continues with the changed file"
            )
        mark = None if run is None else mark_of_run(run)
        return cls(source, plan, recipe, Ledger(folder.parts, repairs=True), mark, preparation)

    @cached_property
    def reference(self) -> Reference:
        """The stage that embeds real images."""
        from diffcore_hf.augmentation.stages.reference import Reference

        return Reference(
            self.recipe.filter,
            strict=self.recipe.strict,
            device=self.recipe.model.device,
            files=self.source.files,
        )

    @cached_property
    def attempt(self) -> Attempt:
        """The stage that computes attempts. It shares the image tower with `reference`."""
        from diffcore_hf.augmentation.stages.attempt import Attempt

        stage = Attempt(self.recipe, tower=self.reference.tower, files=self.source.files, mark=self.mark)
        if (folder := self._preparation_folder()) is not None:
            check_files(folder)
            stage.strategy.use_preparation(folder)
        return stage

    def batch_size(self, task: type[Task]) -> int:
        """Return the number of images in a device batch for a type of task. On a GPU this call loads the model."""
        return self.attempt.strategy.batch_size if task is AttemptTask else self.reference.tower.batch_size

    def compute(self, task: Task, on_progress: OnProgress | None = None) -> CommittedPart:
        """Compute one part and commit it.

        After a signal, only the device batches that are finished are committed. The task of the returned part contains
        only their items.

        Args:
            task: the task.
            on_progress: called with the number of images after each device batch.

        Raises:
            Stopped: a signal interrupted the loading of a model, the captions or the preparation.
            UserError: a model fails on every image.
        """
        started = time.monotonic()
        try:
            finished, path = self._commit(task, on_progress)
        finally:
            self._current_batch.clear()
        return CommittedPart(finished, path, time.monotonic() - started, self.batch_size(type(task)))

    def _commit(self, task: Task, on_progress: OnProgress | None) -> tuple[Task, Path | None]:
        """Compute a task and write its part. Return the task with the items that are in the part, and its path."""
        match task:
            case CaptionTask():
                with signals.interruptible(signals.PREPARATION):
                    return task, self._captions()
            case PreparationTask():
                with signals.interruptible(signals.PREPARATION):
                    return task, self._prepare()
            case ReferenceTask():
                self.reference.on_progress = on_progress
                self.reference.on_batch = lambda rows: self._current_batch.record(
                    REFERENCES, [(task.row_ids[row], 0) for row in rows]
                )
                table = self.reference_part(task.row_ids)
                done = self._finished(self.reference, table)
                return replace(task, row_ids=task.row_ids[: len(done)]), self._write(REFERENCES, done)
            case AttemptTask():
                self.attempt.on_progress = on_progress
                kind = round_name(task.number)
                self.attempt.on_batch = lambda rows: self._current_batch.record(kind, [task.units[row] for row in rows])
                table = self.attempt_part(task.units, task.number)
                done = self._finished(self.attempt, table)
                return replace(task, units=task.units[: len(done)]), self._write(kind, done)

    def _finished(self, stage: Stage, part: pa.Table) -> pa.Table:
        """Return the rows of a part that the stage computed. After a signal, the others are left out."""
        return part if stage.finished is None else part.slice(0, stage.finished)

    def _write(self, kind: str, part: pa.Table) -> Path | None:
        """Write a part, and return its path; None if the part has no rows."""
        with signals.protected():
            return self.ledger.write(kind, part) if len(part) else None

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {row_id: row for row, row_id in enumerate(self.plan.source_ids)}

    def reference_part(self, row_ids: Sequence[str]) -> pa.Table:
        """Return the facts about some real images."""
        from datasets import Image, Value

        rows = [self._row_of[row_id] for row_id in row_ids]
        columns = {SOURCE_IMAGE: source_images(self.source, rows), "row_id": list(row_ids)}
        features = {SOURCE_IMAGE: Image(decode=False), "row_id": Value("string")}
        facts = schema.reference_facts()
        recorded = type(facts)({name: facts[name] for name in facts if name != "inputs"})
        part = _facts(self.reference, in_memory(columns, features), recorded)
        # The hash of the bytes that were embedded is used, because the file may have changed since the plan was made.
        hashes = part["source_sha256"].to_pylist()
        inputs = [self.inputs.of_row(row, sha256) for row, sha256 in zip(rows, hashes, strict=True)]
        return part.append_column("inputs", pa.array(inputs, pa.string())).select(list(facts))

    def attempt_part(self, keys: Sequence[UnitKey], number: int) -> pa.Table:
        """Return the facts about attempt `number` of some units."""
        units = [self.plan.unit_of[key] for key in keys]
        features = schema.attempt_facts()
        recorded = [name for name in features if name not in self.attempt.adds and name != "inputs"]
        names = list(dict.fromkeys([*recorded, *self.attempt.reads]))
        columns = unit_columns(self.source, self.plan, self.recipe, units, number, names, self.inputs.images)
        named = dict(zip(names, columns, strict=True)) | {"inputs": [self.inputs.of_unit(unit) for unit in units]}
        kinds = unit_features()
        table = in_memory(named, {name: kinds[name] for name in named})
        return _facts(self.attempt, table, features)

    def _captions(self) -> Path | None:
        """Embed the captions of classes and contexts that are not in the ledger, if the model has a text tower.

        Returns:
            The path of the part; None if nothing was written.
        """
        from datasets import Dataset

        texts = self.plan.prompt_texts
        known = set() if self.ledger.logit_scale() is None else set(self.ledger.captions())
        missing = [text for text in (*texts.captions(), *texts.context_captions()) if text not in known]
        if not missing or (embeddings := self.reference.embed_text(missing)) is None:
            return None
        scale = self.reference.tower.logit_scale
        rows = {
            "prompt": missing,
            "text_embedding": list(np.asarray(embeddings, np.float16)),
            "logit_scale": [scale] * len(missing),
        }
        table = Dataset.from_dict(rows, features=schema.class_facts()).data.table.combine_chunks()
        return self.ledger.write(CLASSES, table)

    @cached_property
    def inputs(self) -> Inputs:
        """The digests of the inputs from which this worker computes facts."""
        strategy = make_strategy(self.recipe.strategy, self.recipe.model, strict=self.recipe.strict)
        read = StrategyInputs.of(self.recipe.strategy.name, strategy)
        return Inputs(self.source, self.plan, self.recipe.seed, read, digest_of(self.preparation))

    def _preparation_folder(self) -> Path | None:
        """Return the folder of the strategy's preparation; None if the strategy has no preparation.

        The name of the folder is a digest of the inputs of the preparation.
        """
        digest = self.inputs.preparation
        return None if digest is None else self.ledger.preparation(digest)

    def _prepare(self) -> Path | None:
        """Run the preparation of the strategy, unless an earlier process finished it.

        Only one process at a time prepares, because the preparation writes several files.
        """
        from diffcore_hf.augmentation.stages.attempt import Attempt

        folder = self._preparation_folder()
        if folder is None:
            return None
        stage = Attempt(self.recipe, tower=self.reference.tower, files=self.source.files)
        with locked(self.ledger.directory.parent / "prepare.lock"):
            if not self.ledger.is_prepared(folder):
                folder.mkdir(parents=True, exist_ok=True)
                stage.strategy.prepare(self._prepared_references(), folder)
                write_list(folder)
        return folder

    def _prepared_references(self) -> Iterator[dict[str, Any]]:
        """Yield the drawn real images that can be decoded, in the format for `Strategy.prepare`.

        Raises:
            UserError: prompts name a class by a word of the preparation, and no reference of the class can be decoded.
        """
        labels, texts = self.source.labels[self.source.config.split], self.plan.prompt_texts
        missing = set(self.plan.shown.tolist()) if texts.words else set()
        # The order of the row ids is used, because the drawing order also depends on rows that are not references.
        for row in sorted(self.plan.references.tolist(), key=self.plan.source_ids.__getitem__):
            [cell] = source_images(self.source, [row]).to_pylist()
            try:
                image = images.decode(cell, self.source.files)
            except images.UnreadableImage:
                continue
            label = int(labels[row])
            missing.discard(label)
            yield {
                "row_id": self.plan.source_ids[row],
                "label": label,
                "class_name": texts.description(label),
                "word": texts.word(label),
                SOURCE_IMAGE: image,
            }
        if missing:
            name = self.source.names[min(missing)]
            raise UserError(
                f"class {name!r} has no reference whose pixels can be decoded, and strategy "
                f"{self.recipe.strategy.name} learns a word from them. Replace its images, or leave the class out with "
                "--select.classes"
            )


def unit_features() -> Features:
    """Return the types of all columns that a stage can read or a part can contain."""
    from datasets import Image, Value

    features = schema.attempt_facts()
    labels = dict.fromkeys(CLASS_INDICES, Value("int64"))
    numbers = labels | {"strength": Value("float64")}
    return type(features)({**features, **numbers, **dict.fromkeys(schema.UNIT_IMAGES, Image(decode=False))})


def unit_columns(
    source: LoadedSource,
    plan: Plan,
    recipe: Recipe,
    units: Sequence[int],
    number: int,
    names: Sequence[str],
    unit_images: UnitImages | None = None,
) -> list[Any]:
    """Return the named columns of some units for one attempt. Images are not decoded.

    Args:
        source: the source, from which the real images are read.
        plan: the plan of the units.
        recipe: the recipe; its seed is used.
        units: indices of the units in the plan.
        number: number of the attempt.
        names: names of the columns, keys of generation.base.UNIT_COLUMNS, or class_name.
        unit_images: the images of the units; None: they are drawn again.
    """
    rows = [plan.unit(index) for index in units]
    columns: list[Any] = []
    for name in names:
        match name:
            case "attempt":
                columns.append([number] * len(rows))
            case "seed":
                columns.append([seeding.attempt_seed(recipe.seed, unit.row_id, unit.copy, number) for unit in rows])
            case "class_name":
                columns.append([source.names[unit.target_label] for unit in rows])
            case schema.SOURCE_IMAGE | schema.CLASS_IMAGE | schema.CONTROL_IMAGE:
                columns.append((unit_images or UnitImages(source, plan, recipe.seed)).cells(name, units))
            case _:
                columns.append([getattr(unit, name) for unit in rows])
    return columns


def in_memory(columns: Mapping[str, Any], kinds: Mapping[str, Any]) -> Dataset:
    """Return a dataset in memory, which writes no cache file."""
    from datasets import Dataset, Features

    features = Features(kinds)
    target = features.arrow_schema
    arrays = [
        column if isinstance(column, pa.ChunkedArray) else pa.array(column, target.field(name).type)
        for name, column in columns.items()
    ]
    return Dataset(pa.table(arrays, names=list(columns)).cast(target))


def _facts(stage: Stage, ds: Dataset, features: Features) -> pa.Table:
    """Map a stage over a part in memory, and return the columns of the part in their order."""
    # The fingerprint is random, because nothing is cached here. The default one would hash the weights for each part.
    result = stage.map(
        ds, batch_size=len(ds), keep_in_memory=True, load_from_cache_file=False, new_fingerprint=secrets.token_hex(8)
    )
    return result.select_columns(list(features)).cast(features).with_format("arrow")[:].combine_chunks()
