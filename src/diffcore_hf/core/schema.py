"""Words of the data: every column and its Feature, every status and reason.

Owns names and types. Does not own how a value comes about, nor where it is stored.
`datasets` is imported inside the functions: the words alone are needed where no dataset is (method, recipe, --help).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Features

# What became of a row of the source (column `status` of config default).
STATUSES = {
    "not_planned": "the plan does not want a counterpart for this row",
    "kept": "has a counterpart",
    "exhausted": "no attempt passed, or its class was given up",
    "failed": "no attempt was possible: unreadable or unlabelled source, or every attempt crashed",
    "pending": "planned, not finished: a limit or an interruption",
}

# Names of the two images of a unit in units, stages and parts, whatever the source calls its column of images.
SOURCE_IMAGE, GENERATED_IMAGE = "source_image", "generated_image"

CONFIGS = ("default", "generated", "attempts", "references", "classes")
ADDED_COLUMNS = ("generated", "context", "prompt", "seed", "similarity", "status", "row_id")


def _features(**columns: str) -> Features:
    from datasets import Features, Image, List, Value

    special = {"image": Image(), "embedding": List(Value("float16"))}
    return Features({name: special.get(kind) or Value(kind) for name, kind in columns.items()})


def added_features(prefix: str = "") -> Features:
    """The seven columns that config default adds to the source's, each name behind `prefix`."""
    features = _features(
        generated="image", context="string", prompt="string", seed="int64", similarity="float32", status="string",
        row_id="string",
    )  # fmt: skip
    return type(features)({prefix + name: feature for name, feature in features.items()})


def prefix_of(names: Iterable[str], added: Iterable[str] = ADDED_COLUMNS) -> str:
    """What stands before each added column of a published table; the source may have a row_id of its own.

    Args:
        names: the columns of the table.
        added: those of ours that it has to have.
    """
    names, added = list(names), list(added)
    prefixes = [name.removesuffix("row_id") for name in names if name.endswith("row_id")]
    return next((p for p in prefixes if all(p + name in names for name in added)), "")


def plain_features() -> Features:
    """What layout `rows` adds to image and label."""
    return _features(row_id="string", is_generated="bool")


def mixed_features() -> Features:
    """What layout `mixed` adds to image and label; `kind` is `pixel` or `patch`, null like `lambda` for real images."""
    return _features(row_id="string", is_mixed="bool", kind="string", **{"lambda": "float32"}, real_share="float32")


def plan_features() -> Features:
    """The columns that a plan adds to a row of the source: one row per planned unit."""
    return _features(
        row_id="string", copy="int32", context="string", prompt="string", negative_prompt="string", seed="int64"
    )


def attempt_facts() -> Features:
    """A part of round 0, 1, ...: one row per attempt; `reason` is null or a recorded reason of method/checks.py."""
    return _features(
        row_id="string", copy="int32", attempt="int32", label="int64", context="string", prompt="string",
        negative_prompt="string", seed="int64", generated_image="image", image_sha256="string",
        embedding="embedding", reason="string",
    )  # fmt: skip


def reference_facts() -> Features:
    """A part of round `ref`: one row per real image; `reason` says why there is no embedding."""
    return _features(row_id="string", label="int64", source_sha256="string", embedding="embedding", reason="string")


def class_facts() -> Features:
    """A part of kind `text`: the embedding of each class's caption, where the scorer has a text tower."""
    return _features(label="int64", prompt="string", text_embedding="embedding")


def attempts_features() -> Features:
    """Config attempts: one row per attempt, kept or not."""
    return _features(
        row_id="string", copy="int32", attempt="int32", label="int64", prompt="string", negative_prompt="string",
        context="string", seed="int64", similarity="float32", score="float32", bound="float32", class_rank="int32",
        embedding="embedding", image_sha256="string", reason="string", image="image",
    )  # fmt: skip


def classes_features() -> Features:
    """Config classes: one row per class."""
    return _features(
        label="int64", name="string", prompt_name="string", images="int64", planned="int64", kept="int64",
        attempts="int64", rejected_generated="float32", rejected_real="float32", bound="float32", given_up="bool",
        text_embedding="embedding",
    )  # fmt: skip
