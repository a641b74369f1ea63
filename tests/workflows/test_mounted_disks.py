"""Tests of a full and of a read-only file system that are really mounted. They need the right to mount."""

import os
import shutil
import subprocess
from collections import namedtuple

import pytest
from run_folders import go, published, tree

from diffcore_hf.augmentation import disk_space
from diffcore_hf.core.errors import UserError, environment_fault
from diffcore_hf.core.folder import Folder
from diffcore_hf.workflows.merge import merge

Usage = namedtuple("Usage", "total used free")
MOMENTS = range(10)
"""Free space on the disk, in tenths of the size of the finished folder."""


@pytest.fixture
def disk(tmp_path):
    """Returns a small file system."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.name != "posix" or shutil.which("mount") is None or mount("-t", "tmpfs", "-o", "size=8m", "none", path):
        pytest.skip("mounting is not permitted here")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def mount(*arguments):
    """Calls mount, and returns its exit status."""
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


def fill(disk, free):
    """Fills a file system until `free` bytes are left."""
    state = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - free)))


def size_of(folder):
    return sum(map(len, tree(folder).values()))


def error_of(recipe):
    """Runs `augment` and returns the error with which it ended; None if it ended well."""
    try:
        go(recipe)
    except (OSError, UserError) as error:
        return error
    return None


def is_one_line(error):
    """Returns whether the command shows an error as one line."""
    return (isinstance(error, UserError) or environment_fault(error) is not None) and "\n" not in str(error)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_file_system_leaves_the_old_export_and_the_run_continues(make, done, disk, monkeypatch, moment):
    out = disk / "out"
    shutil.copytree(done.folder.path, out)
    shutil.rmtree(out / ".diffcore/parts/r1")
    before = published(out)
    # The check before the start would refuse the run.
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: Usage(10**12, 0, 10**12))
    fill(disk, moment * size_of(done.folder.path) // len(MOMENTS))
    error = error_of(make(out))
    assert error is not None or moment > 4
    if error is not None:
        assert is_one_line(error)
        assert published(out) == before
    assert Folder(out).faults() == []
    (disk / "filler").unlink()
    go(make(out))
    assert published(out) == published(done.folder.path)
    assert not list((out / ".diffcore").rglob("*.tmp"))


def test_the_sources_of_a_merge_may_be_read_only(done, disk, tmp_path):
    shutil.copytree(done.folder.path, disk / "out")
    assert mount("-o", "remount,ro", disk) == 0
    merged = merge(tmp_path / "merged", [disk / "out"])
    assert merged.union.copied > 0
    assert published(tmp_path / "merged") == published(done.folder.path)


def test_a_read_only_folder_is_one_line_and_keeps_its_export(make, done, disk):
    out = disk / "out"
    shutil.copytree(done.folder.path, out)
    shutil.rmtree(out / ".diffcore/parts/r1")
    before = tree(out)
    assert mount("-o", "remount,ro", disk) == 0
    error = error_of(make(out))
    assert error is not None and is_one_line(error)
    assert tree(out) == before
    assert mount("-o", "remount,rw", disk) == 0
    go(make(out))
    assert published(out) == published(done.folder.path)
