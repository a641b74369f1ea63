"""Tests of the list of files: each entry of a folder is a file of a known kind or has the reason why it is not read."""

from __future__ import annotations

import os
import random
import socket
import zipfile

import pytest
from small_photos import picture
from source_folders import below_link, entries, random_tree, write

from diffcore_hf.augmentation.source import files
from diffcore_hf.augmentation.source.file_kinds import DOCUMENT, NO_IMAGE, NOT_ACCEPTED, OTHER_ARCHIVE
from diffcore_hf.augmentation.source.files import list_files


def reasons(listing) -> dict[str, str]:
    return {file.path: file.reason for file in listing.unread}


@pytest.mark.parametrize(
    "name",
    ["train_0.jpg", "a.Jpg", "a.JPEG", "a.jpg?w=300&h=2", "no_suffix", "x.txt", "shoot[1].jpg", "*.jpg", "{a,b}.jpg",
     "a::b.jpg", "#1.jpg", "50%.jpg", "$HF_TOKEN.jpg", "~.jpg", "a\nb.jpg", "a b.jpg"],
)  # fmt: skip
def test_an_image_with_any_file_name_is_listed(tmp_path, name, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary")
    write(tmp_path / "cat" / name, picture(0, 0))
    listing = list_files(tmp_path)
    assert [(file.path, file.kind) for file in listing.files] == [(f"cat/{name}", "image")]
    assert listing.unread == ()


@pytest.mark.parametrize(
    "name, content, kind",
    [
        ("a.csv", b"file,class\n", "table"), ("a.TSV", b"a\tb\n", "table"), ("a.jsonl", b"{}\n", "table"),
        ("a.parquet", b"PAR1...", "data"), ("a.arrow", b"ARROW1..", "data"), ("a.json", b' [{"a": 1}]', "data"),
        ("a.bin", b"PK\x03\x04....", "archive"), ("a.tar.xz", b"\xfd7zXZ\x00...", "archive"),
    ],
)  # fmt: skip
def test_the_kind_of_a_file_follows_from_its_name_or_its_content(tmp_path, name, content, kind):
    write(tmp_path / name, content)
    assert [file.kind for file in list_files(tmp_path).files] == [kind]


@pytest.mark.parametrize(
    "name, content, reason, detail",
    [
        ("iphone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", NOT_ACCEPTED, "HEIC. Convert it to JPEG or AVIF"),
        ("a.jpg", b"%!PS-Adobe-3.0 EPSF", NOT_ACCEPTED, "EPS. Convert it to JPEG or PNG"),
        ("a.png", b"%PDF-1.7", NOT_ACCEPTED, "PDF. Convert it to JPEG or PNG"),
        ("a.jpg", b"<html>not found</html>", NO_IMAGE, ".jpg"),
        ("LICENSE", b"MIT", DOCUMENT, ""),
        ("LICENSE-MIT.txt", b"MIT", DOCUMENT, ""),
        ("Readme.md", b"# Photos", DOCUMENT, ""),
        ("readme.jpg", b"no image", NO_IMAGE, ".jpg"),
        ("licences", b"no image", NO_IMAGE, "no suffix"),
        ("a.jpg", b"", files.EMPTY, ""),
        ("a.rar", b"Rar!\x1a\x07", OTHER_ARCHIVE, "RAR. Unpack it first"),
        (".hidden.jpg", picture(0, 0), files.HIDDEN, ""),
        (".git/a.jpg", picture(0, 0), files.HIDDEN, ""),
        ("Thumbs.db", b"\xd0\xcf", files.SYSTEM, ""),
        ("._a.jpg", picture(0, 0), files.SYSTEM, ""),
        ("__MACOSX/cat/a.jpg", picture(0, 0), files.SYSTEM, ""),
    ],
)  # fmt: skip
def test_a_file_that_is_not_read_has_a_reason(tmp_path, name, content, reason, detail):
    write(tmp_path / name, content)
    listing = list_files(tmp_path)
    assert listing.files == ()
    assert listing.unread == (files.UnreadFile(name, reason, detail),)


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path):
    (tmp_path / "cat").mkdir()
    with open(os.path.join(os.fsencode(tmp_path), b"cat/\xff\xfe.jpg"), "wb") as file:
        file.write(picture(0, 0))
    assert list_files(tmp_path).unread == (files.UnreadFile("cat/\\xff\\xfe.jpg", files.NOT_UTF8),)


