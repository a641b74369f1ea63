"""The plan: the units of a run in one drawing order, each with its context and its two prompts.

Owns the choice of units, references and contexts, the drawing order and the holdout. The plan is a pure function of
source and recipe. No model is loaded and no image is decoded. Does not own the texts of the prompts
(method/prompt_texts.py) or the decisions (method/filtration.py).

A source may grow between two runs. The context of a unit and the holdout of a row depend only on the seed and the row
id, so new rows do not change them. The drawing order, the planned share and the references depend on all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from diffcore_hf.augmentation.image_captions import require_contexts
from diffcore_hf.augmentation.selection import filled_units, hardness, selected_rows
from diffcore_hf.augmentation.source.columns import check_free_names
from diffcore_hf.augmentation.source.dataset import LoadedSource, as_splits, load_source
from diffcore_hf.augmentation.source.identical import first_of_class, in_other_splits
from diffcore_hf.augmentation.unit_images import UnitImages, control_column
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.kinds import template_pieces
from diffcore_hf.core import schema, seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.schema import UnitKey
from diffcore_hf.generation.base import completed, make_strategy, strengths_of, targets_of, words_of
from diffcore_hf.method.arrays import Bools, Floats, Ints
from diffcore_hf.method.policies import PARENT_POLICIES
from diffcore_hf.method.prompt_texts import PromptTexts, make_prompt_texts
from diffcore_hf.method.unit_draws import drawn_strengths, target_classes, unit_contexts

if TYPE_CHECKING:
    from datasets import Dataset

MAX_UNITS = 100_000_000
"""Largest number of units of a plan. The whole plan is in memory."""


class Unit(NamedTuple):
    """One planned counterpart, with its prompts."""

    row: int
    """Index of the real image in the source split."""
    row_id: str
    copy: int
    """Number of the counterpart of this row: 0, 1, ..., `copies` - 1."""
    label: int
    """Index of the class."""
    context: str
    """Context that the prompt names; "" for no context."""
    prompt: str
    """The positive prompt P_c of Eq. 4."""
    negative_prompt: str | None
    """The negative prompt P_n of Eq. 4; None if there is none."""
    target_label: int
    """Index of the class that the image has to show: `label`, or the drawn target class."""
    strength: float | None = None
    """Strength of the change of the real image; None if the strategy has no strength."""


@dataclass(frozen=True)
class Plan:
    """The U units in drawing order: all of copy 0, then those of copy 1, and so on.

    With `select.per_class` they are in the order of `selection.filled_units`.
    """

    rows: Ints
    """(U,) int64: index of each unit's row in the source split."""
    copies: Ints
    """(U,) int64: number of each unit's counterpart, 0, 1, ..."""
    labels: Ints
    """(U,) int64 in [0, K): class of each unit."""
    contexts: Ints
    """(U,) int64: index into `prompt_texts.contexts`."""
    references: Ints
    """(R,) int64: rows to which the filter policy is fitted. They do not depend on the fraction or the copies."""
    heldout: Bools
    """(N,) bool over the source split: true for rows of the holdout, which are never planned and never references."""
    order: Ints
    """(N',) int64: the drawing order of all rows that may be drawn. The planned rows are the first ones."""
    row_ids: list[str]
    """(U,) row id of each unit."""
    source_ids: list[str]
    """(N,) row id of each row of the source split."""
    fields: Mapping[str, list[str]]
    """Columns of the source that the template names; N values each."""
    prompt_texts: PromptTexts
    """Template, class names, contexts and negative prompts of the run."""
    targets: Ints | None = None
    """(U,) int64: drawn class that each image has to show. None: each image has to show the class of its row."""
    strengths: Floats | None = None
    """(U,) float64: strength of each unit. None: the strategy has no strength."""
    control_column: str | None = None
    """Column of the source with the control images; None if the strategy reads none."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shown(self) -> Ints:
        """(U,) int64: class that each image has to show. It is compared with the real images of this class."""
        return self.labels if self.targets is None else self.targets

    def limited(self, limit: int | None) -> int:
        """Returns the number of units that a run with this `limit` processes."""
        return len(self) if limit is None else min(limit, len(self))

    def key(self, index: int) -> UnitKey:
        """Returns row id and copy of unit `index`. With an attempt number they are the key of a fact."""
        return self.row_ids[index], int(self.copies[index])

    @cached_property
    def unit_of(self) -> Mapping[UnitKey, int]:
        """Key of each unit -> its index."""
        return {key: unit for unit, key in enumerate(self.keys())}

    def keys(self) -> Iterator[UnitKey]:
        """Yields the keys of all units, in drawing order."""
        return zip(self.row_ids, self.copies.tolist(), strict=True)

    def unit(self, index: int) -> Unit:
        """Returns unit `index` of the drawing order. Its prompts name the class that the image has to show."""
        row, label, target = int(self.rows[index]), int(self.labels[index]), int(self.shown[index])
        context = self.prompt_texts.contexts[self.contexts[index]]
        fields = {name: column[row] or "" for name, column in self.fields.items()}
        positive, negative = self.prompt_texts.prompt_pair(target, context, fields)
        strength = None if self.strengths is None else float(self.strengths[index])
        copy = int(self.copies[index])
        return Unit(row, self.row_ids[index], copy, label, context, positive, negative, target, strength)


def drawing_order(labels: Ints, row_ids: Sequence[str], seed: int, hardness: Floats | None = None) -> tuple[Ints, Ints]:
    """Returns the order in which rows are drawn.

    The first row of every class comes first. The other rows are sorted by (j - 1/2) / N_k, where j = 1, 2, ...
    is the rank of the row in the seeded order of its class and N_k is the size of the class. A seeded hash breaks ties.
    So every prefix is balanced over the classes, and a smaller fraction draws a subset of a larger one.

    Args:
        labels: (N,) int64, classes of the rows that may be drawn.
        row_ids: N ids of these rows.
        seed: seed of the recipe.
        hardness: (N,) float64; a higher value is drawn earlier in its class, and the seeded order decides between equal
            values. None: the seeded order alone.

    Returns:
        (N,) int64 indices in drawing order; (N,) int64, for each row its rank in its class, counted from 0.
    """
    hashes = b"".join(seeding.digest("order", seed, row_id) for row_id in row_ids)
    # The four numbers of a hash, the last one first, because lexsort takes its first key last.
    words = np.frombuffer(hashes, ">u8").reshape(-1, 4).T[::-1].astype(np.uint64)
    by_class = np.lexsort((*words, labels) if hardness is None else (*words, -hardness, labels))
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    position, size = np.zeros(len(labels), np.int64), np.ones(len(labels), np.int64)
    position[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    size[by_class] = np.repeat(counts, counts)
    # (2 j - 1) / (2 N_k) is one correctly rounded division, so equal fractions are equal floats.
    share = np.where(position > 0, (2 * position + 1) / (2 * size), 0)
    return np.lexsort((*words, share, position > 0)).astype(np.int64), position


def drawn(count: int, classes: int, fraction: float) -> int:
    """Returns the number of rows that a fraction draws: at least one for each class, and at most `count`."""
    return min(count, max(classes, round_half_up(fraction, count)))


def round_half_up(share: float, count: int) -> int:
    """Returns `share` times `count`, rounded half up, in decimal arithmetic.

    For example 0.29 of 50 is 14.5, which is rounded to 15. With floats it would be 14.499999999999998.
    """
    return int((Decimal(repr(share)) * count).to_integral_value(ROUND_HALF_UP))


def held_out(labels: Ints, row_ids: Sequence[str], share: float, seed: int) -> Bools:
    """Returns (N,) bool: true for the rows whose seeded hash, as a number in [0, 1), is below the share.

    The hash of a row does not depend on other rows, so adding or removing rows changes the holdout of no other row.
    There is one exception: a class whose rows are all below the share keeps the row with the largest hash.
    Equal images of a class have equal hashes, so they are held out together.

    Args:
        labels: (N,) int64; UNLABELLED rows are never held out.
        row_ids: N ids of the rows.
        share: expected share of each class, in [0, 1).
        seed: seed of the recipe.
    """
    if share <= 0:
        return np.zeros(len(labels), bool)
    hashes = np.array([seeding.uniform("holdout", seed, row_id.partition("~")[0]) for row_id in row_ids])
    mask = (hashes < share) & (labels >= 0)
    for label in np.unique(labels[mask]):
        members = np.flatnonzero(labels == label).tolist()
        if mask[members].all():
            mask[max(members, key=lambda row: (hashes[row], row_ids[row]))] = False
    return mask


def make_plan(source: LoadedSource, recipe: Recipe, words: Mapping[str, str] | None = None) -> Plan:
    """Returns the plan of a recipe over a loaded source.

    Args:
        source: the loaded source.
        recipe: the recipe.
        words: the words of the run's preparation, by class name. None: the strategy gives the words of the classes.

    Raises:
        UserError: a holdout is set although the source has a validation split, a class name is an opaque id, the
            template names a column that does not exist, a negative prompt contradicts a label or a context, or section
            `select` names a class, row or column that does not exist.
    """
    config = recipe.source
    if config.holdout and "validation" in source.splits:
        raise UserError(
            f"source.holdout is {config.holdout}, but {config.path} has a validation split already. "
            "Use --source.holdout 0"
        )
    words = words_of(recipe.strategy, source.names) if words is None else words
    texts = make_prompt_texts(recipe, source.names, words)
    if words and "label" not in {name for _, name in template_pieces(texts.template)}:
        raise UserError(
            f"strategy {recipe.strategy.name} names classes by words of its own, but prompts.template is "
            f"{recipe.prompts.template!r}, which does not name the class. Use --prompts.template caption"
        )
    fields = {}
    for name in texts.fields:
        if name not in source.text_columns():
            raise UserError(
                f"prompts.template names {{{name}}}, which is not a text column of {config.path}. Use one of its text "
                f"columns: {', '.join(source.text_columns()) or 'none'}"
            )
        fields[name] = source.rows[name][:]
    labels, row_ids = source.labels[config.split], source.row_ids[config.split]
    heldout = held_out(labels, row_ids, config.holdout, recipe.seed)
    sha256 = source.sha256[config.split]
    eligible = (labels >= 0) & ~heldout
    candidates = np.flatnonzero(eligible & first_of_class(sha256, labels))
    candidate_order, position = drawing_order(labels[candidates], [row_ids[row] for row in candidates], recipe.seed)
    references = candidates[candidate_order[position[candidate_order] < recipe.filter.references]]
    # If the image of a row is also in a test split, a counterpart of the row would be a copy of test data for training.
    plannable = np.flatnonzero(eligible & ~in_other_splits(source.sha256, config.split, heldout))
    if not len(plannable):
        raise UserError(
            f"every labelled image of split {config.split!r} is also an image of another split, so no row can be "
            "planned. Remove the copies from one of the splits, or augment another split with --source.split"
        )
    plannable = selected_rows(source, recipe.select, plannable, texts.names)
    hard = hardness(source, recipe.select.hardest)
    order = candidate_order
    if hard is not None or not np.array_equal(plannable, candidates):
        plannable_ids = [row_ids[row] for row in plannable.tolist()]
        order, _ = drawing_order(
            labels[plannable], plannable_ids, recipe.seed, None if hard is None else hard[plannable]
        )
    rows, copies = _units(plannable[order], labels[plannable[order]], recipe)
    planned_ids = [row_ids[row] for row in rows.tolist()]
    keys, strengths = list(zip(planned_ids, copies.tolist(), strict=True)), strengths_of(recipe.strategy.options)
    return Plan(
        rows=rows,
        copies=copies,
        labels=labels[rows],
        contexts=unit_contexts(planned_ids, copies, len(texts.contexts), recipe.seed),
        references=references,
        heldout=heldout,
        order=plannable[order],
        row_ids=planned_ids,
        source_ids=row_ids,
        fields=fields,
        prompt_texts=texts,
        targets=_drawn_targets(recipe, source, texts, labels[rows], planned_ids, copies, np.unique(labels[references])),
        strengths=drawn_strengths(keys, strengths, recipe.seed) if strengths else None,
        control_column=control_column(source, recipe.strategy.options),
    )


def _units(order: Ints, labels: Ints, recipe: Recipe) -> tuple[Ints, Ints]:
    """Returns the rows and the copies of the planned units, (U,) int64 each.

    Args:
        order: (N,) int64: rows in drawing order.
        labels: (N,) int64: their classes.
        recipe: the recipe.

    Raises:
        UserError: there are more than MAX_UNITS units.
    """
    classes, per_class = len(np.unique(labels)), recipe.select.per_class
    count = drawn(len(order), classes, recipe.fraction)
    key, value, times = (
        ("copies", recipe.copies, count) if per_class is None else ("select.per_class", per_class, classes)
    )
    if value * times > MAX_UNITS:
        raise UserError(
            f"{key} is {value}, which gives {value * times:,} counterparts, more than {MAX_UNITS:,}. Use --{key} "
            f"{max(1, MAX_UNITS // times)} or less"
        )
    if per_class is not None:
        positions, copies = filled_units(labels, per_class)
        count = drawn(len(positions), classes, recipe.fraction)
        return order[positions[:count]], copies[:count]
    planned = order[:count]
    return np.tile(planned, recipe.copies), np.repeat(np.arange(recipe.copies), len(planned))


def _drawn_targets(
    recipe: Recipe,
    source: LoadedSource,
    texts: PromptTexts,
    labels: Ints,
    row_ids: Sequence[str],
    copies: Ints,
    eligible: Ints,
) -> Ints | None:
    """Returns the target class of each unit; None if each image has to show the class of its row.

    Raises:
        UserError: a target class is drawn, but there is no other class, the prompts do not name the class, or the
            filter compares an image with the row's real image, which shows another class. Or the source already has a
            column with a name in TARGET_COLUMNS.
    """
    targets = targets_of(recipe.strategy)
    if targets == "own":
        return None
    drawn = f"strategy {recipe.strategy.name} draws the class that an image shows (strategy.targets {targets})"
    if len(eligible) < 2:
        raise UserError(
            f"{drawn}, but {recipe.source.path} has images of {len(eligible)} class. Use --strategy.targets own, or a "
            "source with two classes"
        )
    if "label" not in {name for _, name in template_pieces(texts.template)}:
        raise UserError(
            f"{drawn}, but prompts.template is {recipe.prompts.template!r}, which does not name the class. Use "
            "--prompts.template caption, or --strategy.targets own"
        )
    check_free_names(recipe.source, source.features, recipe.columns.prefix, schema.TARGET_COLUMNS)
    if (policy := recipe.filter.policy.name) in PARENT_POLICIES:
        raise UserError(
            f"{drawn}, but filter.policy is {policy}, which compares an image with the real image of its row. Use "
            "--filter.policy rank or --filter.policy quantile"
        )
    keys = list(zip(row_ids, copies.tolist(), strict=True))
    return target_classes(labels, keys, source.names, eligible, recipe.seed, own=targets == "any")


def plan(ds: Dataset, recipe: Recipe) -> Dataset:
    """Returns the plan as a dataset with one row per unit, in source order, for use with the stages.

    Args:
        ds: an image-classification dataset; its images are not decoded.
        recipe: the recipe; its `source` names the columns, but `source.path` is not used.

    Returns:
        All columns of the source, then row_id, copy, context, prompt, negative_prompt and seed (of attempt 0). The
        columns target_label and strength follow if the strategy has them, and class_image and control_image if it reads
        them. The image column is renamed to `source_image`, the name that the stages read.

    Raises:
        UserError: the dataset cannot be augmented (see load_source), or the recipe does not fit it (see make_plan).
    """
    from datasets import Dataset, Image, concatenate_datasets

    require_contexts(recipe)
    recipe = replace(recipe, strategy=completed(recipe.strategy))
    targets = recipe.strategy.targets != "own"
    features = schema.plan_features(targets=targets, strength=bool(strengths_of(recipe.strategy.options)))
    image = recipe.source.image
    reads = make_strategy(recipe.strategy, recipe.model).reads
    further = [name for name in (schema.CLASS_IMAGE, schema.CONTROL_IMAGE) if name in reads]
    added = [*features, *further, *([] if image == schema.SOURCE_IMAGE else [schema.SOURCE_IMAGE])]
    as_splits(ds, recipe.source.split)
    if existing := [name for name in added if name in ds.column_names]:
        raise UserError(
            f"the dataset has a column {existing[0]!r}, the name of a column that a plan adds. "
            "Rename it with rename_column"
        )
    source = load_source(recipe.source, data=ds, prefix=recipe.columns.prefix)
    planned = make_plan(source, recipe)
    indices = sorted(range(len(planned)), key=lambda index: (planned.rows[index], planned.copies[index]))
    units = [planned.unit(index) for index in indices]
    columns: dict[str, list[Any]] = {
        name: [getattr(unit, name) for unit in units] for name in features if name != "seed"
    }
    columns["seed"] = [seeding.attempt_seed(recipe.seed, unit.row_id, unit.copy, 0) for unit in units]
    added = Dataset.from_dict(columns, features=features)
    rows = source.rows.select([unit.row for unit in units])
    drawn = UnitImages(source, planned, recipe.seed)
    joined = concatenate_datasets([rows, added, *(drawn.dataset(name, indices) for name in further)], axis=1)
    joined = joined.cast_column(image, source.features[image] or Image())
    return joined if image == schema.SOURCE_IMAGE else joined.rename_column(image, schema.SOURCE_IMAGE)
