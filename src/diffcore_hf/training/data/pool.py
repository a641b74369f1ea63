"""The pool: images by class, from which a partner is drawn.

Owns the index of a map-style dataset by class and the draw of one member.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.core.dataset_columns import column_values, undecoded
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data.columns import Columns, require_columns

if TYPE_CHECKING:
    from datasets import Dataset


class Pool:
    """Images by class. They are indexed once; nothing is decoded."""

    def __init__(
        self,
        rows: Dataset,
        names: Columns,
        *,
        without_self: bool,
        labels: Sequence[Any] | np.ndarray | None = None,
        row_ids: Sequence[str] | None = None,
    ):
        """Index `rows` by class.

        Args:
            rows: config `generated`, or the rows of the source; map-style.
            names: its columns.
            without_self: leave out the row itself when a partner is drawn for it.
            labels: of each row; None: its column.
            row_ids: of each row; None: its column.

        Raises:
            UserError: a stream, or a missing column.
        """
        if not hasattr(rows, "select_columns") or not hasattr(rows, "__len__"):
            raise UserError("the pool is a stream, which cannot be drawn from. Load it without streaming")
        kinds = ("image", "label") if labels is None else ("image",)
        require_columns(rows.column_names, names, kinds, "the pool")
        if labels is None:
            labels = column_values(rows, names.label)
        if row_ids is None:
            row_ids = column_values(rows, names.row_id) if names.row_id in rows.column_names else []
        self.rows = undecoded(rows, names.image).select_columns([names.image]).with_format("arrow")
        self._image = names.image
        members: dict[Any, list[int]] = defaultdict(list)
        plain_labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
        for index, label in enumerate(plain_labels):
            members[label].append(index)
        self._members = {label: np.array(indices) for label, indices in members.items()}
        self._index_of: dict[str | None, int] = {}
        if without_self:
            self._index_of = {row_id: index for index, row_id in enumerate(row_ids)}

    def __len__(self) -> int:
        return len(self.rows)

    def serves(self, label: Any, row_id: str | None = None) -> bool:
        """Return whether the pool has a partner for a row of the class."""
        return self._count(label, row_id) > 0

    def serves_each(self, labels: Sequence[Any], row_ids: Sequence[str | None]) -> np.ndarray:
        """Return (N,) bool: `serves` for each row."""
        pairs = zip(labels, row_ids, strict=True)
        return np.array([self.serves(label, row_id) for label, row_id in pairs], bool)

    def draw(self, random: np.random.Generator, label: Any, row_id: str | None = None) -> int | None:
        """Draw the index of a member of the class, uniformly; None if the class has none.

        The row itself is never drawn if the pool was built `without_self`. One number is drawn in every case.
        """
        chance, count = random.random(), self._count(label, row_id)
        if not count:
            return None
        members, own = self._members[label], self._index_of.get(row_id)
        position = int(chance * count)
        if own is not None and position >= int(np.searchsorted(members, own)):
            position += 1
        return int(members[position])

    def cells(self, indices: Sequence[int]) -> list[dict[str, Any] | None]:
        """Return the undecoded images at the indices."""
        if not len(indices):
            return []
        cells: list[dict[str, Any] | None] = self.rows[list(indices)][self._image].to_pylist()
        return cells

    def _count(self, label: Any, row_id: str | None) -> int:
        return len(self._members.get(label, ())) - (row_id in self._index_of)


def as_pool(pool: Dataset | Pool | None, partner: str, names: Columns) -> Pool:
    """Return the index of a pool dataset; an existing index is returned as it is.

    Raises:
        UserError: no pool was given.
    """
    if isinstance(pool, Pool):
        return pool
    if pool is None:
        real_rows = ", or the real rows" if partner == "real_same_class" else ""
        raise UserError(
            f"partner is {partner!r}, which draws from a pool. "
            f"Give pool=load_dataset(..., 'generated', split='train'){real_rows}"
        )
    return Pool(pool, names, without_self=partner == "real_same_class")
