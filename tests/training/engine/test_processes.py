"""Two processes are one: the same metrics, the same weights."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from diffcore_hf.training.engine import checkpoints


def launch(processes, arguments):
    """`torchrun` on this machine; accelerate reads its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(processes),
        "--master_port",
        str(port),
    ]
    done = subprocess.run(
        [*command, "-m", "diffcore_hf.training", *arguments], capture_output=True, text=True, timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The same recipe on one and on two processes: a net with GroupNorm."""
    root = tmp_path_factory.mktemp("processes")
    for processes in (1, 2):
        launch(processes, [
            "--data.path", str(folder), "--output", str(root / str(processes)), "--model", "resnet50_gn",
            "--model.pretrained", "false", "--transform.preset", "tiny_preact_1200", "--transform.size", "32",
            "--optimizer.lr", "0.01", "--batch_size", "4", "--max_steps", "3", "--workers", "0", "--device", "cpu",
        ])  # fmt: skip
    return root


def test_a_net_with_groupnorm_gets_the_same_weights(trained):
    one, two = (load_file(trained / str(n) / "run" / "seed-0" / "last" / "model.safetensors") for n in (1, 2))
    assert one.keys() == two.keys()
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-4


def test_results_are_written_once_and_agree(trained):
    one, two = (json.loads((trained / str(n) / "compare.json").read_text()) for n in (1, 2))
    assert one["arms"][0]["steps"] == two["arms"][0]["steps"] == 3
    assert one["images"] == two["images"] == 9


def test_evaluating_one_model_on_two_processes_gives_the_metrics_of_one(trained):
    best = str(trained / "1" / "run" / "seed-0" / "best")
    said = [re.findall(r"top-1 .*", launch(n, ["--evaluate", best]).stdout) for n in (1, 2)]
    assert said[0] == said[1] and len(said[0]) == 1


def test_ctrl_c_in_a_terminal_is_answered_by_a_checkpoint_and_the_same_command_goes_on(folder, tmp_path):
    """The signal goes to the whole group, loader processes included, as a terminal sends it."""
    command = [
        sys.executable, "-m", "diffcore_hf.training", "--data.path", str(folder), "--output", str(tmp_path / "out"),
        "--model", "test_resnet", "--model.pretrained", "false", "--transform.preset", "tiny_preact_1200",
        "--transform.size", "32", "--batch_size", "4", "--max_steps", "3000", "--workers", "2", "--device", "cpu",
    ]  # fmt: skip
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    log = tmp_path / "out" / "run" / "seed-0" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not log.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130 and "run the same command again to resume" in said
    step = int(re.findall(r"interrupted after step (\d+) of 3000", said)[0])
    kept = checkpoints.read(log.with_name("resume.safetensors"))
    assert kept.step == step
