"""Tests of the reading of finished trainings: a damaged compare.json or a missing file gives a one-line error."""

import json
import os

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.comparison.finished import finished_trainings

COMPARISON = {"arms": [{"name": "plain"}], "seeds": [0]}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "recipe.yaml").write_text("data: {path: photos}\n")
    (tmp_path / "compare.json").write_text(json.dumps(COMPARISON))
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/recipe.yaml").write_text("epochs: 1\n")
    return tmp_path


def test_the_arms_and_seeds_are_those_of_the_comparison(folder):
    found = finished_trainings(folder)
    assert (found.arms, found.seeds) == (("plain",), (0,))
    assert found.recipes["plain"].data.path == "photos"


@pytest.mark.parametrize(
    "change",
    [
        {"arms": "plain"},
        {"arms": {"name": "plain"}},
        {"arms": []},
        {"arms": [{}]},
        {"arms": [5]},
        *(
            {"arms": [{"name": name}]}
            for name in (5, "", ".", "..", "../plain", "a/b", "/etc", "a\0b", "\ud800", "a" * 300)
        ),
        {"seeds": "012"},
        {"seeds": 5},
        {"seeds": []},
        {"seeds": [[1]]},
        {"seeds": [0.5]},
        {"seeds": [True]},
    ],
)
def test_a_damaged_comparison_is_a_one_line_error(folder, change):
    (folder / "compare.json").write_text(json.dumps({**COMPARISON, **change}))
    with pytest.raises(
        UserError, match=r"compare\.json is damaged .* Run the same training again to write it"
    ) as error:
        finished_trainings(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "5", "[" * 100_000])
def test_a_comparison_that_is_no_object_is_a_one_line_error(folder, text):
    (folder / "compare.json").write_text(text)
    with pytest.raises(UserError, match=r"compare\.json is damaged"):
        finished_trainings(folder)


def test_a_missing_recipe_of_an_arm_is_a_one_line_error_and_a_pipe_in_its_place_is_not_read(folder):
    recipe = folder / "plain/recipe.yaml"
    recipe.unlink()
    for make in (lambda: None, lambda: os.mkfifo(recipe)):
        make()
        with pytest.raises(UserError, match=r"plain/recipe\.yaml does not exist\. Run the same training again"):
            finished_trainings(folder)
