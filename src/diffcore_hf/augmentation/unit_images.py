"""Images of a unit: the real images of the source that a strategy reads for an attempt.

Owns the row and the column of each of these images, and their hashes. Does not decode an image (stages/generate.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.augmentation.source.readable import readable_rows
from diffcore_hf.core import images
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.schema import CLASS_IMAGE, CONTROL_IMAGE
from diffcore_hf.generation.base import control_column_of
from diffcore_hf.method.arrays import Ints
from diffcore_hf.method.unit_draws import class_rows

if TYPE_CHECKING:
    from datasets import Dataset

    from diffcore_hf.augmentation.plan import Plan


def source_images(source: LoadedSource, rows: Sequence[int], column: str | None = None) -> pa.ChunkedArray:
    """Return the undecoded images of some rows of the augmented split, by default from the image column."""
    name = source.config.image if column is None else column
    return source.rows.select_columns([name]).with_format("arrow")[list(rows)][name]


def control_column(source: LoadedSource, options: Mapping[str, Any] | None) -> str | None:
    """Return the column of the control images; None if the options of the strategy name none.

    Raises:
        UserError: the source has no such column, or it is not one of images.
    """
    column = control_column_of(options)
    if column is not None and column not in source.image_columns():
        raise UserError(
            f"strategy.options.control_column is {column!r}, which is not an image column of {source.config.path}. Use "
            f"one of its image columns: {', '.join(source.image_columns())}"
        )
    return column


class UnitImages:
    """The real images of the units of a plan.

    Args:
        source: the source of the plan.
        plan: the plan.
        seed: seed of the recipe.
    """

    def __init__(self, source: LoadedSource, plan: Plan, seed: int):
        self.source, self.plan, self.seed = source, plan, seed
        self._control_hashes: dict[int, str | None] = {}

    def cells(self, name: str, units: Sequence[int]) -> pa.ChunkedArray:
        """Return the undecoded images of some units in a column of UNIT_IMAGES."""
        column = self.plan.control_column if name == CONTROL_IMAGE else None
        return source_images(self.source, [self.row(name, unit) for unit in units], column)

    def dataset(self, name: str, units: Sequence[int]) -> Dataset:
        """Return a dataset with the images of some units in one column of UNIT_IMAGES."""
        column = self.plan.control_column if name == CONTROL_IMAGE else None
        stored = self.source.config.image if column is None else column
        rows = self.source.rows.select([self.row(name, unit) for unit in units]).select_columns([stored])
        feature = self.source.features[stored]
        return rows.rename_column(stored, name).cast_column(name, feature)

    def row(self, name: str, unit: int) -> int:
        """Return the row of the source with the image of a unit."""
        return int((self._class_rows if name == CLASS_IMAGE else self.plan.rows)[unit])

    def sha256(self, name: str, unit: int) -> str | None:
        """Return the hash of the bytes of an image of a unit; None if they cannot be read."""
        row = self.row(name, unit)
        if name == CONTROL_IMAGE:
            return self._control_hash(row)
        return self.source.sha256[self.source.config.split][row]

    @cached_property
    def _class_rows(self) -> Ints:
        """(U,) int64: the row of the class image of each unit. Only references that can be read are drawn."""
        plan, split = self.plan, self.source.config.split
        candidates = plan.references[readable_rows(self.source)[plan.references]]
        labels = self.source.labels[split][candidates]
        ids = [plan.source_ids[row] for row in candidates.tolist()]
        keys = list(zip(plan.row_ids, plan.copies.tolist(), strict=True))
        return class_rows(plan.shown, plan.rows, keys, candidates, labels, ids, self.seed)

    def _control_hash(self, row: int) -> str | None:
        if row not in self._control_hashes:
            [cell] = source_images(self.source, [row], self.plan.control_column).to_pylist()
            try:
                digest = images.sha256(images.read_bytes(cell, self.source.files))
            except images.UnreadableImage:
                digest = None
            self._control_hashes[row] = digest
        return self._control_hashes[row]
