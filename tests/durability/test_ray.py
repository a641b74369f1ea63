"""Tests of workers on a Ray cluster of two nodes, which Ray's test utilities start on this machine."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from run_folders import published
from worker_processes import made

from diffcore_hf.commands.main import main
from diffcore_hf.config.mappings import to_mapping

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
BOUND = 600
"""Longest time in seconds of a run on a busy machine."""


@pytest.fixture
def recipe(make, tmp_path, monkeypatch):
    """Returns a recipe file, and sets the variables with which the nodes can import the strategy of the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT), str(ROOT / "tests/helpers")]))
    monkeypatch.setenv("NOISE_SECONDS", "0.6")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(to_mapping(make(tmp_path / "out", part_size=2))))
    return path


@pytest.fixture
def cluster(recipe):
    """Returns a cluster whose head node has no CPUs. So workers run on the other nodes only, which a test can kill."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    before = {process.pid for process in psutil.process_iter()}
    # The path of a socket has at most 107 characters, so the folder of pytest is too long.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": folder}
        )
        yield cluster
        cluster.shutdown()
    deadline = time.monotonic() + 60
    while (left := processes_of_ray(before)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def processes_of_ray(before):
    """Returns the command lines of running Ray processes whose ids are not in `before`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            is_ray = "/ray/core/src/ray/" in line or line.startswith("ray::")
            if process.pid not in before and is_ray and process.status() != psutil.STATUS_ZOMBIE:
                found.append(line[:100])
    return found


def command(recipe, cluster, *more):
    """Returns the words of the command that augments on a cluster."""
    words = [sys.executable, "-m", "diffcore_hf.commands.main", "augment", str(recipe), "--workers", "ray"]
    return [*words, "--address", cluster.address, *more]


def start(recipe, cluster, *more):
    """Starts the command and returns its process."""
    return subprocess.Popen(
        command(recipe, cluster, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def workers(out, count, process):
    """Waits until `count` workers compute a part. Returns their process ids by worker."""
    from diffcore_hf.augmentation.worker_notes import read_notes

    while True:
        notes = {note.worker: note.pid for note in read_notes(out / ".diffcore").values() if note.items}
        if len(notes) >= count:
            return notes
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def decided(files):
    """Returns the published data files without the contact sheet, which has fewer tiles in the test process."""
    return {name: content for name, content in files.items() if name.startswith(("data", "generated", "attempts"))}


def check_finished(process, out, alone, twice):
    """Checks that the run ended well, and that at most `twice` images were made twice."""
    printed, errors = process.communicate(timeout=BOUND)
    assert process.returncode == 0, printed + errors
    assert decided(published(out)) == decided(alone)
    counts = made(out)
    assert counts.total() - len(counts) <= twice
    assert list((out / ".diffcore/workers").iterdir()) == []
    return errors


def test_an_actor_is_killed_and_a_new_one_takes_its_place(recipe, cluster, alone, tmp_path):
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    process = start(recipe, cluster)
    os.kill(workers(tmp_path / "out", 2, process)["0/2"], signal.SIGKILL)
    errors = check_finished(process, tmp_path / "out", alone, twice=4)
    assert "worker 0/2 has died and is started again" in errors


def test_a_node_is_killed_and_the_other_one_does_its_work(recipe, cluster, alone, tmp_path):
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    process = start(recipe, cluster)
    workers(tmp_path / "out", 2, process)
    cluster.remove_node(nodes[0], allow_graceful=False)
    errors = check_finished(process, tmp_path / "out", alone, twice=4)
    assert "a node has left the Ray cluster" in errors


def test_a_node_joins_and_gets_a_worker(recipe, cluster, alone, tmp_path):
    cluster.add_node(num_cpus=1)
    process = start(recipe, cluster)
    workers(tmp_path / "out", 1, process)
    cluster.add_node(num_cpus=1)
    assert set(workers(tmp_path / "out", 2, process)) == {"0/1", "1/2"}
    check_finished(process, tmp_path / "out", alone, twice=4)


def test_a_signal_reaches_the_actors_and_the_run_continues(recipe, cluster, alone, tmp_path):
    cluster.add_node(num_cpus=1)
    process = start(recipe, cluster, "--grace", "200")
    workers(tmp_path / "out", 1, process)
    process.send_signal(signal.SIGTERM)
    printed, errors = process.communicate(timeout=BOUND)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "new attempts are saved and exported" in printed.splitlines()[-1]
    assert main(["augment", str(recipe)]) == 0
    assert decided(published(tmp_path / "out")) == decided(alone)


def test_a_folder_that_no_node_sees_is_one_line_whose_remedy_works(recipe, cluster, alone, tmp_path):
    cluster.add_node(num_cpus=1)
    hidden = ["unshare", "--map-root-user", "--mount", "bash", "-c"]
    line = f"mount -t tmpfs none {tmp_path / 'hidden'} && exec {shlex.join(command(recipe, cluster))}"
    (tmp_path / "hidden").mkdir()
    process = subprocess.run(
        [*hidden, f"{line} --output {tmp_path / 'hidden/out'}"], capture_output=True, text=True, timeout=BOUND, cwd=ROOT
    )
    last = process.stderr.splitlines()[-1]
    assert process.returncode == 2, process.stderr
    assert re.fullmatch(
        r"diffcore-hf: node \w+ of the Ray cluster does not see .*hidden/out\. Use an --output .*", last
    )
    check_finished(start(recipe, cluster), tmp_path / "out", alone, twice=0)
