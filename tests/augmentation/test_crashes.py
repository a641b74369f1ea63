"""Tests of the records of crashes: which rows are computed alone, and which are suspended."""

import os
import subprocess
import sys

import pytest

from diffcore_hf.augmentation import crashes
from diffcore_hf.augmentation.crashes import CrashWatch, CurrentBatch, Suspects, forget, note_on, read_suspects

DEAD = 2**22 + 1
"""A number that is not the id of a process."""


@pytest.fixture
def die(tmp_path, monkeypatch):
    """Returns a function that writes the batch file of a process that ended while it computed some rows."""

    def die(kind, *row_ids):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: DEAD)
            CurrentBatch(tmp_path).record(kind, [(row_id, 0) for row_id in row_ids])

    return die


def items(kind, *row_ids):
    return frozenset((kind, (row_id, 0)) for row_id in row_ids)


def test_the_rows_of_a_running_process_are_no_suspects(tmp_path):
    batch = CurrentBatch(tmp_path)
    batch.record("r0", [("a", 0), ("b", 0)])
    batch.record("r0", [("c", 0)])
    assert CrashWatch(tmp_path).look() == Suspects()
    batch.clear()
    assert list((tmp_path / "batches").iterdir()) == []


def test_rows_of_a_dead_process_are_computed_alone_and_suspended_after_three_further_deaths(tmp_path, die):
    watch = CrashWatch(tmp_path)
    die("r0", "a", "b")
    assert watch.look() == Suspects(alone=items("r0", "a", "b"))
    for death in range(1, 4):
        die("r0", "b")
        suspects = watch.look()
        assert suspects.suspended == (items("r0", "b") if death == 3 else frozenset())
    assert suspects.alone == items("r0", "a")
    assert read_suspects(tmp_path) == suspects


def test_deaths_with_other_rows_or_in_another_round_are_counted_apart(tmp_path, die):
    for kind in ("r0", "r1", "ref"):
        die(kind, "a")
    for _ in range(3):
        die("r0", "a", "b")
    assert CrashWatch(tmp_path).look().suspended == frozenset()


def test_every_death_is_recorded_once_by_any_number_of_observers(tmp_path, die):
    die("r0", "a")
    looks = [CrashWatch(tmp_path).look() for _ in range(5)]
    assert set(looks) == {Suspects(alone=items("r0", "a"))}
    assert len(list((tmp_path / "crashes").iterdir())) == 1


def test_a_process_of_another_machine_has_ended_if_its_batch_file_does_not_change(tmp_path, monkeypatch):
    now = [0.0]
    watch = CrashWatch(tmp_path, clock=lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(crashes.leftovers, "_host", lambda: "another-machine")
        batch = CurrentBatch(tmp_path)
        batch.record("r0", [("a", 0)])
    for _ in range(3):
        watch.look()
        now[0] += 0.9 * crashes.LONGEST_REST
        batch.record("r0", [("a", 0)])
    assert watch.look() == Suspects()
    now[0] += 1.1 * crashes.LONGEST_REST
    assert watch.look() == Suspects(alone=items("r0", "a"))


def test_a_killed_process_leaves_its_batch_file(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from diffcore_hf.augmentation.crashes import CurrentBatch\n"
        "CurrentBatch(Path(sys.argv[1])).record('r2', [('train/a', 1)]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert CrashWatch(tmp_path).look().alone == {("r2", ("train/a", 1))}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "r0", "keys": 3}', '{"kind": "r0", "keys": [["a"]]}'])
def test_a_damaged_record_is_ignored(tmp_path, die, content):
    die("r0", "a")
    CrashWatch(tmp_path).look()
    (tmp_path / "crashes" / "damaged.json").write_text(content)
    assert read_suspects(tmp_path) == Suspects(alone=items("r0", "a"))


def test_records_of_rows_with_facts_are_forgotten(tmp_path, die):
    for row_id in ("a", "b") * 3:
        die("r0", row_id)
    watch = CrashWatch(tmp_path)
    assert watch.look().suspended == items("r0", "a", "b")
    forget(tmp_path, items("r0", "a"))
    assert watch.look() == Suspects(suspended=items("r0", "b"))


def test_the_note_names_some_suspended_rows():
    assert note_on([]) is None
    note = note_on(items("r0", *(f"train/{number}" for number in range(7))))
    assert note.startswith("7 rows are suspended, because each of them ended its process 3 times")
    assert "train/0, train/1, train/2, train/3, train/4 and 2 more. To record" in note
