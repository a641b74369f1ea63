"""Tests of the source: its columns do not change, and a source that cannot be augmented gives a one-line error."""

import hashlib
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from small_photos import photos, picture, write_photos

from diffcore_hf.augmentation.originals import stored_image
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.source.hashes import keep_hashes
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder


def columns(**columns):
    """Returns a Dataset in memory from column name -> (values, feature)."""
    features = Features({name: feature for name, (_, feature) in columns.items()})
    return Dataset.from_dict({name: values for name, (values, _) in columns.items()}, features=features)


def images(count=4):
    return [{"bytes": picture(0, number), "path": None} for number in range(count)], Image()


def load(ds, *, prefix="", **keys):
    return load_source(SourceConfig(path="in-memory", **keys), data=ds, prefix=prefix)


@pytest.mark.parametrize(
    "values, feature, names, labels",
    [
        ([1, 0, 1, 0], ClassLabel(names=["cat", "dog"]), ("cat", "dog"), [1, 0, 1, 0]),
        ([1, -1, None, 0], ClassLabel(names=["cat", "dog"]), ("cat", "dog"), [1, -1, -1, 0]),
        (["dog", "cat", "dog", None], Value("string"), ("cat", "dog"), [1, 0, 1, -1]),
        (["dog", "", "cat", "dog"], Value("large_string"), ("cat", "dog"), [1, -1, 0, 1]),
        ([7, 10, -1, 2], Value("int64"), ("2", "7", "10"), [1, 2, -1, 0]),
        ([3, None, 3, 5], Value("int8"), ("3", "5"), [0, -1, 0, 1]),
        ([3, 1, 3, 5], Value("uint16"), ("1", "3", "5"), [1, 0, 1, 2]),
    ],
)  # fmt: skip
def test_labels_are_encoded_and_their_column_is_not_touched(values, feature, names, labels):
    ds = columns(image=images(), label=(values, feature))
    source = load(ds)
    assert source.names == names
    assert source.labels["train"].tolist() == labels
    assert source.rows["label"][:] == ds["label"][:]
    assert source.features["label"] == feature


