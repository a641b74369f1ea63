"""A comparison of all mixers that is killed at random moments ends with the files of an undisturbed comparison."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import own_mixers
import pytest

from diffcore_hf.training.mixers.names import MIXERS

ROOT = Path(__file__).parents[3]
OFTEN = Path(own_mixers.__file__).with_name("train_and_store_often.py")
VIT_ARM = "{transmix: {mix: {mode: off}, mixer: transmix, model: test_vit, transform: {size: 64}}}"
KILLS = 4


def command(program: Path, data: Path, output: Path) -> list[str]:
    """Return the command that trains plain and every mixer with three seeds, six steps each."""
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes", "1",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", str(program),
        "--data.path", str(data), "--output", str(output), "--model", "test_resnet", "--model.pretrained", "false",
        "--transform.preset", "tiny_preact_1200", "--transform.size", "32", "--batch_size", "4", "--max_steps", "6",
        "--evaluate_every", "0.5", "--workers", "0", "--device", "cpu", "--cache", "memory",
        "--compare", ",".join(["plain", *MIXERS]), "--seeds", "0,1,2", "--arms", VIT_ARM,
    ]  # fmt: skip


def records(output: Path) -> int:
    """Return the number of records in all logs of a comparison."""
    return sum(path.read_bytes().count(b"\n") for path in output.glob("*/*/log.jsonl"))


def killed_after(started: subprocess.Popen, output: Path, count: int, delay: float) -> bool:
    """Kill a comparison with all its processes after a number of records; return whether it was still running."""
    while started.poll() is None and records(output) < count:
        time.sleep(0.02)
    time.sleep(delay)
    was_running = started.poll() is None
    if was_running:
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    return was_running


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_comparison_of_every_mixer_that_is_killed_has_the_results_of_an_undisturbed_one(folder, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(ROOT / "recipes" / "train.py", folder, whole), check=True, capture_output=True)
    random = np.random.default_rng(0)
    found = []
    for _ in range(KILLS):
        target = records(cut) + int(random.integers(5, records(whole) // KILLS))
        started = subprocess.Popen(
            command(OFTEN, folder, cut), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert killed_after(started, cut, target, random.uniform(0, 0.3))
        found += [path.parent.parent.name for path in cut.glob("*/*/resume.safetensors")]
    assert found, "no checkpoint was used"
    subprocess.run(command(OFTEN, folder, cut), check=True, capture_output=True)
    files = ("result.json", "best/model.safetensors", "last/model.safetensors")
    trainings = [f"{arm}/seed-{seed}" for arm in ("plain", *MIXERS) for seed in (0, 1, 2)]
    names = ["compare.json", "compare.md", *(f"{training}/{file}" for training, file in product(trainings, files))]
    differing = [name for name in names if (whole / name).read_bytes() != (cut / name).read_bytes()]
    assert not differing
