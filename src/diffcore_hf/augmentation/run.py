"""Run: one augmentation of one source into one output folder, checked and ready to start.

Owns the record that the steps of a run share. Contains no facts and no models: facts are in the ledger, models in the
workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.plan import Plan
from diffcore_hf.augmentation.resolution import Resolution
from diffcore_hf.augmentation.review import Review
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder


@dataclass(frozen=True)
class Run:
    """A run that passed every check that needs no weights."""

    source: LoadedSource
    plan: Plan
    folder: Folder
    resolution: Resolution
    review: Review
    previous: Mapping[str, Any] | None = None
    """Content of run.json before this run; None in a new folder."""
    in_memory: bool = False
    """Whether the source is a dataset in memory, which no other process can open."""

    @property
    def recipe(self) -> Recipe:
        """The recipe without `auto` and null."""
        return self.resolution.recipe

    @cached_property
    def ledger(self) -> Ledger:
        """The parts of the output folder."""
        return Ledger(self.folder.parts)

    def require_source_on_disk(self, executor: str) -> None:
        """Raise UserError where other processes cannot open the source."""
        if self.in_memory:
            raise UserError(
                f"the source is a dataset in memory, and {executor} opens it in other processes. Save it first "
                "(Dataset.to_parquet) and use --source.path FOLDER, or leave the executor out"
            )
