"""Tests of tables of photos: the roles of columns follow from their values, and only photos of the folder are read."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import Image, load_dataset
from source_folders import write, write_images

from diffcore_hf.augmentation.source import folder
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.source.tables import PhotoNames, PhotoTable, read_photo_table
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError

DOGS = [("000", "pug"), ("001", "pug"), ("002", "husky"), ("003", "husky")]


def kaggle(root: Path, text: str, name: str = "train.csv") -> Path:
    """Returns a folder with four photos in train/, two photos in test/, and a table."""
    write_images(root, *(f"train/{number:03d}.jpg" for number in range(4)), "test/100.jpg", "test/101.jpg")
    write(root / name, text.encode())
    return root


def csv(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def rows(source) -> dict[str, dict[str, int]]:
    counts = {}
    for split, labels in source.labels.items():
        counts[split] = dict(Counter(source.names[label] if label >= 0 else "-" for label in labels.tolist()))
    return counts


def load(root: Path, **keys):
    return load_source(SourceConfig(str(root), **keys))


@pytest.mark.parametrize(
    "text, columns",
    [
        (csv("id,breed", *(f"{name},{breed}" for name, breed in DOGS)), ("id", "breed")),
        (csv("breed;file;width", *(f"{breed};{name}.jpg;640" for name, breed in DOGS)), ("file", "breed")),
        (csv("path\tclass\tsplit", *(f"train/{name}.jpg\t{breed}\ttrain" for name, breed in DOGS)), ("path", "class")),
        (csv("file,label_id,name", *(f"{name}.jpg,{len(breed)},{breed}" for name, breed in DOGS)), ("file", "name")),
        (csv("file,score,kind", *(f"{name}.jpg,0.{number},{breed}" for number, (name, breed) in enumerate(DOGS))),
         ("file", "kind")),
        (csv(*(f"{name}.jpg,{breed}" for name, breed in DOGS)), ("column_1", "column_2")),
        ("\ufeff" + csv("id,breed", *(f"{name},{breed}" for name, breed in DOGS)), ("id", "breed")),
    ],
)  # fmt: skip
def test_the_columns_are_recognised_by_their_values(tmp_path, text, columns):
    source = load(kaggle(tmp_path, text), table="train.csv")
    assert rows(source) == {"train": {"pug": 2, "husky": 2}}
    assert source.layout.startswith(f"table train.csv: photos by column {columns[0]}, classes by column {columns[1]}")
    assert [(file.path, file.reason) for file in source.unread] == [
        ("test/100.jpg", folder.NO_ROW), ("test/101.jpg", folder.NO_ROW),
    ]  # fmt: skip
    assert Path(source.rows[2]["image"]["path"]).name == "002.jpg"


def test_a_single_fitting_table_beside_photos_is_used(tmp_path):
    root = kaggle(tmp_path, csv("id,breed", *(f"{name},{breed}" for name, breed in DOGS)))
    write(root / "sample_submission.csv", csv("id,pug,husky", "100,0.5,0.5", "101,0.5,0.5").encode())
    source = load(root)
    assert rows(source) == {"train": {"pug": 2, "husky": 2}}
    assert "sample_submission.csv" in [file.path for file in source.unread]


def test_several_fitting_tables_give_an_error_with_a_remedy_that_works(tmp_path):
    text = csv("id,breed", *(f"{name},{breed}" for name, breed in DOGS))
    root = kaggle(tmp_path, text)
    write(root / "old.csv", text.encode())
    with pytest.raises(UserError, match=r"several tables of photos \(old\.csv, train\.csv\)") as error:
        load(root)
    option = re.search(r"--source\.table (\S+)", str(error.value)).group(1)
    assert len(load(root, table=option).rows) == 4


def test_class_folders_are_used_and_the_table_beside_them_is_reported(tmp_path):
    root = write_images(tmp_path, "cat", "dog")
    write(root / "labels.csv", csv("file,kind", "cat/0.jpg,x", "cat/1.jpg,x", "dog/0.jpg,y", "dog/1.jpg,y").encode())
    source = load(root)
    assert rows(source) == {"train": {"cat": 4, "dog": 4}}
    [left] = source.unread
    assert (left.path, left.detail) == ("labels.csv", "--source.table labels.csv reads it")
    assert rows(load(root, table="labels.csv")) == {"train": {"x": 2, "y": 2}}


def test_a_table_for_one_folder_does_not_match_equal_names_in_other_folders(tmp_path):
    root = write_images(tmp_path, *(f"{split}/{number}.jpg" for split in ("train", "test") for number in range(4)))
    write(root / "train.csv", csv("id,kind", "0,a", "1,a", "2,b", "3,b").encode())
    source = load(root, table="train.csv")
    assert {Path(cell["path"]).parent.name for cell in source.rows["image"]} == {"train"}


def test_a_column_of_splits_gives_the_splits(tmp_path):
    text = csv("id,breed,set", "000,pug,Train", "001,husky,Train", "002,pug,val", "003,husky,test")
    source = load(kaggle(tmp_path, text, "labels.csv"), table="labels.csv")
    assert rows(source) == {
        "train": {"pug": 1, "husky": 1}, "validation": {"pug": 1}, "test": {"husky": 1},
    }  # fmt: skip


def test_the_recipe_can_name_the_columns_of_a_table(tmp_path):
    text = csv("id,shape,colour", *(f"{name},{breed},{breed[0]}" for name, breed in DOGS))
    root = kaggle(tmp_path, text)
    with pytest.raises(UserError, match=r"shape or colour could be the classes.*Use --source\.label"):
        load(root, table="train.csv")
    source = load(root, table="train.csv", label="colour")
    assert source.names == ("h", "p")
    assert list(source.features) == ["image", "shape", "colour"]
    named = load(root, table="train.csv", label="colour", image="id")
    assert isinstance(named.features["id"], Image)
    for keys, message in (({"label": "nosuch"}, "no column 'nosuch'"), ({"image": "nosuch"}, "no column 'nosuch'")):
        with pytest.raises(UserError, match=message):
            load(root, table="train.csv", **keys)


@pytest.mark.parametrize(
    "value", ["../secret.jpg", "/etc/passwd", "{base}/secret.jpg", "train/../../secret.jpg", "file:///etc/passwd",
              "$HF_TOKEN.jpg", "nowhere.jpg", ".hidden/x.jpg", "train/../train/000.jpg"],
)  # fmt: skip
def test_a_table_row_with_a_photo_outside_the_folder_has_no_image(tmp_path, value, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary")
    write_images(tmp_path, "secret.jpg")
    lines = [f"{name}.jpg,{breed}" for name, breed in DOGS]
    write_images(tmp_path / "photos", ".hidden/x.jpg")
    root = kaggle(tmp_path / "photos", csv("file,breed", *lines, f"{value.format(base=tmp_path)},pug"))
    source = load(root, table="train.csv")
    assert len(source.rows) == 5
    assert source.sha256["train"][4] is None
    assert source.splits["train"][4]["image"] is None
    assert source.unreadable["train"][4] == "the table names no photo of the folder"
    assert f"1 row names no photo of the folder ({value.format(base=tmp_path)!r})" in source.layout


def test_a_table_that_is_a_link_out_of_the_folder_is_read_only_with_the_option(tmp_path):
    text = csv("id,breed", *(f"{name},{breed}" for name, breed in DOGS))
    root = kaggle(tmp_path / "photos", "", name="notes.txt")
    (root / "train.csv").symlink_to(write(tmp_path / "secret.csv", text.encode()))
    with pytest.raises(UserError, match="is a link that leads out of the folder") as error:
        load(root, table="train.csv")
    option, value = re.search(r"--source\.(\w+) (\w+)$", str(error.value)).groups()
    assert len(load(root, table="train.csv", **{option: value}).rows) == 4
    assert len(load(root, table=str(tmp_path / "secret.csv")).rows) == 4


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
@pytest.mark.parametrize("folders", [[""], ["train/", "test/"]])
def test_metadata_tables_give_the_same_rows_as_imagefolder(tmp_path, name, folders):
    root = tmp_path / "photos"
    for place in folders:
        write_images(root, *(f"{place}{number}.jpg" for number in range(4)))
        table = {"file_name": [f"{number}.jpg" for number in (2, 0, 1)], "label": ["b", "a", "b"], "size": [1, 2, 3],
                 "text": ["x y", "z", "w"]}  # fmt: skip
        write_table(root / f"{place}{name}", table)
    imagefolder = load_dataset("imagefolder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))
    source = load(root)
    assert list(source.splits) == list(imagefolder)
    assert source.features == imagefolder["train"].features
    for split, table in imagefolder.cast_column("image", Image(decode=False)).items():
        assert source.splits[split][:] == table[:]
    assert [file.path for file in source.unread] == sorted(f"{place}3.jpg" for place in folders)


def write_table(path: Path, columns: dict) -> None:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        path.write_text(table.to_pandas().to_csv(index=False))


def test_class_folders_are_used_if_the_metadata_beside_them_has_no_classes(tmp_path):
    root = write_images(tmp_path, "cat", "dog")
    write(root / "metadata.csv", csv("file_name,caption", "cat/0.jpg,one", "dog/0.jpg,two").encode())
    source = load(root)
    assert rows(source) == {"train": {"cat": 4, "dog": 4}}
    assert [file.path for file in source.unread] == ["metadata.csv"]


def test_metadata_with_classes_in_another_column_is_read(tmp_path):
    root = write_images(tmp_path, *(f"{number}.jpg" for number in range(4)))
    write(root / "metadata.csv", csv("file_name,species", *(f"{n}.jpg,{'ab'[n % 2]}" for n in range(4))).encode())
    assert rows(load(root)) == {"train": {"a": 2, "b": 2}}


def test_types_of_columns_follow_from_their_values(tmp_path):
    text = csv(
        "file,kind,code,count,share,flag,none",
        "0.jpg,a,007,1,0.5,True,",
        "1.jpg,a,008,2,1,False,",
        "2.jpg,b,009,,2,True,",
    )
    write(tmp_path / "t.csv", text.encode())
    names = PhotoNames(["0.jpg", "1.jpg", "2.jpg"])
    table = read_photo_table(tmp_path / "t.csv", "t.csv", names, "image", "kind")
    assert isinstance(table, PhotoTable)
    assert {field.name: str(field.type) for field in table.columns.schema} == {
        "file": "string", "kind": "string", "code": "string", "count": "int64", "share": "double", "flag": "bool",
        "none": "string",
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"file,kind\n", b"\x00\x01\x02", b"a\n" * 3, b'"unclosed'])
def test_a_file_that_is_not_a_table_gives_a_one_line_error(tmp_path, content):
    root = write_images(tmp_path, "1.jpg", "2.jpg")
    write(root / "labels.csv", content or b"\n")
    for keys in ({"table": "labels.csv"}, {}):
        with pytest.raises(UserError) as error:
            load(root, **keys)
        assert "\n" not in str(error.value)
        assert "labels.csv" in str(error.value)


def test_a_table_beside_an_archive_is_read(tmp_path):
    import zipfile

    write_images(tmp_path / "unpacked", "images/0.jpg", "images/1.jpg", "images/2.jpg", "images/3.jpg")
    root = tmp_path / "in"
    root.mkdir()
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for path in sorted((tmp_path / "unpacked").rglob("*.jpg")):
            archive.write(path, path.relative_to(tmp_path / "unpacked"))
    write(root / "labels.csv", csv("id,kind", "0,a", "1,a", "2,b", "3,b").encode())
    assert rows(load(root, table="labels.csv")) == {"train": {"a": 2, "b": 2}}


ENDLESS = {
    "labels.csv": "labels.csv holds 1,048,576 MiB, more than 1,024 MiB. Remove the columns",
    "metadata.csv": "metadata.csv holds 1,048,576 MiB, more than 1,024 MiB. Remove the columns",
    "metadata.jsonl": "metadata.jsonl holds 1,048,576 MiB, more than 1,024 MiB. Remove the columns",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_table_above_the_size_limit_is_refused(tmp_path, name):
    write_images(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / name, b"file_name,label\na.jpg,ant\nb.jpg,bee\n")
    with open(tmp_path / name, "r+b") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=re.escape(ENDLESS[name])):
        load(tmp_path)


def test_a_table_with_a_line_above_the_length_limit_is_refused(tmp_path):
    write_images(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "labels.csv", b"file_name,label\na.jpg,ant\nb.jpg,bee\n" + bytes(2**21))
    with pytest.raises(UserError, match=r"labels\.csv cannot be read: a line has more than 1,048,576 characters"):
        load(tmp_path)


def test_a_small_table_of_many_equal_texts_is_not_unpacked_into_memory(tmp_path):
    column = pa.array(["x" * 100_000] * 256)
    with pyarrow.parquet.ParquetWriter(tmp_path / "labels.parquet", pa.schema({"file": column.type})) as writer:
        for _ in range(60):
            writer.write_table(pa.table({"file": column}))
    assert (tmp_path / "labels.parquet").stat().st_size < 2**20
    write_images(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(UserError, match=r"labels\.parquet holds 1,0.. MiB, more than 1,024 MiB"):
        load(tmp_path, table="labels.parquet")


def test_an_empty_file_name_is_shown_as_empty(tmp_path):
    rows = csv("file,label", *(f"{name},{breed}" for name, breed in DOGS), ",pug")
    assert load(kaggle(tmp_path, rows)).layout.endswith("1 row names no photo of the folder ('')")
