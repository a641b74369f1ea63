"""Mode `append` for other training loops: a dataset with a column that marks the rows to be mixed.

Owns `mixing_rows`. The training loop of this package uses epoch_layout.py. Rows are mixed in transform.py.
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
    """Return the dataset of mode `append`: all rows unmixed, then the rows with a partner once more, to be mixed.

    The bool column `mixed` marks the rows to be mixed. Images stay undecoded, so that MixTransform decodes only the
    images that it needs.

    Args:
        rows: an augmented split. With N rows, of which K have an image to mix with, the result has N + K rows. No
            image is copied.
        partner: `own`: repeat the rows with a counterpart. `class`, `real_same_class`: repeat each row if the
            pool has an image of the same class. `own_copies`: repeat each row with an image in the pool. `any`: repeat
            each row.
        pool: dataset to draw partners from, for all partners but `own`; the same as for MixTransform.
        image: column of the real images; default `image`.
        generated: column of the counterparts; default `generated`.
        label: column of the labels, here and in the pool; default `label`.

    Raises:
        UserError: `rows` is a stream, a column does not exist, or the partner needs a pool and there is none.
    """
    from datasets import concatenate_datasets

    if not hasattr(rows, "select"):
        raise UserError(
            "rows is a stream, so mode append cannot add samples. Use MixTransform(probability=0.5) with map, or "
            "load it without streaming"
        )
    names = name_columns(rows.column_names, image=image, generated=generated, label=label)
    has_partner = partner_mask(rows, partner, pool, names)
    rows = undecoded(rows, names.image, names.generated)
    unmixed = rows.add_column(MIXED, [False] * len(rows))
    mixed = rows.add_column(MIXED, [True] * len(rows))
    return concatenate_datasets([unmixed, mixed.select(np.flatnonzero(has_partner))])


def partner_mask(rows: Dataset, partner: str, pool: Dataset | Pool | None, names: Columns) -> np.ndarray:
    """Return for each row whether an image to mix with exists, (N,) bool."""
    if partner == "own":
        require_columns(rows.column_names, names, ("generated",), "the dataset")
        return image_mask(rows, names.generated)
    has_ids = names.row_id in rows.column_names
    row_ids = column_values(rows, names.row_id) if has_ids else [None] * len(rows)
    return as_pool(pool, partner, names).serves_each(column_values(rows, names.label), row_ids)
