"""The plan: which units are wanted, in one drawing order, each with its context and its two prompts.

Owns the drawing order, fraction, copies, holdout, the draw of references and the contexts' round robin. A pure
function of (source, recipe): no model is loaded and no image is decoded. Does not own the words of the prompts
(method/wording.py) nor what is kept (method/filtration.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from diffcore_hf.augmentation.source.dataset import LoadedSource, load_source
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import schema, seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.wording import Wording, wording

if TYPE_CHECKING:
    from datasets import Dataset


class Unit(NamedTuple):
    """One counterpart that is wanted."""

    row: int
    """Place of the real image in the source split."""
    row_id: str
    copy: int
    label: int
    context: str
    prompt: str
    negative_prompt: str | None


@dataclass(frozen=True)
class Plan:
    """The units in drawing order: all of copy 0, then copy 1, ..."""

    rows: np.ndarray
    """(U,) int64: place of each unit's row in the source split."""
    copies: np.ndarray
    """(U,) int64."""
    labels: np.ndarray
    """(U,) int64."""
    contexts: np.ndarray
    """(U,) int64: place in `words.contexts`."""
    references: np.ndarray
    """(R,) int64: rows whose embeddings make statistics and thresholds, whatever is planned."""
    heldout: np.ndarray
    """(N,) bool over the source split: never planned, never a reference."""
    order: np.ndarray
    """(N',) int64: the whole drawing order of rows, of which the plan is a prefix."""
    row_ids: list[str]
    """(U,) row id of each unit."""
    source_ids: list[str]
    """(N,) row id of each row of the source split."""
    fields: Mapping[str, list[str]]
    """Columns of the source that the template names, (N,) each."""
    words: Wording
    """Template, names, contexts and negatives, ready to be put together."""

    def __len__(self) -> int:
        return len(self.rows)

    def limited(self, limit: int | None) -> int:
        """How many units of the drawing order are to be worked on now."""
        return len(self) if limit is None else min(limit, len(self))

    def key(self, index: int) -> tuple[str, int]:
        """Row id and copy of unit `index`, the key of its facts."""
        return self.row_ids[index], int(self.copies[index])

    def unit(self, index: int) -> Unit:
        """Unit `index` of the drawing order with its prompts."""
        row, label = int(self.rows[index]), int(self.labels[index])
        context = self.words.contexts[self.contexts[index]]
        positive, negative = self.words.pair(
            label, context, {name: column[row] or "" for name, column in self.fields.items()}
        )
        return Unit(row, self.row_ids[index], int(self.copies[index]), label, context, positive, negative)


