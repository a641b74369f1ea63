"""Inputs: digests of the inputs of a fact. A plan uses a fact only if the digests are equal.

Owns the digests. The source and the texts of prompts may change between two runs in one folder. Unchanged rows then
keep their facts, and all other rows get new facts. Facts that the plan does not need stay in the ledger and are
ignored.

The inputs of an attempt are its key (row id, copy, attempt), the attempt digest of the recipe and both prompts. The
name of the class that the image has to show and the preparation of the strategy are also inputs. If the strategy reads
them, the images of the unit, the index of the class and the strength are inputs too. The input of a fact about a real
image is the bytes of the image.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.augmentation.plan import Plan
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.augmentation.unit_images import UnitImages
from diffcore_hf.config import digests
from diffcore_hf.core import seeding
from diffcore_hf.core.schema import UNIT_IMAGES, AttemptKey

if TYPE_CHECKING:
    from diffcore_hf.generation.base import Strategy

CLASS_INDICES = ("label", "target_label")
"""Columns of a unit that contain the index of a class. The index can change when the source gets another class."""


@dataclass(frozen=True)
class StrategyInputs:
    """The inputs of a strategy that are not in the recipe. run.json stores them for exports, which need no strategy."""

    reads: tuple[str, ...]
    """Columns of a unit, keys of generation.base.UNIT_COLUMNS."""
    preparation: Mapping[str, Any] | None = None
    """Inputs of the preparation except the references, as plain values; None: the strategy has no preparation."""

    @classmethod
    def of(cls, name: str, strategy: Strategy) -> StrategyInputs:
        """Return the inputs of a strategy that the recipe calls `name`. No weights are loaded."""
        inputs = strategy.preparation()
        if inputs is None:
            return cls(tuple(strategy.reads))
        return cls(tuple(strategy.reads), {"inputs": inputs, "strategy": name, "version": strategy.VERSION})

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> StrategyInputs:
        """Return the inputs that `plain` stored."""
        return cls(tuple(values["reads"]), values["preparation"])

    def plain(self) -> dict[str, Any]:
        """Return the inputs as plain values."""
        return {"reads": list(self.reads), "preparation": self.preparation}


class Inputs:
    """The digests that the facts of a plan must have.

    Args:
        source: the source of the plan.
        plan: the plan.
        seed: seed of the recipe.
        strategy: what the strategy reads.
        kept: digest of the preparation that the run keeps, although the references may have changed; None: the digest
            follows from the references.
    """

    def __init__(self, source: LoadedSource, plan: Plan, seed: int, strategy: StrategyInputs, kept: str | None = None):
        self.source, self.plan, self.seed, self.strategy, self.kept = source, plan, seed, strategy, kept
        self._shared: dict[tuple[int | float, ...] | int, str] = {}

    @property
    def preparation(self) -> str | None:
        """The digest that names the preparation, 16 hex digits; None if the strategy has no preparation."""
        return self.new_preparation if self.kept is None else self.kept

    @cached_property
    def new_preparation(self) -> str | None:
        """The digest of all inputs of a preparation with the present references; None if the strategy has none."""
        if self.strategy.preparation is None:
            return None
        references = sorted(
            [
                self.plan.source_ids[row],
                self.plan.prompt_texts.names[label := int(self._labels[row])],
                label,
                self._sha256[row],
            ]
            for row in self.plan.references.tolist()
        )
        values = {**self.strategy.preparation, "references": references}
        return hashlib.sha256(digests.canonical(values)).hexdigest()[:16]

    def of_attempt(self, key: AttemptKey) -> str | None:
        """Return the digest for an attempt; None if its unit is not planned."""
        unit = self.plan.unit_of.get(key[:2])
        return None if unit is None else self.of_unit(unit)

    def of_unit(self, unit: int) -> str:
        """Return the digest for the attempts of a unit, 32 hex digits."""
        if self.plan.fields:
            digest = self._text_digest(unit)
        else:
            # The texts are equal for all units of a class in one context.
            shared: tuple[int | float, ...] | int = self._groups[unit]
            if self._has_draws:
                shared = (self._groups[unit], *self._draws(unit))
            if (known := self._shared.get(shared)) is None:
                known = self._shared[shared] = self._text_digest(unit)
            digest = known
        if not self._image_names:
            return digest
        hashes = [self.images.sha256(name, unit) for name in self._image_names]
        return seeding.digest("image", digest, *hashes).hex()[:32]

    def of_reference(self, key: AttemptKey) -> str | None:
        """Return the digest for the fact about a real image; None if the plan does not need this fact."""
        row = self._embedded_rows.get(key[0])
        return None if row is None else self.of_row(row, self._sha256[row])

    def of_row(self, row: int, sha256: str | None) -> str:
        """Return the digest for the fact about the image of a row.

        Args:
            row: index of the row.
            sha256: hash of the image's bytes. None: the bytes cannot be read. The end of the path is then used, because
                the row id of such a row does not identify the image.
        """
        return sha256 or seeding.digest("unreadable", *_path_end(self._cell(row))).hex()

    @cached_property
    def images(self) -> UnitImages:
        """The real images of the units."""
        return UnitImages(self.source, self.plan, self.seed)

    @cached_property
    def _image_names(self) -> tuple[str, ...]:
        """The images of a unit that the strategy reads."""
        return tuple(name for name in UNIT_IMAGES if name in self.strategy.reads)

    @cached_property
    def _groups(self) -> array[int]:
        """For each unit, a number that identifies its class and its context.

        It is an array of Python, because its elements are read faster than those of numpy.
        """
        groups = self.plan.shown * (int(self.plan.contexts.max(initial=0)) + 1) + self.plan.contexts
        return array("q", groups.astype(np.int64).tobytes())

    @cached_property
    def _has_draws(self) -> bool:
        """Whether units of the same class and context can have different values of `_draws`."""
        return len(self.plan) > 0 and bool(self._draws(0))

    @cached_property
    def _labels(self) -> Any:
        return self.source.labels[self.source.config.split]

    @cached_property
    def _sha256(self) -> list[str | None]:
        return self.source.sha256[self.source.config.split]

    @cached_property
    def _embedded_rows(self) -> dict[str, int]:
        """Row id -> index of every row that is a reference or planned."""
        rows = dict.fromkeys([*self.plan.references.tolist(), *self.plan.rows.tolist()])
        return {self.plan.source_ids[row]: row for row in rows}

    def _text_digest(self, index: int) -> str:
        """Return a digest of all inputs of a unit's attempts except the real images."""
        unit = self.plan.unit(index)
        position = unit.target_label if set(CLASS_INDICES) & set(self.strategy.reads) else None
        name = self.source.names[unit.target_label]
        texts = (name, unit.context, unit.prompt, unit.negative_prompt)
        draws = self._draws(index)
        return seeding.digest("unit", self.seed, *texts, position, self.preparation, *draws).hex()[:32]

    def _draws(self, unit: int) -> tuple[int | float, ...]:
        """Return the strength of a unit, and the class of its row if the target class is drawn.

        A value that the strategy does not read is left out.
        """
        plan, reads = self.plan, self.strategy.reads
        strength = () if plan.strengths is None or "strength" not in reads else (float(plan.strengths[unit]),)
        label = () if plan.targets is None or "label" not in reads else (int(plan.labels[unit]),)
        return *strength, *label

    @cached_property
    def _cells(self) -> Any:
        return self.source.rows.select_columns([self.source.config.image]).with_format("arrow")

    def _cell(self, row: int) -> Any:
        return self._cells[[row]][self.source.config.image].to_pylist()[0]


def _path_end(cell: Any) -> tuple[str, ...]:
    """Return folder and name of the file of an image cell; () for a cell without a path."""
    path = cell.get("path") if isinstance(cell, Mapping) else None
    return PurePath(path).parts[-2:] if isinstance(path, str) else ()
