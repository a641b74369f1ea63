"""Tests of the cache of hashes: unchanged files are not read again, and a change or a damaged cache is always found."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from datasets import config as datasets_config
from small_photos import picture
from source_folders import write_images

from diffcore_hf.augmentation.source import hash_cache
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core import images
from diffcore_hf.core.image_files import ImageFiles

OLD = time.time() - 3600


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Returns a folder whose files changed long ago. The cache is empty."""
    monkeypatch.setattr(datasets_config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hash_cache, "UNSETTLED_NS", -(10**9))
    return write_images(tmp_path / "photos", "cat", "dog")


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Returns a list that records the path of every file that is read."""
    paths: list[str] = []
    read = ImageFiles.read

    def counted(self, path):
        paths.append(path)
        return read(self, path)

    monkeypatch.setattr(ImageFiles, "read", counted)
    return paths


def hashes(root: Path) -> list[str | None]:
    return load_source(SourceConfig(str(root))).sha256["train"]


def expected(root: Path) -> list[str]:
    return [images.sha256(path.read_bytes()) for path in sorted(root.rglob("*.jpg"))]


def test_a_second_run_reads_no_file(root, opened):
    first = load_source(SourceConfig(str(root)))
    assert len(opened) == 8
    second = load_source(SourceConfig(str(root)))
    assert len(opened) == 8
    assert (second.sha256, second.sizes, second.headers) == (first.sha256, first.sizes, first.headers)
    assert first.sha256["train"] == expected(root)


def change_content(path: Path) -> None:
    """Writes other bytes of the same size into a file. The modification time does not change."""
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def replace_file(path: Path) -> None:
    """Replaces a file by another file with the same name, size and modification time."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    other = path.with_suffix(".new")
    other.write_bytes(content)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(other, path)


@pytest.mark.parametrize("change", [change_content, replace_file, lambda path: path.write_bytes(picture(3, 3))])
def test_a_changed_file_is_hashed_again(root, opened, change):
    before = hashes(root)
    change(root / "cat/1.jpg")
    after = hashes(root)
    assert after == expected(root)
    assert after != before
    assert opened[8:] == [str(root / "cat/1.jpg")]


def test_the_hash_of_a_recently_changed_file_is_not_kept(root, opened, monkeypatch):
    monkeypatch.setattr(hash_cache, "UNSETTLED_NS", 3600 * 10**9)
    hashes(root)
    hashes(root)
    assert len(opened) == 16


@pytest.mark.parametrize("damage", [b"", b"no cache", b"diffcore-hf image hashes 1 00\n1 2 3", b"\xff\xfe"])
def test_a_damaged_cache_is_ignored(root, opened, tmp_path, damage):
    hashes(root)
    [path] = (tmp_path / "cache").rglob("hashes/*.txt")
    path.write_bytes(damage)
    assert hashes(root) == expected(root)
    assert len(opened) == 16
    assert hashes(root) == expected(root)
    assert len(opened) == 16


@pytest.mark.parametrize("position", [0.2, 0.5, 0.9])
def test_a_cache_with_a_changed_character_is_ignored(root, opened, tmp_path, position):
    hashes(root)
    [path] = (tmp_path / "cache").rglob("hashes/*.txt")
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 1
    path.write_bytes(content)
    assert hashes(root) == expected(root)


def test_a_cache_that_cannot_be_written_does_not_stop_the_reading(root, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/diffcore-hf").write_text("a file in the way")
    assert hashes(root) == expected(root)
