"""Tests of the joining of originals: an image is added only to the row with its hash."""

import hashlib
import io

import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value, concatenate_datasets
from PIL import Image as Pillow

from diffcore_hf.publishing.hub.originals import join_originals


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(shades, empty=False):
    cells = [None if empty or shade is None else {"bytes": png(shade), "path": None} for shade in shades]
    features = Features({"image": Image(), "row_id": Value("string")})
    return Dataset.from_dict({"image": cells, "row_id": [f"r{shade}" for shade in shades]}, features=features)


def references(shades):
    hashes = [None if shade is None else hashlib.sha256(png(shade)).hexdigest() for shade in shades]
    return Dataset.from_dict({"row_id": [f"r{shade}" for shade in shades], "source_sha256": hashes})


def stored(dataset):
    return [cell and cell["bytes"] for cell in dataset.cast_column("image", Image(decode=False))["image"][:]]


def test_every_image_is_found_by_its_hash_in_a_source_of_any_order():
    published = DatasetDict({"train": rows([1, 2, 3], empty=True), "test": rows([7], empty=True)})
    source = DatasetDict({"train": rows([3, 1, 2, 9]), "test": rows([7])})
    joined = join_originals(published, references([1, 2, 3, 7]), source)
    assert stored(joined["train"]) == [png(1), png(2), png(3)] and stored(joined["test"]) == [png(7)]
    assert joined["train"].column_names == ["image", "row_id"] and joined["train"][0]["image"].size == (4, 4)


def test_a_row_without_a_recorded_image_stays_empty_and_a_split_missing_in_the_source_is_left_out():
    published = DatasetDict({"train": rows([1, None], empty=True), "test": rows([7], empty=True)})
    joined = join_originals(published, references([1, None, 7]), rows([1]))
    assert list(joined) == ["train"] and stored(joined["train"]) == [png(1), None]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            rows([1, 5]),
            r"1 of 2 images of split 'train' are not in the source with the recorded hash \(the first is r2\)",
        ),
        (rows([8]), "the source has none of this dataset's images"),
        (rows([1]).rename_column("image", "picture"), "the source has no column 'image'; its columns: picture, row_id"),
    ],
)
def test_an_image_with_another_hash_is_refused(source, line):
    published = DatasetDict({"train": rows([1, 2], empty=True)})
    with pytest.raises(ValueError, match=line):
        join_originals(published, references([1, 2]), source)


def test_a_row_with_an_image_keeps_its_image():
    """In layout `rows` a generated image has the row id of its original."""
    empty, generated = rows([1], empty=True), rows([9]).remove_columns("row_id").add_column("row_id", ["r1"])
    published = DatasetDict({"train": concatenate_datasets([empty, generated.cast(empty.features)])})
    joined = join_originals(published, references([1]), rows([1]))
    assert stored(joined["train"]) == [png(1), png(9)]


def test_a_row_that_is_not_recorded_raises_an_error():
    published = DatasetDict({"train": rows([1, 2], empty=True)})
    with pytest.raises(
        ValueError,
        match=r"1 of 2 rows of split 'train' are not in the dataset configuration references \(the first is 'r2'\)",
    ):
        join_originals(published, references([1]), rows([1, 2]))
