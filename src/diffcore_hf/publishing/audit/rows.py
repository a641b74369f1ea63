"""Rows: compares the configurations `default` and `generated` with the attempts and the hashes of the originals.

Owns the checks of values that a dataset stores twice: statuses, counterparts, prompts, images and labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any, TypedDict

from diffcore_hf.core.schema import STATUSES, UnitKey, prefix_of
from diffcore_hf.publishing.audit.attempts import TOLERANCE, AttemptTally
from diffcore_hf.publishing.audit.column_types import check_column_types
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.labels import LabelColumn
from diffcore_hf.publishing.audit.mixes import mix_is_possible
from diffcore_hf.publishing.audit.prompts import ExpectedPrompts
from diffcore_hf.publishing.audit.references import ReferenceTable
from diffcore_hf.publishing.audit.shards import Shards, check_images, image_bytes
from diffcore_hf.publishing.audit.statuses import Statuses

if TYPE_CHECKING:
    import pyarrow as pa

Hashes = Mapping[str, str | None]
"""Row id -> sha256 of the real image."""
Target = tuple[int | None, float | None]
"""Class that an image has to show, and its weight in the label; (None, None) if this is the class of the row."""
RowCount = Counter[str]
"""Row id -> number of rows that have it."""

_ADDED = ("row_id", "status", "context", "prompt", "seed", "similarity")
"""Added columns of layout `columns` that are compared with the attempts; the image is compared separately."""
_MIXED = ("row_id", "is_mixed", "kind", "lambda", "real_share")


class _DefaultRow(TypedDict):
    """The added columns of a row of layout `columns`, named without prefix."""

    row_id: str
    status: str | None
    context: str | None
    prompt: str | None
    seed: int | None
    similarity: float | None


@dataclass
class RowChecks:
    """What the rows of `default` and `generated` are compared with, and what is collected from them."""

    tally: AttemptTally
    references: ReferenceTable
    prompts: ExpectedPrompts
    statuses: Statuses
    labels: LabelColumn
    findings: Findings
    ids: dict[str, list[str]] = field(default_factory=dict)
    """Published split -> ids of its real rows, in order."""
    planned: dict[str, str] = field(default_factory=dict)
    """Id of each planned row -> its status; only layout `columns` has them."""


def audit_default(shards: Shards, checks: RowChecks) -> None:
    """Check the configuration `default` in its layout. It must have every row of the source exactly once."""
    findings, hashes = checks.findings, checks.references.hashes
    layout = shards.manifest.get("layout", "columns")
    if layout not in _LAYOUTS:
        findings.add("diffcore.json: the layout is not known", layout)
        return
    _LAYOUTS[layout](shards, checks)
    row_count = Counter(chain.from_iterable(checks.ids.values()))
    for row_id in sorted(hashes.keys() - row_count.keys()):
        findings.add("default: a row of configuration references is missing", row_id)
    for row_id, count in row_count.items():
        if row_id not in hashes:
            findings.add("default: a row is not in configuration references", row_id)
        elif count > 1:
            findings.add("default: a row occurs more than once", row_id)
    _check_order(shards, checks)


def _check_order(shards: Shards, checks: RowChecks) -> None:
    """Check that each split has the rows of its split of the source, in the order of configuration references."""
    augmented = shards.augmented_split
    for split, ids in checks.ids.items():
        by_source = checks.references.by_split
        own = split if split in by_source or not shards.manifest["counts"]["heldout"] else augmented
        position = {row_id: place for place, row_id in enumerate(by_source.get(own, ()))}
        places = [position.get(row_id, -1) for row_id in ids]
        for row_id, place, before in zip(ids, places, [-1, *places], strict=False):
            if place < 0:
                checks.findings.add("default: a row is in the wrong split", row_id)
            elif place < before:
                checks.findings.add("default: the rows are not in the order of configuration references", row_id)
    heldout = sum(len(ids) for split, ids in checks.ids.items() if split not in checks.references.by_split)
    if heldout != shards.manifest["counts"]["heldout"]:
        checks.findings.add("diffcore.json: the number of held-out rows is wrong", f"default has {heldout}")


def audit_generated(shards: Shards, checks: RowChecks) -> None:
    """Check the configuration `generated`, which must have one row for each kept attempt, in the same order."""
    tally, findings, label_column = checks.tally, checks.findings, shards.label
    kept = tally.kept
    found: list[UnitKey] = []
    names = ["row_id", "copy", "context", "similarity", *shards.target_columns]
    for table in shards.batches("generated", [*names, label_column], shards.image):
        values = table[label_column].to_pylist()
        rows = table.select(names).to_pylist()
        units = [(row["row_id"], row["copy"]) for row in rows]
        found += units
        for unit, row, value in zip(units, rows, values, strict=True):
            attempt = kept.get(unit)
            if attempt is None:
                findings.add("generated: a row has no kept attempt", _name(unit))
                continue
            checks.labels.add("generated", unit[0], value)
            if (row["context"], row["similarity"]) != (attempt["context"], attempt["similarity"]):
                findings.add("generated: a row differs from its attempt", _name(unit))
            if shards.target_columns and _target_of(row) != tally.label_of(unit):
                findings.add("generated: the label of a row differs from its attempt", _name(unit))
        if shards.images:
            recorded = [kept[unit]["image_sha256"] if unit in kept else None for unit in units]
            images = image_bytes(table, shards.image)
            check_images(findings, "generated: the image", map(_name, units), images, recorded, required=True)
    count = Counter(found)
    for unit in sorted(kept.keys() - count.keys()):
        findings.add("generated: the row of a kept attempt is missing", _name(unit))
    for unit, times in count.items():
        if times > 1:
            findings.add("generated: a row occurs more than once", _name(unit))
    position = {unit: place for place, unit in enumerate(kept)}
    places = [position.get(unit, -1) for unit in found]
    for unit, place, before in zip(found, places, [-1, *places], strict=False):
        if 0 <= place < before:
            findings.add("generated: the rows are not in the order of configuration attempts", _name(unit))


def _audit_columns(shards: Shards, checks: RowChecks) -> None:
    """Check layout `columns`, in which a counterpart is in the row of its real image."""
    tally, references, findings = checks.tally, checks.references, checks.findings
    for split, paths in shards.splits("default").items():
        ids_of_split = checks.ids.setdefault(split, [])
        for path in paths:
            prefix = prefix_of(shards.names(path))
            added = [*_ADDED, *shards.target_columns]
            columns = [prefix + name for name in added]
            images = [shards.image, f"{prefix}generated"] if shards.images else []
            for table in shards.read(path, list(dict.fromkeys([*columns, shards.label, *images]))):
                own = table.select(columns).rename_columns(added)
                check_column_types(own, "default")
                rows: list[_DefaultRow] = own.to_pylist()
                ids = [row["row_id"] for row in rows]
                for row in rows if shards.target_columns else ():
                    if _target_of(row) != tally.label_of((row["row_id"], 0)):
                        findings.add("default: the label of a counterpart differs from its attempt", row["row_id"])
                ids_of_split += ids
                for row, label in zip(rows, table[shards.label].to_pylist(), strict=True):
                    checks.labels.add("default", row["row_id"], label)
                    _check_row(
                        row, checks, augmented=split == shards.augmented_split, own_class=not shards.target_columns
                    )
                _check_originals(shards, ids, image_bytes(table, shards.image), references.hashes, findings)
                if shards.images:
                    _check_counterparts(ids, image_bytes(table, f"{prefix}generated"), tally, findings)


def _check_row(row: _DefaultRow, checks: RowChecks, *, augmented: bool, own_class: bool) -> None:
    """Compare the status and the facts of a row with its reference and the attempts of its first copy.

    Args:
        row: the row.
        checks: what it is compared with.
        augmented: whether the row is in the split that has counterparts.
        own_class: whether every image has to show the class of its row.
    """
    row_id, status, findings = row["row_id"], row["status"], checks.findings
    unit = (row_id, 0)
    attempt = checks.tally.kept.get(unit)
    facts = (row["context"], row["prompt"], row["seed"], row["similarity"])
    if status == "not_planned":
        wrong_status = unit in checks.tally.reasons
    else:
        expected = checks.statuses.of(unit)
        wrong_status = not augmented or status not in STATUSES or expected not in (None, status)
        wrong_status = wrong_status or row_id in checks.references.unlabelled
        checks.planned[row_id] = status or ""
    if wrong_status:
        findings.add("default: the status does not follow from the attempts", row_id)
    elif attempt is not None:
        if facts != (attempt["context"], attempt["prompt"], attempt["seed"], attempt["similarity"]):
            findings.add("default: a row differs from its counterpart's attempt", row_id)
    elif status == "not_planned":
        if facts != (None, None, None, None):
            findings.add("default: a row that is not planned has values of a counterpart", row_id)
    else:
        _check_planned(row, checks, own_class=own_class)


def _check_planned(row: _DefaultRow, checks: RowChecks, *, own_class: bool) -> None:
    """Check context and prompt of a planned row without a counterpart."""
    row_id, context, prompts = row["row_id"], row["context"], checks.prompts
    if (row["seed"], row["similarity"]) != (None, None):
        checks.findings.add("default: a row without a counterpart has values of a counterpart", row_id)
    expected = prompts.context(row_id, 0)
    if context is None or (expected is not None and context != expected):
        checks.findings.add("default: the context does not follow from the row", row_id)
        return
    prompt = prompts.prompt(checks.references.labels.get(row_id, -1), context) if own_class else None
    if prompt is not None and row["prompt"] != prompt:
        checks.findings.add("default: the prompt does not follow from class and context", row_id)


def _check_counterparts(
    ids: Sequence[str], images: Sequence[bytes | None], tally: AttemptTally, findings: Findings
) -> None:
    """Compare the counterparts in rows of layout `columns` with the hashes of the kept attempts."""
    attempts = [tally.kept.get((row_id, 0)) for row_id in ids]
    recorded = [attempt["image_sha256"] if attempt else None for attempt in attempts]
    check_images(findings, "default: the counterpart", ids, images, recorded, required=True)
    for row_id, image, expected in zip(ids, images, recorded, strict=True):
        if image is not None and expected is None:
            findings.add("default: a counterpart has no kept attempt", row_id)


def _audit_rows(shards: Shards, checks: RowChecks) -> None:
    """Check layout `rows`, which has real images and then kept images as plain rows."""
    tally, findings = checks.tally, checks.findings
    kept: list[tuple[str, str | None, Target]] = [
        (unit[0], attempt["image_sha256"], tally.label_of(unit)) for unit, attempt in tally.kept.items()
    ]
    hashes_of: dict[str, set[str | None]] = {}
    labels_of: dict[str, set[Target]] = {}
    for row_id, sha256_of, target in kept:
        hashes_of.setdefault(row_id, set()).add(sha256_of)
        labels_of.setdefault(row_id, set()).add(target)
    generated: list[str] = []
    columns = ["row_id", "is_generated", *shards.target_columns]
    for split, table in _tables(shards, [*columns, shards.label]):
        ids_of_split = checks.ids.setdefault(split, [])
        real_ids, real_images = [], []
        rows = zip(
            table.select(columns).to_pylist(),
            table[shards.label].to_pylist(),
            image_bytes(table, shards.image),
            strict=True,
        )
        for row, label, image in rows:
            row_id = row["row_id"]
            checks.labels.add("default", row_id, label)
            allowed = labels_of.get(row_id, set()) if row["is_generated"] else {(None, None)}
            if shards.target_columns and _target_of(row) not in allowed:
                findings.add("default: the label of an image is not one of a kept attempt", row_id)
            if not row["is_generated"]:
                real_ids.append(row_id)
                real_images.append(image)
                if generated:
                    findings.add("default: a real image is after a generated one", row_id)
                continue
            generated.append(row_id)
            if shards.images and (image is None or sha256(image).hexdigest() not in hashes_of.get(row_id, ())):
                findings.add("default: a generated image is not one that was kept for its row", row_id)
        ids_of_split += real_ids
        _check_originals(shards, real_ids, real_images, checks.references.hashes, findings)
        if split != shards.augmented_split:
            generated = _without_generated(generated, findings)
    _check_numbers(findings, "generated", Counter(row_id for row_id, _ in tally.kept), Counter(generated))
    _check_sequence(findings, "generated", [row_id for row_id, _ in tally.kept], generated)


def _tables(shards: Shards, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of the configuration `default` in batches, the augmented split last, each with its split."""
    names = [*columns, shards.image] if shards.images else list(columns)
    splits = shards.splits("default")
    for split in sorted(splits, key=lambda name: name == shards.augmented_split):
        for path in splits[split]:
            for table in shards.read(path, list(dict.fromkeys(names))):
                check_column_types(table, "default", (shards.image, shards.label))
                yield split, table


