"""The schema of the data: every column with its Feature, every status and every reason.

Owns names and types. `datasets` is imported inside the functions, because method, config and --help need the names
alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Features

STATUSES = {
    "not_planned": "the plan does not want a counterpart for this row",
    "kept": "has a counterpart",
    "exhausted": "no attempt passed, or its class was given up",
    "failed": "no attempt was possible: unreadable or unlabelled source, or every attempt crashed",
    "pending": "planned, not finished: a limit or an interruption",
}
"""Result for a row of the source: column `status` of config default."""

SOURCE_IMAGE, GENERATED_IMAGE = "source_image", "generated_image"
"""Names of the two images of a unit in units, stages and parts, whatever name the source gives its image column."""

CONFIGS = ("default", "generated", "attempts", "references", "classes")
ADDED_COLUMNS = ("generated", "context", "prompt", "seed", "similarity", "status", "row_id")


def _features(**columns: str) -> Features:
    """Return Features by short names of types: `image`, `embedding`, or a dtype of `Value`."""
    from datasets import Features, Image, List, Value

    special = {"image": Image(), "embedding": List(Value("float16"))}
    return Features({name: special.get(kind) or Value(kind) for name, kind in columns.items()})


def added_features(prefix: str = "") -> Features:
    """Return the seven columns that config default adds to those of the source, each name behind `prefix`."""
    features = _features(
        generated="image",
        context="string",
        prompt="string",
        seed="int64",
        similarity="float32",
        status="string",
        row_id="string",
    )
    return type(features)({prefix + name: feature for name, feature in features.items()})


def prefix_of(names: Iterable[str], added: Iterable[str] = ADDED_COLUMNS) -> str:
    """Return the prefix of the added columns of a published table; "" if there is none.

    The source may have a `row_id` of its own, so a prefix counts only if all added columns exist with it.

    Args:
        names: the columns of the table.
        added: the added columns that the table must have.
    """
    names, added = list(names), list(added)
    prefixes = [name.removesuffix("row_id") for name in names if name.endswith("row_id")]
    return next((p for p in prefixes if all(p + name in names for name in added)), "")


def plain_features() -> Features:
    """Return the columns that layout `rows` adds to image and label."""
    return _features(row_id="string", is_generated="bool")


def mixed_features() -> Features:
    """Return the columns that layout `mixed` adds to image and label.

    `kind` is `pixel` or `patch`; `kind` and `lambda` are null for real images.
    """
    return _features(row_id="string", is_mixed="bool", kind="string", **{"lambda": "float32"}, real_share="float32")


def plan_features() -> Features:
    """Return the columns that a plan adds to a row of the source: one row per planned unit."""
    return _features(
        row_id="string", copy="int32", context="string", prompt="string", negative_prompt="string", seed="int64"
    )


def attempt_facts() -> Features:
    """A part of round 0, 1, ...: one row per attempt; `reason` is null or a recorded reason of method/checks.py."""
    return _features(
        row_id="string",
        copy="int32",
        attempt="int32",
        label="int64",
        context="string",
        prompt="string",
        negative_prompt="string",
        seed="int64",
        generated_image="image",
        image_sha256="string",
        embedding="embedding",
        reason="string",
    )


def reference_facts() -> Features:
    """Return the columns of a part of round `ref`: one row per real image; `reason` tells why it has no embedding."""
    return _features(row_id="string", label="int64", source_sha256="string", embedding="embedding", reason="string")


def class_facts() -> Features:
    """Return the columns of a part of kind `text`: the embedding of each class's caption, if the tower reads text."""
    return _features(label="int64", prompt="string", text_embedding="embedding")


def attempts_features() -> Features:
    """Return the columns of config attempts: one row per attempt, kept or not."""
    return _features(
        row_id="string",
        copy="int32",
        attempt="int32",
        label="int64",
        prompt="string",
        negative_prompt="string",
        context="string",
        seed="int64",
        similarity="float32",
        score="float32",
        bound="float32",
        class_rank="int32",
        embedding="embedding",
        image_sha256="string",
        reason="string",
        image="image",
    )


def classes_features() -> Features:
    """Return the columns of config classes: one row per class."""
    return _features(
        label="int64",
        name="string",
        prompt_name="string",
        images="int64",
        planned="int64",
        kept="int64",
        attempts="int64",
        rejected_generated="float32",
        rejected_real="float32",
        bound="float32",
        given_up="bool",
        text_embedding="embedding",
    )
