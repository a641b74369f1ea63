"""Tests of the types of columns: a column of another type, or a missing value, gives a one-line error."""

import pyarrow as pa
import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing.audit.column_types import check_column_types, check_image_type


@pytest.mark.parametrize(
    ("config", "name", "column", "message"),
    [
        ("attempts", "label", pa.array(["x"]), "the type string, which are not integers"),
        ("attempts", "label", pa.array([None], pa.int64()), "1 rows without a value"),
        ("attempts", "copy", pa.array([[0]]), "are not integers"),
        ("attempts", "row_id", pa.array([["x"]]), "are not texts"),
        ("attempts", "row_id", pa.array([None], pa.string()), "1 rows without a value"),
        ("attempts", "reason", pa.array([1]), "are not texts"),
        ("references", "source_sha256", pa.array([["x"]]), "are not texts"),
        ("references", "embedding", pa.array(["x"]), "are not lists of numbers"),
        ("references", "embedding", pa.array([["x"]]), "are not lists of numbers"),
        ("generated", "target_label", pa.array([1.5]), "are not integers"),
        ("generated", "target_weight", pa.array(["x"]), "are not numbers"),
        ("classes", "name", pa.array([5]), "are not texts"),
        ("attempts", "reason", pa.array([None], pa.string()), "1 rows without a value"),
        ("classes", "given_up", pa.array([["x"]]), "are not flags"),
        ("classes", "text_embedding", pa.array([["x"]]), "are not lists of numbers"),
        ("references", "embedding", pa.array([[0.5] * 20_000]), "lists of 20,000 numbers, more than 16,384"),
        ("default", "row_id", pa.array([["x"]]), "are not texts"),
        ("default", "status", pa.array([["x"]]), "are not texts"),
        ("default", "real_share", pa.array(["x"]), "are not numbers"),
        ("default", "is_mixed", pa.array([None], pa.bool_()), "1 rows without a value"),
    ],
)
def test_a_column_of_another_type_gives_a_one_line_error(config, name, column, message):
    with pytest.raises(UserError, match=f"column '{name}' of configuration '{config}' .*{message}") as error:
        check_column_types(pa.table({name: column}), config)
    assert str(error.value).endswith("Export the dataset again")
    assert "\n" not in str(error.value)


def test_columns_of_the_right_types_and_columns_of_the_source_are_accepted():
    check_column_types(
        pa.table(
            {
                "row_id": ["x"],
                "label": pa.array([1], pa.int32()),
                "reason": ["kept"],
                "embedding": pa.array([[0.5]], pa.list_(pa.float16())),
                "target_label": pa.nulls(1),
                "similarity": pa.array([0.5], pa.float32()),
            }
        ),
        "attempts",
    )
    check_column_types(pa.table({"reason": pa.array([None], pa.string()), "text_embedding": pa.nulls(1)}), "references")
    check_column_types(pa.table({"label": ["text"], "row_id": ["x"]}), "generated")
    check_column_types(pa.table({"label": ["text"], "seed": ["text"], "row_id": ["x"]}), "default", ["label", "seed"])
    check_column_types(pa.table({"name": [3], "row_id": ["x"]}), "generated", ["name"])


@pytest.mark.parametrize(
    "column", [pa.array(["x"]), pa.array([{"path": "x"}]), pa.array([{"bytes": "x", "path": None}]), pa.array([b"x"])]
)
def test_a_column_that_does_not_contain_images_gives_a_one_line_error(column):
    with pytest.raises(UserError, match="column 'image' has the type .* not that of images"):
        check_image_type(pa.chunked_array([column]), "image")


def test_columns_of_images_are_accepted():
    check_image_type(pa.chunked_array([pa.array([{"bytes": b"x", "path": None}, None])]), "image")
    check_image_type(pa.chunked_array([pa.nulls(2)]), "image")
