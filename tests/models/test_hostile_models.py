"""Tests of models from unknown authors: nothing is executed, no file outside is read, and each refusal is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import hostile_models
import pytest
from model_folders import CANARY

HELPERS = Path(hostile_models.__file__).parent
SECONDS = 2
"""Largest processor time of a refusal."""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Returns the report of one process that resolved all hostile models under an audit hook."""
    return report_of("load_hostile_models.py", tmp_path_factory.mktemp("hostile"))


def report_of(program, folder):
    """Returns the report of a program in the folder of the helpers."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HELPERS), *filter(None, sys.path)])}
    command = [sys.executable, str(HELPERS / program), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", hostile_models.cases())
def test_a_hostile_model_is_refused_in_one_line(name, report):
    outcome = report["cases"][name]
    assert (outcome["error"], outcome["events"]) == ("UserError", [])
    assert "\n" not in outcome["message"]
    assert CANARY not in outcome["message"]
    assert outcome["message"][0].strip() and outcome["message"].count(". ") >= 1
    assert outcome["seconds"] < SECONDS


def test_hostile_models_are_refused_before_torch_is_imported(report):
    assert len(report["cases"]) >= 75
    assert not report["torch"]
    assert not report["executed"]


REFUSED = {
    "code of another class": "custom code",
    "weights that are missing": "lacks 94 tensors of the model",
    "text encoder without weights": "text_encoder lacks 52 tensors",
    "network without weights": "unet lacks 208 tensors",
    "autoencoder without weights": "vae lacks 124 tensors",
}


@pytest.mark.slow
def test_traps_in_the_folder_of_a_loaded_model_have_no_effect(tmp_path):
    outcomes = report_of("load_disguised_models.py", tmp_path)
    assert len(outcomes) == 21
    for name, outcome in outcomes.items():
        assert (outcome["events"], outcome["executed"]) == ([], False), name
        if name in REFUSED:
            assert outcome["error"] == "UserError" and REFUSED[name] in outcome["message"], name
            assert "\n" not in outcome["message"]
        else:
            assert outcome["error"] == "NoneType", (name, outcome["message"])
