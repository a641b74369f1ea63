"""Tests of workers that the program or torchrun starts. Each process imports torch, so the tests are slow."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from run_folders import published
from worker_processes import made

from diffcore_hf.commands.main import main
from diffcore_hf.config.mappings import to_mapping

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(make, tmp_path, monkeypatch):
    """Returns a recipe file. Spawned processes import the strategy of the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT), str(ROOT / "tests/helpers")]))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(to_mapping(make(tmp_path / "out", part_size=2))))
    return path


def decided(files):
    """Returns the published data files without the contact sheet, which has fewer tiles in the test process."""
    return {name: content for name, content in files.items() if name.startswith(("data", "generated", "attempts"))}


def children(pid):
    """Returns the ids of the child processes of a process that work on parts."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def wait_for_parts(out, process):
    """Waits until a run has a part with attempts."""
    while not list((out / ".diffcore/parts/r0").glob("??/*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)


def test_two_processes_make_the_result_of_one_and_a_killed_one_is_started_again(recipe, alone, tmp_path):
    command = [sys.executable, "-m", "diffcore_hf.commands.main", "augment", str(recipe), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for_parts(tmp_path / "out", process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=800)
    assert process.returncode == 0, errors
    assert decided(published(tmp_path / "out")) == decided(alone)
    counts = made(tmp_path / "out")
    assert counts.total() - len(counts) <= 6


def test_a_signal_is_passed_on_to_the_processes_and_the_run_continues(recipe, alone, tmp_path):
    command = [sys.executable, "-m", "diffcore_hf.commands.main", "augment", str(recipe), "--workers", "2"]
    command += ["--grace", "280"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for_parts(tmp_path / "out", process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert published(tmp_path / "out")
    assert main(["augment", str(recipe)]) == 0
    assert decided(published(tmp_path / "out")) == decided(alone)


def test_one_of_two_ranks_of_torchrun_is_killed_and_the_same_command_continues(recipe, alone, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29533", "-m"]
    command += ["diffcore_hf.commands.main", "augment", str(recipe)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for_parts(tmp_path / "out", process)
    ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(ranks[0]), signal.SIGKILL)
    process.communicate(timeout=600)
    assert process.returncode != 0
    again = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    assert decided(published(tmp_path / "out")) == decided(alone)


def test_a_wrong_number_of_workers_is_a_one_line_error(recipe, capsys):
    for number in ("0", "two", "-1"):
        assert main(["augment", str(recipe), f"--workers={number}"]) == 2
        assert f"--workers is '{number}'; use a number" in capsys.readouterr().err
