"""Tests of the state of a run, as another process sees it: figures, workers, speed and time left."""

import json
import os
import time

import numpy as np
import pytest
from run_folders import go

from diffcore_hf.augmentation.figures import Figures, FiguresFile, RoundFigures, read_figures
from diffcore_hf.augmentation.schedule import Schedule
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.worker_notes import WorkerNote, WorkerNotes
from diffcore_hf.commands.main import main
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.method.filtration import Units
from diffcore_hf.workflows import status

FIGURES = Figures(
    planned=1000,
    kept=300,
    exhausted=10,
    failed=5,
    rounds=(RoundFigures(500, 500, 200), RoundFigures(200, 100, 100)),
    references_done=60,
    reasons={"kept": 300, "policy": 380, "invalid": 20},
)

INFINITE = '{"rounds": [], "reasons": {}, "planned": Infinity, "kept": 0, "exhausted": 0, "failed": 0}'
PIPE = "a pipe in the place of the file"


@pytest.fixture
def folder(tmp_path):
    """Returns the folder of a run with figures and without workers."""
    folder = Folder(tmp_path / "out")
    folder.write_run({"attempt_digest": "a"})
    FiguresFile(folder.private).write(lambda: FIGURES)
    return folder


def worker(folder, index, clock=time.monotonic):
    notes = WorkerNotes(folder.private, Share(index, 2), "plan", clock)
    notes.start()
    return notes


def test_the_figures_of_a_schedule_are_those_of_its_units():
    """The limit is five of six units, and unit 5 is unreadable. Unit 2 is kept, and unit 3 is rejected twice."""
    units = Units(np.array(list("abcdef")), np.zeros(6, np.int64), np.array([0, 0, 1, 1, 1, 1]), np.arange(6) != 5)
    schedule = Schedule(units, 5, 2, 2)
    schedule.add(np.array([2, 3]), np.array([0, 0]), np.array([True, False]))
    figures = schedule.figures()
    assert figures.rounds == (RoundFigures(2, 3, 1), RoundFigures(0, 1, 0))
    assert (figures.planned, figures.kept, figures.exhausted, figures.failed, figures.pending) == (6, 1, 0, 1, 4)
    assert figures.limited == 1
    schedule.add(np.array([3]), np.array([1]), np.array([False]))
    assert (schedule.figures().exhausted, schedule.figures().pending) == (1, 3)


def test_the_expected_attempts_follow_from_the_kept_share():
    """300 of 700 attempts are kept, so 4/7 of the 500 missing attempts of round 0 will be rejected.

    Each of these units needs another attempt in round 1, in addition to the 100 that are missing there.
    """
    assert FIGURES.kept_share == pytest.approx(3 / 7)
    assert FIGURES.expected_attempts() == pytest.approx(500 + 500 * 4 / 7 + 100)


def test_figures_are_read_as_they_were_written_and_damaged_ones_are_ignored(folder):
    assert read_figures(folder.private) == FIGURES
    for content in ("", "[]", "{}", '{"rounds": 3}', '{"rounds": [], "reasons": {}, "planned": null}', PIPE, INFINITE):
        file = folder.private / "figures.json"
        file.unlink(missing_ok=True)
        os.mkfifo(file) if content == PIPE else file.write_text(content)
        assert read_figures(folder.private) is None


def test_figures_are_written_at_most_every_two_seconds(tmp_path):
    now = [0.0]
    file = FiguresFile(tmp_path, clock=lambda: now[0])
    file.write(lambda: FIGURES)
    now[0] = 1.0
    file.write(lambda: pytest.fail("written again"))
    file.write(lambda: Figures(1, 1, 0, 0, ()), now=True)
    assert read_figures(tmp_path) == Figures(1, 1, 0, 0, ())


