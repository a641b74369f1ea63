"""Rows: compares the configurations `default` and `generated` with the attempts and the hashes of the originals.

Owns the checks of values that a dataset stores twice: statuses, counterparts, prompts, images and labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypedDict

from diffcore_hf.core.schema import STATUSES, UnitKey, prefix_of
from diffcore_hf.publishing.audit.attempts import TOLERANCE, AttemptTally, ReferenceTable
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.shards import Shards, check_images, image_bytes

Hashes = Mapping[str, str | None]
"""Row id -> sha256 of the real image."""
Target = tuple[int | None, float | None]
"""Class that the image of an attempt has to show and its weight in the label; None twice if it is the row's class."""
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


def audit_default(shards: Shards, tally: AttemptTally, references: ReferenceTable, findings: Findings) -> None:
    """Check the configuration `default` in its layout. It must have every row of the source exactly once."""
    layout = shards.manifest.get("layout", "columns")
    if layout not in _LAYOUTS:
        findings.add("diffcore.json: the layout is not known", layout)
        return
    row_count = _LAYOUTS[layout](shards, tally, references, findings)
    hashes = references.hashes
    for row_id in sorted(hashes.keys() - row_count.keys()):
        findings.add("default: a row of configuration references is missing", row_id)
    for row_id, count in row_count.items():
        if row_id not in hashes:
            findings.add("default: a row is not in configuration references", row_id)
        elif count > 1:
            findings.add("default: a row occurs more than once", row_id)


def audit_generated(shards: Shards, tally: AttemptTally, findings: Findings) -> None:
    """Check the configuration `generated`, which must have one row for each kept attempt."""
    label_column, kept = shards.label, tally.kept
    label_of: dict[Any, int] = {}
    """Value of the source's label column -> label of the attempts."""
    count: Counter[UnitKey] = Counter()
    names = ["row_id", "copy", "context", "similarity", *shards.target_columns]
    for table in shards.batches("generated", [*names, label_column], shards.image):
        values = table[label_column].to_pylist()
        rows = table.select(names).to_pylist()
        units = [(row["row_id"], row["copy"]) for row in rows]
        count.update(units)
        for unit, row, value in zip(units, rows, values, strict=True):
            attempt = kept.get(unit)
            if attempt is None:
                findings.add("generated: a row has no kept attempt", _name(unit))
                continue
            # The source's labels may have any type. So this checks only that equal values have equal label numbers.
            same_label = label_of.setdefault(value, attempt["label"]) == attempt["label"]
            same_facts = (row["context"], row["similarity"]) == (attempt["context"], attempt["similarity"])
            if not same_label or not same_facts:
                findings.add("generated: a row differs from its attempt", _name(unit))
            if shards.target_columns and _target_of(row) != tally.label_of(unit):
                findings.add("generated: the label of a row differs from its attempt", _name(unit))
        if shards.images:
            recorded = [kept[unit]["image_sha256"] if unit in kept else None for unit in units]
            images = image_bytes(table, shards.image)
            check_images(findings, "generated: the image", map(_name, units), images, recorded, required=True)
    for unit in sorted(kept.keys() - count.keys()):
        findings.add("generated: the row of a kept attempt is missing", _name(unit))
    for unit, times in count.items():
        if times > 1:
            findings.add("generated: a row occurs more than once", _name(unit))


def _audit_columns(shards: Shards, tally: AttemptTally, references: ReferenceTable, findings: Findings) -> RowCount:
    """Check layout `columns`, in which a counterpart is in the row of its real image; return row id -> row count."""
    count: RowCount = Counter()
    augmented_split = shards.manifest["recipe"].get("source", {}).get("split", "train")
    for split, paths in shards.splits("default").items():
        for path in paths:
            prefix = prefix_of(shards.names(path))
            added = [*_ADDED, *shards.target_columns]
            columns = [prefix + name for name in added]
            images = [shards.image, f"{prefix}generated"] if shards.images else []
            for table in shards.read(path, [*columns, *images]):
                rows: list[_DefaultRow] = table.select(columns).rename_columns(added).to_pylist()
                ids = [row["row_id"] for row in rows]
                for row in rows if shards.target_columns else ():
                    if _target_of(row) != tally.label_of((row["row_id"], 0)):
                        findings.add("default: the label of a counterpart differs from its attempt", row["row_id"])
                count.update(ids)
                for row in rows:
                    _check_row(row, tally, references, findings, augmented=split == augmented_split)
                _check_originals(shards, ids, image_bytes(table, shards.image), references.hashes, findings)
                if shards.images:
                    _check_counterparts(ids, image_bytes(table, f"{prefix}generated"), tally, findings)
    return count


