"""Tests of the statistics and texts of a comparison, for small examples with known results."""

from __future__ import annotations

import math

import pytest

from diffcore_hf.training.comparison import statistics


def run(top1, by_class=(1.0, 0.0), last=None):
    scores = {"top1": top1, "top5": 1.0, "by_class": list(by_class)}
    result = {"last": scores | {"top1": top1 if last is None else last}, "steps": 10, "epochs": 2.0, "samples_seen": 40}
    return result | ({} if last is None else {"best": scores})


def comparison(**arms):
    results = {name: [run(value) for value in values] for name, values in arms.items()}
    return {
        "arms": statistics.summarise(results, ("a|b", "c")), "seeds": [0, 1, 2], "split": "test", "images": 2000,
        "validation": True, "model": "resnet18, from scratch", "batch_size": 32, "notes": [],
    }  # fmt: skip


def test_the_paired_interval_of_three_seeds():
    gap = statistics.paired_difference([0.5, 0.6, 0.7], [0.4, 0.4, 0.4])
    assert gap.mean == pytest.approx(0.2)
    assert gap.half == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert gap.seen is False
    assert statistics.paired_difference([0.5, 0.51, 0.52], [0.4, 0.4, 0.4]).seen is True


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.706), (31, 2.042), (40, 1.96)])
def test_the_interval_uses_the_quantile_of_the_t_distribution(count, quantile):
    values = [0.01 * (-1) ** number for number in range(count)]
    from statistics import stdev

    gap = statistics.paired_difference(values, [0.0] * count)
    assert gap.half == pytest.approx(quantile * stdev(values) / math.sqrt(count))


def test_one_seed_has_no_interval():
    gap = statistics.paired_difference([0.5], [0.4])
    assert (gap.half, gap.seen) == (None, None)


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ([0.50, 0.51, 0.52], "+11.0 ± 2.5"),
        ([0.30, 0.41, 0.55], "no difference seen (+2.0 ± 31.1)"),
        ([0.40, 0.40, 0.40], "no difference seen (+0.0 ± 0.0)"),
    ],
)
def test_an_interval_that_contains_zero_is_reported_as_no_difference_seen(mix, words):
    arms = comparison(plain=[0.40, 0.40, 0.40], mix=mix)["arms"]
    assert statistics.difference_words(arms[1]) == words


def test_the_table_has_a_row_for_each_arm_and_escapes_names():
    compared = comparison(plain=[0.4, 0.4, 0.4], mix=[0.5, 0.51, 0.52])
    text = statistics.table(compared)
    lines = text.splitlines()
    assert len(lines) == 4 and {line.count("|") for line in lines} == {9}
    assert "40.0 ± 0.0" in lines[2] and "+11.0 ± 2.5" in lines[3] and "a/b" in lines[2]
    assert "the model that the validation split selected" in statistics.legend(compared)


def test_each_group_of_images_has_its_own_column():
    seeds = [run(0.5), run(0.7)]
    for seed, (night, snow) in zip(seeds, [(0.2, 0.8), (0.4, 1.0)], strict=True):
        seed["last"]["by_group"] = {"at|night": night, "snow": snow}
    compared = comparison(plain=[0.5, 0.7], mix=[0.5, 0.7]) | {
        "arms": statistics.summarise({"plain": seeds}, ("a", "b"))
    }
    assert compared["arms"][0]["by_group"] == {"at|night": pytest.approx(0.3), "snow": pytest.approx(0.9)}
    head, _, row = statistics.table(compared).splitlines()
    assert [cell.strip() for cell in head.split("|")[2:5]] == ["top-1", "at/night", "snow"]
    assert [cell.strip() for cell in row.split("|")[3:5]] == ["30.0", "90.0"]


def test_the_summary_has_the_scores_of_the_best_and_of_the_last_model():
    (arm,) = statistics.summarise({"plain": [run(0.6, last=0.5), run(0.8, last=0.7)]}, ("a", "b"))
    assert (arm["top1"], arm["last_top1"]) == (pytest.approx(0.7), pytest.approx(0.6))
    assert arm["worst_classes"][0] == ("b", 0.0)
