"""Tests of mistakes on the command line: each gives a one-line error before any slow import, and its remedy works."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import contextlib, io, json, shlex, sys

HEAVY = ("torch", "torchvision", "datasets", "transformers", "diffusers", "timm", "pandas", "accelerate")

def run(program, line):
    module = __import__(f"diffcore_hf.commands.{program}", fromlist=["main"])
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = module.main(shlex.split(line))
    return status, errors.getvalue(), [name for name in HEAVY if name in sys.modules]

def accepted(program, line):
    from diffcore_hf.commands import main, parser
    from diffcore_hf.commands.definitions import TRAIN
    from diffcore_hf.config.merging import build
    from diffcore_hf.config.train_schema import TRAIN_SCHEMA
    from diffcore_hf.training.networks.timm_source import check_names

    if program == "train":
        check_names(build(TRAIN_SCHEMA, {}, parser.parse(shlex.split(line), TRAIN).layer))
        return
    command = parser.parse_command(shlex.split(line))
    if command.verb in ("plan", "augment"):
        main._recipe(command)

cases = json.load(sys.stdin)
results = []
for program, line, remedied in cases:
    status, error, heavy = run(program, line)
    try:
        accepted(program, remedied)
        refused = ""
    except Exception as fault:
        refused = f"{type(fault).__name__}: {fault}"
    results.append([status, error, heavy, refused])
print(json.dumps(results))
"""

