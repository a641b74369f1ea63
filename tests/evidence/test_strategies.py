"""Tests of the evidence about strategies: the order of measurements, equal cost, and the section of the page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from datasets import load_dataset

from benchmarks.evidence import folders, strategies, strategies_page, trainings
from benchmarks.evidence.cells import SEEDS, Cell, measure
from benchmarks.evidence.series import GROUPS, Results
from benchmarks.evidence.store import Store
from benchmarks.evidence.strategies import BEST, COST, IMAGES, SOURCES, STRATEGIES, WAYS, StrategyArm
from diffcore_hf.generation.base import STRATEGIES as REGISTERED


def results(measured: dict[str, dict]) -> Results:
    return replace(Results.read(Store()), strategies=measured)


def everything(count: int) -> dict[str, dict]:
    """Returns results of some seeds.

    The source without a context is the best, the filter helps only inter_class, and the way `own` is worse.
    """
    found = {}
    for arm in [arm for group in strategies.tiers() for arm in group]:
        top1 = 0.6 + {"none": 0.2, "learned": -0.3}.get(arm.source, 0) + {"own": -0.1}.get(arm.way, 0)
        top1 += 0.05 if arm.keep == BEST and arm.source == "inter" else 0
        for seed in SEEDS[:count]:
            by_group = dict.fromkeys(GROUPS, top1 + 0.001 * (seed % 2))
            found[f"{arm.name}-scratch-{seed}"] = {
                "generated": IMAGES, "kept": 400, "right": 380, "evaluations": 15360, "best": {"by_group": by_group},
            }  # fmt: skip
    return found


def test_every_cell_has_its_own_name_and_the_first_group_has_every_source():
    names = [cell.name for cell in strategies.cells()]
    first = strategies.tiers()[0]
    assert len(set(names)) == len(names) and [arm.source for arm in first[: len(SOURCES)]] == list(SOURCES)
    assert [arm.source for arm in first if arm.keep == BEST] == list(STRATEGIES)
    assert {arm.way for arm in first} == {"append", COST}
    assert {(arm.source, arm.way, arm.keep) for group in strategies.tiers() for arm in group if arm.way != COST} == {
        (source, way, keep) for source in STRATEGIES for way in WAYS for keep in ("all", BEST)
    } | {(source, "append", "all") for source in SOURCES}
    seeds = [cell.name.rpartition("-")[2] for cell in strategies.cells()]
    assert seeds[: len(SEEDS) * len(first)] == sorted(seeds[: len(SEEDS) * len(first)])
    assert sum(cell.seconds for cell in strategies.cells()) / 2 <= 3.5 * 3600


def test_every_strategy_is_measured_except_those_that_need_other_models():
    """`edit` needs an editing pipeline, and `structure` a ControlNet."""
    used = {SOURCES[name].layer.get("strategy", {"name": "text_to_image"})["name"] for name in STRATEGIES}
    assert used == set(REGISTERED) - {"edit", "structure"}


def test_equal_cost_counts_the_steps_of_an_image_and_the_training_of_tokens():
    """An image takes 16 steps, or 11 with strength 0.7, and a step takes two evaluations of the denoising network.

    The tokens are trained for 600 steps on 8 references. Each of these 4800 samples costs as much as two evaluations.
    """
    assert strategies.evaluations("named") == (32, 0)
    assert strategies.evaluations("inter") == strategies.evaluations("changed") == (22, 0)
    assert strategies.evaluations("learned") == (32, 9600)
    numbers = {source: strategies.images_at_equal_cost(source) for source in STRATEGIES}
    assert numbers == {"named": 480, "none": 480, "changed": 698, "inter": 698, "learned": 180}
    for source, number in numbers.items():
        each, preparation = strategies.evaluations(source)
        assert IMAGES * 32 - each < number * each + preparation <= IMAGES * 32


def test_a_page_says_which_cells_are_not_measured():
    assert strategies_page.section(results({}))[-1] == "**Not measured yet.**"
    one = {"named.append.all-scratch-0": everything(1)["named.append.all-scratch-0"]}
    text = "\n".join(strategies_page.section(results(one)))
    assert text.count("not measured") > 50 and "highest" not in text
    assert "1 of 230 cells are measured, with 1 seed." in text
    assert "| real images alone | 5 | 0 | 0 |" in text
    assert strategies_page.figure(results({})).startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [2, 3])
def test_the_sentences_follow_from_the_intervals(count):
    said = strategies_page.sentences(results(everything(count)))
    if count < 3:
        assert "too few to judge" in said[1] and "too few seeds" in said[3]
        return
    assert said[0].startswith("`text_to_image` with six contexts, compared with real images alone: higher (+41.7")
    assert said[1].startswith(
        "Strategy, equal images: `text_to_image`, no context named has the highest mean top-1 (80"
    )
    assert said[1].endswith("It is higher than that of 4 of 4 other strategies.")
    assert said[3] == "No context in the prompt, compared with six contexts: higher (+20.0 ± 0.0)."
    assert "`own_copies`, compared with `append`: higher in 0 and lower in 5 of 5 comparisons" in said[7]
    assert said[8].endswith("higher in 4 and lower in 0 of 20 comparisons, no difference seen in the others.")


@pytest.mark.slow
def test_arms_of_each_kind_are_measured_packed_and_written(tmp_path, monkeypatch):
    """Each source has few images of four steps, and each training has two steps."""
    monkeypatch.setattr(folders, "_COMMON", folders._COMMON | {"fraction": 0.05, "model": {"dtype": "float32"}})
    few = {name: replace(SOURCES[name], layer=SOURCES[name].layer | {"model": {"steps": 4}}) for name in SOURCES}
    tokens = {"strategy": {"name": "learned_tokens", "options": {"steps": 2, "batch": 1, "initial": "bird"}}}
    few["learned"] = replace(few["learned"], layer=few["learned"].layer | tokens)
    monkeypatch.setattr(strategies, "SOURCES", few)
    monkeypatch.setattr(trainings, "NETS", {name: keys | {"max_steps": 2} for name, keys in trainings.NETS.items()})
    monkeypatch.setattr(trainings, "_COMMON", trainings._COMMON | {"precision": "float32"})
    strategies.evaluations.cache_clear()
    store = Store(tmp_path / "packed", tmp_path / "new")
    arms = [StrategyArm("inter", "any"), StrategyArm("learned", COST), StrategyArm("half", "append"),
            StrategyArm("inter", "own", BEST)]  # fmt: skip
    for arm in arms:
        cell = Cell(f"strategies/{arm.name}-scratch-0", 1, lambda work, arm=arm: strategies.measure(work, arm, 0))
        measure(cell, store, tmp_path)
    strategies.evaluations.cache_clear()
    assert store.pack() == len(arms)
    read = Results.read(store)
    assert all(set(strategies_page.accuracy(read, arm)) == {0} for arm in arms[:3])
    rows = load_dataset(str(strategies.made(tmp_path, "half", 0)), "attempts", split="train")
    named = [any(context in prompt for context in strategies.PROMPTED_CONTEXTS) for prompt in rows["prompt"][:]]
    assert 0 < sum(named) < len(named)
    drawn = load_dataset(str(strategies.made(tmp_path, "inter", 0)), "generated", split="train")
    assert all(target is not None for target in drawn["target_label"][:])
