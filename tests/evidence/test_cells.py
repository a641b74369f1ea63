"""Cells: whole or not at all, measured once, whatever failed or was killed before."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.evidence.cells import Cell, listing, pending, read, run

ROOT = Path(__file__).parents[2]


def double(work: Path, value: int) -> dict:
    """A measurement that leaves a trace of every call."""
    if value < 0:
        raise ValueError("below zero")
    with open(work / "calls", "a") as file:
        file.write(f"{value}\n")
    return {"double": 2 * value}


def cell(value: int) -> Cell:
    return Cell(f"numbers/n-{value}", 1, partial(double, value=value))


def test_what_is_there_is_not_measured_again(tmp_path):
    said: list[str] = []
    cells = [cell(1), cell(2), cell(-1)]
    assert run(cells, tmp_path / "facts", tmp_path, 2, said.append) == 1
    assert any("n--1 failed: ValueError: below zero" in line for line in said)
    assert [one.name for one in pending(cells, tmp_path / "facts")] == ["numbers/n--1"]
    assert run(cells[:2], tmp_path / "facts", tmp_path, 2, said.append) == 0
    assert sorted((tmp_path / "calls").read_text().split()) == ["1", "2"]
    facts = read(tmp_path / "facts", "numbers")
    assert {name: fact["double"] for name, fact in facts.items()} == {"n-1": 2, "n-2": 4}
    assert set(facts["n-1"]["made"]) == {"date", "seconds", "versions"}


def test_the_listing_tells_what_is_left(tmp_path):
    run([cell(1)], tmp_path, tmp_path, 1, lambda line: None)
    told = listing([cell(1), cell(2)], tmp_path, 2)
    assert "done" in told.splitlines()[0] and "1 of 2 cells to do" in told.splitlines()[-1]


def test_a_killed_run_leaves_no_process_and_goes_on(tmp_path):
    """The parent killed without a word: its processes end by themselves, the fact is absent, the next run makes it."""
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time, os\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from benchmarks.evidence.cells import Cell, run\n"
        "def slow(work, seconds):\n"
        "    (work / 'pid').write_text(str(os.getpid()))\n"
        "    time.sleep(seconds)\n"
        "    return {'slept': seconds}\n"
        "if __name__ == '__main__':\n"
        "    here = Path(sys.argv[1])\n"
        "    run([Cell('slow/one', 1, partial(slow, seconds=float(sys.argv[2])))], here, here, 1)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path), "600"], env=environment)
    try:
        worker = int(waited(lambda: (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""))
        process.send_signal(signal.SIGKILL)
        waited(lambda: not Path(f"/proc/{worker}").exists() or state(worker) == "Z")
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "slow" / "one.json").exists()
    subprocess.run([sys.executable, str(script), str(tmp_path), "0"], env=environment, check=True)
    assert json.loads((tmp_path / "slow" / "one.json").read_text())["slept"] == 0


def state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][:1]


def waited(found, seconds: float = 60):
    """The first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.1)
    pytest.fail(f"nothing within {seconds} s")
