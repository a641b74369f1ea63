"""The schema of the data: names and types of all columns, and all statuses.

`datasets` is imported inside the functions, because method, config and --help need only the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Features

UnitKey = tuple[str, int]
"""Row id and copy of a unit."""
AttemptKey = tuple[str, int, int]
"""Row id, copy and attempt; copy and attempt of a reference are 0."""

STATUSES = {
    "not_planned": "no counterpart is planned, because the row was not drawn, has no label, is held out or is in "
    "another split",
    "kept": "a generated image was kept as the counterpart",
    "exhausted": "no attempt passed, or generation stopped for this class because too many attempts were rejected",
    "failed": "no image was generated, because the real image is unreadable or every attempt crashed",
    "pending": "attempts are missing, because the run had a limit or was interrupted",
}
"""Statuses of a row of the source, with their meaning. In layout `columns` every published row has one."""

SOURCE_IMAGE, GENERATED_IMAGE = "source_image", "generated_image"
"""Columns of the two images of a unit in stages and parts. They do not depend on the image column of the source."""
CLASS_IMAGE, CONTROL_IMAGE = "class_image", "control_image"
"""Columns of the further real images that a strategy can read (augmentation/unit_images.py)."""
UNIT_IMAGES = (SOURCE_IMAGE, CLASS_IMAGE, CONTROL_IMAGE)
"""Columns of the real images of a unit."""

CONFIGS = ("default", "generated", "attempts", "references", "classes")
"""The dataset configurations of a published dataset. `load_dataset` takes one of these names after the path."""
ADDED_COLUMNS = ("generated", "context", "prompt", "seed", "similarity", "status", "row_id")
"""Columns that the dataset configuration `default` adds to the columns of the source."""
TARGET_COLUMNS = ("target_label", "target_weight")
"""Columns of the label of a generated image if its class was drawn. The label has the weight `target_weight` for the
class `target_label`, and the rest for the class of the row. Both are null if the image shows the class of the row."""


def _features(**columns: str) -> Features:
    """Return Features from short names of types: `image`, `embedding`, or a dtype of `Value`."""
    from datasets import Features, Image, List, Value

    special = {"image": Image(), "embedding": List(Value("float16"))}
    return Features({name: special.get(kind) or Value(kind) for name, kind in columns.items()})


def added_features(prefix: str = "") -> Features:
    """Return the types of ADDED_COLUMNS. `prefix` is put before each name."""
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


def target_features(names: Sequence[str], prefix: str = "") -> Features:
    """Return the types of TARGET_COLUMNS for K class names. `prefix` is put before each name."""
    from datasets import ClassLabel, Features, Value

    types = (ClassLabel(names=list(names)), Value("float32"))
    return Features({prefix + name: kind for name, kind in zip(TARGET_COLUMNS, types, strict=True)})


def prefix_of(names: Iterable[str], added: Iterable[str] = ADDED_COLUMNS) -> str:
    """Return the prefix of the added columns of a published table; "" if they have no prefix.

    The source may have a column of its own that ends in `row_id`. So all added columns must exist with the prefix.

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


def plan_features(*, targets: bool = False, strength: bool = False) -> Features:
    """Return the columns that a plan adds to the columns of the source. A plan has one row per planned unit.

    Args:
        targets: add the index of the class that an image has to show.
        strength: add the strength of the change of the real image.
    """
    drawn = {"target_label": "int64"} if targets else {}
    drawn |= {"strength": "float64"} if strength else {}
    return _features(
        row_id="string",
        copy="int32",
        context="string",
        prompt="string",
        negative_prompt="string",
        seed="int64",
        **drawn,
    )


def attempt_facts() -> Features:
    """Return the columns of a part of round 0, 1, ... Such a part has one row per attempt.

    `inputs` is a digest of the inputs of the attempt (augmentation/inputs.py). There is no index of a class, because
    the classes of a source can change. `reason` is null or one of the recorded reasons of method/checks.py.
    """
    return _features(
        row_id="string",
        copy="int32",
        attempt="int32",
        class_name="string",
        context="string",
        prompt="string",
        negative_prompt="string",
        seed="int64",
        inputs="string",
        generated_image="image",
        image_sha256="string",
        embedding="embedding",
        reason="string",
    )


def reference_facts() -> Features:
    """Return the columns of a part of round `ref`. Such a part has one row per real image.

    `inputs` is a digest of the inputs of the fact (augmentation/inputs.py). `reason` is the reason why an image has no
    embedding, otherwise null.
    """
    return _features(row_id="string", inputs="string", source_sha256="string", embedding="embedding", reason="string")


def class_facts() -> Features:
    """Return the columns of a part of kind `text`. Such a part has one row per caption, with its embedding.

    The scale is the factor by which the training of the model multiplied the cosines; null if there is no such factor.

    The part exists only if the filter's model has a text tower.
    """
    return _features(prompt="string", text_embedding="embedding", logit_scale="float64")


def comparison_facts() -> Features:
    """Return the columns of a part of kind `near`. Such a part has one row per generated image that was compared.

    The columns `split_...` describe the closest image of another split or of the held-out rows. The columns
    `training_...` describe the closest image of the augmented rows. `hash` is in hex digits. `inputs` is a digest of
    the images that were compared (augmentation/comparisons.py).
    """
    return _features(
        row_id="string",
        copy="int32",
        attempt="int32",
        inputs="string",
        image_sha256="string",
        method="string",
        hash="string",
        split_row_id="string",
        split_sha256="string",
        split_score="float64",
        training_row_id="string",
        training_sha256="string",
        training_score="float64",
    )


def pair_facts() -> Features:
    """Return the columns of a part of kind `pairs`: the score of two generated images, by their hashes."""
    return _features(tested_sha256="string", other_sha256="string", method="string", score="float64")


def references_features() -> Features:
    """Return the columns of dataset configuration `references`. It has one row per real image of every split."""
    return _features(row_id="string", label="int64", source_sha256="string", embedding="embedding", reason="string")


def attempts_features(*, targets: bool = False, strength: bool = False, nearest: bool = False) -> Features:
    """Return the columns of the dataset configuration `attempts`, which has one row per attempt, kept or rejected.

    Args:
        targets: add TARGET_COLUMNS, with the index of the class.
        strength: add the strength of the change of the real image.
        nearest: add the closest image that the image of the attempt was compared with: its row id, its kind (`split`,
            `training` or `counterpart`) and the score of the pair.
    """
    drawn = {"target_label": "int64", "target_weight": "float32"} if targets else {}
    drawn |= {"strength": "float32"} if strength else {}
    drawn |= {"nearest_row_id": "string", "nearest_kind": "string", "nearest_score": "float32"} if nearest else {}
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
        **drawn,
    )


def classes_features() -> Features:
    """Return the columns of the dataset configuration `classes`, which has one row per class."""
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
