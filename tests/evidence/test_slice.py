"""Tests that measure a small part of the evidence, with small folders and short trainings."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import load_dataset

from benchmarks.evidence import folders, judging, page, probing, trainings
from benchmarks.evidence.__main__ import PAGE, SEEDS, cells
from benchmarks.evidence.cells import Cell, measure
from benchmarks.evidence.series import Results, difference, points
from benchmarks.evidence.store import Store
from benchmarks.evidence.worlds import OWN, PROMPTED, UNMENTIONED, world_folder
from diffcore_hf.core.folder import RUN_FORMAT
from diffcore_hf.miniature import world

SMALL = {"copies": 1, "fraction": 0.2, "model": {"steps": 4}}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Reduces every folder to 48 attempts of four steps, and every training to two steps."""
    monkeypatch.setattr(folders, "GENERATORS", {name: keys | SMALL for name, keys in folders.GENERATORS.items()})
    monkeypatch.setattr(trainings, "NETS", {name: keys | {"max_steps": 2} for name, keys in trainings.NETS.items()})
    monkeypatch.setattr(judging, "EACH", 1)
    # accelerate uses one precision for the whole process, and the other tests train in float32.
    monkeypatch.setattr(trainings, "_COMMON", trainings._COMMON | {"precision": "float32"})


@pytest.mark.slow
def test_two_cells_are_measured_packed_and_written_to_the_page(work):
    store = Store(work / "packed", work / "new")
    made = [
        ("folders/gamma-2-0", lambda place: folders.measure(place, "gamma-2", 0)),
        ("trainings/plain-scratch-0", lambda place: trainings.measure(place, "plain", "scratch", 0)),
        *(
            (f"trainings/{arm}-scratch-0", lambda place, arm=arm: trainings.measure(place, arm, "scratch", 0))
            for arm in ("gamma-2.all", "gamma-2.oracle", "gamma-2.context_free.equal-kept", "mix-own-50")
        ),
        ("judge/unseen-own-0", lambda place: judging.measure(place, "unseen", "own", 0)),
        ("probes/probe-0", lambda place: probing.measure(place, 0)),
    ]
    for name, function in made:
        measure(Cell(name, 1, function), store, work)
    assert store.pack() == len(made)
    results = Results.read(store)

    shown = results.folders["gamma-2-0"]
    assert shown["attempts"] == 48 == sum(shown["shows"].values()) == sum(shown["accepted"]["all"].values())
    assert results.kept("gamma-2.all", "scratch") == {0: 48}
    assert results.kept("gamma-2.oracle", "scratch") == {0: shown["shows"]["right"]}
    assert results.right("gamma-2.oracle", "scratch") in ({0: 1.0}, {})
    smallest = min(
        sum(shown["accepted"][policy].values())
        for policy in ("mean", "class_mean", "classifier", "context_free", "text")
    )
    kept = results.kept("gamma-2.context_free.equal-kept", "scratch")[0]
    assert kept == min(smallest, shown["shows"]["right"])
    assert set(results.trainings["plain-scratch-0"]["best"]["by_group"]) == {OWN, PROMPTED, UNMENTIONED}
    assert not (work / "trainings" / "plain-scratch-0").exists()

    page.write(results, work / "results.md", work / "assets")
    text = (work / "results.md").read_text()
    assert text.startswith("# Results") and "| GenAug |" in text and "](assets/results-guidance.png)" in text
    assert all((work / "assets" / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in page._FIGURES)


def test_a_world_has_its_groups_and_wrong_prompt_names(tmp_path, monkeypatch):
    """The test split has one image of each species in each context, because rendering takes most of the time."""
    monkeypatch.setitem(world._IMAGES, "test", 10)
    rows = load_dataset(str(world_folder(tmp_path, 0)))
    own = {(label, scene) for label, scene in zip(rows["train"]["label"][:], rows["train"]["scene"][:], strict=True)}
    test = zip(rows["test"]["label"][:], rows["test"]["scene"][:], rows["test"]["group"][:], strict=True)
    assert all(((label, scene) in own) == (group == OWN) for label, scene, group in test)
    assert set(rows["test"]["group"][:]) == {OWN, PROMPTED, UNMENTIONED}
    named = [
        label.split(".")[1].replace("_", " ")
        for label in map(rows["train"].features["label"].int2str, rows["train"]["label"][:])
    ]
    for column in ("drawn_random", "drawn_alike"):
        wrong = sum(a != b for a, b in zip(named, rows["train"][column][:], strict=True))
        assert 0.2 < wrong / len(named) < 0.4


@pytest.mark.parametrize("number, kept", [(RUN_FORMAT, True), (RUN_FORMAT - 1, False)])
def test_a_folder_of_another_format_is_created_again(number, kept, tmp_path, monkeypatch):
    folder = tmp_path / "made"
    (folder / ".diffcore").mkdir(parents=True)
    (folder / "diffcore.json").touch()
    (folder / ".diffcore" / "run.json").write_text(json.dumps({"format": number}))
    made = []
    monkeypatch.setattr(
        folders.augment_workflow, "run", lambda recipe, progress: made.append(recipe) or SimpleNamespace(interrupted=0)
    )
    folders.augmented(folder, tmp_path, 0)
    assert (folder / "diffcore.json").is_file() == kept and len(made) == (0 if kept else 1)


def test_cell_names_are_unique_and_the_estimated_time_stays_in_the_budget():
    names = [cell.name for cell in cells()]
    assert len(set(names)) == len(names)
    assert sum(name.startswith("trainings/") for name in names) <= 400
    assert sum(cell.seconds for cell in cells()) / 2 <= 8 * 3600
    assert {name.rpartition("-")[2] for name in names if not name.startswith("towers/")} == set(map(str, SEEDS))


def test_the_page_is_written_from_the_packed_results(tmp_path):
    page.write(Results.read(Store()), tmp_path / "results.md", tmp_path / "assets")
    assert (tmp_path / "results.md").read_bytes() == PAGE.read_bytes()


def test_the_text_of_a_paired_difference_says_when_its_interval_contains_zero():
    base = {0: 0.5, 1: 0.6, 2: 0.4}
    assert points(difference({0: 0.6, 1: 0.7, 2: 0.5}, base)) == "+10.0 ± 0.0"
    assert points(difference({0: 0.6, 1: 0.5, 2: 0.4}, base)).startswith("no difference seen (+0.0 ±")
    assert points(difference({7: 0.6}, base)) == ""
    assert points(difference({1: 0.7}, base)) == "+10.0 (one seed)"
