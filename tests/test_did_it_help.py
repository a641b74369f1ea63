"""Tests of a run on forty photos, of a comparison of trainings, and of its result on the card."""

from __future__ import annotations

import json

import pytest
from small_photos import write_photos

from diffcore_hf.commands.main import main as diffcore
from diffcore_hf.commands.train import main as train
from diffcore_hf.core.folder import Folder
from diffcore_hf.publishing.card import worth
from diffcore_hf.workflows import train as train_workflow


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny):
    """Run `augment` and a comparison in a folder of photos and return the folder."""
    folder = tmp_path_factory.mktemp("photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_photos(folder / "photos", [14, 13, 13])
        models = ["--model.path", tiny["sd"], "--filter.path", tiny["clip"], "--model.steps", "2"]
        argv = ["augment", "./photos", "--kind", "general", "--output", "out/photos", "--filter.policy", "all"]
        assert diffcore([*argv, *models]) == 0
        assert compared("--seeds", "0,1") == 0
        yield folder


def compared(*more):
    return train(
        [
            "--data.path",
            "out/photos",
            "--compare",
            "plain,mix",
            "--model.name",
            "test_resnet",
            "--model.pretrained",
            "false",
            "--transform.preset",
            "tiny_preact_1200",
            "--transform.size",
            "32",
            "--max_steps",
            "4",
            "--batch_size",
            "8",
            "--device",
            "cpu",
            "--workers",
            "0",
            *more,
        ]
    )


def test_a_comparison_prints_one_table_and_writes_its_result_on_the_card(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert compared("--seeds", "0,1") == 0
    out = capsys.readouterr().out
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len(table) == 4 and table[2].split("|")[1].strip() == "plain" and table[3].split("|")[1].strip() == "mix"
    assert "held out of the training" in out
    card = (project / "out/photos/README.md").read_text()
    assert "not measured" not in card.split(worth.START)[1].split(worth.END)[0]
    assert "plain " in card and "paired by seed" in card
    assert (project / "out/photos/compare.json").read_bytes() == (
        project / "out/train/photos/compare.json"
    ).read_bytes()
    assert Folder(project / "out/photos").faults() == []


def test_the_result_stays_on_the_card_if_the_same_dataset_is_exported_again(project, monkeypatch, tiny, capsys):
    monkeypatch.chdir(project)
    assert compared("--seeds", "0,1") == 0
    again = [
        "augment",
        "./photos",
        "--kind",
        "general",
        "--output",
        "out/photos",
        "--model.path",
        tiny["sd"],
        "--filter.path",
        tiny["clip"],
        "--model.steps",
        "2",
    ]
    assert diffcore([*again, "--filter.policy", "all"]) == 0
    assert "paired by seed" in (project / "out/photos/README.md").read_text()
    assert diffcore([*again, "--filter.policy", "all", "--fraction", "0.5"]) == 0
    card = (project / "out/photos/README.md").read_text()
    assert "paired by seed" not in card and "not measured" in card
    assert diffcore([*again, "--filter.policy", "all"]) == 0
    capsys.readouterr()


def test_a_comparison_of_trainings_on_other_data_does_not_change_the_card(project):
    before = (project / "out/photos/README.md").read_text()
    other = json.loads((project / "out/train/photos/compare.json").read_text())
    other["data"]["hash"] = "0" * 64
    assert train_workflow.write_worth(project / "out/photos", other) is None
    assert (project / "out/photos/README.md").read_text() == before


def test_every_trained_model_has_a_card(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert compared("--seeds", "0,1") == 0
    cards = sorted((project / "out/train/photos").glob("*/*/*/README.md"))
    assert len(cards) == 4  # the last models of two arms and two seeds, because there is no validation split
    text = cards[0].read_text()
    assert text.startswith("---\nlibrary_name: timm") and "# test\\_resnet trained on a local dataset" in text
    assert str(project) not in text and "| plain" in text and "no validation split" in text
    cards[0].write_text(
        text.replace("<!-- Yours: intended use, known limits, contact. -->", "For photos of foxes only.")
    )
    assert compared("--seeds", "0,1") == 0
    assert "For photos of foxes only." in cards[0].read_text()
    capsys.readouterr()
