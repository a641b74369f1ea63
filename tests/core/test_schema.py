"""Tests of the schema, because the columns of published datasets must not change."""

import pytest
from datasets import Features, Image, List, Value

from diffcore_hf.core import schema
from diffcore_hf.core.folder import PUBLISHED

EMBEDDING = List(Value("float16"))


def plain(**columns: str) -> dict:
    special = {"image": Image(), "embedding": EMBEDDING}
    return {name: special.get(kind) or Value(kind) for name, kind in columns.items()}


@pytest.mark.parametrize(
    "features, columns",
    [
        (
            schema.added_features,
            plain(generated="image", context="string", prompt="string", seed="int64", similarity="float32",
                  status="string", row_id="string"),
        ),
        (
            schema.attempts_features,
            plain(row_id="string", copy="int32", attempt="int32", label="int64", prompt="string",
                  negative_prompt="string", context="string", seed="int64", similarity="float32", score="float32",
                  bound="float32", class_rank="int32", embedding="embedding", image_sha256="string", reason="string",
                  image="image"),
        ),
        (
            schema.references_features,
            plain(row_id="string", label="int64", source_sha256="string", embedding="embedding", reason="string"),
        ),
        (
            schema.classes_features,
            plain(label="int64", name="string", prompt_name="string", images="int64", planned="int64", kept="int64",
                  attempts="int64", rejected_generated="float32", rejected_real="float32", bound="float32",
                  given_up="bool", text_embedding="embedding"),
        ),
        (
            schema.plan_features,
            plain(row_id="string", copy="int32", context="string", prompt="string", negative_prompt="string",
                  seed="int64"),
        ),
        (schema.plain_features, plain(row_id="string", is_generated="bool")),
        (
            schema.mixed_features,
            plain(row_id="string", is_mixed="bool", kind="string", **{"lambda": "float32"}, real_share="float32"),
        ),
    ],
    ids=["default", "attempts", "references", "classes", "plan", "rows", "mixed"],
)  # fmt: skip
def test_columns_and_their_features(features, columns):
    assert features() == Features(columns)
    assert list(features()) == list(columns)


def test_every_added_column_gets_the_prefix():
    assert list(schema.added_features("dc_")) == [f"dc_{name}" for name in schema.ADDED_COLUMNS]


def test_every_status_is_explained():
    assert set(schema.STATUSES) == {"not_planned", "kept", "exhausted", "failed", "pending"}
    assert all(schema.STATUSES.values())


def test_every_config_has_a_published_folder():
    assert {*schema.CONFIGS} - {"default"} | {"data"} <= set(PUBLISHED)
