"""Tests of resuming: parts, batches, interruptions and limits do not change the resulting dataset."""

import hashlib

import pytest
from datasets import (
    load_dataset,
)
from run_folders import (
    attempts_of,
    contents,
    go,
    interrupt_at,
    published,
    rows,
)

from diffcore_hf.core.errors import UserError
from diffcore_hf.workflows.augment import prepare
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.verify import verify


def test_a_second_run_generates_nothing_and_gives_the_same_bytes(make, copy, monkeypatch):
    before = published(copy)
    monkeypatch.setattr("diffcore_hf.models.diffusion.load_pipeline", None)  # loading a model would raise
    again = go(make(copy))
    assert again.new_attempts == 0
    assert published(copy) == before


@pytest.mark.parametrize("part_size", [1, 3])
def test_parts_of_any_size_give_the_same_bytes(make, done, tmp_path, part_size):
    go(make(tmp_path / "out", part_size=part_size))
    assert len(list((tmp_path / "out/.diffcore/parts/r0").rglob("*.parquet"))) == -(-10 // part_size)
    assert published(tmp_path / "out") == published(done.folder.path)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_of_any_size_give_the_same_decisions(make, done, tmp_path, batch_size):
    go(make(tmp_path / "out", strict=False, batch_size=batch_size))
    assert attempts_of(tmp_path / "out") == attempts_of(done.folder.path)


@pytest.mark.parametrize(
    "method, calls",
    [("towers.ImageTower.embed_prepared", 1), ("diffusion.TextToImage.sample", 1), ("diffusion.TextToImage.sample", 2),
     ("diffusion.TextToImage.sample", 5)],
    ids=["at the references", "before any attempt", "in round 0", "in round 1"],
)  # fmt: skip
def test_an_interrupted_run_gives_the_same_result_as_an_uninterrupted_run(
    make, done, tmp_path, monkeypatch, method, calls
):
    with monkeypatch.context() as patch:
        interrupt_at(patch, f"diffcore_hf.models.{method}", calls)
        first = go(make(tmp_path / "out", part_size=3))
    assert first.interrupted
    assert first.summary.counts["pending"] > 0
    assert first.folder.faults() == []
    assert len(rows(tmp_path / "out")) == 10
    second = go(make(tmp_path / "out", part_size=4))
    assert not second.interrupted
    assert first.new_attempts + second.new_attempts == done.new_attempts
    assert published(tmp_path / "out") == published(done.folder.path)


def test_a_run_with_a_limit_can_be_continued_without_it(make, done, tmp_path):
    first = go(make(tmp_path / "out", limit=4))
    assert first.summary.counts | {"planned": 10, "pending": 6} == first.summary.counts
    go(make(tmp_path / "out"))
    assert published(tmp_path / "out") == published(done.folder.path)


def test_a_lost_part_is_computed_again(make, done, copy):
    before = published(copy)
    [part] = (copy / ".diffcore/parts/r1").rglob("*.parquet")
    part.unlink()
    assert 0 < go(make(copy)).new_attempts < done.new_attempts
    assert published(copy) == before


@pytest.mark.parametrize("kind", ["r0", "ref", "an image of r0"])
def test_a_damaged_part_is_renamed_and_its_facts_are_computed_again(make, done, copy, caplog, kind):
    [part, *_] = sorted((copy / ".diffcore/parts" / kind.split()[-1]).rglob("*.parquet"))
    content = bytearray(part.read_bytes())
    image = contents(rows(copy, "generated"))[0]
    # A position inside an image. The compression of the column leaves the bytes of images as they are.
    position = content.index(image[40:80]) if kind.startswith("an image") else len(content) // 2
    content[position] ^= 1
    part.write_bytes(content)
    before = published(copy)
    assert any(str(part) in line and "is damaged" in line for line in verify(str(copy)))
    again = go(make(copy))
    assert published(copy) == before
    assert (again.new_attempts > 0) == kind.endswith("r0")
    assert part.with_name(f"{part.name}.bad").exists()
    assert f"part {part} is damaged" in caplog.text
    assert verify(str(copy)) == []


def test_a_command_that_computes_nothing_refuses_a_damaged_part(make, done, copy, tmp_path):
    [part] = (copy / ".diffcore/parts/r0").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(UserError, match=r"is damaged .*Run augment again with this output folder"):
        export(copy, tmp_path / "other", {})
    go(make(copy))
    export(copy, tmp_path / "other", {})
    assert verify(str(tmp_path / "other")) == []


def test_the_current_files_of_a_folder_are_loaded(make, tmp_path):
    """The cache of `datasets` must not return the earlier files of a folder that was continued."""
    for limit, pending in ((2, 8), (6, 4)):
        go(make(tmp_path / "looked-at", limit=limit, max_attempts=1))
        loaded = load_dataset(str(tmp_path / "looked-at"), split="train", cache_dir=tmp_path / "cache")
        assert loaded["status"][:].count("pending") == pending


def test_weights_are_hashed_once_for_a_folder(make, copy, monkeypatch):
    from diffcore_hf.models import weights_access

    real, read = hashlib.file_digest, []
    monkeypatch.setattr(
        weights_access.hashlib, "file_digest", lambda file, name: (read.append(file.name), real(file, name))[1]
    )
    prepare(make(copy))
    assert read == []
