"""Tests of full, read-only and vanished disks: a one-line error, an intact old export, and then the same result."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from run_folders import go, published

from diffcore_hf.augmentation import disk_space, image_spool, part_files
from diffcore_hf.core.errors import UserError, environment_fault
from diffcore_hf.core.folder import Folder

FULL = OSError(errno.ENOSPC, "No space left on device")
READ_ONLY = OSError(errno.EROFS, "Read-only file system")
Usage = namedtuple("Usage", "total used free")


def free_bytes(monkeypatch, *values):
    """Replaces the number of free bytes. Each check of the disk gets the next value; the last value is repeated."""
    left = list(values)
    usage = lambda path: Usage(10**12, 0, left.pop(0) if len(left) > 1 else left[0])  # noqa: E731
    monkeypatch.setattr(disk_space.shutil, "disk_usage", usage)


def test_a_disk_without_space_is_refused_before_anything_is_written(make, tmp_path, monkeypatch):
    free_bytes(monkeypatch, 1000)
    with pytest.raises(UserError, match=r"has 1 kB free, but this run .* are missing\. Free space, or use --output"):
        go(make(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("purpose", ["the export of the finished attempts", "the new export"])
def test_a_disk_that_fills_during_a_run_stops_it_with_the_missing_bytes(make, done, copy, monkeypatch, purpose):
    [part] = (copy / ".diffcore/parts/r1").rglob("*.parquet")
    part.unlink()
    before = published(copy)
    with monkeypatch.context() as patch:
        free_bytes(patch, 10**12, 1000)
        if purpose == "the new export":
            patch.setattr(disk_space.DiskSpace, "add", lambda self, path, attempts: None)
        with pytest.raises(UserError, match=rf"{purpose} needs .* are missing\. Finished attempts are kept\.") as error:
            go(make(copy, part_size=2))
    assert "\n" not in str(error.value)
    assert published(copy) == before
    go(make(copy))
    assert published(copy) == published(done.folder.path)


def fail_at(patch, moment, error):
    """Makes one kind of write fail. Returns nothing."""

    def failing(real, applies):
        def write(path, *arguments, **keywords):
            if applies(str(path)):
                raise error
            return real(path, *arguments, **keywords)

        return write

    if moment == "spool":
        patch.setattr(image_spool.ImageSpool, "add", lambda *arguments: (_ for _ in ()).throw(error))
    elif moment == "shard":
        patch.setattr("datasets.Dataset.to_parquet", lambda *arguments, **keywords: (_ for _ in ()).throw(error))
    elif moment == "exchange":
        # The card is exchanged shortly before diffcore.json. Later calls put the old files back.
        cards: list[str] = []
        last = lambda path: path.endswith("tmp/README.md") and not cards and not cards.append(path)  # noqa: E731
        patch.setattr(os, "replace", failing(os.replace, last))
    else:
        patch.setattr(Path, "write_bytes", failing(Path.write_bytes, lambda path: moment in path))
        patch.setattr(Path, "write_text", failing(Path.write_text, lambda path: moment in path))


QUICK = ["parts/r1", "shard", "exchange"]
SLOW = ["run.json", "source.parquet", "parts/ref", "spool", "contact_sheet.png", "README.md", "diffcore.json"]


@pytest.mark.parametrize("moment", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
@pytest.mark.parametrize("error", [FULL, pytest.param(READ_ONLY, marks=pytest.mark.slow)], ids=["full", "read-only"])
def test_a_full_or_read_only_disk_leaves_the_old_export(make, done, copy, monkeypatch, moment, error):
    for kind in ("r1", "ref") if moment == "parts/ref" else ("r1",):
        shutil.rmtree(copy / ".diffcore/parts" / kind)
    before, recipe = published(copy), make(copy, max_attempts=2)
    if moment == "run.json":  # run.json is written only if its content changes
        recipe = make(copy, max_attempts=2, **{"filter.policy": {"name": "all"}})
    with monkeypatch.context() as patch:
        fail_at(patch, moment, error)
        with pytest.raises(OSError, match=error.strerror) as caught:
            go(recipe)
    assert environment_fault(caught.value) is not None
    assert published(copy) == before
    assert Folder(copy).faults() == []
    assert not list((copy / ".diffcore").rglob("*.tmp"))
    go(make(copy))
    assert published(copy) == published(done.folder.path)


@pytest.mark.parametrize("moment", ["part", "export"])
def test_a_folder_that_vanishes_is_one_line_and_is_continued_when_it_is_back(
    make, done, copy, tmp_path, monkeypatch, moment
):
    shutil.rmtree(copy / ".diffcore/parts/r1")
    gone = tmp_path / "gone"

    def vanish():
        if not gone.exists():
            copy.rename(gone)

    with monkeypatch.context() as patch:
        if moment == "part":
            encode = part_files.encode
            patch.setattr(part_files, "encode", lambda *arguments: (vanish(), encode(*arguments))[1])
        else:
            patch.setattr(
                "datasets.Dataset.to_parquet", lambda *arguments, **keywords: (vanish(), os.stat(copy / "x"))[1]
            )
        with pytest.raises(UserError, match=r"does not exist any more\. Restore it") as error:
            go(make(copy))
    assert "\n" not in str(error.value)
    shutil.rmtree(copy, ignore_errors=True)
    gone.rename(copy)
    go(make(copy))
    assert published(copy) == published(done.folder.path)
    assert Folder(copy).faults() == []
