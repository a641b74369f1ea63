"""Unites the facts of several output folders in one folder, and exports it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffcore_hf.augmentation.comparing import Comparing
from diffcore_hf.augmentation.decisions import Decider
from diffcore_hf.augmentation.union import Union, check_folders, unite
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.export_swap import exporting
from diffcore_hf.core.folder import Folder
from diffcore_hf.workflows.augment import RunResult
from diffcore_hf.workflows.export import reopen
from diffcore_hf.workflows.publication import publish


@dataclass(frozen=True)
class Merged:
    """Result of `merge`."""

    union: Union
    result: RunResult


def merge(out: str | Path, others: Sequence[str | Path]) -> Merged:
    """Copy the parts of other folders to a folder, and export it. No model is loaded.

    Args:
        out: the folder of a run, or a new folder.
        others: folders of runs with the same settings.

    Raises:
        UserError: the folders do not belong together, or the source of the run cannot be opened.
    """
    started = time.monotonic()
    if not others:
        raise UserError(f"merge got no folder besides {out}. Use diffcore-hf merge {out} OTHER")
    target, folders = Folder(out), [Folder(path) for path in others]
    run = check_folders(target, folders)
    union = unite(target, folders, run)
    target.log("merge", folders=[str(path) for path in others], copied=union.copied, damaged=len(union.damaged))
    opened = reopen(out, {})
    decider = Decider.read(opened)
    if decider.comparisons:
        # Each machine compared only its own counterparts. The comparisons between machines need no model.
        Comparing(opened).complete(decider)
    with exporting(target):
        summary = publish(decider.decide(), target)
    return Merged(union, RunResult(target, opened.recipe, summary, time.monotonic() - started, 0))
