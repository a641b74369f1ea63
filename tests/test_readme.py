"""Every code block of the README runs, those for a GPU or the Hub with the tiny models in their place."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_double.client import environment
from hub_double.fixtures import hub  # noqa: F401 (a fixture)

from diffcore_hf.commands.main import main
from diffcore_hf.commands.train import main as train

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines() if line.strip()]
# What `make demo` itself runs is checked by running it (docs/architecture.md, "Checks").
BY_HAND = ("git clone", "make demo")
# What speaks with the Hub runs against our double of it, in order.
ON_THE_HUB = [line for line in COMMANDS if "org/birds-diffcore" in line]
TRAINING = ["accelerate", "launch", "--quiet", "recipes/train.py"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder like a clone after `make demo`, but made with few rows and few steps."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["miniature", "out/birds"]) == 0
        assert main(["augment", "miniature", "--limit", "24", "--model.steps", "2"]) == 0
        photos = folder / "photos"
        for name in ("cat", "dog"):
            (photos / name).mkdir(parents=True)
        from datasets import load_dataset

        birds = load_dataset("out/birds", split="train")
        for row in range(12):
            birds[row]["image"].save(photos / ("cat" if row % 2 else "dog") / f"{row}.png")
        yield folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    """Commands and snippets run where the README says."""
    monkeypatch.chdir(home)


def runnable(line: str) -> list[str]:
    """A command with the miniature's models in the place of the large ones, and few of everything."""
    words = shlex.split(line)
    if words[:4] == TRAINING:
        words += ["--data.path", "out/miniature", "--output", "out/trained", "--model.name", "test_resnet"]
        words += ["--model.pretrained", "false", "--transform.preset", "tiny_preact_1200", "--transform.size", "32"]
        return [*words[4:], "--max_steps", "2", "--workers", "0", "--device", "cpu"]
    assert words[0] == "diffcore-hf", line
    verb, what = words[1:3]
    if verb in ("plan", "augment"):
        words += ["--model.steps", "2"]
        if what == "miniature":
            return words[1:]
        words += ["--model.path", "package:diffcore_hf.miniature/models/sd"]
        words += ["--filter.path", "package:diffcore_hf.miniature/models/clip", "--model.size", "64"]
        if what != "./photos":
            words += ["--source.path", "out/birds", "--source.label", "label", "--source.image", "image"]
            words += [] if "--limit" in words else ["--limit", "8"]
            words += [] if "--output" in words else ["--output", "out/cub"]
    return words[1:]


@pytest.mark.parametrize("line", [line for line in COMMANDS if not line.startswith(BY_HAND) and line not in ON_THE_HUB])
def test_every_command_runs(line, capsys):
    program = train if shlex.split(line)[:4] == TRAINING else main
    shutil.rmtree("out/trained", ignore_errors=True)
    assert program(runnable(line)) == 0, capsys.readouterr().err


def test_the_commands_that_are_run_by_hand_are_the_two_at_the_top():
    assert [line for line in COMMANDS if line.startswith(BY_HAND)] == COMMANDS[:2]


def test_what_speaks_with_the_hub_runs(hub, home, tmp_path):  # noqa: F811
    env = environment(hub, tmp_path / "home", xet=True)
    snippets = [text for kind, text in BLOCKS if kind == "python" and "org/birds-diffcore" in text]
    assert ON_THE_HUB and snippets
    for line in ON_THE_HUB:
        command = [sys.executable, "-m", "diffcore_hf", *shlex.split(line)[1:]]
        done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    for text in snippets:
        done = subprocess.run([sys.executable, "-c", text], env=env, cwd=home, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text", [text for kind, text in BLOCKS if kind == "python" and "org/birds-diffcore" not in text]
)
def test_every_snippet_runs(text):
    if 'output="out/look"' in text:
        shutil.rmtree("out/look", ignore_errors=True)
    exec(compile(text, "README", "exec"), {})
