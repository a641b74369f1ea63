"""Audit: whether the rows of a published dataset fit each other and the rules of their recipe.

Owns what follows from what: a similarity from two embeddings, a seed from the ids, a reason from score and bound, a
status and the counts from the reasons, a hash from an image. The bounds are taken as they stand: to fit a policy again
takes the captions of the contexts, which are not published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.core.schema import prefix_of
from diffcore_hf.core.seeding import attempt_seed
from diffcore_hf.method.thresholds import row_cosines

if TYPE_CHECKING:
    import pyarrow as pa

Read = Callable[[str, Sequence[str]], "pa.Table"]
"""Path of a shard, names of columns -> the columns."""

Kept = Mapping[tuple[str, int], Mapping[str, Any]]
"""Row id and copy -> the attempt that was kept."""

_NEAR = 1e-5
"""Published numbers are float32."""
_UNDECIDED = ("superseded", "crashed")
_ATTEMPTS = ("row_id", "copy", "attempt", "label", "context", "prompt", "seed", "similarity", "score", "bound",
             "class_rank", "embedding", "image_sha256", "reason")  # fmt: skip


class _Faults:
    """The first example of each kind, and how many there are."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def add(self, kind: str, where: str) -> None:
        self._first.setdefault(kind, where)
        self._count[kind] += 1

    def lines(self) -> list[str]:
        return [
            f"{kind}: {where}" + (f" and {self._count[kind] - 1} more" if self._count[kind] > 1 else "")
            for kind, where in self._first.items()
        ]


def audit(manifest: Mapping[str, Any], read: Read, names: Callable[[str], Sequence[str]], *, images: bool) -> list[str]:
    """What does not fit, a line for each kind of fault; [] where all fits.

    Args:
        manifest: diffcore.json.
        read: gives columns of a shard.
        names: tells the columns of a shard.
        images: whether every image is read and hashed as well.
    """
    faults, configs = _Faults(), manifest["configs"]
    embeddings, hashes = _references(configs, read)
    kept: dict[tuple[str, int], Mapping[str, Any]] = {}
    tally: dict[str, Counter[int]] = {name: Counter() for name in ("attempts", "kept", "counted", "rejected")}
    for path in _files(configs, "attempts"):
        table = read(path, [*_ATTEMPTS, *(["image"] if images else [])])
        rows = table.select([name for name in _ATTEMPTS if name != "embedding"]).to_pylist()
        own = _matrix(table["embedding"])
        similarities = _similarities(own, [embeddings.get(row["row_id"]) for row in rows])
        contents = _bytes(table, "image") if images else [None] * len(rows)
        for row, similarity, content in zip(rows, similarities, contents, strict=True):
            where = f"{row['row_id']} copy {row['copy']} attempt {row['attempt']}"
            for kind in _wrong(row, similarity, content, manifest["recipe"]):
                faults.add(f"attempts: {kind}", where)
            key = (row["row_id"], row["copy"])
            if row["reason"] == "kept" and key in kept:
                faults.add("attempts: two are kept of one unit", where)
            elif row["reason"] == "kept":
                kept[key] = row
            _count(tally, row)
    _classes(faults, configs, read, tally)
    if manifest.get("layout", "columns") == "columns":
        _default(faults, manifest, read, names, kept, hashes, images=images)
    _generated(faults, manifest, read, kept, images=images)
    for name, found in (("attempts", sum(tally["attempts"].values())), ("kept", len(kept))):
        if manifest["counts"][name] != found:
            faults.add("diffcore.json", f"counts {manifest['counts'][name]} {name}, config attempts has {found}")
    return faults.lines()


def _wrong(row: Mapping[str, Any], similarity: float, content: bytes | None, recipe: Mapping[str, Any]) -> list[str]:
    """What is wrong with one attempt."""
    wrong = []
    if row["seed"] != attempt_seed(recipe.get("seed", 0), row["row_id"], row["copy"], row["attempt"]):
        wrong.append("the seed is not that of row, copy and attempt")
    stated = np.nan if row["similarity"] is None else row["similarity"]
    if not np.isclose(stated, similarity, rtol=0, atol=_NEAR, equal_nan=True):
        wrong.append("the similarity is not that of the embeddings")
    if not _agrees(row, recipe):
        wrong.append("the reason does not follow from score and bound")
    if content is not None and sha256(content).hexdigest() != row["image_sha256"]:
        wrong.append("the image is not the one whose hash is recorded")
    return wrong