def _without_generated(found: list[str], findings: Findings) -> list[str]:
    """Report images of attempts in a split that has no counterparts, and return []."""
    for row_id in found:
        findings.add("default: a split without counterparts has a generated image", row_id)
    return []


def _check_sequence(findings: Findings, kind: str, expected: Sequence[str], found: Sequence[str]) -> None:
    """Check that images of one kind are in the order of the kept attempts. Images may be missing."""
    position = {row_id: place for place, row_id in enumerate(dict.fromkeys(expected))}
    places = [position.get(row_id, -1) for row_id in found]
    for row_id, place, before in zip(found, places, [-1, *places], strict=False):
        if 0 <= place < before:
            findings.add(f"default: the {kind} images are not in the order of configuration attempts", row_id)


def _audit_mixed(shards: Shards, checks: RowChecks) -> None:
    """Check layout `mixed`, which has real images and then mixed ones.

    The pixels of mixed images are not recomputed.
    """
    tally, findings = checks.tally, checks.findings
    mixed: list[str] = []
    columns = [*_MIXED, *shards.target_columns]
    for split, table in _tables(shards, [*columns, shards.label]):
        ids_of_split = checks.ids.setdefault(split, [])
        real_ids, real_images = [], []
        rows = zip(
            table.select(columns).to_pylist(),
            table[shards.label].to_pylist(),
            image_bytes(table, shards.image),
            strict=True,
        )
        for row, label, image in rows:
            row_id = row["row_id"]
            checks.labels.add("default", row_id, label)
            if shards.target_columns and not _mixed_label_fits(row, tally):
                findings.add("default: the label of an image does not follow from its attempt", row_id)
            if row["is_mixed"]:
                mixed.append(row_id)
            else:
                real_ids.append(row_id)
                real_images.append(image)
                if mixed:
                    findings.add("default: a real image is after a mixed one", row_id)
            if not mix_is_possible(row):
                findings.add("default: kind, lambda and real_share are not consistent", row_id)
        ids_of_split += real_ids
        _check_originals(shards, real_ids, real_images, checks.references.hashes, findings)
        if split != shards.augmented_split:
            mixed = _without_generated(mixed, findings)
    # A real image that cannot be decoded has no mixed image.
    expected = [row_id for row_id, copy in tally.kept if copy == 0]
    _check_numbers(findings, "mixed", Counter(expected), Counter(mixed), fewer_allowed=True)
    _check_sequence(findings, "mixed", expected, mixed)


