"""Tests of the parser: flags become a layer of settings, each error has one line, and --help shows every key."""

import re
import shlex
import subprocess
import sys

import pytest

from diffcore_hf.commands.definitions import TRAIN, VERBS
from diffcore_hf.commands.parser import Command, parse, parse_command
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.fields import documented_keys, leaves
from diffcore_hf.config.mappings import to_mapping

AUGMENT = {"grace": 30.0, "workers": None, "address": None, "worker": None}
AUGMENT |= {"share_only": False, "crash_suspended": False}
PLAN = {"fetch": False, "probe": False, "prepare": None, "report": None, "lint": False, "leaks": False, "deny": None}
NO_C2PA = {"c2pa": None, "c2pa_certificate": None, "c2pa_key": None}
EXPORT = {"output": "p", "layout": "columns", "sign": None} | NO_C2PA
PREVIEW = {"samples": None, "mixed": False, "batch": (), "config": None}


@pytest.mark.parametrize(
    ("line", "layer"),
    [
        ("org/name", {}),
        ("org/name --batch_size 4", {"batch_size": 4}),
        ("org/name --batch-size=4", {"batch_size": 4}),
        ("--fraction 0.5 org/name", {"fraction": 0.5}),
        ("org/name --seed -3 --filter.policy.t -0.5", {"seed": -3, "filter": {"policy": {"t": -0.5}}}),
        ("org/name --source.label_names raw", {"source": {"label_names": "raw"}}),
        ("org/name --strict", {"strict": True}),
        ("--strict org/name", {"strict": True}),
        ("org/name --no-strict --include_originals false", {"strict": False, "include_originals": False}),
        ("org/name --no-include-originals", {"include_originals": False}),
        ("org/name --model.size null --limit none", {"model": {"size": None}, "limit": None}),
        ("org/name --source.revision 1234567", {"source": {"revision": "1234567"}}),
        ("org/name --source.name on", {"source": {"name": "on"}}),
        ("org/name --model.gamma 1e-1", {"model": {"gamma": 0.1}}),
        ("org/name --prompts.negatives", {"prompts": {"negatives": []}}),
        ("org/name --prompts.negatives --kind bird", {"prompts": {"negatives": []}, "kind": "bird"}),
        ("org/name --prompts.contexts rain fog", {"prompts": {"contexts": ["rain", "fog"]}}),
        ("org/name --prompts.contexts [rain,fog]", {"prompts": {"contexts": ["rain", "fog"]}}),
        ("org/name --prompts.contexts null", {"prompts": {"contexts": None}}),
        ("org/name --model.adapters [{path:x}]", {"model": {"adapters": [{"path:x": None}]}}),
        ("org/name --model.scheduler X", {"model": {"scheduler": {"name": "X"}}}),
        ("org/name --model.scheduler null", {"model": {"scheduler": None}}),
        ("org/name --model.scheduler.name X", {"model": {"scheduler": {"name": "X"}}}),
        ("org/name --filter.policy mean --filter.policy.pairs 9", {"filter": {"policy": {"name": "mean", "pairs": 9}}}),
        ("org/name --model org/m --model.steps 5", {"model": {"path": "org/m", "steps": 5}}),
        ("org/name --preset paper", {"preset": "paper"}),
    ],
)
def test_the_parsed_layer_contains_only_the_given_flags(line, layer):
    command = parse_command(["augment", *line.split(" ")])
    assert command == Command("augment", "org/name", layer, AUGMENT)


def test_values_may_contain_spaces_and_maps():
    argv = ["plan", "a/b", "--prompts.contexts", "in the rain", "", "--source.label_names", "{0: cat, 1: dog}"]
    layer = parse_command(argv).layer
    assert layer == {"prompts": {"contexts": ["in the rain", ""]}, "source": {"label_names": {0: "cat", 1: "dog"}}}
    assert build_recipe({"source": "a/b"}, layer).source.label_names == {"0": "cat", "1": "dog"}


