"""Tests of the script of a Slurm job array, with programs in place of diffcore-hf and scontrol."""

import os
import shlex
import signal
import subprocess
import time

import pytest

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.recipe_files import read_recipe_file
from diffcore_hf.core.errors import UserError
from diffcore_hf.workflows.augment import prepare
from diffcore_hf.workflows.slurm import Job, script


def command_of(text):
    """Returns the words of the command that a script runs."""
    [line] = [line for line in text.splitlines() if line.startswith("diffcore-hf augment")]
    return shlex.split(line.removesuffix(" &"))


def test_the_script_continues_the_run_with_its_settled_recipe(copy, done):
    text = script(copy, Job(tasks=100, at_once=16, hours=8))
    assert "#SBATCH --array=0-99%16\n" in text
    assert "#SBATCH --requeue\n" in text
    words = command_of(text)
    assert words[3:5] == ["--output", str(copy)]
    recipe = build_recipe(read_recipe_file(words[2]), {"output": str(copy)})
    assert prepare(recipe).resolution.attempt_digest == prepare(done.recipe).resolution.attempt_digest
    assert "--workers 8" in script(copy, Job(gpus=8))


@pytest.mark.parametrize(
    "job, message",
    [
        (Job(tasks=0), "tasks is 0"),
        (Job(tasks=2000), "1 to 1000"),
        (Job(hours=-1), "hours is -1"),
        (Job(at_once=0), "at_once is 0"),
    ],
)
def test_a_wrong_number_is_a_one_line_error(copy, job, message):
    with pytest.raises(UserError, match=message):
        script(copy, job)


def test_a_folder_without_a_run_names_the_command_that_prepares_one(tmp_path):
    with pytest.raises(UserError, match=f"diffcore-hf plan WHAT --prepare {tmp_path} first"):
        script(tmp_path, Job())


def put_program(folder, name, text):
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    "worker, sent, status, requeued",
    [
        ("trap 'exit 138' USR1; echo started; while true; do sleep 0.02; done", signal.SIGUSR1, 138, True),
        ("trap 'exit 143' TERM; echo started; while true; do sleep 0.02; done", signal.SIGTERM, 143, False),
        ("echo started; exit 0", None, 0, False),
        ("echo started; exit 2", None, 2, False),
    ],
    ids=["time limit", "cancelled", "done", "an error"],
)
def test_a_task_is_queued_again_only_at_its_time_limit(copy, tmp_path, worker, sent, status, requeued):
    programs = tmp_path / "programs"
    programs.mkdir()
    put_program(programs, "diffcore-hf", worker)
    put_program(programs, "scontrol", f'echo "$@" > {tmp_path}/requeued')
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    (tmp_path / "job.sh").write_text(script(copy, Job()))
    process = subprocess.Popen(
        ["bash", str(tmp_path / "job.sh")], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "started\n"
    if sent:
        time.sleep(0.1)
        process.send_signal(sent)
    assert process.wait(60) == status
    assert (tmp_path / "requeued").is_file() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 7_3\n"
