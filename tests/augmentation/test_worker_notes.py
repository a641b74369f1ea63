"""Tests of the notes in which workers write what they compute, and of the rule that decides if a worker is alive."""

import json
import math
import os
from dataclasses import replace

import pytest

from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.worker_notes import FOLDER, SHORTEST_BOUND, UNKNOWN_BOUND, WorkerNotes, read_notes


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def notes(tmp_path, clock):
    """Returns a function that starts the notes of one of three workers. By default, it runs on another machine."""

    def notes(index, host="another machine", plan="plan"):
        own = WorkerNotes(tmp_path, Share(index, 3), plan, clock)
        own.note = replace(own.note, host=host)
        own.start()
        return own

    return notes


def test_a_worker_sees_what_the_others_compute(notes):
    first, second = notes(0), notes(1)
    second.claim("r0", [4, 5])
    assert first.claimed("r0") == {4, 5}
    assert (first.claimed("r1"), second.claimed("r0")) == (set(), set())
    second.claim("", [])
    assert first.claimed("r0") == set()
    assert first.peers() == 3


@pytest.mark.parametrize(
    "usual, bound",
    [(0, UNKNOWN_BOUND), (0.1, SHORTEST_BOUND), (60, 180)],
    ids=["unknown", "short parts", "three parts"],
)
def test_a_worker_is_dead_if_its_counter_stays_for_three_times_the_usual_part(notes, clock, usual, bound):
    first, second = notes(0), notes(1)
    first.finished(usual)
    second.claim("r0", [4])
    for _ in range(3):
        assert first.claimed("r0") == {4}
        clock.now += 0.9 * bound
        second.add(1)
    clock.now += 1.1 * bound
    assert first.claimed("r0") == {4}
    clock.now += 1.1 * bound
    assert first.claimed("r0") == set()
    second.claim("r0", [4])
    assert first.claimed("r0") == {4}


def test_an_ended_process_of_this_machine_is_dead_at_once(notes):
    first = notes(0)
    second = notes(1, host=first.path.name)
    second.note = replace(second.note, host=WorkerNotes(first.private, Share(), "plan").note.host, pid=2**22 + 1)
    second.claim("r0", [4])
    assert first.claimed("r0") == set()


def test_claims_in_another_plan_are_ignored(notes):
    first, second = notes(0), notes(1, plan="another plan")
    second.claim("r0", [4])
    assert first.claimed("r0") == set()


def test_a_worker_that_starts_again_replaces_its_note_and_one_that_ends_removes_it(notes, tmp_path):
    notes(1).claim("r0", [4])
    again = notes(1)
    assert list(read_notes(tmp_path)) == [again.path.name]
    again.close()
    assert read_notes(tmp_path) == {}


def test_the_note_of_a_worker_that_failed_stays(notes, tmp_path):
    first = notes(0)
    first.failed("no memory\nat all")
    first.close()
    assert [note.error for note in read_notes(tmp_path).values()] == ["no memory at all"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"worker": 1}', "\x00", json.dumps({"pid": "x"}), '{"items": 5}'])
def test_a_damaged_note_is_ignored(notes, tmp_path, text):
    first = notes(0)
    (tmp_path / FOLDER / "damaged.json").write_text(text)
    assert list(read_notes(tmp_path)) == [first.path.name]
    assert first.claimed("r0") == set()


def test_no_note_can_be_written_and_the_worker_continues(tmp_path):
    (tmp_path / FOLDER).write_text("a file in place of the folder")
    notes = WorkerNotes(tmp_path, Share(), "plan")
    notes.start()
    notes.claim("r0", [1])
    assert notes.claimed("r0") == set()
    notes.close()
    assert os.listdir(tmp_path) == [FOLDER]


@pytest.mark.parametrize(
    "change",
    [
        {"counter": math.inf},
        {"images": 10**400},
        {"items": [math.nan]},
        {"host": 5},
        {"host": None},
        {"error": {}},
        None,
    ],
    ids=str,
)
def test_a_note_that_no_worker_wrote_is_ignored(tmp_path, notes, change):
    notes(0)
    file = tmp_path / FOLDER / "1-of-3.json"
    if change is None:
        os.mkfifo(file)
    else:
        written = json.loads(next((tmp_path / FOLDER).glob("0-*")).read_text())
        file.write_text(json.dumps(written | change))
    assert [note.worker for note in read_notes(tmp_path).values()] == ["0/3"]