def shown(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


@pytest.mark.parametrize("key", [k for k in leaves(Recipe) if k not in ("source.path", "model.scheduler")])
def test_every_key_is_a_flag_that_accepts_its_default(key):
    plain = build_recipe({"source": "a/b"})
    value = to_mapping(plain)
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    tokens = [f"--{key}", shown(value)]
    assert build_recipe({"source": "a/b"}, parse_command(["augment", "a/b", *tokens]).layer) == plain or "policy" in key


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("plan cub --fetch", Command("plan", "cub", {}, PLAN | {"fetch": True})),
        (
            "plan cub --probe --limit 5",
            Command("plan", "cub", {"limit": 5}, PLAN | {"probe": True}),
        ),
        ("preview out/x", Command("preview", "out/x", {}, PREVIEW)),
        ("preview out/x --samples 20", Command("preview", "out/x", {}, PREVIEW | {"samples": 20})),
        ("preview out/x --mixed", Command("preview", "out/x", {}, PREVIEW | {"mixed": True})),
        (
            "preview out/x --batch plain,cutmix --model.name resnet50",
            Command("preview", "out/x", {"model": {"name": "resnet50"}}, PREVIEW | {"batch": ("plain", "cutmix")}),
        ),
        (
            "explain out/t --arms plain --mask segmentation --data.path out/x",
            Command("explain", "out/t", {"data": {"path": "out/x"}},
                    {"arms": ("plain",), "mask": "segmentation", "seed": 0, "images": 6, "layer": None}),
        ),
        ("export o --output p", Command("export", "o", {}, EXPORT)),
        (
            "export o --output p --layout rows --filter.policy.name all --fraction 0.5",
            Command("export", "o", {"filter": {"policy": {"name": "all"}}, "fraction": 0.5},
                    EXPORT | {"layout": "rows"}),
        ),
        ("clean out/x", Command("clean", "out/x", {}, {})),
        ("miniature out/birds", Command("miniature", "out/birds", {}, {"seed": 0, "contexts": "own"})),
        (
            "plan a --strategy.name x --strategy.options.strength 0.4 --strategy.options.fit=crop",
            Command("plan", "a", {"strategy": {"name": "x", "options": {"strength": 0.4, "fit": "crop"}}},
                    PLAN),
        ),
        ("miniature d --seed 3 --contexts shared", Command("miniature", "d", {}, {"seed": 3, "contexts": "shared"})),
    ],
)  # fmt: skip
def test_commands_and_their_options_are_parsed(line, command):
    assert parse_command(line.split()) == command


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("agment x", "'agment' is not a command; did you mean augment?"),
        ("frobnicate", "'frobnicate' is not a command; the commands are plan, augment"),
        ("augment", "WHAT is missing, a recipe file, a folder of images"),
        ("clean", "OUT is missing"),
        ("augment a b", "'b' is one argument too many. See diffcore-hf augment --help"),
        ("augment a --batch_size", "--batch_size has no value. Use --batch_size INT|null"),
        ("augment a --fractoin 1", "--fractoin is not a flag of augment; did you mean --fraction?"),
        ("augment a --gamma 1", "--gamma is not a flag of augment; did you mean --model.gamma?"),
        ("augment a --source.batch-size 1", "did you mean --batch_size?"),
        ("augment a --xyzzy", "--xyzzy is not a flag of augment; see diffcore-hf augment --help"),
        ("augment a --model", "--model has no value. Use e.g. --model.path VALUE"),
        ("augment a -k 3", "-k is not an option. Options start with two dashes. See diffcore-hf augment --help"),
        ("augment a --samples 3", "--samples is not a flag of augment"),
        ("augment a --model {", "model is '{', which cannot be read (line 1"),
        ("augment a --model.adapters [", "model.adapters is '[', which cannot be read (line 1"),
        ("export o --output p --model.gamma 3", "--model.gamma is not a flag of export: it changes the attempts"),
        ("clean o --fraction 1", "--fraction is not a flag of clean: it is a key of a recipe"),
        ("push o org/data", "version is missing. Use e.g. --version v1.0.0"),
        ("export o --output p --layout row", "layout is 'row', not columns, rows or mixed; did you mean rows?"),
        ("preview o --batch plain,,mix", "batch is 'plain,,mix', not names of arms, each once. Use e.g. plain,cutmix"),
        ("preview o --samples 0", "samples is 0, not an integer of at least 1. Use e.g. 20"),
        ("preview o --samples many", "samples is 'many', not an integer or null"),
        (
            "preview o --mixed --samples 3",
            "samples is 3, but --mixed shows a training batch. Give only one of --samples and --mixed",
        ),
        ("miniature d --seed x", "seed is 'x', not an integer. Use e.g. 0"),
        ("plan x --fetch maybe", "'maybe' is one argument too many. See diffcore-hf plan --help"),
    ],
)
def test_a_wrong_command_raises_a_one_line_error_with_a_remedy(line, message, capsys):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_command(line.split())
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_command_has_examples_and_flags(verb, capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse_command([verb, "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert exit_info.value.code == 0
    assert text.index("examples:") < text.index("positional arguments")
    assert f"diffcore-hf {verb} " in text
    assert "_Given" not in text
    assert "target_" not in text
    if verb == "augment":
        for expected in ("--source.path", "--model.gamma NUMBER", "(default: 2.0)", "--copies INT", "(default: 1)"):
            assert expected in text


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(argv, capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse_command(argv)
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_command_are_valid(verb):
    for example in VERBS[verb].examples:
        assert parse_command(shlex.split(example)).verb == verb


@pytest.mark.parametrize(
    ("line", "layer", "options"),
    [
        ("", {}, {}),
        ("--config miniature-train", {}, {"config": "miniature-train"}),
        ("--data.path out/photos --epochs 3", {"data": {"path": "out/photos"}, "epochs": 3}, {}),
        ("--evaluate out/x/best --evaluate_every 2", {"evaluate_every": 2}, {"evaluate": "out/x/best"}),
        (
            "--data out/photos --model resnet50 --schedule linear",
            {"data": {"path": "out/photos"}, "model": {"name": "resnet50"}, "schedule": {"name": "linear"}},
            {},
        ),
        (
            "--transform fgvc_scratch_224 --optimizer adamw",
            {"transform": {"preset": "fgvc_scratch_224"}, "optimizer": {"name": "adamw"}},
            {},
        ),
        ("--model.pretrained timm/x --model.drop-path 0.1", {"model": {"pretrained": "timm/x", "drop_path": 0.1}}, {}),
        ("--model.pretrained=timm/x", {"model": {"pretrained": "timm/x"}}, {}),
        ("--model.pretrained 2024", {"model": {"pretrained": "2024"}}, {}),
        ("--model.pretrained", {"model": {"pretrained": True}}, {}),
        ("--model.pretrained --epochs 3", {"model": {"pretrained": True}, "epochs": 3}, {}),
        ("--model.pretrained False", {"model": {"pretrained": False}}, {}),
        ("--no-model.pretrained --epochs 3", {"model": {"pretrained": False}, "epochs": 3}, {}),
        ("--deterministic --epochs 3", {"deterministic": True, "epochs": 3}, {}),
        ("--no-deterministic", {"deterministic": False}, {}),
        ("--model.stem_stride 2", {"model": {"stem_stride": 2}}, {}),
        ("--model.stem_stride null", {"model": {"stem_stride": None}}, {}),
        ("--mix.kind none --mix.mode off", {"mix": {"kind": "none", "mode": "off"}}, {}),
        ("--seeds 0,1,2 --compare plain,mix", {"seeds": "0,1,2", "compare": "plain,mix"}, {}),
        ("--seeds 0 1 2 --compare plain, mix", {"seeds": "0,1,2", "compare": "plain,mix"}, {}),
        ("--seeds [0,1] --compare []", {"seeds": [0, 1], "compare": []}, {}),
        ("--compare --seeds 5", {"compare": "", "seeds": "5"}, {}),
        ("--arms '{big: {model: resnet50}}'", {"arms": {"big": {"model": "resnet50"}}}, {}),
    ],
)
def test_a_training_command_is_parsed(line, layer, options):
    command = parse(shlex.split(line), TRAIN)
    assert command == Command(TRAIN.name, "", layer, {"config": None, "evaluate": None} | options)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("out/photos", "'out/photos' is one argument too many. See accelerate launch recipes/train.py --help"),
        ("--epocs 3", "--epocs is not a flag of recipes/train.py; did you mean --epochs?"),
        ("--source.path x", "--source.path is not a flag of recipes/train.py; did you mean --data.path?"),
        ("--xyzzy", "--xyzzy is not a flag of recipes/train.py; see accelerate launch recipes/train.py --help"),
        ("--config", "--config has no value. Use --config TEXT|null"),
        ("--model --epochs 3", "--model has no value. Use e.g. --model.name VALUE"),
        ("--mix", "--mix has no value. Use e.g. --mix.KEY VALUE"),
        ("--arms {", "arms is '{', which cannot be read (line 1"),
    ],
)
def test_a_wrong_training_command_raises_a_one_line_error(line, message, capsys):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse(line.split(), TRAIN)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_the_help_of_the_training_command_has_every_key_with_its_default(capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse(["--data.path", "x", "--help"], TRAIN)
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert exit_info.value.code == 0
    assert text.startswith("usage: accelerate launch recipes/train.py [-h] [OPTIONS] Train a network")
    assert "target_" not in text
    assert "positional" not in text
    assert text.index("--config TEXT") < text.index("--epochs NUMBER")
    assert [key for key in leaves(TRAIN.schema.recipe) if f" --{key} " not in text] == []
    for expected in ("--model.pretrained true|false|TEXT", "--seeds INT,...", "(default: 0)", "--model.stem_stride 1|2",
                     "--schedule.milestones NUMBER,...", "(default: [])", "(default: 0.0005)"):  # fmt: skip
        assert expected in text


def test_the_examples_of_the_training_command_are_valid():
    for example in TRAIN.examples:
        tokens = shlex.split(example)
        program = TRAIN.name if TRAIN.name in tokens else "diffcore_hf.training"
        assert parse(tokens[tokens.index(program) + 1 :], TRAIN).layer is not None


def test_every_field_is_documented():
    for cls in {cls for verb in (*VERBS.values(), TRAIN) for cls in (verb.options, verb.schema.recipe)}:
        assert [key.name for key in documented_keys(cls).values() if not key.help.endswith(".")] == []
    assert set(documented_keys(Recipe)) >= set(leaves(Recipe)) - {"model.scheduler", "prompts.captioner"}


@pytest.mark.parametrize(
    "line",
    [
        "from diffcore_hf.commands.parser import parse_command; parse_command(['augment', 'a/b', '--fraction', '1'])",
        "from diffcore_hf.commands.parser import parse; "
        "from diffcore_hf.commands.definitions import TRAIN; parse(['--seeds=1'], TRAIN)",
    ],
)
def test_reading_the_command_line_imports_no_heavy_library(line):
    code = (
        f"import sys; {line};"
        "heavy = {'torch', 'datasets', 'numpy', 'diffusers', 'transformers', 'timm'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
