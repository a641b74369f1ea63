"""Tests of the output of every command. Invalid input is tested in test_bad_input.py."""

import os
import re
import resource
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset
from PIL import Image
from small_photos import write_photos

import diffcore_hf
from diffcore_hf.commands.main import VERBS, main
from diffcore_hf.config.recipe_files import shipped_recipe

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "diffcore_hf"]


@pytest.fixture
def work_folder(tmp_path, keys, monkeypatch):
    """Change to a folder with a recipe and its photos. The names of the class folders begin with numbers."""
    photos = write_photos(tmp_path / "photos", [3, 3])
    for number, name in ((1, "red_fox"), (2, "green_frog")):
        (photos / name).rename(photos / f"{number:03d}.{name.title()}")
    policy = {"name": "rank", "by": "class_mean", "floor": "off"}
    recipe = {"source": "photos", **keys, "filter": keys["filter"] | {"policy": policy}, "output": "out"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed_by(capsys, *argv, status=0):
    """Return what a command prints on stdout."""
    capsys.readouterr()
    assert main(argv) == status
    return capsys.readouterr().out


def test_help_names_every_command_and_imports_no_heavy_library():
    code = (
        "import sys; from diffcore_hf.commands.main import main; main(['--help'])\n"
        "heavy = {'torch', 'datasets', 'numpy', 'diffusers', 'transformers', 'timm', 'tyro'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert [verb for verb in VERBS if f"  {verb} " not in finished.stdout] == []


@pytest.mark.slow  # the processor time grows if other processes are busy
def test_help_takes_less_than_half_a_second_of_processor_time():
    """Measures processor time. It depends less on other processes than the elapsed time does."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*COMMAND, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_the_version_is_defined_only_in_the_package(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"diffcore-hf {diffcore_hf.__version__}\n"
    assert metadata.version("diffcore-hf") == diffcore_hf.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "diffcore_hf.__version__"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help(verb, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([verb, "--help"])
    assert not exit_info.value.code
    assert "examples:" in capsys.readouterr().out


def test_the_flags_of_augment_are_the_keys_of_a_recipe(capsys):
    with pytest.raises(SystemExit):
        main(["augment", "--help"])
    printed = capsys.readouterr().out
    assert [flag for flag in ("--source.path", "--model.gamma", "--filter.policy.name", "--max_attempts", "--limit")
            if flag not in printed] == []  # fmt: skip


def test_plan_shows_names_prompts_and_guidance_and_writes_nothing(work_folder, capsys):
    printed = printed_by(capsys, "plan", "recipe.yaml", "--model.gamma", "2")
    lines = [line.strip() for line in printed.splitlines()]
    for line in (
        "001.Red_Fox -> Red Fox",
        "002.Green_Frog -> Green Frog",
        "one prompt per class",
        "guidance    gamma 2.0 = guidance_scale 3.0",
        "contexts    'in snow', 'at night'",
    ):
        assert line in lines
    assert sum(re.fullmatch(r"a photo of a (Red Fox|Green Frog), (in snow|at night)", line) is not None
               for line in lines) == 2  # fmt: skip
    assert "plan        6 units (fraction 1, copies 1), 3 per class; up to 2 attempts each" in lines
    assert re.search(r"peak disk about [\d.]+ [kMG]?B", printed)
    assert sorted(path.name for path in work_folder.iterdir()) == ["photos", "recipe.yaml"]


def test_augment_prints_the_table_at_the_end(work_folder, capsys):
    printed = printed_by(capsys, "augment", "recipe.yaml")
    table = dict(re.findall(r"^(\S.*?)  +(.+)$", printed, re.MULTILINE))
    assert table["rows"] == table["planned"] == "6"
    assert {"kept", "attempts", "generated images rejected", "real images the policy would reject",
            "mean similarity to the row's image", "seconds", "images per second", "in snow", "at night",
            "Red Fox", "Green Frog"} <= set(table)  # fmt: skip
    assert re.fullmatch(r"\d+ \([\d.]+ % of 6 decided\)", table["kept"])
    assert "out/assets/contact_sheet.png" in printed
    assert len(load_dataset("out", split="train", cache_dir=work_folder / "cache")) == 6
    repeated = printed_by(capsys, "augment", "recipe.yaml")
    assert "- (this run generated no image)" in repeated


def test_augment_with_a_limit_estimates_the_full_run(work_folder, capsys):
    printed = printed_by(capsys, "augment", "recipe.yaml", "--limit", "2")
    assert "so far: 2 of 6 units" in printed
    for words in ("kept      about", "time      about", "disk      about", "the same command without --limit"):
        assert words in printed
    assert re.search(r"^pending +4$", printed, re.MULTILINE)


def test_a_folder_of_photos_needs_no_recipe(work_folder, capsys, tiny):
    flags = ("--model.path", tiny["sd"], "--filter.path", tiny["clip"], "--model.steps", "2", "--max-attempts", "1")
    printed = printed_by(capsys, "augment", "photos", "--kind", "general", *flags)
    assert "rows" in printed
    assert (work_folder / "out/photos/diffcore.json").is_file()


def test_a_flag_overrides_the_file(work_folder, capsys):
    flags = ("--fraction", "0.5", "--prompts.contexts", "on the moon", "in a zoo")
    printed = printed_by(capsys, "plan", "recipe.yaml", *flags)
    assert "3 units (fraction 0.5" in printed
    assert "contexts    'on the moon', 'in a zoo'" in printed


def test_preview_export_and_clean_print_their_results(work_folder, capsys):
    printed_by(capsys, "augment", "recipe.yaml")
    for path in printed_by(capsys, "preview", "out").split():
        assert Image.open(path).format == "PNG"
    [sheet] = printed_by(capsys, "preview", "out", "--samples", "3").split()
    assert Image.open(sheet).format == "PNG"
    [sheet] = printed_by(capsys, "preview", "out", "--mixed").split()
    assert sheet.endswith("mixed.png")
    assert Image.open(sheet).format == "PNG"
    printed = printed_by(capsys, "export", "out", "--output", "all", "--filter.policy.name", "all")
    assert re.search(r"^kept +6 \(100.0 % of 6 decided\)$", printed, re.MULTILINE)
    assert "the exported dataset is in 'all'" in printed
    assert "parts deleted" in printed_by(capsys, "clean", "out")
    assert main(["export", "out", "--output", "other"]) == 2
    assert "was cleaned" in capsys.readouterr().err
    assert not (work_folder / "other").exists()


def test_an_interrupted_run_exports_and_can_be_resumed(work_folder, capsys, monkeypatch):
    from diffcore_hf.models.diffusion import TextToImage

    def interrupted(self, *arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TextToImage, "sample", interrupted)
        printed = printed_by(capsys, "augment", "recipe.yaml", status=130)
    assert "Run the same command again to resume" in printed
    assert re.search(r"^pending +6$", printed, re.MULTILINE)
    assert "kept" in printed_by(capsys, "augment", "recipe.yaml")


def test_a_run_without_errors_prints_only_the_progress_bar_on_stderr(work_folder):
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_VERBOSITY")}
    printed = subprocess.run(
        [*COMMAND, "augment", "recipe.yaml"], capture_output=True, text=True, check=True, env=environment
    )
    rest = [line for line in re.split(r"[\r\n]", printed.stderr) if line.strip() and not line.startswith("augment: ")]
    assert rest == []


def test_export_names_the_command_that_generates_missing_attempts(work_folder, capsys):
    printed_by(capsys, "augment", "recipe.yaml", "--limit", "2")
    printed = printed_by(capsys, "export", "out", "--output", "all", "--filter.policy.name", "all")
    assert "4 units need more attempts" in printed
    assert (
        "run `diffcore-hf augment` for the folder 'out' again, with the recipe keys that you gave to export" in printed
    )
    printed_by(capsys, "augment", "recipe.yaml", "--filter.policy.name", "all")
    assert "need more" not in printed_by(capsys, "export", "out", "--output", "all", "--filter.policy.name", "all")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("out/birds", "diffcore-hf augment miniature"),
        ("./out/birds/", "diffcore-hf augment miniature"),
        ("p/my birds", "diffcore-hf augment miniature --source.path 'p/my birds'"),
        ("out", "diffcore-hf augment miniature --source.path out --output out-augmented"),
        ("miniature", f"diffcore-hf augment {shipped_recipe('miniature')} --source.path miniature"),
    ],
)
def test_the_next_command_printed_by_miniature_runs(tmp_path, monkeypatch, capsys, folder, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "diffcore_hf.miniature.world.write_dataset", lambda path, world: write_photos(Path(path), [2, 2])
    )
    printed = printed_by(capsys, "miniature", folder)
    assert printed.strip().endswith(f"Next: {expected}")
    program, _, *flags = shlex.split(printed.partition("Next: ")[2])
    assert program == "diffcore-hf"
    planned = printed_by(capsys, "plan", *flags)
    source = planned.removeprefix("source ").partition(" (local:")[0].strip()
    assert Path(source).resolve() == Path(folder).resolve()


def test_preview_refuses_samples_of_a_mixed_batch(capsys):
    assert main(["preview", "out", "--mixed", "--samples", "3"]) == 2
    assert capsys.readouterr().err == (
        "diffcore-hf: samples is 3, but --mixed shows a training batch. Give only one of --samples and --mixed\n"
    )
