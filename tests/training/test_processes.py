"""Two processes are one: the same metrics, the same weights."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys

import pytest
from safetensors.torch import load_file


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