AUGMENT = [
    ("augment org/x --sead 3", "did you mean --seed?", "augment org/x --seed 3"),
    ("augment org/x --seed 99999999999999999999999", "between -2^63 and 2^63. Use e.g. 0", "augment org/x --seed 0"),
    ("augment org/x --seed many", "seed is 'many', not an integer. Use e.g. 0", "augment org/x --seed 0"),
    ("augment org/x --seed", "--seed has no value. Use --seed INT", "augment org/x --seed 1"),
    ("augment org/x --fraction 2", "not a number in (0, 1]. Use e.g. 0.5", "augment org/x --fraction 0.5"),
    ("augment org/x --copies 0", "Use e.g. 1", "augment org/x --copies 1"),
    ("augment org/x --strict maybe", "one argument too many", "augment org/x --strict true"),
    ("augment org/x -v", "Options start with two dashes", "augment org/x --seed 1"),
    ("augment", "WHAT is missing", "augment miniature"),
    ("augmnt org/x", "did you mean augment?", "augment org/x"),
    ("augment org/x --kind brid", "did you mean bird?", "augment org/x --kind bird"),
    ("augment org/x --model.path", "--model.path has no value", "augment org/x --model.path org/model"),
    ("augment org/x --model.adapters 7", "is 7, not a list of adapters. Use e.g. '[org/lora]'",
     "augment org/x --model.adapters '[org/lora]'"),
    ("augment org/x --model.adapters '{pth: x}'", "did you mean model.adapters[0].path",
     "augment org/x --model.adapters '{path: x}'"),
    ("augment org/x --model.device gpu", "Use e.g. auto", "augment org/x --model.device auto"),
    ("augment org/x --model.dtype fp16", "float32, bfloat16 or float16", "augment org/x --model.dtype float16"),
    ("augment org/x --model.size 100", "Use e.g. 512", "augment org/x --model.size 512"),
    ("augment org/x --model.scheduler NoSuch", "Use a class name such as DPMSolverMultistepScheduler",
     "augment org/x --model.scheduler DPMSolverMultistepScheduler"),
    ("augment org/x --strategy nosuch", "The strategies are: text_to_image", "augment org/x --strategy text_to_image"),
    ("augment org/x --filter.policy.name nosuch", "Use e.g. rank", "augment org/x --filter.policy.name rank"),
    ("augment org/x --filter.policy.name fixed", "Use e.g. --filter.policy.t 0.7",
     "augment org/x --filter.policy.name fixed --filter.policy.t 0.7"),
    ("plan org/x --source.holdout 1", "Use e.g. 0.1", "plan org/x --source.holdout 0.1"),
    ("plan org/x --limit 0", "Use e.g. 64", "plan org/x --limit 64"),
    ("plan org/x y", "one argument too many", "plan org/x"),
    ("plan org/x --prompts.template '{label'", "Write {{ for a brace", "plan org/x --prompts.template '{label}'"),
    ("push out/x org/y", "version is missing. Use e.g. --version v1.0.0", "push out/x org/y --version v1.0.0"),
    ("push out/x org/y --version", "Use --version v1.0.0", "push out/x org/y --version v1.0.0"),
    ("push out/x org/y --version 1.x", "Use e.g. v1.0.0", "push out/x org/y --version v1.0.0"),
    ("push out/x y --version v1.0.0", "Use e.g. org/y", "push out/x org/y --version v1.0.0"),
    ("push out/x org/y --seed 3", "Give it to augment", "augment org/x --seed 3"),
    ("export out/x", "--output is missing. Add --output FOLDER for a dataset", "export out/x --output out/dataset"),
    ("export out/x --output o --layout row", "did you mean rows?", "export out/x --output o --layout rows"),
    ("export out/x --output o --model.gamma 3", "Give it to augment", "augment org/x --model.gamma 3"),
    ("preview out/x --samples 0", "Use e.g. 20", "preview out/x --samples 20"),
    ("diff org/x v1", "NEW is missing", "diff org/cub-diffcore v1.0.0 v1.1.0"),
    ("verify", "OUT is missing", "verify out/cub"),
    ("miniature x --seed 99999999999999999999999", "between -2^63 and 2^63", "miniature x --seed 0"),
    ("miniature x --contexts owm", "did you mean own?", "miniature x --contexts own"),
]  # fmt: skip
TRAINING = [
    ("--data.path out/x --optimizer nosuch", "which timm does not have. Use e.g. --optimizer.name sgd",
     "--data.path out/x --optimizer.name sgd"),
    ("--data.path out/x --optimizer adamv", "Use e.g. --optimizer.name", "--data.path out/x --optimizer.name adamw"),
    ("--data.path out/x --model nosuchnet", "which timm does not have", "--data.path out/x --model.name resnet50"),
    ("--data.path out/x --model resnet5O", "Use e.g. --model.name resnet50", "--data.path out/x --model.name resnet50"),
    ("--data.path out/x --mixer mixupp", "Did you mean mixup?", "--data.path out/x --mixer mixup"),
    ("--data.path out/x --seeds a,b", "Use e.g. 0,1,2", "--data.path out/x --seeds 0,1,2"),
    ("--data.path out/x --lr 1", "did you mean --optimizer.lr?", "--data.path out/x --optimizer.lr 1"),
    ("--data.path out/x --device gpu", "did you mean cpu?", "--data.path out/x --device cpu"),
    ("", "data.path is missing. Use e.g. --data.path out/miniature", "--data.path out/miniature"),
    ("--config nosuch", "the shipped recipes are", "--data.path out/x"),
]  # fmt: skip
CASES = [("main", *case) for case in AUGMENT] + [("train", *case) for case in TRAINING]


@pytest.fixture(scope="module")
def results():
    """Return for each command line its status, its error, the slow modules that it imported, and the error after the
    remedy.

    One process runs all lines, so a slow import of one line shows in all lines after it.
    """
    lines = [(program, line, remedied) for program, line, _, remedied in CASES]
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(lines), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return dict(zip([line for _, line, _, _ in CASES], json.loads(finished.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize(("line", "message"), [(line, message) for _, line, message, _ in CASES])
def test_a_mistake_gives_a_one_line_error_before_any_slow_import_and_its_remedy_works(results, line, message):
    status, error, heavy, refused = results[line]
    assert status == 2, error
    assert len(error.splitlines()) == 1
    assert message in error
    assert heavy == []
    assert refused == ""
