"""Tests of two processes: training and evaluation give the same weights and metrics as on one process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import own_mixers
import pytest
from forked_training import start, train_on_processes
from safetensors.torch import load_file

from diffcore_hf.training.engine import checkpoints
from diffcore_hf.training.mixers.names import MIXERS

ROOT = Path(__file__).parents[3]
HELPERS = str(Path(own_mixers.__file__).parent)


def launch(processes, arguments, *, program=("-m", "diffcore_hf.training"), seconds=200, **environment):
    """Run a program with `torchrun`, whose environment variables accelerate reads, and check that it succeeds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    python_path = os.pathsep.join([HELPERS, os.environ.get("PYTHONPATH", "")])
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(processes),
        "--master_port",
        str(port),
    ]
    finished = subprocess.run(
        [*command, *program, *arguments], capture_output=True, text=True, timeout=seconds,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path, **environment}, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return finished


def accelerated(processes, arguments):
    """Run `accelerate launch` on the training script as the pages show it, and check that it succeeds.

    The option --multi_gpu only means several processes. Without it, accelerate starts one process if there is no GPU.
    """
    several = ["--multi_gpu"] if processes > 1 else []
    settings = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    finished = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *several, "--num_processes", str(processes), *settings,
         str(ROOT / "recipes/train.py"), *arguments],
        capture_output=True, text=True, timeout=280, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr


@pytest.fixture(scope="module")
def train_on(folder, tmp_path_factory):
    """Return a function that returns the folder of a training on one or two processes. It runs each training once."""
    root = tmp_path_factory.mktemp("processes")

    def train(model, processes):
        output = root / f"{model}-{processes}"
        if not output.exists():
            accelerated(processes, [
                "--data.path", str(folder), "--output", str(output), "--model", model, "--model.pretrained", "false",
                "--transform.preset", "tiny_preact_1200", "--transform.size", "32", "--optimizer.lr", "0.01",
                "--batch_size", "4", "--max_steps", "3", "--workers", "0", "--device", "cpu",
            ])  # fmt: skip
        return output

    return train


def difference(train_on, model):
    """Return the largest difference between the parameters that one and two processes trained."""
    one, two = (load_file(train_on(model, n) / "run" / "seed-0" / "last" / "model.safetensors") for n in (1, 2))
    assert one.keys() == two.keys()
    return max((one[name] - two[name]).abs().max().item() for name in one if "running" not in name)


@pytest.mark.slow
def test_a_network_with_groupnorm_gets_the_same_weights(train_on):
    assert difference(train_on, "resnet50_gn") < 1e-4


@pytest.mark.slow
def test_a_network_with_batchnorm_gets_other_weights_because_each_process_has_its_own_statistics(train_on):
    assert difference(train_on, "test_resnet") > 1e-3


def test_a_mixer_gets_the_network_without_ddp_and_its_parameters_are_the_same_on_every_process(folder, tmp_path):
    ended = train_on_processes(2, [
        "--data.path", str(folder), "--output", str(tmp_path / "out"), "--model", "test_resnet",
        "--model.pretrained", "false", "--transform.preset", "tiny_preact_1200", "--transform.size", "32",
        "--batch_size", "4", "--max_steps", "2", "--workers", "0", "--device", "cpu", "--mixer", "own_mixers:Learned",
    ], tmp_path, OWN_MIXERS_LOG=str(tmp_path))  # fmt: skip
    assert [status for status, _ in ended] == [0, 0], ended
    first, second = ((tmp_path / f"{rank}.jsonl").read_text().splitlines() for rank in (0, 1))
    records = [json.loads(line) for line in first]
    assert [json.loads(line)["gain"] for line in second] == [record["gain"] for record in records]
    assert [record["progress"] for record in records] == [0.5, 1.0]
    assert "DistributedDataParallel" not in {record["network"] for record in records}
    assert records[0]["gain"] != [1.0, 1.0, 1.0]
    images = [key for line in (*first, *second) for key in json.loads(line)["rows"]]
    assert len(set(images)) == len(images) == 8


def test_a_process_that_would_get_one_image_is_refused_in_one_line(folder, tmp_path):
    ended = train_on_processes(2, [
        "--data.path", str(folder), "--output", str(tmp_path / "out"), "--model", "test_resnet",
        "--model.pretrained", "false", "--transform.preset", "tiny_preact_1200", "--transform.size", "32",
        "--batch_size", "2", "--max_steps", "2", "--workers", "0", "--device", "cpu", "--mixer", "mixup",
    ], tmp_path)  # fmt: skip
    assert [status for status, _ in ended] == [2, 2], ended
    lines = [line for _, errors in ended for line in errors.splitlines() if line.startswith("train: ")]
    assert lines == [
        "train: batch_size is 2, of which each of 2 processes takes 1 image at a time, but mixup mixes the images of a "
        "batch. Use e.g. --batch_size 16"
    ]


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_every_mixer_mixes_the_images_of_its_own_process_and_both_processes_stay_equal(folder, tmp_path):
    """Each process draws its own partners. Both have the same network weights, and the same weights of the mixer."""
    launch(2, [str(folder), str(tmp_path)], program=(f"{HELPERS}/mixers_on_processes.py",), seconds=1500)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert {name.split()[0] for name in first} == set(MIXERS)
    for name, one in first.items():
        other = second[name]
        assert (one["network"], one["mixer"]) == (other["network"], other["mixer"]), name
        for step in (0, 1):
            rows = [set(each["rows"][step]) for each in (one, other)]
            assert [len(each) for each in rows] == [4, 4] and not rows[0] & rows[1], name
        for step, partners in enumerate(one["partners"]):
            assert set(partners) == set(one["rows"][step]) and set(other["partners"][step]) == set(other["rows"][step])
        drawn = [np.array(each["drawn"]) for each in (one, other)]
        assert drawn[0].size == 0 or not np.array_equal(*drawn), name


@pytest.mark.slow
def test_one_and_two_processes_report_the_same_steps_and_images(train_on):
    one, two = (json.loads((train_on("resnet50_gn", n) / "compare.json").read_text()) for n in (1, 2))
    assert one["arms"][0]["steps"] == two["arms"][0]["steps"] == 3
    assert one["images"] == two["images"] == 9


@pytest.mark.slow
def test_an_evaluation_on_two_processes_has_the_metrics_of_one_process(train_on):
    best = str(train_on("resnet50_gn", 1) / "run" / "seed-0" / "best")
    lines = [re.findall(r"top-1 .*", launch(n, ["--evaluate", best]).stdout) for n in (1, 2)]
    assert lines[0] == lines[1] and len(lines[0]) == 1


def test_ctrl_c_in_a_terminal_writes_a_checkpoint_and_the_same_command_resumes(folder, tmp_path):
    """Like a terminal, the test sends the signal to all processes of the group, including loader processes."""
    started = start([
        "--data.path", str(folder), "--output", str(tmp_path / "out"), "--model", "test_resnet",
        "--model.pretrained", "false", "--transform.preset", "tiny_preact_1200", "--transform.size", "32",
        "--batch_size", "4", "--max_steps", "3000", "--workers", "2", "--device", "cpu",
    ], tmp_path / "stderr")  # fmt: skip
    log = tmp_path / "out" / "run" / "seed-0" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not log.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGINT)
    started.join(60)
    output = (tmp_path / "stderr").read_text()
    assert started.exitcode == 130 and "run the same command again to resume" in output
    step = int(re.findall(r"interrupted after step (\d+) of 3000", output)[0])
    checkpoint = checkpoints.read(log.with_name("resume.safetensors"))
    assert checkpoint.step == step