def test_special_files_are_reported_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        (tmp_path / "zero.jpg").symlink_to("/dev/zero")
        listing = list_files(tmp_path, "outside")
    assert [(file.path, file.detail) for file in listing.unread] == [
        ("pipe.jpg", "FIFO"), ("socket.jpg", "socket"), ("zero.jpg", "character device"),
    ]  # fmt: skip
    assert set(reasons(listing).values()) == {files.NOT_REGULAR}


def test_links_inside_the_folder_are_followed(tmp_path):
    write(tmp_path / "pool/normal/a.jpg", picture(0, 0))
    (tmp_path / "normal").symlink_to("pool/normal")
    (tmp_path / "b.jpg").symlink_to("pool/normal/a.jpg")
    listing = list_files(tmp_path)
    assert [(file.path, file.linked) for file in listing.files] == [
        ("b.jpg", True), ("normal/a.jpg", True), ("pool/normal/a.jpg", False),
    ]  # fmt: skip


def test_the_reason_for_a_link_out_of_the_folder_names_its_target_and_an_option_that_works(tmp_path):
    write(tmp_path / "archive/cat/a.jpg", picture(0, 0))
    write(tmp_path / "other.jpg", picture(0, 1))
    root = tmp_path / "photos"
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "archive/cat")
    (root / "dog.jpg").symlink_to("../other.jpg")
    listing = list_files(root)
    assert listing.files == ()
    option = "--source.follow_links outside reads it"
    assert listing.unread == (
        files.UnreadFile("cat", files.LINK_OUT, f"target {tmp_path}/archive/cat; {option}"),
        files.UnreadFile("dog.jpg", files.LINK_OUT, f"target {tmp_path}/other.jpg; {option}"),
    )
    followed = list_files(root, "outside")
    assert [file.path for file in followed.files] == ["cat/a.jpg", "dog.jpg"]
    assert followed.outside == (f"{tmp_path}/archive/cat", f"{tmp_path}/other.jpg")


def test_circular_and_broken_links_are_reported(tmp_path):
    write(tmp_path / "cat/a.jpg", picture(0, 0))
    (tmp_path / "cat/up").symlink_to("..")
    (tmp_path / "cat/self").symlink_to("self")
    (tmp_path / "cat/gone.jpg").symlink_to("nowhere.jpg")
    listing = list_files(tmp_path)
    assert [file.path for file in listing.files] == ["cat/a.jpg"]
    assert reasons(listing) == {
        "cat/gone.jpg": files.LINK_BROKEN, "cat/self": files.LINK_BROKEN, "cat/up": files.LINK_CIRCULAR,
    }  # fmt: skip


def test_folders_that_link_to_each_other_are_walked_in_bounded_time(tmp_path):
    names = [f"f{number}" for number in range(12)]
    for name in names:
        write(tmp_path / name / "a.jpg", picture(0, 0))
        for other in names:
            (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
    listing = list_files(tmp_path)
    assert len(listing.files) <= 2 * len(names)
    assert {file.path for file in listing.files} >= {f"{name}/a.jpg" for name in names}


def test_a_zip_file_is_listed_as_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.dat", "w") as archive:
        archive.writestr("cat/a.jpg", picture(0, 0))
    assert [file.kind for file in list_files(tmp_path).files] == ["archive"]


@pytest.mark.parametrize("seed", range(20))
def test_every_entry_of_the_folder_is_either_read_or_reported(tmp_path, seed):
    """The trees of folders, names, kinds and links are random. No entry is listed twice."""
    root = random_tree(tmp_path, random.Random(seed))
    for follow in ("inside", "outside"):
        listing = list_files(root, follow)
        listed = [file.path for file in listing.files] + [file.path for file in listing.unread]
        assert len(listed) == len(set(listed))
        real = {path for path in listed if not below_link(root, path)}
        assert real == entries(root)
