"""Tests that run every code block of README.md and docs/*.md. They use tiny models and a local Hub server."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cheap_runs import cheap_runs

from diffcore_hf.commands.main import main
from diffcore_hf.commands.train import main as train
from testing.hub_double.client import environment
from testing.hub_double.fixtures import hub  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# These commands install, build or measure for minutes, so the tests do not run them.
BY_HAND = ("git clone", "make ", "pip install")
# The rendered birds have no column of masks. tests/workflows/test_explain.py runs this option.
WITH_MASKS = "--mask "
HUB_REPOSITORY = "org/birds-diffcore"


@dataclass(frozen=True)
class Block:
    """One fenced code block."""

    page: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Returns the command lines of a bash block, without comments."""
        lines = [line.split("  #")[0].strip() for line in self.text.splitlines()]
        return [line for line in lines if line and not line.startswith(BY_HAND)]


def blocks_of(page: Path) -> list[Block]:
    """Returns the code blocks of a page, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(page.name, language, text) for language, text in found]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
BASH = [block for block in BLOCKS if block.language == "bash"]
LINES = [line for block in BASH for line in block.commands if HUB_REPOSITORY not in line and WITH_MASKS not in line]
COMMANDS = list(dict.fromkeys(LINES))
PYTHON = {block.text: block.page for block in BLOCKS if block.language == "python"}
LOCAL_SNIPPETS = [text for text in PYTHON if HUB_REPOSITORY not in text]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Returns a folder like a clone after `make demo`, but with few rows and few steps."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch, cheap_runs():
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
    """Changes to the folder that stands for the clone that the pages describe."""
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def compared(home):
    """Returns the output of a comparison of two arms with two steps each."""
    assert train(runnable("accelerate launch recipes/train.py --compare plain,mix --seeds 0,1,2")) == 0
    return shutil.move("out/trained", "out/compared")


def is_training(words: list[str]) -> bool:
    return words[:2] == ["accelerate", "launch"]


def runnable(line: str) -> list[str]:
    """Returns a command line that uses the models of the miniature world, few images and few steps."""
    words = shlex.split(line)
    if is_training(words):
        own = [word for word in words[2:] if word not in ("--quiet", "recipes/train.py", "-m", "diffcore_hf.training")]
        own += ["--data.path", "out/miniature", "--data.revision", "null", "--output", "out/trained"]
        own += ["--model.name", "test_resnet", "--model.pretrained", "false"]
        own += ["--transform.preset", "tiny_preact_1200", "--transform.size", "32"]
        return [*own, "--max_steps", "2", "--workers", "0", "--device", "cpu"]
    assert words[0] == "diffcore-hf", line
    verb, what = words[1:3]
    if verb in ("preview", "explain"):
        words[2] = "out/compared" if what.startswith("out/train/") else "out/miniature"
    if verb in ("plan", "augment"):
        # fewer images, and fewer steps for learned tokens
        words = [{"100": "8", "200": "4"}.get(word, word) for word in words]
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


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(line, capsys, tmp_path, request):
    program = train if is_training(shlex.split(line)) else main
    if "out/train/" in line and program is main:
        request.getfixturevalue("compared")
    shutil.rmtree("out/trained", ignore_errors=True)
    words = runnable(line)
    if words[0] == "clean":  # the other commands still need the folder
        shutil.copytree(words[1], tmp_path / "copy")
        words[1] = str(tmp_path / "copy")
    assert program(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", sorted({block.page for block in BASH if HUB_REPOSITORY in block.text}))
def test_commands_that_use_the_hub_run_against_the_double(hub, home, tmp_path, page):  # noqa: F811
    env = environment(hub, tmp_path / "home", xet=True)
    lines = [line for block in BASH if block.page == page for line in block.commands if HUB_REPOSITORY in line]
    for line in lines:
        command = [sys.executable, "-m", "diffcore_hf", *shlex.split(line)[1:]]
        done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    for text in [text for text, where in PYTHON.items() if where == page and HUB_REPOSITORY in text]:
        done = subprocess.run([sys.executable, "-c", text], env=env, cwd=home, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", LOCAL_SNIPPETS, ids=[f"{PYTHON[text]}-{i}" for i, text in enumerate(LOCAL_SNIPPETS)])
def test_every_snippet_runs(text):
    if 'output="out/look"' in text:
        shutil.rmtree("out/look", ignore_errors=True)
    exec(compile(text.replace("limit=20", "limit=4"), PYTHON[text], "exec"), {})


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: block.page)
def test_every_recipe_is_valid(block):
    from diffcore_hf.config.augment_schema import build_recipe
    from diffcore_hf.config.merging import build
    from diffcore_hf.config.train_schema import TRAIN_SCHEMA

    keys = yaml.safe_load(block.text)
    assert build(TRAIN_SCHEMA, keys) if "data" in keys else build_recipe(keys)