_LAYOUTS: Mapping[str, Callable[[Shards, RowChecks], None]] = {
    "columns": _audit_columns,
    "rows": _audit_rows,
    "mixed": _audit_mixed,
}


def _target_of(row: Mapping[str, Any]) -> Target:
    """Return target class and weight in a row."""
    return row["target_label"], row["target_weight"]


def _mixed_label_fits(row: Mapping[str, Any], tally: AttemptTally) -> bool:
    """Return whether the weight of the target class is its weight in the attempt times the generated share."""
    label, weight = tally.label_of((row["row_id"], 0)) if row["is_mixed"] else (None, None)
    if weight is None or row["target_weight"] is None or row["real_share"] is None:
        return _target_of(row) == (label, weight)
    expected = weight * (1 - row["real_share"])
    return row["target_label"] == label and abs(row["target_weight"] - expected) <= TOLERANCE


def _check_originals(
    shards: Shards, ids: Sequence[str], images: Sequence[bytes | None], hashes: Hashes, findings: Findings
) -> None:
    """Compare real images with their hashes.

    If the dataset is published without originals, no row may have a real image.
    """
    if not shards.manifest.get("originals", True):
        for row_id, image in zip(ids, images, strict=True):
            if image is not None:
                findings.add(
                    "default: a row has its original image, but the dataset is published without originals", row_id
                )
        return
    recorded = [hashes.get(row_id) for row_id in ids]
    check_images(findings, "default: the original", ids, images, recorded, required=shards.images)


def _check_numbers(
    findings: Findings, kind: str, expected: RowCount, actual: RowCount, *, fewer_allowed: bool = False
) -> None:
    """Compare the number of images of one kind with the expected number, for each row."""
    for row_id in sorted(expected.keys() | actual.keys()):
        if actual[row_id] > expected[row_id] or (actual[row_id] < expected[row_id] and not fewer_allowed):
            findings.add(f"default: the number of {kind} images of a row is not the number of kept ones", row_id)


def _name(unit: UnitKey) -> str:
    return f"{unit[0]} copy {unit[1]}"
