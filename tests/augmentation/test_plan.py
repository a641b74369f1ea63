"""Tests of the plan: a fraction takes the first rows of a random order, and a larger plan changes no prompt."""

import itertools
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_photos import photos

from diffcore_hf import plan
from diffcore_hf.augmentation.plan import drawing_order, drawn, held_out, make_plan
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.unit_draws import unit_contexts

COUNTS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def rows_of(counts):
    """Returns labels and row ids of `counts[k]` rows of class k."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return labels, [f"train/{row}" for row in range(len(labels))]


def planned(counts, labels=None, splits=("train",), sha256=None, **keys):
    """Returns the plan of a recipe for rows without images. `sha256` maps a split to the hashes of its images."""
    recipe = build_recipe({"source": "memory", "prompts": {"contexts": ["in snow", "at night", "in rain"]}}, keys)
    all_labels, row_ids = rows_of(counts)
    source = SimpleNamespace(
        config=recipe.source,
        splits=dict.fromkeys(splits),
        names=tuple(f"bird {letter}" for letter in "abcdefgh"[: len(counts)]),
        labels={"train": all_labels if labels is None else np.array(labels)},
        row_ids={"train": row_ids},
        sha256={"train": row_ids} | (sha256 or {}),
        features={},
        text_columns=list,
    )
    return make_plan(source, recipe)


def units(plan):
    """Returns (row id, copy) -> context and prompts."""
    listed = [plan.unit(index) for index in range(len(plan))]
    return {(unit.row_id, unit.copy): (unit.context, unit.prompt, unit.negative_prompt) for unit in listed}


@pytest.mark.parametrize(
    "count, classes, fraction, expected",
    [
        (10, 1, 0.05, 1),  # 0.5, rounded up
        (10, 1, 0.04, 1),  # 0.4, but at least one row of each class
        (10, 2, 0.25, 3),  # 2.5, rounded up
        (10, 3, 0.05, 3),
        (200, 20, 0.5, 100),
        (200, 20, 1.0, 200),
        (3, 3, 0.1, 3),
        (7, 2, 0.5, 4),  # 3.5, rounded up
        (50, 2, 0.29, 15),  # 14.5, rounded up, although the product in floats is 14.499999999999998
    ],
)
def test_a_fraction_is_rounded_half_up_with_at_least_one_row_per_class(count, classes, fraction, expected):
    assert drawn(count, classes, fraction) == expected


@pytest.mark.parametrize(
    "counts, classes_in_order",
    [
        ([4, 2], "AABA"),  # after one row of each class, by level (j - 1/2) / N_k: A 3/8, A 5/8, B 3/4, A 7/8
        ([1, 5], "BBBB"),
        ([2, 1, 3], "CAC"),  # after one row of each class: C 1/2, A 3/4, C 5/6
    ],
)
def test_the_drawing_order_follows_the_formula(counts, classes_in_order):
    labels, row_ids = rows_of(counts)
    order, position = drawing_order(labels, row_ids, seed=0)
    names = "".join("ABC"[label] for label in labels[order])
    assert sorted(names[: len(counts)]) == list("ABC"[: len(counts)])
    assert names[len(counts) :] == classes_in_order
    for label in range(len(counts)):
        mine = order[labels[order] == label]
        assert position[mine].tolist() == list(range(counts[label]))
        assert [row_ids[row] for row in mine] == sorted(
            (row_ids[row] for row in np.flatnonzero(labels == label)), key=lambda name: seeding.digest("order", 0, name)
        )


@given(counts=COUNTS, share=st.floats(0.01, 1))
def test_every_prefix_gives_each_class_its_share(counts, share):
    labels, row_ids = rows_of(counts)
    order, _ = drawing_order(labels, row_ids, seed=3)
    taken = np.bincount(labels[order[: drawn(len(labels), len(counts), share)]], minlength=len(counts))
    assert taken.min() >= 1
    # A prefix ends at a level (j - 1/2) / N_k. So the number of rows of a class differs from its share by at most one.
    level = max((2 * n - 1) / (2 * c) for n, c in zip(taken, counts, strict=True) if n > 1) if taken.max() > 1 else 0
    assert all(abs(n - max(1, level * c)) <= 1 for n, c in zip(taken, counts, strict=True))


@given(counts=COUNTS, seed=st.integers(0, 5), shuffle=st.integers(0, 5))
def test_the_drawing_order_does_not_depend_on_the_order_of_the_rows(counts, seed, shuffle):
    labels, row_ids = rows_of(counts)
    order, _ = drawing_order(labels, row_ids, seed)
    mixed = np.random.default_rng(shuffle).permutation(len(labels))
    again, _ = drawing_order(labels[mixed], [row_ids[row] for row in mixed], seed)
    assert mixed[again].tolist() == order.tolist()


@settings(deadline=None, max_examples=40)
@given(counts=COUNTS, fractions=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), copies=st.integers(1, 2))
def test_the_units_of_a_smaller_fraction_are_a_subset_with_the_same_prompts(counts, fractions, copies):
    small, large = (planned(counts, fraction=f, copies=copies) for f in sorted(fractions))
    assert units(small).items() <= units(large).items()
    assert small.order.tolist() == large.order.tolist()
    assert small.references.tolist() == large.references.tolist()


@settings(deadline=None, max_examples=40)
@given(counts=COUNTS, grown=COUNTS, copies=st.integers(1, 4))
def test_a_unit_keeps_its_context_when_rows_and_classes_are_added(counts, grown, copies):
    more = [a + b for a, b in itertools.zip_longest(counts, grown, fillvalue=0)]
    small, large = rows_of(counts)[1], rows_of(more)[1]
    before, after = (
        {key: context for key, (context, *_) in units(planned(c, copies=copies)).items()} for c in (counts, more)
    )
    assert {row_id for row_id, _ in before} == set(small) <= set(large)
    assert before.items() <= after.items()


def test_contexts_are_balanced_in_expectation_and_follow_the_formula():
    row_ids = [f"train/{row}" for row in range(3000)]
    contexts = unit_contexts(row_ids, np.zeros(3000, np.int64), 3, seed=0)
    assert np.bincount(contexts).min() > 900
    number = int.from_bytes(seeding.digest("context", 0, "train/7")[:8], "big")
    for copy in range(4):
        assert unit_contexts(["train/7"], np.array([copy]), 3, seed=0) == (number + copy) % 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"copies": 10**12}, r"copies is 1000000000000, which gives .* Use --copies 20000000 or less"),
        ({"select": {"per_class": 1_000_000}}, r"select\.per_class is 1000000, .* Use --select\.per_class 3 or less"),
    ],
)
def test_a_plan_with_too_many_units_is_a_one_line_error(monkeypatch, keys, message):
    if "select" in keys:
        monkeypatch.setattr("diffcore_hf.augmentation.plan.MAX_UNITS", 6)
    with pytest.raises(UserError, match=message) as error:
        planned([3, 2], **keys)
    assert "\n" not in str(error.value)


def test_all_first_copies_come_before_the_second_copies_and_copies_have_other_contexts():
    plan = planned([3, 2], copies=2)
    assert plan.copies.tolist() == [0] * 5 + [1] * 5
    assert plan.row_ids[:5] == plan.row_ids[5:]
    assert all(a != b for a, b in zip(plan.contexts[:5], plan.contexts[5:], strict=True))


@pytest.mark.parametrize("limit, worked_on", [(None, 5), (3, 3), (99, 5)])
def test_a_limit_is_a_prefix_of_the_units(limit, worked_on):
    assert planned([3, 2]).limited(limit) == worked_on


def test_a_row_is_held_out_if_its_hash_is_below_the_share():
    labels, row_ids = rows_of([400, 4])
    hashes = np.array([seeding.uniform("holdout", 0, row_id) for row_id in row_ids])
    assert held_out(labels, row_ids, 0.25, seed=0).tolist() == (hashes < 0.25).tolist()
    assert held_out(labels, row_ids, 0.0, seed=0).sum() == 0
    unlabelled = np.where(np.arange(len(labels)) % 2, labels, -1)
    assert held_out(unlabelled, row_ids, 0.25, seed=0).tolist() == ((hashes < 0.25) & (unlabelled >= 0)).tolist()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_class_is_never_held_out_completely(count):
    labels, row_ids = rows_of([count, 3])
    mask = held_out(labels, row_ids, 0.999, seed=0)
    hashes = [seeding.uniform("holdout", 0, row_id) for row_id in row_ids[:count]]
    assert np.flatnonzero(~mask[:count]).tolist() == [int(np.argmax(hashes))]


@settings(deadline=None)
@given(counts=COUNTS, grown=COUNTS, share=st.floats(0.05, 0.6))
def test_growth_changes_the_holdout_of_no_row(counts, grown, share):
    """Each class keeps one row that is not held out. So the rule against holding out a whole class has no effect."""
    more = [a + b for a, b in zip(counts, grown, strict=False)]
    labels = np.repeat(np.arange(len(more)), [count + 1 for count in more])
    row_ids = [f"train/{label}-{row}" for row, label in enumerate(labels)]
    whole = held_out(labels, row_ids, share, seed=1)
    kept = [int(np.flatnonzero((labels == label) & ~whole)[0]) for label in range(len(more))]
    part = np.array(sorted({*kept, *range(0, len(labels), 2)}))
    assert held_out(labels[part], [row_ids[row] for row in part], share, seed=1).tolist() == whole[part].tolist()


def test_equal_images_are_held_out_together():
    labels = np.zeros(60, np.int64)
    row_ids = [f"train/{row // 2}" + "~1" * (row % 2) for row in range(60)]
    mask = held_out(labels, row_ids, 0.5, seed=0)
    assert mask[::2].tolist() == mask[1::2].tolist()


def test_held_out_rows_are_never_planned_nor_references():
    plan = planned([8, 8], source={"holdout": 0.25})
    assert 0 < plan.heldout.sum() < 16
    assert not plan.heldout[plan.rows].any()
    assert not plan.heldout[plan.references].any()
    assert len(plan) == len(plan.references) == 16 - plan.heldout.sum()


def test_a_holdout_is_refused_if_the_source_has_a_validation_split():
    with pytest.raises(ValueError, match=r"source.holdout is 0.25, but .* --source.holdout 0"):
        planned([8], splits=("train", "validation"), source={"holdout": 0.25})


def test_unlabelled_rows_are_neither_planned_nor_references():
    plan = planned([3, 3], labels=[0, 0, -1, 1, -1, 1])
    assert sorted(plan.rows.tolist()) == sorted(plan.references.tolist()) == [0, 1, 3, 5]


@pytest.mark.parametrize("references, drawn_by_class", [(2, [2, 2, 1]), (200, [5, 3, 1])])
def test_references_are_drawn_from_all_rows_for_any_fraction(references, drawn_by_class):
    plans = [planned([5, 3, 1], fraction=f, filter={"references": references}) for f in (0.2, 1.0)]
    labels, _ = rows_of([5, 3, 1])
    assert plans[0].references.tolist() == plans[1].references.tolist()
    assert np.bincount(labels[plans[0].references]).tolist() == drawn_by_class


def test_units_and_prompts_do_not_depend_on_the_order_of_the_source(recipe):
    ds = photos([4, 3, 2])
    first, second = (
        units(make_plan(load_source(recipe().source, data=rows), recipe())) for rows in (ds, ds.shuffle(seed=1))
    )
    assert first == second


def test_a_template_may_name_a_text_column(recipe):
    ds = photos([2, 1]).add_column("place", ["in a zoo", "in a wood", None])
    prompts = {"template": "a {label}, {place}, {context}", "contexts": [""], "negatives": []}
    planned_units = units(make_plan(load_source(recipe().source, data=ds), recipe(prompts=prompts)))
    prompts = {prompt for _, prompt, _ in planned_units.values()}
    assert prompts == {"a red fox, in a zoo", "a red fox, in a wood", "a green frog"}


def test_the_function_plan_adds_six_columns_in_source_order(recipe):
    ds = photos([3, 2])
    rows = plan(ds, recipe(copies=2))
    added = ["row_id", "copy", "context", "prompt", "negative_prompt", "seed"]
    assert rows.column_names == ["source_image", "label", *added]
    assert rows["label"][:] == [0] * 6 + [1] * 4
    assert rows["copy"][:] == [0, 1] * 5
    assert rows[0]["seed"] == seeding.attempt_seed(0, rows[0]["row_id"], 0, 0)
    assert rows.features["source_image"] == ds.features["image"]
    assert rows[0]["source_image"].size == (24, 20)


@pytest.mark.parametrize("data", [None, "photos", []])
def test_a_plan_of_an_object_that_is_not_a_dataset_gives_a_one_line_error(recipe, data):
    with pytest.raises(UserError, match="not a Dataset or DatasetDict"):
        plan(data, recipe())


def test_a_plan_needs_no_model():
    script = (
        "import sys; sys.path.insert(0, 'tests/helpers')\n"
        "from small_photos import photos\n"
        "from diffcore_hf import plan\n"
        "from diffcore_hf.config.augment_schema import build_recipe\n"
        "assert len(plan(photos([3, 2]), build_recipe({'source': 'memory'}))) == 5\n"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_equal_images_of_a_class_give_one_reference_and_a_counterpart_each():
    plan = planned([3, 2], sha256={"train": ["a", "a", "b", "a", "c"]})
    assert sorted(plan.references.tolist()) == [0, 2, 3, 4]
    assert sorted(plan.rows.tolist()) == [0, 1, 2, 3, 4]


def test_a_row_whose_image_is_in_another_split_is_a_reference_and_is_never_planned():
    plan = planned([3, 2], splits=("train", "test"), sha256={"train": list("abcde"), "test": ["b", "x", "e"]})
    assert sorted(plan.rows.tolist()) == [0, 2, 3]
    assert sorted(plan.references.tolist()) == [0, 1, 2, 3, 4]


def test_a_row_with_the_image_of_a_held_out_row_is_not_planned():
    hashes = ["a"] * 8 + list("bcdefghi")
    plan = planned([16], sha256={"train": hashes}, source={"holdout": 0.5})
    held = {hashes[row] for row in np.flatnonzero(plan.heldout).tolist()}
    assert held
    assert held.isdisjoint(hashes[row] for row in plan.rows.tolist())


def test_a_source_whose_rows_are_all_in_another_split_is_refused():
    with pytest.raises(UserError, match="is also an image of another split"):
        planned([2], splits=("train", "test"), sha256={"train": ["a", "b"], "test": ["b", "a"]})


def strategy(**keys):
    """Returns section `strategy` of a recipe whose targets are drawn from the other classes."""
    return {"targets": "other"} | keys


def test_prompts_name_the_target_class_and_units_have_their_strength():
    plan = planned([4, 4, 4], strategy=strategy(options={"strength": [0.5, 0.9]}), copies=2)
    drawn = [plan.unit(index) for index in range(len(plan))]
    assert len(drawn) == 24
    assert all(unit.target_label != unit.label for unit in drawn)
    assert all(f"bird {'abc'[unit.target_label]}" in unit.prompt for unit in drawn)
    assert {unit.strength for unit in drawn} == {0.5, 0.9}
    assert plan.shown.tolist() == [unit.target_label for unit in drawn]


def test_the_plan_of_a_dataset_has_the_columns_that_its_strategy_reads():
    ds, keys = photos([2, 2]), {"source": {"path": "memory"}, "strategy": {"name": "inter_class"}}
    rows = plan(ds, build_recipe(keys, {"filter": {"policy": "rank"}}))
    assert rows["strength"][:] == [0.7] * 4
    assert rows["target_label"][:] == [1, 1, 0, 0]
    assert "target_label" not in plan(ds, build_recipe({"source": {"path": "memory"}})).column_names


def test_a_template_without_the_class_is_refused_if_the_class_is_drawn():
    ds = photos([2, 2]).add_column("caption", ["a bird"] * 4)
    keys = {"source": {"path": "memory"}, "prompts": {"template": "{caption}, {context}"}}
    with pytest.raises(UserError, match=r"does not name the class\. Use --prompts.template caption"):
        plan(ds, build_recipe(keys, {"strategy": "inter_class"}))
    assert len(plan(ds, build_recipe(keys, {"strategy": {"name": "inter_class", "targets": "own"}}))) == 4


def test_without_targets_an_image_shows_the_class_of_its_row():
    plan = planned([4, 4])
    assert plan.targets is None
    assert plan.shown is plan.labels
    assert plan.unit(0).target_label == plan.unit(0).label
    assert plan.unit(0).strength is None


@pytest.mark.parametrize(
    ("counts", "keys", "message"),
    [
        ([4], {}, r"1 class\. Use --strategy.targets own"),
        ([4, 4], {"filter": {"policy": "mean"}}, r"filter.policy is mean.*Use --filter.policy rank"),
        ([4, 4], {"filter": {"policy": {"name": "fixed", "t": 0.5}}}, r"filter.policy is fixed.*"),
    ],
)
def test_targets_that_cannot_be_drawn_or_judged_are_refused_with_a_remedy(counts, keys, message):
    with pytest.raises(UserError, match=message):
        planned(counts, strategy=strategy(), **keys)
    if len(counts) > 1:
        planned(counts, strategy=strategy(), filter={"policy": "rank"})
    planned(counts, strategy=strategy(targets="own"), **keys)
