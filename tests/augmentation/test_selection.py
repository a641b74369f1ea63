"""Tests of section `select`: the rows that get counterparts, their order, and more copies for rare classes."""

from types import SimpleNamespace

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.selection import filled_units
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core.errors import UserError

NAMES = ("robin", "wren", "tit")


def plan_of(counts, losses=None, holdout=0.0, names=NAMES, **keys):
    """Returns the plan of a recipe for rows train/0, train/1, ... of three classes, with a column `loss`."""
    labels = np.repeat(np.arange(len(counts)), counts)
    row_ids = [f"train/{row}" for row in range(len(labels))]
    features = Features({"loss": Value("float32"), "note": Value("string"), "label": ClassLabel(names=list(names))})
    columns = {"loss": losses or [0.0] * len(labels), "note": [""] * len(labels), "label": labels.tolist()}
    recipe = build_recipe({"source": {"path": "memory", "holdout": holdout}}, keys)
    source = SimpleNamespace(
        config=recipe.source,
        rows=Dataset.from_dict(columns, features=features),
        features=features,
        splits={"train": None},
        names=names,
        labels={"train": labels},
        row_ids={"train": row_ids},
        sha256={"train": row_ids},
        text_columns=list,
    )
    return make_plan(source, recipe)


def units(plan):
    return list(zip(plan.rows.tolist(), plan.copies.tolist(), strict=True))


def test_classes_and_listed_rows_are_planned_in_the_drawing_order_and_references_stay(tmp_path):
    whole = plan_of([6, 6, 6])
    chosen = plan_of([6, 6, 6], select={"classes": ["tit", "robin"]})
    assert chosen.rows.tolist() == [row for row in whole.rows.tolist() if whole.source_ids[row] and not 6 <= row < 12]
    (tmp_path / "rows.txt").write_text("train/17\ntrain/2\ntrain/8\n")
    listed = plan_of([6, 6, 6], select={"rows": str(tmp_path / "rows.txt")})
    assert sorted(listed.rows.tolist()) == [2, 8, 17]
    both = plan_of([6, 6, 6], select={"rows": str(tmp_path / "rows.txt"), "classes": ["wren"]})
    assert both.rows.tolist() == [8]
    for other in (chosen, listed, both):
        assert other.references.tolist() == whole.references.tolist()


def test_a_class_has_its_name_in_the_source_or_in_prompts():
    names = ("001.Sand_Robin", "002.Wren", "3.Wren")
    chosen = {
        name: set(plan_of([2, 2, 2], names=names, select={"classes": [name]}).labels.tolist())
        for name in ("001.Sand_Robin", "Sand Robin", "Wren", "3.Wren")
    }
    assert chosen == {"001.Sand_Robin": {0}, "Sand Robin": {0}, "Wren": {1, 2}, "3.Wren": {2}}


def test_a_unit_keeps_its_key_and_context_whatever_is_selected():
    whole, chosen = plan_of([6, 6, 6]), plan_of([6, 6, 6], select={"classes": ["wren"], "hardest": "loss"})
    contexts = dict(zip(whole.row_ids, whole.contexts.tolist(), strict=True))
    assert chosen.contexts.tolist() == [contexts[row_id] for row_id in chosen.row_ids]


def test_the_hardest_rows_of_each_class_are_drawn_first_and_rows_without_a_value_last():
    losses = [0.1, 0.9, float("nan"), 0.5, 2.0, None, 3.0, -1.0]
    order = plan_of([4, 4], losses, select={"hardest": "loss"}).rows.tolist()
    assert [row for row in order if row < 4] == [1, 3, 0, 2]
    assert [row for row in order if row >= 4] == [6, 4, 7, 5]
    assert sorted(order[:2]) == [1, 6]
    half = plan_of([4, 4], losses, select={"hardest": "loss"}, fraction=0.5).rows.tolist()
    assert half == order[:4]
    assert sorted(half) == [1, 3, 4, 6]


