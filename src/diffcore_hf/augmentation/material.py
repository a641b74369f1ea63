"""Material: a run with its facts and the decisions about them.

Tables, pictures, summary and card are functions of this record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diffcore_hf.augmentation.facts import Facts
from diffcore_hf.augmentation.image_spool import ImageSpool
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.part_files import DamagedPart, Location, read_images
from diffcore_hf.augmentation.plan import Plan, Unit
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import seeding
from diffcore_hf.core.schema import TARGET_COLUMNS
from diffcore_hf.method.checks import KEPT
from diffcore_hf.method.filtration import AttemptFacts, Decisions
from diffcore_hf.method.policies import FittedPolicy
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.soft_labels import target_weight


@dataclass(frozen=True)
class Material:
    """A run, its facts and its decisions. The index of an attempt is its position in `attempts` and in `decisions`."""

    run: Run
    references: Facts
    """Facts about real images."""
    facts: Facts
    """Facts about all attempts in the ledger, including attempts that are not decided."""
    attempts: AttemptFacts
    """The M decided attempts, in the order of their facts."""
    fact_of: np.ndarray
    """(M,) int64: index of each attempt in `facts`."""
    decisions: Decisions
    policy: FittedPolicy
    embeddings: ReferenceEmbeddings
    """The embeddings of the real images to which the policy was fitted."""
    missing_references: int
    """Number of drawn references without facts. If it is above 0, the decisions may still change."""
    notes: tuple[str, ...]
    """Remarks on the decisions for the user, one line each."""
    spool: ImageSpool | None = None
    """Copies of the images that an export contains; None: images are read from the parts."""

    @property
    def source(self) -> LoadedSource:
        """The source of the run."""
        return self.run.source

    @property
    def plan(self) -> Plan:
        """The plan of the run."""
        return self.run.plan

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.run.recipe

    @property
    def ledger(self) -> Ledger:
        """The parts of the run."""
        return self.run.ledger

    @property
    def ignored(self) -> int:
        """Number of attempts in the ledger that no unit needs; see method/filtration.py."""
        return len(self.facts) - len(self.attempts.units)

    @cached_property
    def first_unit(self) -> dict[int, int]:
        """Map from the index of a source row to the index of its unit with copy 0."""
        return {int(row): unit for unit, row in enumerate(self.plan.rows.tolist()) if self.plan.copies[unit] == 0}

    @cached_property
    def sorted_attempts(self) -> list[int]:
        """Indices of the decided attempts, sorted by row of the source, copy and number."""
        units = self.attempts.units
        order = np.lexsort((self.attempts.attempts, self.plan.copies[units], self.plan.rows[units]))
        return order.tolist()

    @cached_property
    def kept(self) -> list[int]:
        """Indices of the attempts that are counterparts, of all copies, in the order of `sorted_attempts`."""
        return [attempt for attempt in self.sorted_attempts if self.decisions.reason[attempt] == KEPT]

    def target_of(self, unit: Unit) -> tuple[int, float] | tuple[None, None]:
        """Return the drawn class of a unit and its weight in the label; (None, None) if it is the class of the row."""
        if unit.target_label == unit.label:
            return None, None
        return unit.target_label, target_weight(unit.strength, self.recipe.strategy.gamma_label)

    def targets_of(self, units: Sequence[Unit]) -> dict[str, list[Any]]:
        """Return the columns TARGET_COLUMNS of some units; {} if the run draws no target classes."""
        if self.plan.targets is None:
            return {}
        labels = [self.target_of(unit) for unit in units]
        return {name: [label[index] for label in labels] for index, name in enumerate(TARGET_COLUMNS)}

    def location(self, attempt: int) -> Location:
        """Return the location of the image of an attempt."""
        return self.facts.locations[int(self.fact_of[attempt])]

    def images(self, attempts: Sequence[int]) -> list[bytes | None]:
        """Return the encoded images of some attempts; None for an attempt without image.

        Raises:
            DamagedPart: an image does not have its recorded hash.
        """
        spool = self.spool
        rest = [attempt for attempt in attempts if spool is None or not spool.has(attempt)]
        read = dict(zip(rest, read_images([self.location(attempt) for attempt in rest]), strict=True))
        for attempt, image in read.items():
            recorded = self.attempts.image_sha256[attempt]
            if image is not None and hashlib.sha256(image).hexdigest() != recorded:
                raise DamagedPart(self.location(attempt)[0], "an image does not have its recorded hash")
        return [read[attempt] if spool is None or attempt in read else spool.read(attempt) for attempt in attempts]

    def seed(self, attempt: int) -> int:
        """Return the seed of an attempt."""
        unit, number = int(self.attempts.units[attempt]), int(self.attempts.attempts[attempt])
        return seeding.attempt_seed(self.recipe.seed, *self.plan.key(unit), number)