def _check_row(
    row: _DefaultRow, tally: AttemptTally, references: ReferenceTable, findings: Findings, *, augmented: bool
) -> None:
    """Compare the status and the facts of a row with its reference and the attempts of its first copy."""
    unit, status = (row["row_id"], 0), row["status"]
    attempt, has_image = tally.kept.get(unit), tally.has_image.get(unit)
    wrong_status = (
        (status == "kept") != (attempt is not None)
        or (status not in STATUSES if augmented else status != "not_planned")
        or (status == "not_planned" and has_image is not None)
        or (
            status == "failed"
            and (has_image is True or (has_image is None and row["row_id"] not in references.reasons))
        )
        or (status != "not_planned" and row["row_id"] in references.unlabelled)
    )
    if wrong_status:
        findings.add("default: the status does not follow from the attempts", row["row_id"])
    elif attempt is not None:
        own = (row["context"], row["prompt"], row["seed"], row["similarity"])
        if own != (attempt["context"], attempt["prompt"], attempt["seed"], attempt["similarity"]):
            findings.add("default: a row differs from its counterpart's attempt", row["row_id"])


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


def _audit_rows(shards: Shards, tally: AttemptTally, references: ReferenceTable, findings: Findings) -> RowCount:
    """Check layout `rows`, which has real and kept images as plain rows; return row id -> number of real rows."""
    kept_hashes: dict[str, set[str | None]] = {}
    kept_labels: dict[str, set[Target]] = {}
    for unit, attempt in tally.kept.items():
        kept_hashes.setdefault(unit[0], set()).add(attempt["image_sha256"])
        kept_labels.setdefault(unit[0], set()).add(tally.label_of(unit))
    count: RowCount = Counter()
    generated: RowCount = Counter()
    for table in shards.batches("default", ["row_id", "is_generated", *shards.target_columns], shards.image):
        for row in table.select(["row_id", "is_generated", *shards.target_columns]).to_pylist():
            allowed = kept_labels.get(row["row_id"], set()) if row["is_generated"] else {(None, None)}
            if shards.target_columns and _target_of(row) not in allowed:
                findings.add("default: the label of an image is not one of a kept attempt", row["row_id"])
        real_ids, real_images = [], []
        images = image_bytes(table, shards.image)
        rows = zip(table["row_id"].to_pylist(), table["is_generated"].to_pylist(), images, strict=True)
        for row_id, is_generated, image in rows:
            if not is_generated:
                real_ids.append(row_id)
                real_images.append(image)
                continue
            generated[row_id] += 1
            if shards.images and (image is None or sha256(image).hexdigest() not in kept_hashes.get(row_id, ())):
                findings.add("default: a generated image is not one that was kept for its row", row_id)
        count.update(real_ids)
        _check_originals(shards, real_ids, real_images, references.hashes, findings)
    _check_numbers(findings, "generated", Counter(row_id for row_id, _ in tally.kept), generated)
    return count


def _audit_mixed(shards: Shards, tally: AttemptTally, references: ReferenceTable, findings: Findings) -> RowCount:
    """Check layout `mixed`, which has real images and then mixed ones; return row id -> number of real rows.

    The pixels of mixed images are not recomputed.
    """
    count: RowCount = Counter()
    mixed: RowCount = Counter()
    columns = [*_MIXED, *shards.target_columns]
    for table in shards.batches("default", columns, shards.image):
        real_ids, real_images = [], []
        for row, image in zip(table.select(columns).to_pylist(), image_bytes(table, shards.image), strict=True):
            if shards.target_columns and not _mixed_label_fits(row, tally):
                findings.add("default: the label of an image does not follow from its attempt", row["row_id"])
            if row["is_mixed"]:
                mixed[row["row_id"]] += 1
            else:
                real_ids.append(row["row_id"])
                real_images.append(image)
            if not _mix_is_possible(row):
                findings.add("default: kind, lambda and real_share are not consistent", row["row_id"])
        count.update(real_ids)
        _check_originals(shards, real_ids, real_images, references.hashes, findings)
    # A real image that cannot be decoded has no mixed image.
    expected = Counter(row_id for row_id, copy in tally.kept if copy == 0)
    _check_numbers(findings, "mixed", expected, mixed, fewer_allowed=True)
    return count


_LAYOUTS: Mapping[str, Callable[[Shards, AttemptTally, ReferenceTable, Findings], RowCount]] = {
    "columns": _audit_columns,
    "rows": _audit_rows,
    "mixed": _audit_mixed,
}


def _mix_is_possible(row: Mapping[str, Any]) -> bool:
    """Return whether kind, lambda and real share of a row are possible.

    In a pixel-wise mix the real share is lambda (Eq. 6). In a patch-wise mix it may differ, because the patch may be
    clipped (Eq. 7).
    """
    if not row["is_mixed"]:
        return row["kind"] is None and row["lambda"] is None and row["real_share"] == 1
    kind, lam, share = row["kind"], row["lambda"], row["real_share"]
    if kind not in ("pixel", "patch") or lam is None or share is None or not 0 <= lam <= 1:
        return False
    return abs(share - lam) <= TOLERANCE if kind == "pixel" else 0 <= share <= 1


def _target_of(row: Mapping[str, Any]) -> Target:
    """Return target class and weight in a row."""
    return row["target_label"], row["target_weight"]


def _mixed_label_fits(row: Mapping[str, Any], tally: AttemptTally) -> bool:
    """Return whether the weight of the target class is that of the attempt times the share that is generated."""
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
