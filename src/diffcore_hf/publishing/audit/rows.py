"""Rows: configs `default`, in each layout, and `generated` against the attempts and the hashes of the originals.

Owns what stands twice in a dataset and has to be the same: statuses, counterparts, prompts, images, labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from diffcore_hf.core.schema import STATUSES, prefix_of
from diffcore_hf.publishing.audit.attempts import NEAR, Attempts
from diffcore_hf.publishing.audit.findings import Findings
from diffcore_hf.publishing.audit.shards import Shards, check_images, contents

Hashes = Mapping[str, str | None]
"""Row id -> sha256 of the real image."""

_TOLD = ("status", "context", "prompt", "seed", "similarity")
_MIXED = ("row_id", "is_mixed", "kind", "lambda", "real_share")


def audit_default(shards: Shards, attempts: Attempts, hashes: Hashes, findings: Findings) -> None:
    """Config `default`, whatever its layout; every row of the source has to be in it once."""
    layout = shards.manifest.get("layout", "columns")
    audit = {"columns": _columns, "rows": _plain, "mixed": _mixed}[layout]
    seen = audit(shards, attempts, hashes, findings)
    for row_id in sorted(hashes.keys() - seen.keys()):
        findings.add("default: a row of config references is missing", row_id)
    for row_id, times in seen.items():
        if row_id not in hashes:
            findings.add("default: a row that is not in config references", row_id)
        elif times > 1:
            findings.add("default: a row that is there more than once", row_id)


def audit_generated(shards: Shards, attempts: Attempts, findings: Findings) -> None:
    """Config `generated`: one row per kept attempt."""
    label, kept = shards.label, attempts.kept
    labels: dict[Any, int] = {}
    seen: Counter[tuple[str, int]] = Counter()
    for table in shards.batches("generated", ["row_id", "copy", "context", "similarity", label], shards.image):
        labelled = table[label].to_pylist()
        rows = table.select(["row_id", "copy", "context", "similarity"]).to_pylist()
        units = [(row["row_id"], row["copy"]) for row in rows]
        seen.update(units)
        for unit, row, value in zip(units, rows, labelled, strict=True):
            attempt = kept.get(unit)
            if attempt is None:
                findings.add("generated: a row that no attempt was kept for", _name(unit))
            elif any(row[one] != attempt[one] for one in ("context", "similarity")) or (
                # The source's own labels are of any kind; the same attempt's label has to mean the same one.
                labels.setdefault(value, attempt["label"]) != attempt["label"]
            ):
                findings.add("generated: a row does not say what its attempt says", _name(unit))
        if shards.images:
            recorded = [kept[unit]["image_sha256"] if unit in kept else None for unit in units]
            found = contents(table, shards.image)
            check_images(findings, "generated: the image", map(_name, units), found, recorded, required=True)
    for unit in sorted(kept.keys() - seen.keys()):
        findings.add("generated: a row that an attempt was kept for is missing", _name(unit))
    for unit, times in seen.items():
        if times > 1:
            findings.add("generated: a row that is there more than once", _name(unit))


def _columns(shards: Shards, attempts: Attempts, hashes: Hashes, findings: Findings) -> Counter[str]:
    """Layout columns: a counterpart stands beside its row."""
    kept, seen = attempts.kept, Counter()
    for split, paths in shards.splits("default").items():
        augmented = split == shards.manifest["recipe"].get("source", {}).get("split", "train")
        for path in paths:
            prefix = prefix_of(shards.names(path))
            columns = [prefix + name for name in ("row_id", *_TOLD)]
            pictures = [shards.image, f"{prefix}generated"] if shards.images else []
            for table in shards.read(path, [*columns, *pictures]):
                rows = table.select(columns).rename_columns(["row_id", *_TOLD]).to_pylist()
                ids = [row["row_id"] for row in rows]
                seen.update(ids)
                for row in rows:
                    _check_row(row, attempts, findings, augmented=augmented)
                _check_originals(shards, ids, contents(table, shards.image), hashes, findings)
                if shards.images:
                    recorded = [kept[row_id, 0]["image_sha256"] if (row_id, 0) in kept else None for row_id in ids]
                    found = contents(table, f"{prefix}generated")
                    check_images(findings, "default: the counterpart", ids, found, recorded, required=True)
                    for row_id, content, known in zip(ids, found, recorded, strict=True):
                        if content is not None and known is None:
                            findings.add("default: a counterpart that no attempt was kept for", row_id)
    return seen


def _check_row(row: Mapping[str, Any], attempts: Attempts, findings: Findings, *, augmented: bool) -> None:
    """Status and facts of a row against the attempts for it."""
    unit, status = (row["row_id"], 0), row["status"]
    attempt, tried = attempts.kept.get(unit), attempts.tried.get(unit)
    wrong = (
        (status == "kept") != (attempt is not None)
        or (status not in STATUSES if augmented else status is not None)
        or (status == "not_planned" and tried is not None)
        or (status == "failed" and tried is True)
    )
    if wrong:
        findings.add("default: the status is not that of the attempts", row["row_id"])
    elif attempt and any(row[name] != attempt[name] for name in _TOLD[1:]):
        findings.add("default: a row does not say what its counterpart's attempt says", row["row_id"])


def _plain(shards: Shards, attempts: Attempts, hashes: Hashes, findings: Findings) -> Counter[str]:
    """Layout rows: real and kept images as plain rows."""
    wanted = Counter(row_id for row_id, _ in attempts.kept)
    known: dict[str, set[str]] = {}
    for (row_id, _), attempt in attempts.kept.items():
        known.setdefault(row_id, set()).add(attempt["image_sha256"])
    seen, generated = Counter(), Counter()
    for table in shards.batches("default", ["row_id", "is_generated"], shards.image):
        ids, told = table["row_id"].to_pylist(), table["is_generated"].to_pylist()
        found = contents(table, shards.image)
        real = [place for place, one in enumerate(told) if not one]
        seen.update(ids[place] for place in real)
        _check_originals(shards, [ids[place] for place in real], [found[place] for place in real], hashes, findings)
        for row_id, content in ((ids[place], found[place]) for place, one in enumerate(told) if one):
            generated[row_id] += 1
            if shards.images and (content is None or sha256(content).hexdigest() not in known.get(row_id, ())):
                findings.add("default: a generated image is not one that was kept for its row", row_id)
    _check_times(findings, "generated", wanted, generated)
    return seen


def _mixed(shards: Shards, attempts: Attempts, hashes: Hashes, findings: Findings) -> Counter[str]:
    """Layout mixed: real images, then those with a counterpart mixed with it; pixels of a mix are not made again."""
    wanted = Counter(row_id for row_id, copy in attempts.kept if copy == 0)
    seen, mixed = Counter(), Counter()
    for table in shards.batches("default", _MIXED, shards.image):
        rows, found = table.select(_MIXED).to_pylist(), contents(table, shards.image)
        real = [place for place, row in enumerate(rows) if not row["is_mixed"]]
        ids = [rows[place]["row_id"] for place in real]
        seen.update(ids)
        _check_originals(shards, ids, [found[place] for place in real], hashes, findings)
        mixed.update(row["row_id"] for row in rows if row["is_mixed"])
        for row in rows:
            if not _mix_fits(row):
                findings.add("default: kind, lambda and real_share do not fit each other", row["row_id"])
    # A real image that cannot be decoded is not mixed.
    _check_times(findings, "mixed", wanted, mixed, fewer=True)
    return seen


def _mix_fits(row: Mapping[str, Any]) -> bool:
    """Whether a row can be a mix: pixels share exactly lambda (Eq. 6); a box may be clipped (Eq. 7)."""
    if not row["is_mixed"]:
        return row["kind"] is None and row["lambda"] is None and row["real_share"] == 1
    kind, lam, share = row["kind"], row["lambda"], row["real_share"]
    if kind not in ("pixel", "patch") or lam is None or share is None or not 0 <= lam <= 1:
        return False
    return abs(share - lam) <= NEAR if kind == "pixel" else 0 <= share <= 1


def _check_originals(
    shards: Shards, ids: Sequence[str], found: Sequence[bytes | None], hashes: Hashes, findings: Findings
) -> None:
    """Real images against their hashes; none where the dataset goes without them."""
    if not shards.manifest.get("originals", True):
        for row_id, content in zip(ids, found, strict=True):
            if content is not None:
                findings.add("default: an original image in a dataset that says it has none", row_id)
        return
    recorded = [hashes.get(row_id) for row_id in ids]
    check_images(findings, "default: the original", ids, found, recorded, required=shards.images)


def _check_times(
    findings: Findings, what: str, wanted: Counter[str], found: Counter[str], *, fewer: bool = False
) -> None:
    """How often a row's images are there."""
    for row_id in sorted(wanted.keys() | found.keys()):
        if found[row_id] > wanted[row_id] or (found[row_id] < wanted[row_id] and not fewer):
            findings.add(f"default: not as many {what} images of a row as were kept", row_id)


def _name(unit: tuple[str, int]) -> str:
    return f"{unit[0]} copy {unit[1]}"
