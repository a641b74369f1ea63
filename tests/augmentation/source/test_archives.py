"""Tests of archives: only safe members are unpacked, only once, and within limits of size and number."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from datasets import config as datasets_config
from small_photos import picture
from source_folders import write

from diffcore_hf.augmentation.source import archives
from diffcore_hf.augmentation.source.archives import unpack
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpacked(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    "name",
    [
        "../out.jpg",
        "/etc/out.jpg",
        "cat/../../out.jpg",
        "C:/out.jpg",
        "..\\out.jpg",
        "cat/" + "x" * 300,
        "cat/" + "a/" * 1500 + "b.jpg",
        "cat/" + "/".join(["x" * 200] * 30),
    ],
)
def test_a_member_with_a_path_outside_the_archive_is_not_unpacked(tmp_path, name):
    archive = zipped(tmp_path / "a.zip", {"cat/a.jpg": picture(0, 0), name: picture(0, 1)})
    result = unpack([archive])
    assert unpacked(result.folder) == {"cat/a.jpg"}
    assert [file.reason for file in result.unread] == [archives.UNSAFE]
    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize(
    "kind, link",
    [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "cat/a.jpg"), (tarfile.FIFOTYPE, ""), (tarfile.CHRTYPE, ""),
     (tarfile.BLKTYPE, "")],
)  # fmt: skip
def test_only_regular_files_are_unpacked(tmp_path, kind, link):
    archive = tarred(tmp_path / "a.tar", [(member("cat/a.jpg"), picture(0, 0)), (member("cat/b.jpg", kind, link), b"")])
    result = unpack([archive])
    assert unpacked(result.folder) == {"cat/a.jpg"}
    assert [file.reason for file in result.unread] == [archives.SPECIAL]
    again = unpack([archive])
    assert again == result


def test_a_link_in_a_zip_is_not_unpacked(tmp_path):
    info = zipfile.ZipInfo("cat/link.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/a.jpg", picture(0, 0))
        archive.writestr(info, "/etc/passwd")
    result = unpack([tmp_path / "a.zip"])
    assert unpacked(result.folder) == {"cat/a.jpg"}
    assert [(file.path, file.reason) for file in result.unread] == [("a.zip/cat/link.jpg", archives.SPECIAL)]


def test_a_repeated_member_name_is_unpacked_once(tmp_path):
    members = [
        (member("cat"), b"x"),
        (member("cat/a.jpg"), picture(0, 0)),
        (member("dog"), b"1"),
        (member("dog"), b"2"),
    ]
    result = unpack([tarred(tmp_path / "a.tar", members)])
    assert unpacked(result.folder) == {"cat", "dog"}
    assert (result.folder / "dog").read_bytes() == b"1"
    assert [file.reason for file in result.unread] == [archives.REPEATED, archives.REPEATED]


def test_a_decompression_bomb_gives_a_one_line_error_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FREE", 2**20)
    archive = zipped(tmp_path / "bomb.zip", {"cat/a.jpg": bytes(2**23)})
    with pytest.raises(UserError, match=r"bomb\.zip unpacks to more than .* packed.*unpack it into a folder"):
        unpack([archive])
    assert [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock" and path.is_file()] == []


def test_the_number_of_files_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    archive = zipped(tmp_path / "many.zip", {f"cat/{number}": b"" for number in range(5)})
    with pytest.raises(UserError, match="more than 3 files"):
        unpack([archive])


ENDS_EARLY = "Compressed file ended before the end-of-stream marker was reached"


@pytest.mark.parametrize(
    "name, content, cause",
    [
        ("a.zip", b"PK\x03\x04broken", "it is not a complete zip file"),
        ("a.tar.gz", b"\x1f\x8b\x08\0broken", ENDS_EARLY),
        ("a.tar.gz", gzip.compress(b"no tar file", mtime=0), "it is not a complete tar file"),
        ("a.tar.xz", b"\xfd7zXZ\0broken", "it is not a complete tar file"),
    ],
)
def test_a_broken_archive_gives_a_one_line_error(tmp_path, name, content, cause):
    archive = write(tmp_path / name, content)
    with pytest.raises(UserError) as error:
        unpack([archive])
    assert str(error.value) == f"{archive} cannot be unpacked: {cause}. {archives.BY_HAND}"


def test_a_tar_file_that_ends_with_a_zip_file_is_read_as_tar(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {"cat/a.jpg": picture(0, 0)})
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(inner, "inner.zip")
    assert [path.name for path in unpack([tmp_path / "a.tar"]).folder.iterdir()] == ["inner.zip"]


def test_several_processes_unpack_an_archive_only_once(tmp_path):
    archive = zipped(tmp_path / "a.zip", {f"cat/{number}.jpg": picture(0, number) for number in range(20)})
    with ThreadPoolExecutor(4) as threads:
        folders = {result.folder for result in threads.map(lambda _: unpack([archive]), range(4))}
    assert len(folders) == 1
    assert len(unpacked(folders.pop())) == 20
    assert [path.name for path in (tmp_path / "cache/diffcore-hf/archives").iterdir() if path.is_dir()] == [
        result.name for result in [unpack([archive]).folder]
    ]


def test_a_changed_archive_is_unpacked_again(tmp_path):
    first = unpack([zipped(tmp_path / "a.zip", {"cat/a.jpg": b"1"})])
    second = unpack([zipped(tmp_path / "a.zip", {"cat/a.jpg": b"2"})])
    assert [(result.folder / "cat/a.jpg").read_bytes() for result in (first, second)] == [b"1", b"2"]


def test_an_unchanged_archive_is_hashed_only_once(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "UNSETTLED_NS", -(10**9))
    archive = zipped(tmp_path / "a.zip", {"cat/a.jpg": b"1"})
    first = unpack([archive])
    with monkeypatch.context() as patch:
        patch.setattr(archives.hashlib, "file_digest", None)
        assert unpack([archive]) == first
    zipped(tmp_path / "a.zip", {"cat/a.jpg": b"2"})
    assert unpack([archive]).folder != first.folder


def test_an_incomplete_folder_is_unpacked_again(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"cat/a.jpg": b"1", "cat/b.jpg": b"2", "../c.jpg": b"3"})
    first = unpack([archive])
    (first.folder / "cat/a.jpg").unlink()
    second = unpack([archive])
    assert second == first
    assert unpacked(second.folder) == {"cat/a.jpg", "cat/b.jpg"}


def test_members_of_an_archive_that_are_not_unpacked_are_reported(tmp_path):
    members = [(member(f"{name}/{number}.jpg"), picture(0, number)) for name in ("cat", "dog") for number in range(3)]
    members.append((member("cat/link.jpg", tarfile.SYMTYPE, "/etc/passwd"), b""))
    members.append((member("__MACOSX/cat/._0.jpg"), b"\0\5\x16\7"))
    source = load_source(SourceConfig(str(tarred(tmp_path / "a.tar", members))))
    assert len(source.rows) == 6
    assert sorted(file.path for file in source.unread) == ["__MACOSX/cat/._0.jpg", "a.tar/cat/link.jpg"]
    assert not os.path.islink(source.rows[0]["image"]["path"])


def test_a_webdataset_is_read_by_datasets(tmp_path):
    members = []
    for number in range(4):
        members.append((member(f"{number:03d}.jpg"), picture(number % 2, number)))
        members.append((member(f"{number:03d}.cls"), str(number % 2).encode()))
    (tmp_path / "in").mkdir()
    tarred(tmp_path / "in/train-000.tar", members)
    source = load_source(SourceConfig(str(tmp_path / "in"), image="jpg", label="cls"))
    assert source.layout == "files that `datasets` reads (1 .tar)"
    assert len(source.rows) == 4


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = member(name, kind)
    info.size = size
    return info.tobuf(format=tarfile.GNU_FORMAT)


GOOD = (member("cat/a.jpg"), picture(0, 0))
CANNOT = "cannot be unpacked: "


@pytest.mark.parametrize(
    "kind",
    [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK],
)
@pytest.mark.parametrize("first", [True, False])
def test_the_header_of_a_member_is_bounded(tmp_path, kind, first):
    before = b"" if first else tarred(tmp_path / "a.tar", [GOOD]).read_bytes()[: 512 * (1 + -(-len(GOOD[1]) // 512))]
    archive = write(tmp_path / "b.tar.gz", gzip.compress(before + header("x", 2**25, kind) + bytes(2**25), 1))
    with pytest.raises(UserError, match=CANNOT + "a header in it has 33,554,432 bytes. If you trust it"):
        unpack([archive])


@pytest.mark.parametrize("name", ["../left out", "cat/b.jpg"])
def test_members_that_are_not_unpacked_count_towards_the_size_limit(tmp_path, name, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FREE", 2**20)
    content = header(name, 2**24) + bytes(2**24) + bytes(1024)
    archive = write(tmp_path / "b.tar.gz", gzip.compress(content, 1))
    with pytest.raises(UserError, match="unpacks to more than .* packed"):
        unpack([archive])


@pytest.mark.parametrize("size", [-1024, -512, 2**45])
def test_an_archive_with_a_wrong_member_size_is_refused(tmp_path, size):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(GOOD[0], io.BytesIO(GOOD[1]))
        info = member("cat/b.jpg")
        info.pax_headers = {"size": str(size)}
        archive.addfile(info)
    with pytest.raises(UserError, match="the header of member 'cat/b.jpg' has a wrong size|unpacks to more than"):
        unpack([tmp_path / "a.tar"])


def test_a_sparse_file_in_an_archive_is_reported_as_special(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(GOOD[0], io.BytesIO(GOOD[1]))
        info = member("cat/b.jpg")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        info.size = 2**22
        archive.addfile(info, io.BytesIO(b"9" * info.size))
    result = unpack([tmp_path / "a.tar"])
    assert unpacked(result.folder) == {"cat/a.jpg"}
    assert [file.reason for file in result.unread] == [archives.SPECIAL]


def test_files_of_a_process_that_was_killed_are_removed(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"cat/a.jpg": picture(0, 0)})
    folder = unpack([archive]).folder
    left = folder.parent / f"{folder.name[:16]}.killed"
    (left / "cat").mkdir(parents=True)
    folder.rename(left / "folder")
    assert unpack([archive]).folder == folder
    assert folder.is_dir() and not left.exists()


def test_the_error_for_a_cache_that_cannot_be_created_names_the_environment_variable(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "a.zip", {"cat/a.jpg": picture(0, 0)})
    write(tmp_path / "file", b"")
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        UserError, match=r"cannot be created \(Not a directory\)\. Set the environment variable HF_HOME"
    ):
        unpack([archive])
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", str(tmp_path / "folder"))
    assert unpacked(unpack([archive]).folder) == {"cat/a.jpg"}


def empty_file(folder):
    next(folder.rglob("a.jpg")).write_bytes(b"")


def record_of(folder):
    return folder.with_name(f"{folder.name}.skipped")


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "empty file": empty_file,
    "empty record": lambda folder: record_of(folder).write_text(""),
    "text": lambda folder: record_of(folder).write_text("2\nno name\treason\n"),
    "bytes": lambda folder: record_of(folder).write_bytes(b"\xff\n\xfe"),
    "cut": lambda folder: record_of(folder).write_bytes(record_of(folder).read_bytes()[:-3]),
    "folder in place of the record": lambda folder: replace_by_folder(record_of(folder)),
    "file in place of the folder": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_replaced(tmp_path, damage):
    content = {"cat/a.jpg": picture(0, 0), "cat/b.jpg": picture(0, 1), "../out.jpg": picture(0, 2)}
    archive = zipped(tmp_path / "a.zip", content)
    first = unpack([archive])
    DAMAGES[damage](first.folder)
    assert unpack([archive]) == first
    assert (first.folder / "cat" / "a.jpg").read_bytes() == content["cat/a.jpg"]
    assert [file.path for file in first.unread] == ["a.zip/../out.jpg"]