@pytest.mark.parametrize(
    "dataset, keys, message",
    [
        (lambda: columns(img=images(), label=([0] * 4, Value("int64"))), {},
         "source.image is 'image', which in-memory does not have; its columns: img, label. Use --source.image"),
        (lambda: columns(image=images(), species=(["a"] * 4, Value("string"))), {},
         "source.label is 'label', which in-memory does not have; its columns: image, species. Use --source.label"),
        (lambda: columns(image=([1] * 4, Value("int64")), photo=images(), label=([0] * 4, Value("int64"))), {},
         "Columns with images: photo. Use --source.image"),
        (lambda: columns(image=([[b] for b in images()[0]], List(Image())), label=([0] * 4, Value("int64"))), {},
         "source.image is 'image', which has several images in a row"),
        (lambda: columns(image=images(), label=([[0, 1]] * 4, List(Value("int64")))), {},
         "source.label is 'label', which has several labels in a row"),
        (lambda: columns(image=images(), label=([[0]] * 4, List(ClassLabel(names=["a"])))), {},
         "source.label is 'label', which has several labels in a row"),
        (lambda: columns(image=images(), label=([0.5] * 4, Value("float32"))), {},
         "not a ClassLabel, string or integer"),
        (lambda: columns(image=images(), label=([None] * 4, Value("string"))), {},
         "no row of split 'train' has a label"),
        (lambda: columns(image=images(), label=([-1] * 4, ClassLabel(names=["a"]))), {},
         "no row of split 'train' has a label"),
        (lambda: columns(image=images(), label=([0] * 4, Value("int64")), status=(["x"] * 4, Value("string"))), {},
         "the source already has a column 'status', but a run adds a column of this name. Nothing was "
         "written. Use a prefix for the added columns: --columns.prefix dc_"),
        (lambda: DatasetDict({"fold1": photos([2])}), {},
         "source.split is 'train', which in-memory does not have; its splits: fold1. Use --source.split"),
        (lambda: DatasetDict({"train": photos([2]), "test": photos([2]).remove_columns("label")}), {},
         "split 'test' of in-memory has other columns than 'train' (label)"),
        (lambda: photos([2]).to_iterable_dataset(), {}, "not a Dataset or DatasetDict"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_augmented_gives_a_one_line_error(dataset, keys, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(dataset(), **keys)
    assert "\n" not in str(error.value)


def test_the_recipe_can_name_the_columns():
    source = load(columns(img=images(), species=(["a", "b"] * 2, Value("string"))), image="img", label="species")
    assert source.names == ("a", "b")


def test_a_prefix_allows_source_columns_with_the_names_of_added_columns():
    ds = columns(image=images(), label=([0] * 4, Value("int64")), status=(["x"] * 4, Value("string")))
    assert load(ds, prefix="dc_").rows["status"][:] == ["x"] * 4


def test_a_prefix_that_gives_the_name_of_a_source_column_is_refused():
    ds = columns(image=images(), label=([0] * 4, Value("int64")), dc_seed=([0] * 4, Value("int64")))
    with pytest.raises(ValueError, match="--columns.prefix diffcore_"):
        load(ds, prefix="dc_")


def test_hashes_are_computed_from_the_stored_bytes():
    source = load(photos([2, 1]))
    contents = [picture(0, 0), picture(0, 1), picture(1, 0)]
    assert source.sha256["train"] == [hashlib.sha256(content).hexdigest() for content in contents]
    assert source.sizes["train"] == [len(content) for content in contents]


def test_a_row_without_image_or_file_has_no_hash():
    cells = [{"bytes": picture(0, 0), "path": None}, None, {"bytes": None, "path": "/nowhere/at/all.jpg"}]
    source = load(columns(image=(cells, Image()), label=(["a"] * 3, Value("string"))))
    assert source.sha256["train"][1:] == [None, None]
    assert source.sizes["train"][1:] == [0, 0]
    assert len(set(source.row_ids["train"])) == 3


def test_only_bytes_of_an_accepted_format_have_a_hash():
    truncated = picture(0, 0)[:40]
    cells = [{"bytes": b"no image", "path": None}, {"bytes": truncated, "path": None}]
    source = load(columns(image=(cells, Image()), label=(["a"] * 2, Value("string"))))
    assert source.sha256["train"] == [None, hashlib.sha256(truncated).hexdigest()]


def test_a_class_folder_is_a_source(tmp_path):
    folder = write_photos(tmp_path / "photos", [3, 2])
    source = load_source(SourceConfig(path=str(folder)))
    assert source.names == ("green_frog", "red_fox")
    assert np.bincount(source.labels["train"]).tolist() == [2, 3]
    assert source.name == "local"
    cell = source.rows[0]["image"]
    assert cell["bytes"] is None
    assert stored_image(cell, source.files) == {"bytes": Path(cell["path"]).read_bytes(), "path": "00.jpg"}


def test_row_ids_and_identity_do_not_depend_on_folder_and_file_names(tmp_path):
    one = load_source(SourceConfig(path=str(write_photos(tmp_path / "one", [3, 2]))))
    other = write_photos(tmp_path / "two", [3, 2])
    (other / "red_fox" / "00.jpg").rename(other / "red_fox" / "zz.jpg")
    two = load_source(SourceConfig(path=str(other)))
    assert sorted(one.row_ids["train"]) == sorted(two.row_ids["train"])
    assert one.identity == two.identity
    assert one.identity.startswith("local:")


def test_a_source_with_one_changed_image_has_another_identity(tmp_path):
    one, two = (write_photos(tmp_path / name, [3, 2]) for name in ("one", "two"))
    (two / "red_fox" / "00.jpg").write_bytes(picture(0, 99))
    assert len({load_source(SourceConfig(path=str(folder))).identity for folder in (one, two)}) == 2


def test_the_current_directory_is_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(write_photos(tmp_path / "photos", [2, 2]))
    assert len(load_source(SourceConfig(path=".")).rows) == 4


@pytest.mark.parametrize("wrong", ["no/such/folder/here", "./nowhere", "photos", "~/nowhere"])
def test_the_error_for_a_missing_path_names_the_path(wrong):
    with pytest.raises(ValueError, match=f"source.path is '{wrong}', which is neither an existing folder"):
        load_source(SourceConfig(path=wrong))


def test_the_error_for_a_hub_id_without_network_and_cache_has_a_remedy():
    with pytest.raises(ValueError, match=r"'org/birds'.*HF_HUB_OFFLINE is set.*plan --fetch"):
        load_source(SourceConfig(path="org/birds"))


def test_an_empty_folder_gives_a_one_line_error(tmp_path):
    with pytest.raises(ValueError, match="holds no photos. Use another --source.path") as error:
        load_source(SourceConfig(path=str(tmp_path)))
    assert "\n" not in str(error.value)


def test_a_dataset_dict_keeps_its_splits():
    source = load(DatasetDict({"train": photos([2, 2]), "test": photos([1, 1])}))
    assert list(source.splits) == ["train", "test"]
    assert source.row_ids["test"][0].startswith("test/")
    assert source.name == "in memory"


def test_loading_does_not_change_the_dataset_of_the_caller():
    ds = photos([2])
    before = ds.features.copy(), ds._fingerprint
    load(ds)
    assert (ds.features, ds._fingerprint) == before
    assert ds[0]["image"].size == (24, 20)


def test_stored_hashes_are_used_without_reading_the_images(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    photos([2, 2]).to_parquet(tmp_path / "data" / "train.parquet")
    folder, config = Folder(tmp_path / "out"), SourceConfig(path=str(tmp_path / "data"))
    first = load_source(config, folder=folder)
    keep_hashes(first, folder)
    monkeypatch.setattr("diffcore_hf.augmentation.source.hashes.read_bytes", None)
    again = load_source(config, folder=folder)
    assert (again.sha256, again.sizes, again.row_ids) == (first.sha256, first.sizes, first.row_ids)


def test_a_changed_photo_is_read_again(tmp_path):
    photos_, folder = write_photos(tmp_path / "photos", [2, 2]), Folder(tmp_path / "out")
    config = SourceConfig(path=str(photos_))
    keep_hashes(load_source(config, folder=folder), folder)
    (photos_ / "red_fox" / "00.jpg").write_bytes(picture(0, 7))
    after = load_source(config, folder=folder)
    assert hashlib.sha256(picture(0, 7)).hexdigest() in after.sha256["train"]


def test_loading_does_not_change_the_setting_of_progress_bars():
    before = datasets.are_progress_bars_disabled()
    load(photos([2]))
    assert datasets.are_progress_bars_disabled() == before


def test_the_error_for_a_dataset_in_memory_with_image_files_names_the_option(tmp_path):
    folder = write_photos(tmp_path / "photos", [2, 2])
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    with pytest.raises(ValueError, match="no file is read without source.root") as error:
        load(rows)
    assert f"source={{'root': {str(folder)!r}}}" in str(error.value)
    assert None not in load(rows, root=str(folder)).sha256["train"]
    stranger = columns(image=([{"bytes": None, "path": "/etc/passwd"}], Image()), label=(["a"], Value("string")))
    with pytest.raises(ValueError, match="source={'root': 'FOLDER'}"):
        load(stranger)


@pytest.mark.parametrize("name", ["../../evil", "a/b", "", "x" * 101, "two words", "a\nb", "train\n", "*", ".", "a\0"])
def test_a_split_name_that_no_file_of_an_export_may_have_is_refused(name):
    rows = [{"image": {"bytes": picture(row, row), "path": None}, "label": row} for row in range(2)]
    features = Features({"image": Image(), "label": ClassLabel(names=["ant", "bee"])})
    data = DatasetDict({each: Dataset.from_list(rows, features=features) for each in ("train", name)})
    with pytest.raises(UserError, match=r"has a split .* Rename it: data\['name'\] = data\.pop\(\.\.\.\)"):
        load_source(SourceConfig("in-memory"), data=data)
    data["name"] = data.pop(name)
    assert set(load_source(SourceConfig("in-memory"), data=data).splits) == {"train", "name"}
