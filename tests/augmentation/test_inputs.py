"""Tests of the inputs: every value that changes an attempt changes its digest, and no other value does."""

import dataclasses

import pytest
from small_photos import photos

from diffcore_hf.augmentation.inputs import Inputs, StrategyInputs
from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.source.dataset import load_source

TEXT = StrategyInputs(("prompt", "negative_prompt", "seed"))
IMAGE = StrategyInputs(("source_image", "seed"))
INDEX = StrategyInputs(("label", "prompt"))
PREPARED = StrategyInputs(("prompt",), {"inputs": {"steps": 5}, "strategy": "m:S", "version": "1"})


@pytest.fixture
def loaded(recipe):
    """Returns a function that builds a source and its plan from numbers of photos and recipe keys."""

    def loaded(counts, **keys):
        config = recipe(**keys)
        source = load_source(config.source, data=photos(counts))
        return source, make_plan(source, config)

    return loaded


def digests(source, plan, strategy, seed=0):
    """Returns a mapping from the key of attempt 0 of each unit to the digest of its inputs."""
    inputs = Inputs(source, plan, seed, strategy)
    return {(*plan.key(unit), 0): inputs.of_attempt((*plan.key(unit), 0)) for unit in range(len(plan))}


@pytest.mark.parametrize("strategy", [TEXT, IMAGE])
def test_added_rows_change_no_digest_of_existing_rows(loaded, strategy):
    small, large = (digests(*loaded(counts), strategy) for counts in ([3, 2], [4, 4]))
    assert len(small) == 5
    assert small.items() <= large.items()


@pytest.mark.parametrize(("strategy", "unchanged"), [(TEXT, True), (IMAGE, True), (INDEX, False)])
def test_another_class_index_changes_only_digests_of_strategies_that_read_the_index(loaded, strategy, unchanged):
    source, plan = loaded([3, 2])
    names, texts = ("ant", *source.names), plan.prompt_texts
    shifted = dataclasses.replace(texts, names=("ant", *texts.names), negatives=(texts.negatives[0], *texts.negatives))
    moved = dataclasses.replace(source, names=names, labels={"train": source.labels["train"] + 1})
    grown = dataclasses.replace(plan, labels=plan.labels + 1, prompt_texts=shifted)
    assert (digests(source, plan, strategy) == digests(moved, grown, strategy)) == unchanged


@pytest.mark.parametrize(
    ("change", "strategies"),
    [
        ("image", [IMAGE]),
        ("class name", [TEXT, IMAGE, INDEX]),
        ("prompt", [TEXT, IMAGE, INDEX]),
        ("seed", [TEXT, IMAGE, INDEX]),
    ],
)
def test_a_changed_input_changes_the_digests_of_attempts(loaded, change, strategies):
    source, plan = loaded([3, 2])
    other, planned, seed = source, plan, 0
    if change == "image":
        other = dataclasses.replace(source, sha256={"train": ["0" * 64] * 5})
    elif change == "class name":
        other = dataclasses.replace(source, names=("a", "b"))
    elif change == "prompt":
        planned = loaded([3, 2], **{"prompts.template": "{label}"})[1]
    else:
        seed = 1
    for strategy in (TEXT, IMAGE, INDEX):
        pairs = zip(
            digests(source, plan, strategy).items(), digests(other, planned, strategy, seed).items(), strict=True
        )
        assert all((before != after) == (strategy in strategies) for before, after in pairs)


def test_the_digest_of_a_preparation_depends_on_every_reference(loaded):
    source, plan = loaded([3, 2])
    before = Inputs(source, plan, 0, PREPARED)
    assert len(before.preparation) == 16
    assert Inputs(source, plan, 0, TEXT).preparation is None
    grown = Inputs(*loaded([4, 2]), 0, PREPARED)
    edited = Inputs(dataclasses.replace(source, sha256={"train": ["0" * 64] * 5}), plan, 0, PREPARED)
    assert len({inputs.preparation for inputs in (before, grown, edited)}) == 3
    assert before.of_unit(0) != grown.of_attempt((*plan.key(0), 0))
    fewer = Inputs(*loaded([3, 2], fraction=0.5), 0, PREPARED)
    assert fewer.preparation == before.preparation  # the references do not depend on the fraction


def test_only_planned_units_and_needed_rows_have_a_digest(loaded):
    source, plan = loaded([6, 6], fraction=0.2, **{"filter.references": 2})
    inputs = Inputs(source, plan, 0, TEXT)
    needed = {*plan.references.tolist(), *plan.rows.tolist()}
    wanted = {row for row, row_id in enumerate(source.row_ids["train"]) if inputs.of_reference((row_id, 0, 0))}
    assert wanted == needed
    assert len(needed) < 12
    assert inputs.of_attempt(("train/unknown", 0, 0)) is None
    assert inputs.of_attempt((plan.row_ids[0], 1, 0)) is None


def test_the_inputs_of_a_strategy_are_plain_values():
    for strategy in (TEXT, PREPARED):
        assert StrategyInputs.from_plain(strategy.plain()) == strategy
