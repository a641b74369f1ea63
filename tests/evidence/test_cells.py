"""Tests of cells, the single measurements of the evidence.

A result is stored completely or not at all, measured once, and packed into one file for each series.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks.evidence.cells import Cell, listing, pending, run
from benchmarks.evidence.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "packed", tmp_path / "new")


def double(work: Path, value: int) -> dict:
    """Measures a cell and records the call."""
    if value < 0:
        raise ValueError("below zero")
    with open(work / "calls", "a") as file:
        file.write(f"{value}\n")
    return {"double": 2 * value}


def cell(value: int) -> Cell:
    return Cell(f"numbers/n-{value}", 1, partial(double, value=value))


def test_only_cells_without_a_result_are_measured(store, tmp_path):
    lines: list[str] = []
    cells = [cell(1), cell(2), cell(-1)]
    assert run(cells, store, tmp_path, 2, lines.append) == 1
    assert any("n--1 failed: ValueError: below zero" in line for line in lines)
    assert [item.name for item in pending(cells, store)] == ["numbers/n--1"]
    assert run(pending(cells[:2], store), store, tmp_path, 2, lines.append) == 0
    assert sorted((tmp_path / "calls").read_text().split()) == ["1", "2"]
    assert store.pack() == 2
    assert {name: result["double"] for name, result in store.series("numbers").items()} == {"n-1": 2, "n-2": 4}
    assert set(store.series("numbers")["n-1"]["made"]) == {"date", "seconds", "versions", "attempt_stage"}
    assert [item.name for item in pending(cells, store)] == ["numbers/n--1"]


def test_packing_adds_new_results_and_replaces_old_results(store):
    for name, value in (("a/x-0", 1), ("a/x-1", 2), ("b/y-0", 3)):
        store.write(name, {"value": value})
    assert store.pack() == 3
    assert (
        store.packed / "a.json"
    ).read_text() == '{\n  "x-0": {\n    "value": 1\n  },\n  "x-1": {\n    "value": 2\n  }\n}\n'
    store.write("a/x-1", {"value": 4})
    assert store.pack() == 1
    assert store.series("a") == {"x-0": {"value": 1}, "x-1": {"value": 4}}
    assert store.series("b") == {"y-0": {"value": 3}}
    assert store.pack() == 0 and store.series("c") == {}


def test_a_packed_cell_is_measured_again_if_requested(store):
    store.write("numbers/n-1", {"double": 0})
    store.pack()
    cells = [cell(1), cell(2)]
    assert pending(cells, store) == cells[1:]
    assert pending(cells, store, again=True) == cells
    store.write("numbers/n-1", {"double": 2})
    assert pending(cells, store, again=True) == cells[1:]


def test_the_listing_shows_the_cells_that_are_not_measured():
    cells = [cell(1), cell(2)]
    lines = listing(cells, cells[1:], 2).splitlines()
    assert "done" in lines[0] and "done" not in lines[1] and "1 of 2 cells to do" in lines[-1]
    assert lines[-2] == "series numbers: 1 of 2 cells to do, about 0 core minutes"


def test_a_killed_run_leaves_no_process_and_continues(store, tmp_path):
    """If the parent is killed, its child processes end and leave no result. The next run measures the cell."""
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time, os\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from benchmarks.evidence.cells import Cell, run\n"
        "from benchmarks.evidence.store import Store\n"
        "def slow(work, seconds):\n"
        "    (work / 'pid').write_text(str(os.getpid()))\n"
        "    time.sleep(seconds)\n"
        "    return {'slept': seconds}\n"
        "if __name__ == '__main__':\n"
        "    here = Path(sys.argv[1])\n"
        "    store = Store(here / 'packed', here / 'new')\n"
        "    run([Cell('slow/one', 1, partial(slow, seconds=float(sys.argv[2])))], store, here, 1)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path), "600"], env=environment)
    try:
        worker = int(wait_for(lambda: (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""))
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{worker}").exists() or state(worker) == "Z")
    finally:
        process.kill()
        process.wait()
    assert not store.path("slow/one").exists()
    subprocess.run([sys.executable, str(script), str(tmp_path), "0"], env=environment, check=True)
    assert json.loads(store.path("slow/one").read_text())["slept"] == 0


def state(process: int) -> str:
    """Returns the state of a process; `Z` if it has ended but its parent has not read its status."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][:1]


def wait_for(condition: Callable[[], object], seconds: float = 120) -> object:
    """Returns the first true value of `condition`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    pytest.fail(f"the condition is not true within {seconds} s")