def _agrees(row: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether a reason can be the policy's: what it rejected lies beyond the bound, what it kept does not."""
    reason, score, bound, policy = row["reason"], row["score"], row["bound"], recipe["filter"]["policy"]["name"]
    if reason == "kept":
        # A person's accept overrides the policy; the verdicts are not published.
        if recipe.get("review") or score is None or bound is None:
            return True
        if policy == "random":
            return score < bound + _NEAR
        # With one class there is no rank, and the quantile stands in: its scores are similarities.
        ranked = policy == "rank" and score == row["class_rank"]
        return score <= bound if ranked else score >= bound - _NEAR
    if reason == "low_rank":
        return score is None or bound is None or score > bound
    if reason == "low_similarity":
        return score is None or bound is None or score <= bound + _NEAR
    return reason != "not_drawn" or (score is not None and bound is not None and score >= bound - _NEAR)


def _count(tally: Mapping[str, Counter[int]], row: Mapping[str, Any]) -> None:
    label, reason = row["label"], row["reason"]
    tally["attempts"][label] += 1
    tally["kept"][label] += reason == "kept"
    tally["counted"][label] += reason not in _UNDECIDED
    tally["rejected"][label] += reason not in ("kept", *_UNDECIDED)


def _classes(faults: _Faults, configs: Mapping[str, Any], read: Read, tally: Mapping[str, Counter[int]]) -> None:
    """Counts and rates by class against the attempts."""
    for path in _files(configs, "classes"):
        for row in read(path, ["label", "name", "kept", "attempts", "rejected_generated"]).to_pylist():
            label = row["label"]
            if (row["attempts"], row["kept"]) != (tally["attempts"][label], tally["kept"][label]):
                faults.add("classes: the counts are not those of config attempts", row["name"])
            rate = tally["rejected"][label] / tally["counted"][label] if tally["counted"][label] else np.nan
            stated = np.nan if row["rejected_generated"] is None else row["rejected_generated"]
            if not np.isclose(stated, rate, rtol=0, atol=_NEAR, equal_nan=True):
                faults.add("classes: the rate of rejected images is not that of config attempts", row["name"])


def _default(
    faults: _Faults, manifest: Mapping[str, Any], read: Read, names: Callable[[str], Sequence[str]], kept: Kept,
    hashes: Mapping[str, str | None], *, images: bool,
) -> None:  # fmt: skip
    """Statuses, counterparts and originals of layout columns."""
    told = ("status", "context", "prompt", "seed", "similarity")
    beside = {key for key in kept if key[1] == 0}
    for path in _files(manifest["configs"], "default"):
        prefix, image = prefix_of(names(path)), _image(manifest)
        columns = [prefix + name for name in ("row_id", *told)]
        table = read(path, [*columns, *([image, f"{prefix}generated"] if images else [])])
        rows = table.select(columns).rename_columns(["row_id", *told]).to_pylist()
        ids = [row["row_id"] for row in rows]
        for row in rows:
            attempt = kept.get((row["row_id"], 0))
            beside.discard((row["row_id"], 0))
            if (row["status"] == "kept") != (attempt is not None):
                faults.add("default: the status is not that of the attempts", row["row_id"])
            elif attempt and any(row[name] != attempt[name] for name in told[1:]):
                faults.add("default: a row does not say what its counterpart's attempt says", row["row_id"])
        if images:
            recorded = [kept[row_id, 0]["image_sha256"] if (row_id, 0) in kept else None for row_id in ids]
            _hashed(faults, "default: the counterpart", ids, _bytes(table, f"{prefix}generated"), recorded, must=True)
            originals = [hashes.get(row_id) for row_id in ids]
            _hashed(faults, "default: the original", ids, _bytes(table, image), originals, must=False)
    for row_id, _ in sorted(beside):
        faults.add("default: a row that an attempt was kept for is missing", row_id)


def _generated(faults: _Faults, manifest: Mapping[str, Any], read: Read, kept: Kept, *, images: bool) -> None:
    """The kept images as plain rows."""
    image, label = _image(manifest), manifest["recipe"].get("source", {}).get("label", "label")
    missing, labels = set(kept), {}
    for path in _files(manifest["configs"], "generated"):
        columns = ["row_id", "copy", "context", "similarity", label]
        table = read(path, [*columns, *([image] if images else [])])
        rows = table.select(columns).rename_columns(["row_id", "copy", "context", "similarity", "label"]).to_pylist()
        keys = [(row["row_id"], row["copy"]) for row in rows]
        ids = [f"{row_id} copy {copy}" for row_id, copy in keys]
        missing -= set(keys)
        for key, row, name in zip(keys, rows, ids, strict=True):
            if key not in kept:
                faults.add("generated: a row that no attempt was kept for", name)
            elif (
                any(row[field] != kept[key][field] for field in ("context", "similarity"))
                or labels.setdefault(row["label"], kept[key]["label"]) != kept[key]["label"]
            ):
                faults.add("generated: a row does not say what its attempt says", name)
        if images:
            recorded = [kept[key]["image_sha256"] if key in kept else None for key in keys]
            _hashed(faults, "generated: the image", ids, _bytes(table, image), recorded, must=True)
    for row_id, copy in sorted(missing):
        faults.add("generated: a row that an attempt was kept for is missing", f"{row_id} copy {copy}")


def _image(manifest: Mapping[str, Any]) -> str:
    """The source's own name for its column of images."""
    return manifest["recipe"].get("source", {}).get("image", "image")


def _hashed(
    faults: _Faults, what: str, names: Iterable[str], contents: Iterable[bytes | None],
    recorded: Iterable[str | None], *, must: bool,
) -> None:  # fmt: skip
    for name, content, known in zip(names, contents, recorded, strict=True):
        if known is not None and content is None and must:
            faults.add(f"{what} is missing", name)
        elif known is not None and content is not None and sha256(content).hexdigest() != known:
            faults.add(f"{what} is not the image whose hash is recorded", name)


def _references(configs: Mapping[str, Any], read: Read) -> tuple[dict[str, np.ndarray], dict[str, str | None]]:
    """Row id -> (d,) float16, where there is one, and row id -> hash of the original."""
    embeddings: dict[str, np.ndarray] = {}
    hashes: dict[str, str | None] = {}
    for path in _files(configs, "references"):
        table = read(path, ["row_id", "source_sha256", "embedding"])
        ids = table["row_id"].to_pylist()
        hashes |= dict(zip(ids, table["source_sha256"].to_pylist(), strict=True))
        embeddings |= {row_id: row for row_id, row in zip(ids, _matrix(table["embedding"]), strict=True) if row.size}
    return embeddings, hashes


def _similarities(own: Sequence[np.ndarray], parents: Sequence[np.ndarray | None]) -> np.ndarray:
    """(M,) float64: cosine of each pair of which both are there; NaN elsewhere."""
    found = np.full(len(own), np.nan)
    pairs = [place for place, row in enumerate(own) if row.size and parents[place] is not None]
    if pairs:
        found[pairs] = row_cosines(
            np.stack([own[place] for place in pairs]), np.stack([parents[place] for place in pairs])
        )
    return found


def _matrix(column: pa.ChunkedArray) -> list[np.ndarray]:
    """One array a row, empty where there is none."""
    return [
        np.asarray(row.values.to_numpy(zero_copy_only=False)) if row.is_valid else np.empty(0, np.float16)
        for chunk in column.chunks
        for row in chunk
    ]


def _bytes(table: pa.Table, name: str) -> list[bytes | None]:
    """The bytes of a column of images."""
    return [cell and cell["bytes"] for cell in table[name].to_pylist()]


def _files(configs: Mapping[str, Mapping[str, list[str]]], name: str) -> Iterable[str]:
    return chain.from_iterable(configs.get(name, {}).values())
