"""Run: one augmentation of one source into one output folder, after all checks.

Owns the record that the steps of a run share. It contains no facts and no models. Facts are in the ledger, and models
are in the workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from diffcore_hf.augmentation.growth import SourceChanges
from diffcore_hf.augmentation.inputs import Inputs
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.plan import Plan
from diffcore_hf.augmentation.preparations import Preparation, digest_of
from diffcore_hf.augmentation.resolution import Resolution
from diffcore_hf.augmentation.review import Review
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.augmentation.source.report import SourceReport, make_report
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder


@dataclass(frozen=True)
class Run:
    """A run that passed all checks that are possible without weights."""

    source: LoadedSource
    plan: Plan
    folder: Folder
    resolution: Resolution
    review: Review
    previous: Mapping[str, Any] | None = None
    """Content of run.json before this run; None in a new folder."""
    changes: SourceChanges | None = None
    """What changed in the source since the last run; None in a new folder."""
    preparation: Preparation | None = None
    """The preparation that an earlier run finished and that this run keeps; None: there is none."""
    repairs: bool = False
    """Whether this run computes facts, so that damaged parts are renamed and computed again."""
    in_memory: bool = False
    """Whether the source is a dataset in memory. Other processes cannot open such a source."""

    @property
    def recipe(self) -> Recipe:
        """The recipe in which every `auto` and null is replaced by the value that the run uses."""
        return self.resolution.recipe

    @cached_property
    def inputs(self) -> Inputs:
        """The inputs that the facts of this run must have."""
        return Inputs(self.source, self.plan, self.recipe.seed, self.resolution.strategy, digest_of(self.preparation))

    @cached_property
    def source_report(self) -> SourceReport:
        """What was read from the source and what was not."""
        return make_report(self.source, self.plan.prompt_texts.names)

    @cached_property
    def ledger(self) -> Ledger:
        """The parts of the output folder."""
        return Ledger(self.folder.parts, repairs=self.repairs)

    def require_source_on_disk(self, executor: str) -> None:
        """Raise UserError if other processes cannot open the source.

        Args:
            executor: name of the executor that needs other processes, for the message.
        """
        if self.in_memory:
            raise UserError(
                f"the source is a dataset in memory, but {executor} opens it in other processes. Save it first "
                "(Dataset.to_parquet) and use --source.path FOLDER, or leave the executor out"
            )
