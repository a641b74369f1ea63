"""Tests of image cells: a file is read only if it is an image in one of the allowed folders."""

from __future__ import annotations

import io
import os
import socket
import zipfile

import pytest
from PIL import Image

from diffcore_hf.core import image_files
from diffcore_hf.core.image_files import ImageFiles, UnreadableImage
from diffcore_hf.core.images import read_bytes

SECRET = b"HF_TOKEN=canary-7f3a"


@pytest.fixture
def folder(tmp_path):
    """Returns a dataset folder with one image. Another file lies beside the folder."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(buffer.getvalue())
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (tmp_path / "other.png").write_bytes(buffer.getvalue())
    return tmp_path.resolve() / "data"


def link(folder, name, target):
    (folder / name).symlink_to(target)
    return name


def fifo(folder):
    os.mkfifo(folder / "fifo.png")
    return "fifo.png"


def open_socket(folder):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket.png"))
    server.close()
    return "socket.png"


def written(folder, content):
    (folder / "b.png").write_bytes(content)
    return "b.png"


CASES = {
    "outside": (lambda folder: folder.parent / "other.png", "the file is outside the dataset (option)"),
    "outside by dots": (lambda folder: f"{folder}/../other.png", "the file is outside the dataset (option)"),
    "a folder whose name starts with the root": (lambda folder: f"{folder}2/a.png", "the file is outside the dataset"),
    "environment of this process": (lambda folder: "/proc/self/environ", "the file is outside the dataset"),
    "open file of this process": (lambda folder: "/proc/self/fd/0", "the file is outside the dataset"),
    "link to a file outside": (
        lambda folder: link(folder, "z.jpg", folder.parent / "other.png"),
        "the file is outside",
    ),
    "link to a folder outside": (
        lambda folder: link(folder, "up", folder.parent) + "/other.png",
        "the file is outside",
    ),
    "link to the environment": (lambda folder: link(folder, "e.png", "/proc/self/environ"), "the file is outside"),
    "broken link": (
        lambda folder: link(folder, "n.png", folder / "none.png"),
        "file not readable (No such file or directory)",
    ),
    "circular link": (lambda folder: link(folder, "c.png", folder / "c.png"), "file not readable (Too many levels"),
    "a folder": (lambda folder: folder, "not a regular file"),
    "FIFO": (fifo, "not a regular file"),
    "socket": (open_socket, "not a regular file"),
    "device": (lambda folder: "/dev/zero", "the file is outside"),
    "link to a device": (lambda folder: link(folder, "d.png", "/dev/zero"), "the file is outside"),
    "null byte": (lambda folder: f"{folder}/a.png\0.txt", "its path has a null byte"),
    "relative": (lambda folder: os.path.relpath(folder / "a.png"), "its path is relative"),
    "home": (lambda folder: "~/a.png", "its path is relative"),
    "variable": (lambda folder: "$HOME/a.png", "its path is relative"),
    "URL": (lambda folder: "https://example.org/a.png", "not a local file"),
    "URL of a file": (lambda folder: f"file://{folder}/a.png", "not a local file"),
    "bytes": (lambda folder: os.fsencode(folder / "a.png"), "its path is a bytes, not a text"),
    "number": (lambda folder: 3, "its path is a int, not a text"),
    "too long": (lambda folder: f"{folder}/{'a' * 5000}.png", "file not readable (File name too long)"),
    "half of a character": (lambda folder: f"{folder}/\ud800.png", "its path is not a file name"),
    "text": (lambda folder: written(folder, SECRET), "no image in a known format (20 bytes)"),
    "empty": (lambda folder: written(folder, b""), "no image (0 bytes)"),
    "PDF": (lambda folder: written(folder, b"%PDF-1.7 "), "no image in a known format"),
    "EPS": (lambda folder: written(folder, b"%!PS-Adobe-3.0 EPSF-3.0"), "no image in a known format"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_refused_path_has_a_reason_and_no_content(folder, name):
    make, reason = CASES[name]
    path = make(folder)
    if isinstance(path, os.PathLike) or (isinstance(path, str) and "/" not in path):
        path = str(folder / path)
    elif isinstance(path, str) and path.startswith("up/"):
        path = f"{folder}/{path}"
    with pytest.raises(UnreadableImage) as error:
        ImageFiles((str(folder),), "option").read(path)
    assert str(error.value).startswith(reason)
    assert "canary" not in str(error.value)


def test_links_inside_the_roots_are_read(folder):
    (folder / "cat").mkdir()
    (folder / "cat" / "b.png").symlink_to("../a.png")
    (folder / "kitten").symlink_to(folder / "cat")
    content = (folder / "a.png").read_bytes()
    files = ImageFiles((str(folder),))
    assert files.read(str(folder / "cat" / "b.png")) == content
    assert files.read(str(folder / "kitten" / "b.png")) == content
    assert files.read(f"{folder}/cat/../a.png") == content


def test_without_roots_no_path_is_opened(folder, monkeypatch):
    monkeypatch.setattr(os, "stat", None)
    monkeypatch.setattr(os, "open", None)
    with pytest.raises(UnreadableImage, match=r"only stored bytes are read \(source.root\)"):
        ImageFiles().read(str(folder / "a.png"))


def test_a_large_file_is_not_read(folder, monkeypatch):
    with (folder / "a.png").open("ab") as file:
        file.truncate(10_000_000)
    monkeypatch.setattr(image_files, "MAX_BYTES", 5_000_000)
    monkeypatch.setattr(image_files, "_read", None)
    with pytest.raises(UnreadableImage, match="10 MB, more than 5 MB"):
        ImageFiles((str(folder),)).read(str(folder / "a.png"))


def test_a_growing_file_is_read_only_up_to_the_limit(folder, monkeypatch):
    """The size of the open file is not used, because a file in /proc or a growing file reports a wrong size."""
    monkeypatch.setattr(image_files, "MAX_BYTES", 5_000)
    read, counts = os.read, []

    def endless(handle, count):
        counts.append(count)
        return (read(handle, count) or b"").ljust(count, b"\0")

    monkeypatch.setattr(os, "read", endless)
    with pytest.raises(UnreadableImage, match="more than 0 MB"):
        ImageFiles((str(folder),)).read(str(folder / "a.png"))
    assert sum(counts[1:]) == 5_001


def test_a_file_that_becomes_a_link_after_the_check_is_not_read(folder, monkeypatch):
    path, opened = folder / "a.png", os.open

    def exchange(name, flags):
        path.unlink()
        path.symlink_to(folder.parent / "other.png")
        return opened(name, flags)

    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(UnreadableImage, match="the file is outside the dataset"):
        ImageFiles((str(folder),)).read(str(path))


def test_an_image_is_read_if_the_folder_proc_is_missing(folder, monkeypatch):
    def no_proc(path):
        raise FileNotFoundError(2, "no /proc", path)

    monkeypatch.setattr(os, "readlink", no_proc)
    files = ImageFiles((str(folder),))
    assert files.read(str(folder / "a.png")) == (folder / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("a.png", "no image cell, but a str"),
        ([1], "no image cell, but a list"),
        (b"\x89PNG", "no image cell, but a bytes"),
        ({}, "no image"),
        ({"bytes": "text", "path": None}, "its bytes are a str"),
        ({"bytes": {"a": 1}, "path": None}, "its bytes are a dict"),
        ({"bytes": 3, "path": "/etc/passwd"}, "its bytes are a int"),
        ({"bytes": None, "path": b"/etc/passwd"}, "its path is a bytes"),
        ({"bytes": None, "path": ["/etc/passwd"]}, "its path is a list"),
        ({"bytes": None, "path": "/a\0b"}, "its path has a null byte"),
        ({"path": 0}, "its path is a int"),
        ({"bytes": SECRET, "path": None}, "no image in a known format (20 bytes)"),
    ],
)
def test_a_cell_of_a_wrong_shape_has_a_reason(cell, reason):
    with pytest.raises(UnreadableImage) as error:
        read_bytes(cell, ImageFiles(("/",)))
    assert str(error.value).startswith(reason)


def zipped(folder, **members):
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(folder / "a.zip")


def test_images_in_a_zip_file_are_read(folder):
    content = (folder / "a.png").read_bytes()
    archive = zipped(folder, one=content, two=content + b"more")
    files = ImageFiles((str(folder),))
    assert files.read(f"zip://one::{archive}") == content
    assert files.read(f"zip://two::{archive}") == content + b"more"
    zipped(folder, one=content + b"changed")
    assert files.read(f"zip://one::{archive}") == content + b"changed"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("zip://text::{folder}/a.zip", "no image in a known format"),
        ("zip://none::{folder}/a.zip", "no such file in the archive"),
        ("zip://../secret.txt::{folder}/a.zip", "no such file in the archive"),
        ("zip://a::{folder}/a.png", "damaged or encrypted file in an archive"),
        ("zip://image::{folder}/../outside.zip", "the file is outside the dataset (option)"),
        ("zip://image::zip://inner::{folder}/a.zip", "not a local file"),
        ("zip://image::https://example.org/a.zip", "not a local file"),
        ("zip://image::a.zip", "its path is relative"),
        ("zip://::{folder}/a.zip", "not a local file"),
        ("tar://image::{folder}/a.tar", "not a local file"),
        ("zip://bomb::{folder}/a.zip", "more than 1 MB, in an archive"),
    ],
)
def test_a_refused_image_in_a_zip_file_has_a_reason(folder, path, reason, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_BYTES", 1_000_000)
    zipped(folder, text=SECRET, image=b"x", bomb=(folder / "a.png").read_bytes() + bytes(50_000_000))
    with pytest.raises(UnreadableImage) as error:
        ImageFiles((str(folder),), "option").read(path.format(folder=folder))
    assert str(error.value).startswith(reason)
    assert "canary" not in str(error.value)
