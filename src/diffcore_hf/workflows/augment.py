"""Augments a dataset: from a recipe to a finished output folder.

Owns the order of the steps: prepare, collect, decide, export. The steps themselves are in augmentation and in
publication.py. This module prints nothing; only modules of commands/ do.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, Any, TypeVar

from diffcore_hf.augmentation import last_export
from diffcore_hf.augmentation.crash_facts import record_suspended
from diffcore_hf.augmentation.disk_space import DiskSpace
from diffcore_hf.augmentation.executors.base import Executor
from diffcore_hf.augmentation.executors.environment import share_of
from diffcore_hf.augmentation.executors.local import LocalExecutor
from diffcore_hf.augmentation.executors.starting import Workers, check_workers, collect_with, workers_of
from diffcore_hf.augmentation.growth import SourceChanges, changes, write_record
from diffcore_hf.augmentation.image_captions import captions_are_due, make_contexts
from diffcore_hf.augmentation.part_files import DamagedPart
from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.preparations import check_words, finished_preparation, recorded, words_in
from diffcore_hf.augmentation.resolution import Resolution, complete_recipe, resolve_run, run_content
from diffcore_hf.augmentation.review import read_review
from diffcore_hf.augmentation.rounds import Collected, collect
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.source.dataset import IN_MEMORY, load_source
from diffcore_hf.augmentation.source.hashes import keep_hashes
from diffcore_hf.augmentation.source.readable import check_readable
from diffcore_hf.augmentation.summary import Summary, summarise
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.layers import keywords_layer, positional_layer
from diffcore_hf.config.mappings import to_mapping
from diffcore_hf.config.output_names import default_output
from diffcore_hf.config.recipe_files import read_recipe_file, shipped_recipe
from diffcore_hf.core import signals
from diffcore_hf.core.collection import paused_collection
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.export_swap import ExportIsRunning, exporting
from diffcore_hf.core.folder import Folder
from diffcore_hf.method.checks import checks_of
from diffcore_hf.workflows.publication import publish

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

log = logging.getLogger(__name__)

Made = TypeVar("Made")


@dataclass(frozen=True)
class RunResult:
    """Result of a run or of an export."""

    folder: Folder
    recipe: Recipe
    summary: Summary
    seconds: float
    new_attempts: int
    """Number of attempts that this run generated."""
    interrupted: bool = False
    """Whether attempts are missing because the run was interrupted."""
    stopped: str | None = None
    """Why the run stopped early, with a remedy, as one line; None: it did not stop early."""
    reused_attempts: int = 0
    """Number of attempts that an earlier run generated and that are used again."""
    changes: SourceChanges | None = None
    """What changed in the source since the last run; None in a new folder and for an export."""
    signal: int | None = None
    """Number of the signal that was received during the run; None: there was no signal."""


def augment(
    data: str | Path | Dataset | DatasetDict | None = None,
    /,
    *,
    recipe: str | Path | Recipe | None = None,
    progress: bool = True,
    grace: float = signals.GRACE,
    workers: int | str | None = None,
    **keys: Any,
) -> Dataset:
    """Add generated and checked counterparts to the rows of a dataset. Repeat the same call to resume the run.

    Args:
        data: a Hub id, a folder, a recipe (a file or the name of a shipped recipe), or a Dataset in memory.
        recipe: a recipe file or a Recipe; `keys` override it.
        progress: show the progress bar.
        grace: seconds from a signal such as Ctrl-C to the end of the export. After the export, the signal is sent again
            to the process.
        workers: number of processes to start on this machine; "ray": the nodes of a Ray cluster do the work (the
            cluster of `ray.init`, if it was called); None: this process does the work. If torchrun or Slurm started
            this process as one of several, it does its share of the work.
        keys: keys of the recipe. `split` is short for `source.split`. The value of a section is a mapping.

    Returns:
        The augmented split: all columns of the source plus generated, context, prompt, seed, similarity, status and
        row_id. The output folder can be published as it is with `push`.

    Raises:
        UserError: the input is not valid, and nothing was written. Or too many attempts are faulty (`max_faulty`), and
            the finished ones were exported.
    """
    from datasets import load_dataset

    merged, rows = as_recipe(data, recipe, keys)
    try:
        share = share_of(None, os.environ)
        started = None if workers is None else workers_of(str(workers))
        result = run(merged, rows, progress=progress, grace=grace, share=share, workers=started)
    except signals.Stopped as error:
        signals.deliver_again(error.number)
        raise
    if result.signal is not None:
        signals.deliver_again(result.signal)
        raise signals.Stopped(result.signal)
    if result.stopped:
        raise UserError(result.stopped)
    return load_dataset(str(result.folder.path), split=merged.source.split)


def as_recipe(
    data: Any, recipe: str | Path | Recipe | None, keys: Mapping[str, Any]
) -> tuple[Recipe, Dataset | DatasetDict | None]:
    """Return the recipe of a call in Python, and the dataset if it is in memory."""
    layers: list[Mapping[str, Any]] = []
    rows = None if data is None or isinstance(data, (str, Path)) else data
    if isinstance(recipe, Recipe):
        layers.append(to_mapping(recipe))
    elif recipe is not None:
        layers.append(read_recipe_file(shipped_recipe(str(recipe)) or recipe))
    if rows is not None:
        layers.append({"source": {"path": IN_MEMORY}})
    elif data is not None:
        layers.append(positional_layer(str(data)))
    return build_recipe(*layers, keywords_layer(**keys)), rows


def run(
    recipe: Recipe,
    data: Dataset | DatasetDict | None = None,
    *,
    progress: bool = True,
    executor: Callable[[Run], Executor] = LocalExecutor,
    grace: float = signals.GRACE,
    share: Share | None = None,
    workers: Workers | None = None,
    crash_suspended: bool = False,
) -> RunResult:
    """Collect facts until every unit is decided, then export.

    A run that is interrupted, or that stops early because too many attempts are faulty, exports the finished units.
    What a signal interrupts is defined in core/signals.py.

    Args:
        recipe: the recipe of the run.
        data: the source, if it is a dataset in memory.
        progress: show the progress bar.
        executor: function that creates the executor of the run, which computes the parts.
        grace: seconds from the first signal to the end of the export.
        share: share of this process, if several processes work on the run; None: this is the only one. A process that
            computes only its share does not export.
        workers: number of processes to start, or the Ray cluster, which compute the parts; None: this process computes
            them.
        crash_suspended: record the attempts of suspended rows as crashed (augmentation/crashes.py).

    Raises:
        UserError: the input is not valid, and nothing was written. Or the model fails for every attempt.
        Stopped: a signal was received, and this process did not export. The message says what was saved.
    """
    started = time.monotonic()
    with signals.handled(grace):
        try:
            with signals.interruptible(signals.PREPARATION):
                prepared, own_executor = _started(recipe, data, lambda run: _executor(run, executor, workers))
                if crash_suspended:
                    record_suspended(prepared)
                earlier = set(prepared.ledger.attempt_parts())
                exported = last_export.token(prepared.folder)
        except signals.Stopped as error:
            raise signals.Stopped(error.number, "no attempt was started. The same command starts the run") from None
        while True:
            if own_executor is None:
                collected = collect_with(prepared, share or Share(), workers or 1, grace=grace, progress=progress)
            else:
                collected = collect(prepared, own_executor, share=share, progress=progress)
            ledger = prepared.ledger
            new = ledger.count(set(ledger.attempt_parts()) - (earlier - ledger.renamed))
            try:
                if share is not None and share.only:
                    summary = summarise(collected.decider.decide())
                else:
                    summary = _export(prepared, collected, new, exported)
            except DamagedPart as damaged:  # The facts of the renamed part are computed again.
                prepared.ledger.set_aside(damaged)
                own_executor = _executor(prepared, executor, workers)
                continue
            return _result(prepared, collected, summary, new, time.monotonic() - started)


def _export(run: Run, collected: Collected, new: int, exported: str | None) -> Summary:
    """Export a run, unless another worker has exported the same facts since this one started.

    After a signal, the run does not wait for another process that exports the same folder.

    Args:
        run: the run.
        collected: its facts.
        new: number of new attempts.
        exported: the result of `last_export.token` when this process started.

    Raises:
        Stopped: a signal was received, and this process did not export.
    """
    saved = f"{new:,} new attempts are saved in {run.folder.path}"
    resume = "Run the same command again to resume"
    try:
        with signals.interruptible(signals.EXPORT), exporting(run.folder, wait=collected.signal is None):
            # Another process may have committed parts while this one waited for the lock.
            material = collected.decider.refreshed().decide()
            # Number of attempts that no unit needs. A worker can generate such attempts before it has read all facts
            # of the other workers.
            run.folder.log("decided", attempts=len(material.attempts.units), ignored=material.ignored)
            state = last_export.state_of(material)
            if last_export.is_exported(run.folder, state, exported):
                return summarise(material)
            if run.folder.is_incomplete():
                log.warning("%s is incomplete because an export was stopped. This export repairs it", run.folder.path)
            summary = publish(material, run.folder)
            last_export.record(run.folder, state)
            return summary
    except ExportIsRunning:
        number = collected.signal or int(SIGINT)
        raise signals.Stopped(number, f"{saved}. Another process exports them. {resume}") from None
    except signals.Stopped as error:
        run.folder.log("end", interrupted=True, signal=error.number, made=new)
        raise signals.Stopped(error.number, f"{saved}, but not exported. {resume}") from None


def _result(run: Run, collected: Collected, summary: Summary, new: int, seconds: float) -> RunResult:
    """Write the end of a run to its log, and return the result."""
    number = collected.signal or signals.requested()
    run.folder.log(
        "end",
        interrupted=collected.interrupted,
        signal=number,
        stopped=collected.stopped,
        made=new,
        seconds=round(seconds, 1),
        counts=summary.counts,
    )
    return RunResult(
        folder=run.folder,
        recipe=run.recipe,
        summary=summary,
        seconds=seconds,
        new_attempts=new,
        interrupted=collected.interrupted,
        stopped=collected.stopped,
        reused_attempts=max(0, summary.counts["attempts"] - new),
        changes=run.changes,
        signal=number,
    )


def _executor(run: Run, make: Callable[[Run], Executor], workers: Workers | None) -> Executor | None:
    """Return the executor of this process; None if it starts other processes.

    Raises:
        UserError: other processes cannot open the source, or the Ray cluster cannot be used.
    """
    if workers is None:
        return make(run)
    check_workers(run, workers)
    return None


def _started(recipe: Recipe, data: Dataset | DatasetDict | None, make: Callable[[Run], Made]) -> tuple[Run, Made]:
    """Prepare and start a run. Return the run and the result of `make`, which is called before anything is written.

    If the contexts come from captions, the captions are computed after the first `start`. Then the run is prepared
    again, with these contexts.

    If another process starts the same folder at the same time, the values that it chose for `auto` and null are used.
    """
    while True:
        prepared = prepare(recipe, data, repairs=True)
        DiskSpace(prepared).check_start()
        made = make(prepared)
        if not start(prepared):
            continue
        if not captions_are_due(prepared):
            return prepared, made
        make_contexts(prepared)


def prepare(
    recipe: Recipe, data: Dataset | DatasetDict | None = None, *, describe_only: bool = False, repairs: bool = False
) -> Run:
    """Check all input that can be checked without loading weights or writing files.

    Args:
        recipe: the recipe of the run.
        data: the source, if it is a dataset in memory.
        describe_only: the run is only described, so the libraries of the models are not imported where possible.
        repairs: the run computes facts, so a damaged preparation or part is renamed, and its content is computed again.

    Raises:
        UserError: an input is not valid (see load_source, make_plan and resolve_run).
    """
    folder = Folder(recipe.output or default_output(recipe))
    if data is None:
        _check_output_outside_source(recipe, folder)
    folder.check_owned_or_empty()
    previous = folder.read_run()
    if previous and previous.get("cleaned"):
        raise UserError(f"{folder.path} was cleaned and cannot be continued. Choose another folder with --output")
    if previous and previous.get("exported"):
        raise UserError(f"output {folder.path} is an export. Continue the folder that it was exported from")
    review = read_review(recipe.review)
    checks_of(recipe.filter.checks)
    recipe = complete_recipe(recipe, previous)
    with paused_collection():
        source = load_source(recipe.source, data=data, folder=folder, prefix=recipe.columns.prefix)
        kept = finished_preparation(previous, folder, repairs=repairs)
        plan = make_plan(source, recipe, words_in(kept))
        check_readable(source, plan.rows)
    resolution = resolve_run(recipe, source, review, folder, previous, describe_only=describe_only)
    check_text_policy(resolution)
    changed = changes(folder, source) if previous else None
    run = Run(
        source, plan, folder, resolution, review, previous, changed, kept, repairs=repairs, in_memory=data is not None
    )
    check_words(run)
    return run


def _check_output_outside_source(recipe: Recipe, folder: Folder) -> None:
    """Raise UserError if the output would become part of a source on disk."""
    source = Path(recipe.source.path)
    if not source.is_dir() or not folder.path.resolve().is_relative_to(source.resolve()):
        return
    if recipe.output is None:
        raise UserError(
            f"the default output {folder.path} is in the source folder {recipe.source.path}. "
            "Give another folder with --output"
        )
    raise UserError(
        f"output {folder.path} is inside the source {recipe.source.path}, so it would become part of the source. "
        "Choose another folder with --output"
    )


def check_text_policy(resolution: Resolution) -> None:
    """Raise UserError if the policy compares images with texts but the image tower has no text tower."""
    tower = resolution.recipe.filter
    if tower.policy.name == "text_softmax" and not resolution.filter["has_text"]:
        raise UserError(
            f"filter.policy.name is 'text_softmax', but {tower.path} has no text tower. Use --filter.policy.name rank, "
            "or a filter.path with a text tower (CLIP, SigLIP)"
        )
    if tower.policy.by == "text" and not resolution.filter["has_text"]:
        raise UserError(
            f"filter.policy.by is 'text', but {tower.path} has no text tower. Use --filter.policy.by classifier, "
            "or a filter.path with a text tower (CLIP, SigLIP)"
        )


def start(run: Run) -> bool:
    """Write run.json and the hashes that a later run reuses. After this step the folder belongs to the recipe.

    Returns:
        False if another process wrote the first run.json of the folder after `prepare`. Then nothing is written.
    """
    resolution = run.resolution
    content = run_content(resolution, run.previous, in_memory=run.in_memory, **recorded(run))
    if run.previous is None and not run.folder.create_run(content):
        return False
    run.folder.remove_leftovers()
    run.folder.write_run(content)
    changed = {"source": run.changes.text()} if run.changes else {}
    run.folder.log("begin", attempt=resolution.attempt_digest, recipe=resolution.recipe_digest, **changed)
    write_record(run.folder, run.source)
    keep_hashes(run.source, run.folder)
    run.folder.write_hashes(resolution.hashes)
    return True