def drawing_order(labels: np.ndarray, row_ids: list[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The one order in which rows are drawn (section 1.6 of the design).

    First every class's first row, then by (j - 1/2) / N_k, j being the row's place in its class's seeded order and N_k
    the size of the class; ties by seeded hash. Every prefix is balanced, and every smaller one a subset of every
    larger one.

    Args:
        labels: (N,) int64 of the rows that may be drawn.
        row_ids: N ids.
        seed: the recipe's.

    Returns:
        (N,) int64 places in drawing order, and (N,) int64, for each row its place j - 1 in its class's order.
    """
    hashes = [seeding.digest("order", seed, row_id) for row_id in row_ids]
    place = np.zeros(len(labels), np.int64)
    size = np.ones(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        size[members] = len(members)
        place[sorted(members.tolist(), key=hashes.__getitem__)] = np.arange(len(members))
    # (2 j - 1) / (2 N_k) in one correctly rounded division: equal fractions are equal floats.
    share = (2 * place + 1) / (2 * size)
    order = sorted(range(len(labels)), key=lambda row: (place[row] > 0, share[row] if place[row] else 0, hashes[row]))
    return np.array(order, np.int64), place


def drawn(count: int, classes: int, fraction: float) -> int:
    """How many rows `fraction` is: max(K, round_half_up(f N)), at most N."""
    return min(count, max(classes, round_half_up(fraction, count)))


def round_half_up(share: float, count: int) -> int:
    """`share` of `count`, in decimals: 0.29 of 50 is 14.5 and so 15, which floats make 14.499999999999998."""
    return int((Decimal(repr(share)) * count).to_integral_value(ROUND_HALF_UP))


def held_out(labels: np.ndarray, row_ids: list[str], share: float, seed: int) -> np.ndarray:
    """(N,) bool: a seeded share of each class, rounded half up, never the whole class."""
    mask = np.zeros(len(labels), bool)
    if share > 0:
        for label in np.unique(labels[labels >= 0]):
            members = np.flatnonzero(labels == label).tolist()
            members.sort(key=lambda row: seeding.digest("holdout", seed, row_ids[row]))
            mask[members[: min(round_half_up(share, len(members)), len(members) - 1)]] = True
    return mask


def make_plan(source: LoadedSource, recipe: Recipe) -> Plan:
    """The plan of a recipe over a loaded source.

    Raises:
        UserError: a holdout where the source has a validation split, an opaque label, a template that names a column
            which is not there, a negative prompt that holds the label or the context.
    """
    config = recipe.source
    if config.holdout and "validation" in source.splits:
        raise UserError(
            f"source.holdout is {config.holdout}, but {config.path} has a validation split already. "
            "Use --source.holdout 0"
        )
    words = wording(recipe, source.names)
    fields = {}
    for name in words.fields:
        if name not in source.text_columns():
            raise UserError(
                f"prompts.template names {{{name}}}, which is no text column of {config.path}; its text columns: "
                f"{', '.join(source.text_columns()) or 'none'}"
            )
        fields[name] = source.rows[name][:]
    labels, row_ids = source.labels[config.split], source.row_ids[config.split]
    heldout = held_out(labels, row_ids, config.holdout, recipe.seed)
    eligible = np.flatnonzero((labels >= 0) & ~heldout)
    order, place = drawing_order(labels[eligible], [row_ids[row] for row in eligible], recipe.seed)
    references = eligible[order[place[order] < recipe.filter.references]]
    rows = eligible[order[: drawn(len(eligible), len(np.unique(labels[eligible])), recipe.fraction)]]
    place_of = dict(zip(eligible.tolist(), place.tolist(), strict=True))
    turns = [
        np.array(sorted(range(len(words.contexts)), key=lambda c: seeding.digest("contexts", recipe.seed, name, c)))
        for name in source.names
    ]
    every = np.concatenate([rows] * recipe.copies)
    copies = np.repeat(np.arange(recipe.copies), len(rows))
    contexts = [
        # The place in the class's own order, so that a row's context does not change when the plan grows.
        turns[labels[row]][(place_of[row] + copy) % len(words.contexts)]
        for row, copy in zip(every.tolist(), copies.tolist(), strict=True)
    ]
    return Plan(
        rows=every,
        copies=copies,
        labels=labels[every],
        contexts=np.array(contexts, np.int64),
        references=references,
        heldout=heldout,
        order=eligible[order],
        row_ids=[row_ids[row] for row in every.tolist()],
        source_ids=row_ids,
        fields=fields,
        words=words,
    )


def plan(ds: Dataset, recipe: Recipe) -> Dataset:
    """One row per planned unit in source order, for going step by step.

    Args:
        ds: an image-classification dataset in memory, or loaded; images are not decoded.
        recipe: its `source` names the columns (the path is not used).

    Returns:
        All columns of the source, its images under the name `source_image` that stages read, then row_id, copy,
        context, prompt, negative_prompt and seed (of attempt 0).

    Raises:
        UserError: see load_source and make_plan.
    """
    from datasets import Dataset, Image, concatenate_datasets

    features = schema.plan_features()
    image = recipe.source.image
    added = [*features, *([] if image == schema.SOURCE_IMAGE else [schema.SOURCE_IMAGE])]
    if clash := [name for name in added if name in ds.column_names]:
        raise UserError(
            f"the dataset has a column {clash[0]!r}, which a plan adds. Give it another name: rename_column"
        )
    source = load_source(recipe.source, data=ds, prefix=recipe.columns.prefix)
    made = make_plan(source, recipe)
    indices = sorted(range(len(made)), key=lambda index: (made.rows[index], made.copies[index]))
    units = [made.unit(index) for index in indices]
    columns: dict[str, list] = {name: [getattr(unit, name) for unit in units] for name in features if name != "seed"}
    columns["seed"] = [seeding.attempt_seed(recipe.seed, unit.row_id, unit.copy, 0) for unit in units]
    side = Dataset.from_dict(columns, features=features)
    rows = source.rows.select([unit.row for unit in units])
    joined = concatenate_datasets([rows, side], axis=1)
    joined = joined.cast_column(image, source.features[image] or Image())
    return joined if image == schema.SOURCE_IMAGE else joined.rename_column(image, schema.SOURCE_IMAGE)
