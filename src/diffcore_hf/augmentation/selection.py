"""Selection: the rows and the number of counterparts that section `select` of a recipe chooses.

Owns the filter of the rows, the order within a class, and the filling of rare classes. The result is the drawing order,
of which `fraction` and `limit` are prefixes. The drawing order without a selection is in plan.py.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from itertools import chain

import numpy as np

from diffcore_hf.augmentation.row_list import read_row_list
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.config.augment import SelectConfig
from diffcore_hf.core.dataset_columns import column_values
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.method.arrays import Bools, Floats, Ints

_NUMBER = re.compile(r"u?int\d+|float\d+|bool")


def selected_rows(source: LoadedSource, select: SelectConfig, plannable: Ints, prompt_names: Sequence[str]) -> Ints:
    """Return the plannable rows that `select.classes` and `select.rows` choose.

    Args:
        source: the source.
        select: section `select` of the recipe.
        plannable: (N,) int64: rows of the augmented split that may be planned.
        prompt_names: names of the K classes in prompts.

    Raises:
        UserError: a class or a row does not exist, or no plannable row is left.
    """
    split = source.config.split
    chosen = np.ones(len(source.labels[split]), bool)
    if select.classes is not None:
        classes = chain.from_iterable(_class_indices(name, source, prompt_names) for name in select.classes)
        chosen &= np.isin(source.labels[split], list(classes))
    if select.rows is not None:
        chosen &= _listed(source, select.rows)
    rows = plannable[chosen[plannable]]
    if not len(rows):
        raise UserError(
            f"section select leaves no row of split {split!r} that can be planned. Choose other classes or rows"
        )
    return rows


def _class_indices(name: str, source: LoadedSource, prompt_names: Sequence[str]) -> list[int]:
    """Return the index of the class with a name in the source. If there is none, names in prompts are searched.

    Several classes can have the same name in prompts, so the result can have several indices.

    Raises:
        UserError: there is no such class.
    """
    if name in source.names:
        return [source.names.index(name)]
    if found := [label for label, prompt_name in enumerate(prompt_names) if prompt_name == name]:
        return found
    near = difflib.get_close_matches(name, [*source.names, *prompt_names], 1)
    hint = f"did you mean {near[0]!r}?" if near else f"its first classes are {', '.join(source.names[:5])}"
    raise UserError(f"select.classes has {name!r}, which {source.config.path} does not have; {visible(hint)}")


def _listed(source: LoadedSource, path: str) -> Bools:
    """Return (N,) bool: whether a row of the augmented split is in the list of a file.

    Raises:
        UserError: the file cannot be read, or names a row that does not exist.
    """
    split = source.config.split
    row_of = {row_id: row for row, row_id in enumerate(source.row_ids[split])}
    mask = np.zeros(len(source.labels[split]), bool)
    for row_id in read_row_list(path).ids:
        if row_id not in row_of:
            raise UserError(
                f"select.rows {path} lists {visible(row_id[:80])!r}, but split {split} has no such row. Its row ids "
                f"are like {source.row_ids[split][0]!r}, see column row_id of an output folder. Correct the file"
            )
        mask[row_of[row_id]] = True
    return mask


def hardness(source: LoadedSource, column: str | None) -> Floats | None:
    """Return (N,) float64: the values of the column that `select.hardest` names, for every row of the split.

    A null or NaN is -inf, so such a row is drawn last. The result is None if no column is named.

    Raises:
        UserError: the column does not exist or has no numbers.
    """
    if column is None:
        return None
    from datasets import Value

    numeric = [name for name, kind in source.features.items() if type(kind) is Value and _NUMBER.fullmatch(kind.dtype)]
    if column not in numeric:
        raise UserError(
            f"select.hardest is {column!r}, which is not a column of numbers of {source.config.path}. Its columns of "
            f"numbers are {', '.join(numeric) or 'none'}. Leave select.hardest out, or add such a column"
        )
    values = np.array(column_values(source.rows, column), dtype=np.float64)
    return np.where(np.isnan(values), -np.inf, values)


def filled_units(labels: Ints, per_class: int) -> tuple[Ints, Ints]:
    """Return `per_class` units of every class: its first rows, and further copies of them if it has too few rows.

    Args:
        labels: (N,) int64: classes of the rows in drawing order.
        per_class: number of units of each class.

    Returns:
        (U,) int64 positions in `labels`, and (U,) int64 copies 0, 1, ... The first unit of every class comes first,
        then the second of every class, and so on. So every prefix is balanced over the classes.
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    by_class = np.argsort(inverse, kind="stable")
    counts = np.bincount(inverse)
    starts = np.cumsum(counts) - counts
    classes = np.repeat(np.argsort(first, kind="stable"), per_class)
    number = np.tile(np.arange(per_class), len(counts))
    order = np.argsort(number, kind="stable")
    classes, number = classes[order], number[order]
    return by_class[starts[classes] + number % counts[classes]], number // counts[classes]
