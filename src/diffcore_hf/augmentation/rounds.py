"""Rounds: facts are collected until every unit is decided or given up.

Owns the order of the work (references, class captions, then round 0, 1, ...), how it is cut into parts and the one
progress bar. Does not know how an image is made (stages/), nor what is kept (assessment.py over method/filtration.py).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from diffcore_hf.augmentation.decisions import Assessor, Review
from diffcore_hf.augmentation.ledger import CLASSES, REFERENCES, Facts, Ledger, round_name
from diffcore_hf.augmentation.plan import Plan
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.config.augment import Recipe
from diffcore_hf.core import schema, seeding
from diffcore_hf.core.quiet import quiet_datasets
from diffcore_hf.core.schema import SOURCE_IMAGE

if TYPE_CHECKING:
    from datasets import Dataset

    from diffcore_hf.augmentation.stages.attempt import Attempt
    from diffcore_hf.augmentation.stages.reference import Reference

log = logging.getLogger(__name__)

PART_SECONDS = 60.0
PART_BYTES = 256_000_000
LARGEST_PART = 4096


def collect(
    source: LoadedSource,
    plan: Plan,
    recipe: Recipe,
    ledger: Ledger,
    reference: Reference,
    attempt: Attempt,
    review: Review,
    *,
    progress: bool = True,
) -> tuple[Facts, Facts]:
    """Make every fact that the plan and the decisions call for, a part at a time. Interrupt it whenever you like.

    Args:
        reference: the stage that embeds real images.
        attempt: the stage that makes an attempt of each unit of a part.
        review: a person's verdicts.
        progress: show the bar.

    Returns:
        All facts about references, and about attempts.

    Raises:
        UserError: a model that cannot work at all; facts committed until then stay.
    """
    from tqdm.auto import tqdm

    wanted = plan.limited(recipe.limit)
    references = Facts.read(ledger, [REFERENCES])
    real = rows_to_embed(plan, wanted, references)
    with tqdm(
        total=len(real) + wanted, desc="augment", unit="image", disable=not progress, smoothing=0.1, dynamic_ncols=True
    ) as bar, quiet_datasets():  # fmt: skip
        # Images that lie in parts already count as done.
        attempts = Facts.read(ledger, ledger.rounds())
        done = sum(1 for unit in range(wanted) if (plan.row_ids[unit], int(plan.copies[unit]), 0) in attempts.keys)
        bar.update(done)
        reference.on_progress = attempt.on_progress = bar.update
        bar.set_postfix_str("real images")
        captions(plan, ledger, reference)
        sizes = source.sizes[source.config.split]
        for piece in _pieces(real, reference.tower.batch_size, recipe.part_size, sizes):
            table = reference_part(source, piece, reference)
            references.add(ledger.write(REFERENCES, table), table)
        assessor = Assessor(source, plan, recipe, ledger, references, review)
        while (due := assessor.due(attempts, wanted)) is not None:
            number, units = due
            todo = len(units)
            if number:
                bar.total += todo
                bar.refresh()
            log.info("round %d: %d attempts", number, todo)
            for piece in _pieces(units.tolist(), attempt.drawing.model.batch_size, recipe.part_size):
                table = attempt_part(source, plan, recipe, piece, number, attempt)
                attempts.add(ledger.write(round_name(number), table), table)
                bar.set_postfix_str(f"passing {assessor.passing(attempts):.0%}, round {number}")
    return references, attempts


def rows_to_embed(plan: Plan, wanted: int, references: Facts) -> list[int]:
    """Rows of the source that round `ref` still owes: the drawn references, then the planned rows, each once."""
    rows = dict.fromkeys([*plan.references.tolist(), *plan.rows[:wanted].tolist()])
    known = {row_id for row_id, _, _ in references.keys}
    return [row for row in rows if plan.source_ids[row] not in known]


def reference_part(source: LoadedSource, rows: Sequence[int], stage: Reference) -> pa.Table:
    """Facts about some real images, as a part."""
    from datasets import Image, Value

    config = source.config
    columns = {
        SOURCE_IMAGE: source.rows.with_format("arrow")[list(rows)][config.image],
        "row_id": pa.array([source.row_ids[config.split][row] for row in rows]),
        "label": pa.array([int(source.labels[config.split][row]) for row in rows]),
    }
    kinds = {SOURCE_IMAGE: Image(decode=False), "row_id": Value("string"), "label": Value("int64")}
    return _facts(stage, _in_memory(columns, kinds), schema.reference_facts())


def attempt_part(
    source: LoadedSource, plan: Plan, recipe: Recipe, units: Sequence[int], number: int, stage: Attempt
) -> pa.Table:
    """Facts about attempt `number` of some units, as a part. A stage gets the columns that it reads."""
    rows = [plan.unit(index) for index in units]
    columns: dict[str, Any] = {
        name: [getattr(unit, name) for unit in rows]
        for name in ("row_id", "copy", "label", "context", "prompt", "negative_prompt")
    }
    columns["attempt"] = [number] * len(rows)
    columns["seed"] = [seeding.attempt_seed(recipe.seed, unit.row_id, unit.copy, number) for unit in rows]
    features = schema.attempt_facts()
    kinds = {name: features[name] for name in columns}
    if SOURCE_IMAGE in stage.reads:
        cells = source.rows.select_columns([source.config.image]).with_format("arrow")[[unit.row for unit in rows]]
        columns[SOURCE_IMAGE] = cells[source.config.image]
        kinds[SOURCE_IMAGE] = source.rows.features[source.config.image]
    return _facts(stage, _in_memory(columns, kinds), features)


def _in_memory(columns: Mapping[str, Any], kinds: Mapping[str, Any]) -> Dataset:
    """A small dataset that leaves no cache file behind."""
    from datasets import Dataset, Features

    features = Features(kinds)
    arrow = features.arrow_schema
    return Dataset(
        pa.table(
            [column if isinstance(column, pa.ChunkedArray) else pa.array(column, arrow.field(name).type)
             for name, column in columns.items()],
            names=list(columns),
        ).cast(arrow)
    )  # fmt: skip


def captions(plan: Plan, ledger: Ledger, stage: Reference) -> None:
    """The embeddings of each class's caption (context empty) and each context's, where there is a text tower; once."""
    from datasets import Dataset

    wanted = [*enumerate(plan.words.captions()), *((None, text) for text in plan.words.context_captions())]
    known = {text for path in ledger.parts(CLASSES) for text in ledger.table(path, ["prompt"])["prompt"].to_pylist()}
    missing = [(label, text) for label, text in wanted if text not in known]
    if not missing or (embeddings := stage.embed_text([text for _, text in missing])) is None:
        return
    rows = {
        "label": [label for label, _ in missing],
        "prompt": [text for _, text in missing],
        "text_embedding": list(np.asarray(embeddings, np.float16)),
    }
    ledger.write(CLASSES, Dataset.from_dict(rows, features=schema.class_facts()).data.table.combine_chunks())


def _facts(stage: Any, ds: Dataset, features: Mapping[str, Any]) -> pa.Table:
    """Map a stage over a part in memory, and order its columns as the part's kind says."""
    # A fingerprint of its own: nothing is cached, and the default one would hash the weights for each part.
    made = stage.map(
        ds, batch_size=len(ds), keep_in_memory=True, load_from_cache_file=False, new_fingerprint=secrets.token_hex(8)
    )
    made = made.select_columns(list(features)).cast(features)
    return made.with_format("arrow")[:].combine_chunks()


def _pieces(
    work: Sequence[int], batch: int, part_size: int | None, sizes: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Cut work into parts: `part_size` items, or one batch first and then so many as were done in PART_SECONDS.

    How work is cut changes no result: a part is just the set of attempts that it lists.

    Args:
        batch: items a device batch, of which a part is a multiple.
        sizes: bytes that each item brings into memory, by item; a part holds no more than PART_BYTES, if it can.
    """
    size = part_size or batch
    start = 0
    while start < len(work):
        piece = list(work[start : start + size])
        while sizes is not None and len(piece) > 1 and sum(sizes[item] for item in piece) > PART_BYTES:
            piece = piece[: len(piece) // 2]
        began = time.monotonic()
        yield piece
        start += len(piece)
        if part_size is None:
            rate = len(piece) / max(time.monotonic() - began, 1e-6)
            # At most eight times the last: the first part also loads the model, so its rate is a poor guess.
            size = max(batch, int(min(rate * PART_SECONDS, LARGEST_PART, 8 * size)) // batch * batch)
