"""Tests of a folder that is continued with another recipe: facts are reused, and some changes are refused."""

import json
import shutil
from pathlib import Path

import pytest
from datasets import ClassLabel
from run_folders import attempts_of, go, manifest, published, rows, sha256, tree, write_review
from small_photos import photos

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.core.errors import UserError
from diffcore_hf.method import policies


def test_a_run_reads_run_json_and_the_review_once_and_fits_the_policy_once(make, copy, tmp_path, monkeypatch):
    review = write_review(tmp_path / "review.csv", (next(iter(attempts_of(copy))), "accept"))
    counted = {"run.json": 0, "review.csv": 0, "fit": 0}
    read_text, read_bytes, fit = Path.read_text, Path.read_bytes, policies.fit

    def counting(read):
        def wrapped(path, *arguments, **options):
            if path.name in counted:
                counted[path.name] += 1
            return read(path, *arguments, **options)

        return wrapped

    def fit_and_count(*arguments):
        counted["fit"] += 1
        return fit(*arguments)

    monkeypatch.setattr(Path, "read_text", counting(read_text))
    monkeypatch.setattr(Path, "read_bytes", counting(read_bytes))
    monkeypatch.setattr(policies, "fit", fit_and_count)
    assert go(make(copy, review=review, max_attempts=3)).new_attempts > 0
    assert counted == {"run.json": 1, "review.csv": 1, "fit": 1}
    monkeypatch.undo()
    assert manifest(copy)["recipe"]["review"]["identity"] == sha256(Path(review).read_bytes())


def test_a_larger_fraction_reuses_every_attempt(make, done, tmp_path):
    half = go(make(tmp_path / "out", fraction=0.5))
    assert half.summary.counts | {"planned": 5} == half.summary.counts
    assert rows(tmp_path / "out")["status"][:].count("not_planned") == 5
    early = attempts_of(tmp_path / "out")
    whole = go(make(tmp_path / "out", fraction=1.0))
    assert half.new_attempts + whole.new_attempts == done.new_attempts
    assert early.items() <= attempts_of(tmp_path / "out").items()
    assert published(tmp_path / "out") == published(done.folder.path)


def test_a_larger_max_attempts_adds_only_the_attempts_that_are_missing(make, done, copy):
    exhausted = done.summary.counts["exhausted"]
    before = attempts_of(copy)
    more = go(make(copy, max_attempts=3))
    assert more.new_attempts == exhausted
    assert before.items() <= attempts_of(copy).items()
    fewer = go(make(copy, max_attempts=1))
    assert fewer.new_attempts == 0
    assert {attempt for _, _, attempt in attempts_of(copy)} == {0}


def test_moved_models_and_sources_continue_the_same_folder(make, done, copy, tmp_path, tiny, folder_of_photos):
    for name, path in (("sd", tiny["sd"]), ("clip", tiny["clip"]), ("photos", folder_of_photos)):
        shutil.copytree(path, tmp_path / "moved" / name)
    moved = {"source": "photos", "model.path": "sd", "filter.path": "clip"}
    again = go(make(copy, **{key: str(tmp_path / "moved" / name) for key, name in moved.items()}))
    assert again.new_attempts == 0
    assert published(copy) == published(done.folder.path)


def test_a_run_with_more_copies_keeps_the_existing_copies(make, copy):
    before = attempts_of(copy)
    again = go(make(copy, copies=2))
    assert again.new_attempts >= 10
    now = attempts_of(copy)
    assert before.items() <= now.items()
    assert {key[1] for key in now} == {0, 1}


def test_another_policy_adds_only_the_attempts_that_are_missing(make, done, copy):
    exhausted = {key[0] for key, reason in attempts_of(copy).items() if key[2] == 1 and reason != "kept"}
    lenient = go(make(copy, **{"filter.policy": {"name": "all"}}))
    assert (lenient.new_attempts, lenient.summary.counts["kept"]) == (0, 10)
    assert {attempt for _, _, attempt in attempts_of(copy)} == {0}
    assert Ledger(lenient.folder.parts).count() == done.new_attempts
    hard = go(make(copy, **{"filter.policy": {"name": "fixed", "t": 1.0}}))
    assert hard.new_attempts == 10 - len(exhausted)  # attempt 1 of units whose attempt 0 was kept before
    assert hard.summary.counts["exhausted"] == 10
    back = go(make(copy))
    assert back.new_attempts == 0
    # The additional attempts of the strict policy stay in the ledger. A new run would not generate them.
    assert published(copy) == published(done.folder.path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model.gamma": 3.0}, "model.gamma: 2.0 -> 3.0"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"model.steps": 3}, "model.steps: 2 -> 3"),
        ({"model.size": 32}, "model.size: 16 -> 32"),
        ({"kind": "bird"}, 'kind: "general" -> "bird"'),
        ({"strict": False}, "strict: true -> false"),
        ({"image_format": "png"}, 'image_format: "jpeg" -> "png"'),
        ({"store_size": None}, "store_size: 512 -> null"),
        ({"model.scheduler": "PNDMScheduler"}, "model.scheduler.name"),
        ({"prompts.negatives": ["ugly"]}, "prompts.negatives"),
        ({"source.holdout": 0.25}, "source.holdout: 0.0 -> 0.25"),
    ],
)
def test_a_folder_with_another_attempt_digest_is_refused_and_the_error_names_the_key(make, done, change, message):
    before = tree(done.folder.path)
    with pytest.raises(ValueError, match="was started with settings that give other images") as error:
        go(make(done.folder.path, **change))
    assert message in str(error.value)
    assert "--output" in str(error.value)
    assert "\n" not in str(error.value)
    assert tree(done.folder.path) == before


@pytest.mark.parametrize("content", [{"attempt_digest": "0" * 32}, {"attempt_digest": "0" * 32, "format": 2}])
def test_a_folder_of_another_version_gives_a_one_line_error(make, tmp_path, content):
    run_file = tmp_path / "out" / ".diffcore" / "run.json"
    run_file.parent.mkdir(parents=True)
    run_file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"was written by another version of diffcore-hf.*--output") as error:
        go(make(tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert tree(tmp_path / "out") == {".diffcore/run.json": json.dumps(content).encode()}


def test_another_source_is_refused(make, done):
    before = tree(done.folder.path)
    other = photos([0, 0, 0, 4, 3]).cast_column("label", ClassLabel(names=["w", "x", "y", "sea_lion", "barn_owl"]))
    with pytest.raises(UserError, match=r"was started with another source: .*none of its 10 images.*--output$"):
        go(make(done.folder.path, source="in-memory"), other)
    assert tree(done.folder.path) == before
