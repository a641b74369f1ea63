"""The view of mode `append` for other training loops: a dataset with a column that says which rows are served mixed.

Owns `mixing_rows`. The layout of an epoch of our own loop is epoch_layout.py; how a row is mixed is transform.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diffcore_hf.core.dataset_columns import column_values, image_mask, undecoded
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data.columns import MIXED, Columns, name_columns, require_columns
from diffcore_hf.training.data.pool import Pool, as_pool

if TYPE_CHECKING:
    from datasets import Dataset


def mixing_rows(
    rows: Dataset,
    *,
    partner: str = "own",
    pool: Dataset | None = None,
    image: str | None = None,
    generated: str | None = None,
    label: str | None = None,
) -> Dataset:
    """Return the view of mode `append`: all rows clean, then the rows with a partner once more, to be mixed.

    The bool column `mixed` tells them apart. Images stay undecoded, so that MixTransform decodes only what it needs.

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
        raise UserError(
            "mode append cannot lengthen a stream. Use MixTransform(probability=0.5) with map, or load it without "
            "streaming"
        )
    names = name_columns(rows.column_names, image=image, generated=generated, label=label)
    has_partner = partner_mask(rows, partner, pool, names)
    rows = undecoded(rows, names.image, names.generated)
    clean = rows.add_column(MIXED, [False] * len(rows))
    mixed = rows.add_column(MIXED, [True] * len(rows))
    return concatenate_datasets([clean, mixed.select(np.flatnonzero(has_partner))])


def partner_mask(rows: Dataset, partner: str, pool: Dataset | Pool | None, names: Columns) -> np.ndarray:
    """Return (N,) bool: the rows for which an image to mix with exists."""
    if partner == "own":
        require_columns(rows.column_names, names, ("generated",), "the dataset")
        return image_mask(rows, names.generated)
    has_ids = names.row_id in rows.column_names
    row_ids = column_values(rows, names.row_id) if has_ids else [None] * len(rows)
    return as_pool(pool, partner, names).serves_each(column_values(rows, names.label), row_ids)