def test_equal_values_leave_the_seeded_order():
    assert units(plan_of([5, 7], select={"hardest": "loss"})) == units(plan_of([5, 7]))


def test_rare_classes_are_filled_by_copies_and_common_classes_are_cut():
    plan = plan_of([2, 7], select={"per_class": 5})
    assert sorted(copy for row, copy in units(plan) if row < 2) == [0, 0, 1, 1, 2]
    assert [copy for row, copy in units(plan) if row >= 2] == [0] * 5
    assert len(set(units(plan))) == 10
    common = [row for row, _ in units(plan) if row >= 2]
    assert common == [row for row in plan_of([2, 7]).rows.tolist() if row >= 2][:5]
    assert units(plan_of([2, 7], select={"per_class": 5}, fraction=0.4)) == units(plan)[:4]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 12), st.randoms())
def test_every_prefix_of_the_filled_units_is_balanced_and_larger_fillings_extend_smaller_ones(counts, number, random):
    labels = np.repeat(np.arange(len(counts)), counts)
    random.shuffle(labels)
    positions, copies = filled_units(labels, number)
    assert len(set(zip(positions.tolist(), copies.tolist(), strict=True))) == number * len(counts)
    shown = labels[positions]
    for length in range(1, len(shown) + 1):
        counted = np.bincount(shown[:length], minlength=len(counts))
        assert counted.max() - counted.min() <= 1
    more_positions, more_copies = filled_units(labels, number + 1)
    assert more_positions[: len(positions)].tolist() == positions.tolist()
    assert more_copies[: len(copies)].tolist() == copies.tolist()


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"classes": ["Robin"]}, "select.classes has 'Robin', which memory does not have; did you mean 'robin'"),
        ({"classes": ["x"]}, "its first classes are robin, wren, tit"),
        ({"hardest": "note"}, "select.hardest is 'note', which is not a column of numbers of memory"),
        ({"hardest": "label"}, "Its columns of numbers are loss."),
        ({"rows": "missing.txt"}, "select.rows is missing.txt, which is not a file"),
    ],
)
def test_a_class_row_or_column_that_does_not_exist_is_one_line(keys, message):
    with pytest.raises(UserError) as error:
        plan_of([3, 3, 3], select=keys)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_listed_row_that_does_not_exist_is_one_line_with_an_example(tmp_path):
    (tmp_path / "rows.txt").write_text("train/1\ntrain/99\x1b[31m\n")
    with pytest.raises(
        UserError, match=r"lists .*train/99.*, but split train has no such row.* like 'train/0'"
    ) as error:
        plan_of([3], select={"rows": str(tmp_path / "rows.txt")})
    assert str(error.value).isprintable()


def test_a_selection_of_rows_that_cannot_be_planned_is_one_line(tmp_path):
    heldout = plan_of([9, 9, 9], holdout=0.4).heldout
    (tmp_path / "rows.txt").write_text(f"train/{np.flatnonzero(heldout)[0]}\n")
    with pytest.raises(UserError, match="section select leaves no row of split 'train' that can be planned"):
        plan_of([9, 9, 9], holdout=0.4, select={"rows": str(tmp_path / "rows.txt")})


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"select": {"per_class": 5}, "copies": 2}, "copies is 2, but select.per_class 5 sets the number of copies"),
        ({"select": {"per_class": 0}}, "select.per_class is 0, not an integer from 1 to 1,000,000, or null"),
        ({"select": {"per_class": 10**7}}, "not an integer from 1 to 1,000,000"),
        ({"select": {"classes": []}}, "select.classes is"),
        ({"select": {"rows": " "}}, "select.rows is"),
        ({"select": {"hardest": ""}}, "select.hardest is"),
    ],
)
def test_values_out_of_range_are_refused(keys, message):
    with pytest.raises(UserError) as error:
        build_recipe({"source": "memory"}, keys)
    assert message in str(error.value)
