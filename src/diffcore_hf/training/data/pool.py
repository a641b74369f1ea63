"""The pool: a dataset of images from which the second image of a mix (the partner) is drawn.

Owns the index by the class that an image shows, the labels of the images and the draw of a partner. Does not decode
images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.core.dataset_columns import column_values, undecoded
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data.columns import Columns, require_columns
from diffcore_hf.training.data.image_labels import ImageLabels, read_image_labels

if TYPE_CHECKING:
    from datasets import Dataset


_ALL = "all images"
"""Key of the index that has every image."""


class Pool:
    """Images indexed by the class that they show; nothing is decoded."""

    def __init__(
        self,
        rows: Dataset,
        names: Columns,
        *,
        without_self: bool,
        partner: str = "class",
        labels: Sequence[Any] | np.ndarray | None = None,
        row_ids: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
    ):
        """Index `rows` by the class that an image shows.

        Args:
            rows: the configuration `generated`, or the real rows, as a map-style dataset.
            names: names of its columns.
            without_self: never draw the row itself as its own partner.
            partner: `class` or `real_same_class`: draw from the images that show the row's class. `any`: draw from all
                images. `own_copies`: draw from the images of the row itself.
            labels: label of each row; None: they are read from the column.
            row_ids: row id of each row; None: they are read from the column.
            classes: the class names, in the order of the labels; None: the order of the column of drawn classes.

        Raises:
            UserError: `rows` is a stream, or a column does not exist.
        """
        if not hasattr(rows, "select_columns") or not hasattr(rows, "__len__"):
            raise UserError("the pool is a stream, so partners cannot be drawn from it. Load it without streaming")
        kinds = ("image", "label") if labels is None else ("image",)
        require_columns(rows.column_names, names, kinds, "the pool")
        if labels is None:
            labels = column_values(rows, names.label)
        if row_ids is None:
            row_ids = column_values(rows, names.row_id) if names.row_id in rows.column_names else []
        if partner == "own_copies" and not len(row_ids):
            raise UserError(
                f"partner is 'own_copies', but the pool has no column {names.row_id!r}. Use partner 'class'"
            )
        self.rows = undecoded(rows, names.image).select_columns([names.image]).with_format("arrow")
        self._image = names.image
        members: dict[Any, list[int]] = defaultdict(list)
        label_list = labels.tolist() if isinstance(labels, np.ndarray) else labels
        self.labels = read_image_labels(rows, np.array(label_list), classes)
        """Labels of the images. None: each image shows the class of its row, and each partner is of the class of the
        row that it is mixed with."""
        if partner == "any" and self.labels is None:
            self.labels = ImageLabels.hard(np.array(label_list))
        self.partner = partner
        shown = label_list if self.labels is None else self.labels.shown.tolist()
        own_ids = row_ids if len(row_ids) else [None] * len(shown)
        for index, (label, row_id) in enumerate(zip(shown, own_ids, strict=True)):
            members[self._key(label, row_id)].append(index)
        self._members = {label: np.array(indices) for label, indices in members.items()}
        self._index_of: dict[str | None, int] = {}
        if without_self:
            self._index_of = {row_id: index for index, row_id in enumerate(row_ids)}

    def __len__(self) -> int:
        return len(self.rows)

    def serves(self, label: Any, row_id: str | None = None) -> bool:
        """Return whether the pool has a partner for a row of class `label`."""
        return self._count(label, row_id) > 0

    def serves_each(self, labels: Sequence[Any], row_ids: Sequence[str | None]) -> np.ndarray:
        """Return for each row whether the pool has a partner for it, (N,) bool."""
        rows = zip(labels, row_ids, strict=True)
        return np.array([self.serves(label, row_id) for label, row_id in rows], bool)

    def draw(self, random: np.random.Generator, label: Any, row_id: str | None = None) -> int | None:
        """Draw the index of a partner for a row uniformly; None if the pool has no partner for it.


        The row itself is never drawn if the pool was built `without_self`. One random number is used in every case.
        """
        share, count = random.random(), self._count(label, row_id)
        if not count:
            return None
        members, own_index = self._members[self._key(label, row_id)], self._index_of.get(row_id)
        position = int(share * count)
        if own_index is not None and position >= int(np.searchsorted(members, own_index)):
            position += 1
        return int(members[position])

    def cells(self, indices: Sequence[int]) -> list[dict[str, Any] | None]:
        """Return the images at the indices, undecoded."""
        if not len(indices):
            return []
        cells: list[dict[str, Any] | None] = self.rows[list(indices)][self._image].to_pylist()
        return cells

    def _count(self, label: Any, row_id: str | None) -> int:
        return len(self._members.get(self._key(label, row_id), ())) - (row_id in self._index_of)

    def _key(self, label: Any, row_id: str | None) -> Any:
        """Return the key of the index under which the partners of a row are."""
        if self.partner == "any":
            return _ALL
        return row_id if self.partner == "own_copies" else label


def as_pool(pool: Dataset | Pool | None, partner: str, names: Columns) -> Pool:
    """Return `pool` as a Pool; a dataset is indexed.

    Raises:
        UserError: `pool` is None.
    """
    if isinstance(pool, Pool):
        return pool
    if pool is None:
        real_rows = ", or the real rows" if partner == "real_same_class" else ""
        raise UserError(
            f"partner is {partner!r}, which needs a pool. "
            f"Give pool=load_dataset(..., 'generated', split='train'){real_rows}"
        )
    return Pool(pool, names, without_self=partner == "real_same_class", partner=partner)
