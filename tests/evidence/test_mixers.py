"""Tests of the evidence about mixers: its measurements, its tables, and one training of each kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.evidence import mixer_page, mixers, photo_mixers, photo_trainings, trainings
from benchmarks.evidence.cells import SEEDS, Cell, measure
from benchmarks.evidence.mixers import ARMS, PLAIN_VIT
from benchmarks.evidence.photo_trainings import MIXER_ARMS, RATES, PhotoTraining
from benchmarks.evidence.series import GROUPS, Results
from benchmarks.evidence.store import Store
from diffcore_hf.training.mixers.names import MIXERS


def scored(top1: float) -> dict:
    """Returns a result as a cell stores it."""
    return {"best": {"top1": top1, "top5": 0.9, "by_group": dict.fromkeys(GROUPS, top1)}, "validation_top1": top1}


def results(**series) -> Results:
    """Returns the packed results of the other sections, and the given results."""
    return replace(Results.read(Store()), **series)


def everything(count: int = len(SEEDS)) -> dict[str, dict]:
    """Returns results of all cells for some seeds. AutoMix is better than the base, and Co-Mixup is worse."""
    better = {"automix": 0.3, "comixup": -0.3}
    return {
        f"{name}-{net}-{seed}": scored(0.5 + better.get(name, 0) + 0.001 * (seed % 2))
        for net in mixers.NETS
        for name in mixers.arms(net)
        for seed in SEEDS[:count]
    }


def test_every_mixer_has_cells_with_every_seed_and_the_cells_fit_their_budget():
    names = [cell.name for cell in mixers.cells()]
    assert len(set(names)) == len(names) and {arm.mixer for arm in ARMS.values()} == {*MIXERS, None}
    for name, arm in ARMS.items():
        for net in arm.nets:
            missing = [seed for seed in SEEDS if f"mixers/{name}-{net}-{seed}" not in names]
            assert not missing or (name in ("mixup", "cutmix") and net == "scratch")
    assert [cell.name.rpartition("-")[2] for cell in mixers.cells()] == sorted(n.rpartition("-")[2] for n in names)
    assert sum(cell.seconds for cell in mixers.cells()) / 2 <= 3.5 * 3600


def test_a_table_without_results_says_not_measured_and_judges_nothing():
    parts = mixer_page.section(results(mixers={}))
    for net, table, said in (("scratch", parts[2], parts[3]), ("tuned", parts[5], parts[6])):
        rows = [line for line in table.splitlines() if f"| {ARMS['automix'].words} |" in line]
        assert rows == [f"| {ARMS['automix'].words} | 0 | not measured | not measured | not measured | not measured |"]
        assert len(table.splitlines()) == 3 + len(mixers.arms(net))
        assert "AutoMix" not in said
    assert parts[6] == "Fewer than 3 seeds are measured, which is too few to judge mixers."


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_fewer_than_three_seeds_decide_nothing(count):
    plain = {f"plain-tuned-{seed}": scored(0.5 + 0.001 * (seed % 3)) for seed in SEEDS}
    tables = mixer_page.section(results(trainings=plain, mixers=everything(count)))
    rows = [line for line in tables[5].splitlines() if line.startswith("| AutoMix |")]
    assert rows[0].startswith(f"| AutoMix | {count} | 80")
    said = tables[6]
    if count < 3:
        assert said == "Fewer than 3 seeds are measured, which is too few to judge mixers."
    else:
        judged = f"Of {len(mixers.arms('tuned'))} intervals of 95 %, about 0.9 are expected to exclude zero by chance."
        assert said.startswith("A higher top-1 is seen with AutoMix. A lower top-1 is seen with Co-Mixup. No diff")
        assert said.endswith(judged)


def test_transmix_is_compared_with_the_same_network_without_a_mixer():
    measured = {name: value for name, value in everything().items() if not name.startswith("plain")}
    measured |= {f"{PLAIN_VIT}-scratch-{seed}": scored(0.2) for seed in SEEDS}
    (row,) = [row for row in mixer_page._rows(results(mixers=measured), "scratch") if row.words.startswith("TransMix")]
    assert row.gap is not None and 0.3 < row.gap.mean < 0.31


def test_the_learning_rate_of_each_arm_and_number_of_images_is_chosen_before_the_other_seeds():
    first = list(photo_mixers.planned({}))
    names = [training.name for training in first]
    assert len(set(names)) == len(names) == 6 * (2 * len(MIXER_ARMS) - 1)
    assert {training.series for training in first} == {photo_trainings.MIXERS}
    assert [training.arm for training in first[:3]] == [next(arm for arm in MIXER_ARMS if arm != "plain")] * 3
    found = {training.name: scored(0.6 if training.rate == 1e-3 else 0.5) for training in first}
    everything = list(photo_mixers.planned(found))
    assert len(everything) == 9 * (2 * len(MIXER_ARMS) - 1)
    assert {training.rate for training in everything if training.name not in names} == {1e-3}


def test_cells_on_photographs_keep_their_names_and_series():
    assert PhotoTraining("plain", "short", 5e-4, 0).name == "clothing-10-lite0-plain-short-0.0005-0"
    assert PhotoTraining("plain", "short", 5e-4, 0).series == photo_trainings.SERIES
    assert PhotoTraining("plain", "short", 5e-4, 0, each=30).series == photo_trainings.MIXERS
    assert PhotoTraining("mixup", "short", 5e-4, 0).name == "clothing-10-lite0-mixup-short-0.0005-0"


def test_the_tables_of_photographs_are_written_from_no_and_from_all_results():
    assert photo_mixers.section(results(photographs={}, photo_mixers={}))[1:] == ["**Not measured yet.**"]
    first = {PhotoTraining("mixup", "short", RATES[0], 0).name: scored(0.5)}
    few = photo_mixers.section(results(photographs={}, photo_mixers=first))
    assert "| Mixup | 0 | not measured | not measured | not measured |" in few[2]
    measured: dict[str, dict] = {}
    for _ in range(2):  # the second pass adds the other seeds, which use the learning rate chosen by the first pass
        for training in photo_mixers.planned(measured):
            lower = 0.2 if training.arm == "cutmix" else 0.0
            measured[training.name] = scored(0.5 - lower + 0.001 * training.seed + training.rate)
    plain = {PhotoTraining("plain", "short", rate, seed).name: scored(0.5 + rate) for rate in RATES for seed in SEEDS}
    parts = photo_mixers.section(results(photographs=plain, photo_mixers=measured))
    assert "| Mixup | 5 | 50.3 ± 0.2 | 90.0 ± 0.0 |" in parts[5]
    assert all("A lower top-1 is seen with CutMix." in parts[place] for place in (3, 6))


@pytest.mark.slow
def test_two_arms_are_measured_packed_and_written_to_the_page(tmp_path, monkeypatch):
    """The two trainings take two steps each."""
    monkeypatch.setattr(trainings, "NETS", {name: keys | {"max_steps": 2} for name, keys in trainings.NETS.items()})
    monkeypatch.setattr(trainings, "_COMMON", trainings._COMMON | {"precision": "float32"})
    store = Store(tmp_path / "packed", tmp_path / "new")
    for name, net in (("pixmix-scenery", "tuned"), ("transmix", "scratch")):
        cell = Cell(f"mixers/{name}-{net}-0", 1, lambda work, name=name, net=net: mixers.measure(work, name, net, 0))
        measure(cell, store, tmp_path)
    assert store.pack() == 2
    read = Results.read(store)
    for name, net in (("pixmix-scenery", "tuned"), ("transmix", "scratch")):
        (top1,) = mixers.accuracy(read, name, net, GROUPS[0]).values()
        assert 0 <= top1 <= 1
