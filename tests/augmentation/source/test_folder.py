"""Tests of local folders: the rows follow the documented layouts, and each file is read or has a reason."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Image, load_dataset
from small_photos import photos, picture
from source_folders import below_link, entries, random_tree, write, write_images

from diffcore_hf.augmentation.source import file_kinds, files, folder, layouts
from diffcore_hf.augmentation.source.dataset import LoadedSource, load_source
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError


def load(root: Path, **keys) -> LoadedSource:
    return load_source(SourceConfig(str(root), **keys))


def rows(source: LoadedSource) -> dict[str, dict[str, int]]:
    """Returns the number of rows of each class in each split."""
    counts = {}
    for split, labels in source.labels.items():
        counts[split] = dict(sorted(Counter(source.names[label] for label in labels.tolist()).items()))
    return counts


def named(source: LoadedSource) -> dict[str, int]:
    """Returns reason -> number of files that are not read."""
    return dict(Counter(file.reason for file in source.unread))


def pack(root: Path, target: Path) -> Path:
    """Packs a folder as zip or tar; the suffix of the target decides."""
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in sorted(root.rglob("*.jpg")):
                archive.write(path, path.relative_to(root))
    else:
        with tarfile.open(target, "w:gz" if target.name.endswith("gz") else "w") as tar:
            tar.add(root, ".")
    return target


@pytest.mark.parametrize(
    "folders, expected, layout, unread",
    [
        (["cat/train_0.jpg", "cat/IMG_0.jpg", "dog/test_1.jpg", "dog/IMG_1.jpg"], {"train": {"cat": 2, "dog": 2}},
         "class folders", {}),
        (["bus", "tram", "train"], {"train": {"bus": 4, "train": 4, "tram": 4}}, "class folders", {}),
        (["test tubes", "beakers"], {"train": {"beakers": 4, "test tubes": 4}}, "class folders", {}),
        (["training shoes", "validation"], {"train": {"training shoes": 4, "validation": 4}}, "class folders", {}),
        (["train/ripe", "train/unripe", "unlabeled/x", "extra_holdout/ripe"],
         {"train": {"ripe": 4, "unripe": 4}, "extra_holdout": {"ripe": 4}}, "class folders, 2 splits by folder name",
         {layouts.OTHER_FOLDER: 4}),
        (["cat", "dog", "cover.jpg"], {"train": {"cat": 4, "dog": 4}}, "class folders", {layouts.BESIDE_CLASSES: 1}),
        (["cat", "cat/more", "dog"], {"train": {"cat": 8, "dog": 4}}, "class folders", {}),
        (["cat"], {"train": {"cat": 4}}, "class folders", {}),
        (["church/outdoor", "garage/outdoor"], {"train": {"church/outdoor": 4, "garage/outdoor": 4}},
         "class folders; if class folders have the same name, the path is used as the class", {}),
        (["mammal/cat", "mammal/other", "bird/owl", "bird/other"],
         {"train": {"bird/other": 4, "cat": 4, "mammal/other": 4, "owl": 4}},
         "class folders; if class folders have the same name, the path is used as the class", {}),
        (["cat/train", "cat/val", "dog/train", "dog/val"],
         {"train": {"cat": 4, "dog": 4}, "validation": {"cat": 4, "dog": 4}},
         "class folders that hold split folders, 2 splits by folder name", {}),
    ],
)  # fmt: skip
def test_class_folders_are_read_by_their_names(tmp_path, folders, expected, layout, unread):
    source = load(write_images(tmp_path / "photos", *folders))
    assert rows(source) == expected
    assert source.layout == layout
    assert named(source) == unread
    assert len(source.read) + len(source.unread) == len(entries(tmp_path / "photos"))


@pytest.mark.parametrize("name", ["shoot[1]", "photos *", "a?b", "x::y", "{a,b}", "#1", "50%", "$HF_TOKEN", "~"])
def test_a_folder_with_special_characters_in_its_name_is_read(tmp_path, name, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary")
    write_images(tmp_path / "shoot1", "cow", "pig")
    source = load(write_images(tmp_path / name, "cat", "$HF_TOKEN", "do[g]::*"))
    assert source.names == ("$HF_TOKEN", "cat", "do[g]::*")
    assert "canary" not in repr(source.rows[:])


def test_accepted_formats_are_read_with_any_suffix(tmp_path):
    names = {"a.Jpg": "JPEG", "b.JpEg": "JPEG", "c.avif": "AVIF", "d": "PNG", "e.jpg?w=200": "WEBP",
             "f.jp2": "JPEG2000", "g.png": "GIF"}  # fmt: skip
    for name, image_format in names.items():
        for label in ("rose", "tulip"):
            write(tmp_path / label / name, picture(0, 1, image_format=image_format))
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for label in ("rose", "tulip"):
        write(tmp_path / label / "iphone.heic", heic)
    source = load(tmp_path)
    assert rows(source) == {"train": {"rose": 7, "tulip": 7}}
    assert named(source) == {file_kinds.NOT_ACCEPTED: 2}
    assert all(digest for digest in source.sha256["train"])


def test_linked_class_folders_are_read_inside_and_reported_outside_the_source(tmp_path):
    write_images(tmp_path / "archive", "normal")
    root = write_images(tmp_path / "photos", "own", "pool/deep")
    (root / "abnormal").symlink_to("pool/deep")
    (root / "normal").symlink_to(tmp_path / "archive/normal")
    source = load(root)
    assert rows(source) == {"train": {"abnormal": 4, "own": 4, "pool": 4}}
    assert source.layout == "class folders; 4 of the photos through symbolic links"
    [left] = source.unread
    assert (left.path, left.reason) == ("normal", files.LINK_OUT)
    option, value = re.search(r"--source\.(follow_links) (outside)", left.detail).groups()
    followed = load(root, **{option: value})
    assert rows(followed)["train"]["normal"] == 4
    assert followed.unread == ()
    assert all(digest for digest in followed.sha256["train"])


def test_a_link_to_a_secret_is_never_read(tmp_path):
    secret = write(tmp_path / "secret.txt", b"CANARY-7f3a")
    root = write_images(tmp_path / "photos", "ant", "bee")
    (root / "ant/z.jpg").symlink_to(secret)
    os.mkfifo(root / "bee/pipe.jpg")
    for keys in ({}, {"follow_links": "outside"}):
        source = load(root, **keys)
        assert rows(source) == {"train": {"ant": 4, "bee": 4}}
        assert len(source.unread) == 2


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar", "photos.tar.gz"])
def test_an_archive_of_class_folders_is_read(tmp_path, name):
    source_folder = write_images(tmp_path / "unpacked", "photos/cat", "photos/dog")
    write(source_folder / "__MACOSX/photos/cat/._0.jpg", b"\0\5\x16\7")
    plain = load(source_folder)
    (tmp_path / "in").mkdir()
    archive = pack(source_folder, tmp_path / "in" / name)
    for path in (archive, archive.parent):
        source = load(path)
        assert rows(source) == {"train": {"cat": 4, "dog": 4}}
        assert source.sha256 == plain.sha256
        assert source.identity == plain.identity


def test_archives_named_like_splits_are_splits(tmp_path):
    for split in ("train", "test"):
        source_folder = write_images(tmp_path / f"unpacked_{split}", "cat", "dog")
        (tmp_path / "in").mkdir(exist_ok=True)
        pack(source_folder, tmp_path / "in" / f"{split}.zip")
    assert rows(load(tmp_path / "in")) == {"train": {"cat": 4, "dog": 4}, "test": {"cat": 4, "dog": 4}}


def test_an_archive_beside_photos_is_reported(tmp_path):
    pack(write_images(tmp_path / "more", "owl"), write_images(tmp_path / "photos", "cat", "dog") / "more.zip")
    source = load(tmp_path / "photos")
    assert source.unread == (files.UnreadFile("more.zip", "archive beside photos", "unpack it first"),)


def test_photos_beside_a_data_file_are_reported(tmp_path):
    photos([3, 2]).to_parquet(tmp_path / "train.parquet")
    write_images(tmp_path, "cover.jpg")
    write(tmp_path / "notes.txt", b"text")
    source = load(tmp_path)
    assert rows(source) == {"train": {"green_frog": 2, "red_fox": 3}}
    assert source.layout == "files that `datasets` reads (1 .parquet)"
    assert source.read == ("train.parquet",)
    assert named(source) == {folder.NOT_READ: 1, file_kinds.NO_IMAGE: 1}


def test_class_folders_are_read_and_the_data_file_beside_them_needs_an_option(tmp_path):
    photos([3, 2]).to_parquet(tmp_path / "all.parquet")
    source = load(write_images(tmp_path, "cat", "dog"))
    assert rows(source) == {"train": {"cat": 4, "dog": 4}}
    assert source.unread == (
        files.UnreadFile("all.parquet", "data file beside photos", "--source.data_files all.parquet reads it"),
    )
    assert rows(load(tmp_path, data_files="all.parquet")) == {"train": {"green_frog": 2, "red_fox": 3}}


@pytest.mark.parametrize("name", ["$HF_TOKEN", "a::b"])
def test_a_file_name_that_datasets_would_expand_is_refused_before_the_file_is_read(tmp_path, name, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary")
    photos([2, 2]).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "train.parquet").rename(tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match="Rename it") as error:
        load(tmp_path)
    assert "canary" not in str(error.value)
    assert "\n" not in str(error.value)
    (tmp_path / f"{name}.parquet").rename(tmp_path / "train.parquet")
    assert len(load(tmp_path).rows) == 4


def test_a_data_folder_whose_name_is_a_pattern_is_refused(tmp_path):
    (tmp_path / "shoot[1]").mkdir()
    photos([2, 2]).to_parquet(tmp_path / "shoot[1]/train.parquet")
    with pytest.raises(UserError, match=r"contains '\['.*Rename the folder"):
        load(tmp_path / "shoot[1]")
    (tmp_path / "shoot[1]").rename(tmp_path / "shoot1")
    assert len(load(tmp_path / "shoot1").rows) == 4


@pytest.mark.parametrize(
    "folders, keys, message, remedy",
    [
        ([], {}, "holds no photos. Use another --source.path", None),
        (["1.jpg", "2.jpg"], {}, "holds 2 photos and no folder with photos. Move the photos", None),
        (["train", "test"], {}, "holds 8 photos in 'test', 'train' and no folders of classes",
         {"layout": "class_folders"}),
        (["cat", "dog"], {"layout": "split_folders"},
         "source.layout is 'split_folders', which does not fit {root}: it holds 8 photos in 2 folders ('cat', 'dog'). "
         "Use --source.layout auto", {"layout": "auto"}),
        (["cat", "dog"], {"layout": "table"}, "source.layout is 'table', but {root} holds 0 tables of its photos",
         {"layout": "auto"}),
        (["cat", "dog"], {"table": "labels.csv"},
         "source.table labels.csv does not exist; the tables in {root}: none", None),
    ],
)  # fmt: skip
def test_a_folder_without_a_known_layout_gives_a_one_line_error_with_a_remedy_that_works(
    tmp_path, folders, keys, message, remedy
):
    root = tmp_path / "photos"
    root.mkdir()
    write_images(root, *folders)
    with pytest.raises(UserError, match=re.escape(message.replace("{root}", str(root)))) as error:
        load(root, **keys)
    assert "\n" not in str(error.value)
    if remedy:
        assert " ".join(f"--source.{key} {value}" for key, value in remedy.items()) in str(error.value)
        assert len(load(root, **{**keys, **remedy}).rows) == 8


def test_the_error_names_the_reasons_if_no_file_is_a_photo(tmp_path):
    root = tmp_path / "photos"
    write_images(tmp_path / "other", "cat")
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "other/cat")
    write(root / "notes.txt", b"text")
    with pytest.raises(
        UserError, match=r"e\.g\. 'notes\.txt'.*e\.g\. 'cat' \(--source\.follow_links outside reads it\)"
    ):
        load(root)
    assert len(load(root, follow_links="outside").rows) == 4


def test_only_the_data_files_of_an_export_are_read(tmp_path):
    (tmp_path / "data").mkdir()
    photos([3, 2]).to_parquet(tmp_path / "data/train-0.parquet")
    write(tmp_path / "README.md", b"---\nconfigs:\n- config_name: default\n  data_files: data/train-*\n---\n")
    write(tmp_path / "diffcore.json", b"{}")
    write_images(tmp_path, "assets/a.png", "assets/b.png", "pictures/c.png")
    assert len(load(tmp_path).rows) == 5


@pytest.mark.parametrize("seed", range(30))
def test_every_file_of_the_folder_is_either_read_or_reported(tmp_path, seed):
    """The links, depths, names, suffixes and splits of the trees are random."""
    root = random_tree(tmp_path, random.Random(1000 + seed))
    write_images(root, "cat/a.jpg", "dog/b.jpg")
    for follow in ("inside", "outside"):
        try:
            source = load(root, follow_links=follow)
        except UserError:
            continue
        listed = [*source.read, *(file.path for file in source.unread)]
        assert len(listed) == len(set(listed))
        assert {path for path in listed if not below_link(root, path)} == entries(root)


WORDS = ["cat", "dog", "owl", "red fox", "a-b", "b", "x_1", "Zebra"]


def random_class_folders(root: Path, draw: random.Random) -> Path:
    """Writes class folders, often in split folders. Some are at other depths. Some photos are in no class folder."""
    splits = draw.choice(
        [[""], ["train/", "test/"], ["train/", "validation/", "test/"], ["my train/", "test-2/", "train/"]]
    )
    depth = draw.randint(0, 2)
    classes = ["/".join(draw.sample(WORDS, depth + 1)) for _ in range(draw.randint(1, 5))]
    for split in splits:
        for name in classes:
            for number in range(draw.randint(1, 4)):
                suffix = draw.choice([".jpg", ".JPG", ".png", ".jpeg"])
                write(root / f"{split}{name}/{draw.choice(['', 'IMG ', 'z.'])}{number}{suffix}", picture(0, number))
    if draw.random() < 0.2:
        write_images(root, draw.choice(["cover.jpg", "cat/deeper/still/1.jpg"]))
    return root


def leaf(name: str) -> str:
    return name.rpartition("/")[2]


def compare_with_imagefolder(root: Path, cache: Path) -> bool:
    """Returns whether imagefolder reads all photos with a label. If so, checks that the package reads the same rows."""
    imagefolder = load_dataset("imagefolder", data_dir=str(root), cache_dir=str(cache)).cast_column(
        "image", Image(decode=False)
    )
    features = next(iter(imagefolder.values())).features
    read = [cell["path"] for split in imagefolder.values() for cell in split["image"]]
    if "label" not in features or sorted(read) != sorted(str(path) for path in root.rglob("*") if path.is_file()):
        return False
    loaded = load(root)
    assert list(loaded.splits) == list(imagefolder)
    leaves = [leaf(name) for name in loaded.names]
    if len(set(leaves)) == len(leaves):
        assert loaded.features == imagefolder.cast_column("image", Image())[next(iter(imagefolder))].features
    for split, table in imagefolder.items():
        cells = loaded.splits[split]["image"]
        assert [cell["path"] for cell in cells] == [cell["path"] for cell in table["image"]]
        assert all(cell["bytes"] is None for cell in cells)
        names = [leaf(loaded.names[label]) for label in loaded.labels[split].tolist()]
        assert names == [features["label"].int2str(label) for label in table["label"]]
    return True


def compared(seeds, tmp_path: Path) -> int:
    count = 0
    for seed in seeds:
        root = random_class_folders(tmp_path / f"t{seed}", random.Random(seed))
        count += compare_with_imagefolder(root, tmp_path / "cache")
        shutil.rmtree(root)
    return count


def test_rows_equal_those_of_imagefolder_if_imagefolder_reads_all_photos(tmp_path):
    assert compared(range(20), tmp_path) >= 10


@pytest.mark.slow
def test_rows_equal_those_of_imagefolder_on_200_random_trees(tmp_path):
    assert compared(range(1000, 1200), tmp_path) >= 100


def test_image_cells_of_a_photo_folder_have_a_path_and_no_bytes(tmp_path):
    source = load(write_images(tmp_path, "cat", "dog"))
    cell = source.rows[0]["image"]
    assert cell == {"bytes": None, "path": str(tmp_path / "cat/0.jpg")}
    assert source.files.read(cell["path"]) == (tmp_path / "cat/0.jpg").read_bytes()
    assert source.splits["train"]._fingerprint == load(tmp_path).splits["train"]._fingerprint


def test_an_encrypted_and_a_broken_archive_give_a_one_line_error(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cat/a.jpg", picture(0, 0))
    content = bytearray(buffer.getvalue())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    for name, data, message in (
        ("locked", bytes(content), "is encrypted"),
        ("broken", content[:60], "cannot be unpacked"),
    ):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "photos.zip", bytes(data))
        with pytest.raises(
            UserError, match=f"photos.zip {message}.*unpack it into a folder and give the folder"
        ) as error:
            load(tmp_path / name)
        assert "\n" not in str(error.value)


def test_the_error_for_a_file_that_is_no_archive_names_its_folder(tmp_path):
    root = write_images(tmp_path / "photos", "cat", "dog")
    with pytest.raises(UserError, match="is a file, not a folder or an archive") as error:
        load(write(root / "labels.txt", b"text"))
    parent = str(error.value).rpartition("--source.path ")[2]
    assert parent == str(root)
    assert len(load(Path(parent)).rows) == 8


def test_a_hub_file_with_a_variable_in_its_name_is_refused(monkeypatch):
    import datasets

    class Builder:
        hash = "0" * 40
        config = SimpleNamespace(data_files={"train": [f"hf://datasets/org/birds@{hash}/data/$HF_TOKEN.parquet"]})

        def download_and_prepare(self):
            raise AssertionError("nothing may be downloaded")

    monkeypatch.setenv("HF_TOKEN", "canary")
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: Builder())
    with pytest.raises(UserError, match=r"contains 'data/\$HF_TOKEN\.parquet'") as error:
        load(Path("org/birds"), revision="0" * 40)
    assert "canary" not in str(error.value)
