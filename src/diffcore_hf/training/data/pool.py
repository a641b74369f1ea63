"""The pool: images by class, from which a partner is drawn.

Owns the index of a map-style dataset by class, the draw of one member, and which rows of a dataset are served mixed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data.columns import MIXED, Columns, name_columns, require

if TYPE_CHECKING:
    from datasets import Dataset


class Pool:
    """Images by class. Indexed once; nothing is decoded."""

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
            rows: config `generated`, or the source's rows; map-style.
            names: its columns.
            without_self: leave out the row itself when a partner is drawn for it.
            labels: of each row; None: its column.
            row_ids: of each row; None: its column.

        Raises:
            UserError: a stream, or a missing column.
        """
        if not hasattr(rows, "select_columns") or not hasattr(rows, "__len__"):
            raise UserError("the pool is a stream, which cannot be drawn from. Load it without streaming")
        require(rows.column_names, names, ("image",) if labels is not None else ("image", "label"), "the pool")
        if row_ids is None:
            row_ids = column(rows, names.row_id) if names.row_id in rows.column_names else []
        self.rows = undecoded(rows, names.image).select_columns([names.image]).with_format("arrow")
        self._image = names.image
        members: dict[Any, list[int]] = defaultdict(list)
        for place, label in enumerate(column(rows, names.label) if labels is None else np.asarray(labels).tolist()):
            members[label].append(place)
        self._members = {label: np.array(places) for label, places in members.items()}
        self._place = {row_id: place for place, row_id in enumerate(row_ids)} if without_self else {}

    def __len__(self) -> int:
        return len(self.rows)

    def serves(self, label: Any, row_id: str | None = None) -> bool:
        """Whether there is a partner for a row of the class."""
        return self._count(label, row_id) > 0

    def serves_each(self, labels: Sequence[Any], row_ids: Sequence[str | None]) -> np.ndarray:
        """(N,) bool: `serves` for each row."""
        pairs = zip(labels, row_ids, strict=True)
        return np.array([self.serves(label, row_id) for label, row_id in pairs], bool)

    def draw(self, random: np.random.Generator, label: Any, row_id: str | None = None) -> int | None:
        """A member of the class, uniform; never the row itself where the pool knows it; None where there is none."""
        chance, count = random.random(), self._count(label, row_id)
        if not count:
            return None
        members, own = self._members[label], self._place.get(row_id)
        place = int(chance * count)
        if own is not None and place >= int(np.searchsorted(members, own)):
            place += 1
        return int(members[place])

    def cells(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """The undecoded images of some members."""
        return self.rows[list(places)][self._image].to_pylist() if len(places) else []

    def _count(self, label: Any, row_id: str | None) -> int:
        return len(self._members.get(label, ())) - (row_id in self._place)


def column(rows: Dataset, name: str) -> list[Any]:
    """A whole column as plain values, without touching the others."""
    return rows.select_columns([name]).with_format("arrow")[:][name].to_pylist()


def undecoded(rows: Dataset, *names: str) -> Dataset:
    """The dataset with image columns as they are stored: bytes, not pictures."""
    from datasets import Image

    for name in names:
        if isinstance(rows.features.get(name), Image) and rows.features[name].decode:
            rows = rows.cast_column(name, Image(decode=False))
    return rows


def has_image(rows: Dataset, name: str) -> np.ndarray:
    """(N,) bool: whether there is an image in a column, without decoding one."""
    cells = undecoded(rows, name).select_columns([name]).with_format("arrow")
    windows = range(0, len(rows), 1024)
    found = [cells[i : i + 1024][name].is_valid().to_numpy().astype(bool) for i in windows]
    return np.concatenate([*found, np.zeros(0, bool)])


def mixing_rows(
    rows: Dataset,
    *,
    partner: str = "own",
    pool: Dataset | None = None,
    image: str | None = None,
    generated: str | None = None,
    label: str | None = None,
) -> Dataset:
    """The view of mode `append`: all rows clean, then once more those that are served mixed, told by column `mixed`.

    Its images are left undecoded, as MixTransform likes them best.

    Args:
        rows: an augmented split; with N rows of which K have a counterpart the view has N + K (nothing is copied).
        partner: `own`: rows with a counterpart. `class`, `real_same_class`: rows for whose class the pool has an image.
        pool: for the last two, as for MixTransform.
        image: column of the real images; default `image`.
        generated: column of the counterparts; default `generated`.
        label: column of the labels, here and in the pool; default `label`.

    Raises:
        UserError: a stream, a missing column, or no pool where one is needed.
    """
    from datasets import concatenate_datasets

    if not hasattr(rows, "select"):
        raise UserError("mode append cannot lengthen a stream. Use MixTransform(probability=0.5) with map, or load it "
                         "without streaming")  # fmt: skip
    names = name_columns(rows.column_names, image=image, generated=generated, label=label)
    served = served_rows(rows, partner, pool, names)
    rows = undecoded(rows, names.image, names.generated)
    clean = rows.add_column(MIXED, [False] * len(rows))
    mixed = rows.add_column(MIXED, [True] * len(rows))
    return concatenate_datasets([clean, mixed.select(np.flatnonzero(served))])


def served_rows(rows: Dataset, partner: str, pool: Dataset | Pool | None, names: Columns) -> np.ndarray:
    """(N,) bool: the rows that have someone to be mixed with."""
    if partner == "own":
        require(rows.column_names, names, ("generated",), "the dataset")
        return has_image(rows, names.generated)
    pool = as_pool(pool, partner, names)
    has_id = names.row_id in rows.column_names
    ids = column(rows, names.row_id) if has_id else [None] * len(rows)
    return pool.serves_each(column(rows, names.label), ids)


def as_pool(pool: Dataset | Pool | None, partner: str, names: Columns) -> Pool:
    """The index of a pool dataset; an index is taken as it is.

    Raises:
        UserError: there is none.
    """
    if pool is None:
        raise UserError(f"partner is {partner!r}, which draws from a pool. Give pool=load_dataset(..., 'generated', "
                         "split='train')" + (", or the real rows" if partner == "real_same_class" else ""))  # fmt: skip
    return pool if isinstance(pool, Pool) else Pool(pool, names, without_self=partner == "real_same_class")
