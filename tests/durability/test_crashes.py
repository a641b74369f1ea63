"""Tests of a row that ends its process. All other rows are computed.

Only the option --crash-suspended records the row as crashed, so that the run can finish.
"""

import json
import os

import pytest
import worker_processes
from run_folders import attempts_of, manifest, published
from worker_processes import join, start

from diffcore_hf.augmentation.crash_facts import record_suspended
from diffcore_hf.augmentation.crashes import Suspects, read_suspects
from diffcore_hf.augmentation.decisions import read_facts
from diffcore_hf.core.folder import Folder
from diffcore_hf.workflows import augment


class Deadly(worker_processes.Noise):
    """Ends the process if the batch contains a certain row."""

    reads = ("seed", "label", "row_id")

    def sample(self, batch):
        if (worker_processes.DEADLY or "none") in batch["row_id"]:
            os._exit(9)
        return super().sample(batch)


@pytest.fixture
def deadly_row(make, tmp_path, monkeypatch):
    """Returns the recipe of a run, and the id of a row that ends its process in its first attempt."""
    recipe = make(
        tmp_path / "out", strategy=f"{__name__}:Deadly", strict=False, batch_size=4, part_size=6, max_attempts=1
    )
    run = augment.prepare(recipe)
    monkeypatch.setattr(worker_processes, "DEADLY", run.plan.row_ids[5], raising=False)
    return recipe, run.plan.row_ids[5]


def test_a_row_that_ends_its_process_is_suspended_and_all_others_are_computed(deadly_row, tmp_path):
    recipe, row_id = deadly_row
    out = tmp_path / "out"
    assert [join([start(recipe)])[0] for _ in range(5)] == [9, 9, 9, 9, 0]
    assert read_suspects(Folder(out).private).suspended == {("r0", (row_id, 0))}
    counts = manifest(out)["counts"]
    assert (counts["pending"], counts["attempts"]) == (1, counts["planned"] - 1)
    result = augment.run(recipe, progress=False)
    assert any(row_id in note and "--crash-suspended" in note for note in result.summary.notes)

    result = augment.run(recipe, progress=False, crash_suspended=True)
    assert (result.new_attempts, result.summary.counts["pending"], result.summary.counts["failed"]) == (0, 0, 1)
    assert attempts_of(out)[row_id, 0, 0] == "crashed"
    assert not any("suspended" in note for note in result.summary.notes)
    assert Folder(out).faults() == []


def test_suspended_attempts_and_real_images_become_facts_that_are_not_computed_again(make, tmp_path):
    run = augment.prepare(make(tmp_path / "out"))
    row_id, unit = run.plan.row_ids[0], run.plan.key(1)
    for kind, key in (("ref", (row_id, 0)), ("r1", unit)):
        for death in range(3):
            record = run.folder.private / "crashes" / f"{kind}-{death}.json"
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps({"kind": kind, "keys": [key]}))
    assert record_suspended(run) == 2
    references, attempts = read_facts(run)
    assert references.reasons[references.keys[row_id, 0, 0]] == "unreadable: it ended the process 3 times"
    assert references.unread == set()
    assert attempts.reasons[attempts.keys[*unit, 1]] == "crashed: it ended the process 3 times"
    assert read_suspects(run.folder.private) == Suspects()
    assert record_suspended(run) == 0


@pytest.mark.slow
def test_kills_from_outside_write_no_facts_and_the_result_is_that_of_an_undisturbed_run(
    make, alone, tmp_path, monkeypatch
):
    monkeypatch.setattr(worker_processes, "SECONDS", 0.02)
    out = tmp_path / "out"
    for _ in range(2):
        worker = start(make(out, part_size=6))
        batches = out / ".diffcore" / "batches"
        while worker.is_alive() and not (batches.is_dir() and list(batches.glob("*.json"))):
            worker.join(0.01)
        worker_processes.kill(worker)
    assert join([start(make(out, part_size=4))]) == [0]
    assert published(out) == alone
