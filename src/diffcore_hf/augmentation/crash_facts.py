"""Crash facts: suspended rows as facts, for `augment --crash-suspended`.

Owns the facts about attempts and real images that could not be computed, because the process ended whenever it tried.
The records of crashes are in crashes.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.augmentation.crashes import SUSPENDED_AFTER, CrashWatch, forget
from diffcore_hf.augmentation.part_files import REFERENCES
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.worker import in_memory, unit_columns
from diffcore_hf.core import schema
from diffcore_hf.core.schema import UnitKey

if TYPE_CHECKING:
    from datasets import Features

_CAUSE = f"it ended the process {SUSPENDED_AFTER} times"


def record_suspended(run: Run) -> int:
    """Write a part for the suspended rows of a run, and return their number.

    The facts have the inputs of the plan, so the rows are not computed again.
    """
    by_kind: dict[str, list[UnitKey]] = defaultdict(list)
    for kind, key in sorted(CrashWatch(run.folder.private).look().suspended):
        by_kind[kind].append(key)
    count = 0
    for kind, keys in by_kind.items():
        table = _references(run, keys) if kind == REFERENCES else _attempts(run, keys, int(kind.removeprefix("r")))
        if len(table):
            run.ledger.write(kind, table)
        forget(run.folder.private, [(kind, key) for key in keys])
        count += len(table)
    return count


def _attempts(run: Run, keys: Sequence[UnitKey], number: int) -> pa.Table:
    """Return facts about crashed attempts. Units that the plan does not contain are left out."""
    units = [run.plan.unit_of[key] for key in keys if key in run.plan.unit_of]
    features = schema.attempt_facts()
    missing = dict.fromkeys((schema.GENERATED_IMAGE, "image_sha256", "embedding"), [None] * len(units))
    names = [name for name in features if name not in (*missing, "inputs", "reason")]
    columns = unit_columns(run.source, run.plan, run.recipe, units, number, names)
    values = dict(zip(names, columns, strict=True)) | missing
    values |= {"inputs": [run.inputs.of_unit(unit) for unit in units], "reason": [f"crashed: {_CAUSE}"] * len(units)}
    return _table(values, features)


def _references(run: Run, keys: Sequence[UnitKey]) -> pa.Table:
    """Return facts about real images that cannot be read. Rows that the run does not need are left out."""
    wanted = {row_id: run.inputs.of_reference((row_id, 0, 0)) for row_id, _ in keys}
    inputs = {row_id: digest for row_id, digest in wanted.items() if digest is not None}
    values: dict[str, Sequence[Any]] = {
        "row_id": list(inputs),
        "inputs": list(inputs.values()),
        "source_sha256": list(inputs.values()),
        "embedding": [None] * len(inputs),
        "reason": [f"unreadable: {_CAUSE}"] * len(inputs),
    }
    return _table(values, schema.reference_facts())


def _table(values: Mapping[str, Sequence[Any]], features: Features) -> pa.Table:
    """Return the columns of a part in their order."""
    ordered = {name: values[name] for name in features}
    return in_memory(ordered, features).cast(features).with_format("arrow")[:].combine_chunks()
