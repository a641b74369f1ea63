"""Tests of the hard world: its pictures, the order of its measurements, and its section of the results page."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.evidence import folders, hard, hard_page, hard_world, trainings
from benchmarks.evidence.cells import SEEDS, Cell, measure
from benchmarks.evidence.hard import ARMS, DECIDING
from benchmarks.evidence.hard_world import OTHER_EACH, OWN_EACH, pictures
from benchmarks.evidence.series import Results
from benchmarks.evidence.store import Store
from benchmarks.evidence.worlds import OWN, PROMPTED, UNMENTIONED, group
from diffcore_hf.miniature.species import DATASET_SPECIES
from diffcore_hf.miniature.world import World


def results(measured: dict[str, dict]) -> Results:
    return replace(Results.read(Store()), hard=measured)


def scored(own: float, never: float, **keys) -> dict:
    groups = {OWN: own, PROMPTED: never, UNMENTIONED: never}
    return {"kept": 240, "right": 200, "best": {"top1": own, "by_group": groups}} | keys


def everything(count: int) -> dict[str, dict]:
    """Returns results of some seeds in which mixing helps in own contexts and harms in contexts never mentioned."""
    better = {"mix": (0.1, -0.1), "genaug": (0.05, 0.3)}
    found = {}
    for seed in SEEDS[:count]:
        for name, arm in ARMS.items():
            own, never = better.get(name, (0.0, 0.0))
            for net in arm.nets:
                found[f"{name}-{net}-{seed}"] = scored(0.7 + own + 0.001 * (seed % 2), 0.2 + never)
    return found


def test_the_test_split_has_more_images_of_own_contexts_and_no_picture_is_in_two_splits():
    world = World(5, "pairs")
    splits = {name: pictures(world, name) for name in ("train", "validation", "test", "counterparts")}
    groups = Counter(group(world, picture) for picture in splits["test"])
    assert len(splits["test"]) == 20 * (OWN_EACH + 8 * OTHER_EACH) and groups[OWN] == 20 * OWN_EACH
    assert [p.species for p in splits["train"]] == [p.species for p in splits["counterparts"]]
    assert {p.species for p in splits["validation"]} == set(DATASET_SPECIES)
    assert all(group(world, picture) == OWN for name in splits if name != "test" for picture in splits[name])
    seeds = [picture.seed for split in splits.values() for picture in split]
    assert len(set(seeds)) == len(seeds)


def test_the_deciding_arms_come_first_and_take_less_than_an_hour_of_one_core():
    cells = hard.cells()
    names = [cell.name for cell in cells]
    assert len(set(names)) == len(names) and all(arm.base in {*ARMS, None} for arm in ARMS.values())
    deciding = [cell for cell in cells if cell.name.partition("/")[2].split("-")[0] in DECIDING
                and cell.name.count("-") == 2]  # fmt: skip
    assert cells[: len(deciding)] == deciding
    assert [cell.name.rpartition("-")[2] for cell in deciding] == sorted(c.name.rpartition("-")[2] for c in deciding)
    assert sum(cell.seconds for cell in deciding) <= 3600
    assert sum(cell.seconds for cell in cells) / 2 <= 2 * 3600


def test_a_page_says_which_cells_are_not_measured():
    assert hard_page.section(results({}))[-1] == "**Not measured yet.**"
    text = "\n".join(hard_page.section(results({"plain-scratch-0": scored(0.7, 0.2)})))
    assert text.count("not measured") > 40 and "higher" not in text
    assert hard_page.figure(results({})).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "count, said",
    [
        (1, "Own contexts: too few seeds to judge (+5.0, 1 of 3); contexts never mentioned: too few seeds to judge"),
        (3, "Own contexts: higher (+5.0 ± 0.0); contexts never mentioned: lower (-40.0 ± 0.0)."),
        (5, "Own contexts: higher (+5.0 ± 0.0); contexts never mentioned: lower (-40.0 ± 0.0)."),
    ],
)
def test_the_sentences_follow_from_the_intervals(count, said):
    text = "\n".join(hard_page.section(results(everything(count))))
    assert f"- Mixing of generated images (`both`), compared with no mixing. {said}" in text
    assert ("is in the range" in text) and f"({'one seed' if count == 1 else f'{count} seeds'})" in text


def test_the_figure_is_drawn_from_measured_arms():
    assert hard_page.figure(results(everything(3))).startswith(b"\x89PNG")


def test_an_arm_without_images_has_the_scores_of_real_images_alone():
    measured = everything(3) | {f"genaug-filter-scratch-{seed}": {"kept": 0, "same_as": "plain"} for seed in SEEDS[:3]}
    read = results(measured)
    plain = hard_page.accuracy(read, "plain", "scratch", OWN)
    assert hard_page.accuracy(read, "genaug-filter", "scratch", OWN) == plain
    assert "| 3 | 0 | – |" in "\n".join(hard_page.section(read))


@pytest.mark.slow
def test_arms_of_each_kind_are_measured_packed_and_written(tmp_path, monkeypatch):
    """Each folder has 20 attempts of four steps, each training has two steps, and the test split is small."""
    monkeypatch.setattr(hard, "_ONE_COPY", {"copies": 1, "fraction": 0.05, "model": {"steps": 4}})
    for name, number in (("OWN_EACH", 4), ("OTHER_EACH", 1), ("VALIDATION_EACH", 2)):
        monkeypatch.setattr(hard_world, name, number)
    monkeypatch.setattr(trainings, "NETS", {name: keys | {"max_steps": 2} for name, keys in trainings.NETS.items()})
    monkeypatch.setattr(trainings, "_COMMON", trainings._COMMON | {"precision": "float32"})
    monkeypatch.setattr(folders, "_COMMON", folders._COMMON | {"model": {"dtype": "float32", "steps": 4}})
    store = Store(tmp_path / "packed", tmp_path / "new")
    for name in ("plain", "mix", "real-genaug", "changed-genaug", "genaug-filter"):
        measure(Cell(f"hard/{name}-scratch-0", 1, lambda work, name=name: hard.measure(work, name, "scratch", 0)),
                store, tmp_path)  # fmt: skip
    measure(Cell("hard/level_slight-scratch-100", 1, lambda work: hard.measure_level(work, "slight")), store, tmp_path)
    assert store.pack() == 6
    read = Results.read(store)
    assert read.of_series("hard", "mix", "scratch", lambda result: result["kept"]) == {0: 20}
    assert read.of_series("hard", "real-genaug", "scratch", lambda result: result["kept"]) == {0: 240}
    assert set(hard_page.accuracy(read, "genaug-filter", "scratch", OWN)) == {0}
    assert not (tmp_path / "hard" / "plain-scratch-0").exists()
