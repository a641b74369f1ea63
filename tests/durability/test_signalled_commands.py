"""Tests of commands that receive signals as a terminal, a scheduler or `kill` sends them."""

import os
import pty
import shlex
import signal
import subprocess
import sys
import time

import pytest
import yaml
from run_folders import manifest, published
from worker_processes import join, made, start

from diffcore_hf.config.mappings import to_mapping
from diffcore_hf.core.folder import Folder

BOUND = 300
"""Longest time in seconds from a signal to the end of a command, on a busy machine."""


@pytest.fixture
def command(make, tmp_path):
    """Returns the words of an augment command whose images take some time."""
    recipe_file = tmp_path / "recipe.yaml"
    recipe = to_mapping(make(tmp_path / "out", part_size=4))
    recipe_file.write_text(yaml.safe_dump(recipe))
    return [sys.executable, "-m", "diffcore_hf.commands.main", "augment", str(recipe_file), "--grace", "60"]


@pytest.fixture
def environment():
    return os.environ | {"NOISE_SECONDS": "0.3", "PYTHONPATH": os.pathsep.join(["src", "tests/helpers"])}


def wait_for_parts(out, process):
    """Waits until a first part of round 0 exists, and a short time more."""
    deadline = time.monotonic() + 300
    while not list(out.glob(".diffcore/parts/r0/??/*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)


def check_continued(make, out, alone):
    """Checks that a stopped run was exported without the missing attempts, and that its continuation is complete."""
    assert Folder(out).faults() == []
    assert manifest(out)["counts"]["pending"] > 0
    before = made(out)
    assert join([start(make(out, part_size=3))]) == [0]
    assert published(out) == alone
    assert before <= made(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, to_group, options",
    [
        (signal.SIGTERM, False, []),
        (signal.SIGUSR1, False, ["--workers", "2"]),
        (signal.SIGINT, True, ["--workers", "2"]),
    ],
    ids=["kill", "scheduler with workers", "terminal with workers"],
)
def test_a_signal_ends_the_command_with_an_export(
    make, alone, command, environment, tmp_path, number, to_group, options
):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    wait_for_parts(out, process)
    (os.killpg if to_group else os.kill)(process.pid, number)
    printed, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 128 + number
    assert printed.splitlines()[-1].startswith(f"{number.name}: ")
    assert "new attempts are saved and exported" in printed.splitlines()[-1]
    check_continued(make, out, alone)


@pytest.mark.slow
def test_ctrl_c_with_a_pipe_exports_although_the_reader_ends_first(make, alone, command, environment, tmp_path):
    out = tmp_path / "out"
    line = f"{shlex.join(command)} 2>&1 | tee {shlex.quote(str(tmp_path / 'log'))}; exit ${{PIPESTATUS[0]}}"
    process = subprocess.Popen(["bash", "-c", f"trap : INT; {line}"], env=environment, start_new_session=True)
    wait_for_parts(out, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(BOUND) == 130
    check_continued(make, out, alone)


@pytest.mark.slow
def test_a_closed_terminal_does_not_stop_the_export(make, alone, command, environment, tmp_path):
    out = tmp_path / "out"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, environment)
    deadline = time.monotonic() + 300
    while not list(out.glob(".diffcore/parts/r0/??/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    check_continued(make, out, alone)