def test_a_worker_is_alive_if_its_counter_changed_between_two_readings(folder):
    now = [0.0]
    fast, resting, failed = (worker(folder, index, lambda: now[0]) for index in range(3))
    for notes in (fast, resting):
        notes.claim("r0", range(8))
        now[0] += 4.0
        notes.add(8)
    failed.failed("out of memory:\n use --model.offload model")
    first = status.look(folder.path)
    now[0] += 4.0
    fast.add(8)
    lines = status.text(status.look(folder.path), first).splitlines()
    me = f"(process {os.getpid()} on {fast.note.host.partition('.')[0]})"
    assert lines[0] == f"{folder.path}: 1 of 3 workers work"
    assert lines[1:5] == [
        "round 0     500 of 1,000 attempts, 200 kept (40.0 %)",
        "round 1     200 of 300 attempts, 100 kept (50.0 %)",
        "rows        1,000 planned: 300 kept, 10 exhausted, 5 failed, 685 pending",
        "kept rate   42.9 % of the attempts; rejected: policy 380, invalid 20",
    ]
    assert lines[5] == "speed       1.33 images a second"
    assert lines[6] == "time left   about 11 min, for about 886 images"
    assert lines[7] == f"worker 0/2 {me}: works, 1.33 images a second, r0: 8 in the current part"
    assert (
        lines[8] == f"worker 1/2 {me}: no change between two readings, 2.00 images a second, r0: 8 in the current part"
    )
    assert lines[9] == f"worker 2/2 {me}: stopped by an error, no image yet"
    assert lines[10] == "  last error: out of memory: use --model.offload model"


def test_units_beyond_the_limit_of_the_run_have_a_line(folder):
    FiguresFile(folder.private).write(lambda: Figures(240, 18, 12, 0, (RoundFigures(30, 0, 18),), limited=210))
    lines = status.text(status.look(folder.path), None).splitlines()
    assert lines[3] == "limit       210 of the planned units are left out by --limit"


@pytest.mark.parametrize(
    "changes, state",
    [({"host": "another"}, "seen for the first time"), ({"pid": 2**22 + 1}, "ended without a report"),
     ({"error": "x"}, "stopped by an error")],
)  # fmt: skip
def test_a_worker_that_ended_on_this_machine_is_named(folder, changes, state):
    notes = worker(folder, 0)
    note = WorkerNote(**{"worker": "0/1", "host": notes.note.host, "pid": os.getpid()} | changes)
    assert status.activity(note, None) == state


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min"), (180_000, "2 d 2 h")],
)
def test_a_duration_has_at_most_two_units(seconds, text):
    assert status.duration(seconds) == text


def test_status_of_other_folders_is_a_one_line_error(tmp_path, folder):
    with pytest.raises(UserError, match="is not the folder of a run"):
        status.look(tmp_path / "nothing")
    folder.write_run({"attempt_digest": "a", "exported": True})
    with pytest.raises(UserError, match="is an export"):
        status.look(folder.path)


def test_the_status_of_a_finished_run_agrees_with_its_export(make, copy, capsys):
    go(make(copy))
    assert main(["status", str(copy), "--watch"]) == 0
    printed = capsys.readouterr().out
    counts = json.loads((copy / "diffcore.json").read_text())["counts"]
    rows = ", ".join(f"{counts[name]} {name}" for name in ("kept", "exhausted", "failed", "pending"))
    assert printed.splitlines()[0] == f"{copy}: no attempt is missing"
    assert f"rows        10 planned: {rows}" in printed
    (copy / ".diffcore" / "figures.json").unlink()
    assert main(["status", str(copy)]) == 0
    assert f"attempts    {counts['attempts']}\nrows        10 planned: {rows}\n" in capsys.readouterr().out


def test_a_watch_ends_when_the_run_is_finished(folder):
    done = Figures(10, 10, 0, 0, (RoundFigures(10, 0, 10),))
    notes = worker(folder, 0)
    texts = status.looks(folder.path, watch=True, wait=0.01)
    assert "seen for the first time" in next(texts)
    notes.claim("r0", [1])
    assert "works" in next(texts)
    FiguresFile(folder.private).write(lambda: done, now=True)
    notes.close()
    assert "no attempt is missing, not exported yet" in next(texts)
    assert list(texts) == []
