"""Tests of the reading of recipe files and of the list of shipped recipes."""

import re

import pytest

from diffcore_hf.config.recipe_files import read_recipe_file, shipped_recipe, shipped_recipes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "line 1"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: 'a' is given twice"),
        ("kind: bird\n  x: 1\n", "line 2"),
        ("a: !!python/name:os.system x", "line 1"),
        ("- a\n", "contains no keys of a recipe"),
        ("", "contains no keys of a recipe"),
        ("1: 2", "contains no keys of a recipe"),
        ("a: \x07", "not valid YAML"),
    ],
)
def test_an_invalid_file_gives_a_one_line_error_with_its_name(tmp_path, content, message):
    file = tmp_path / "broken.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"broken\.yaml: .*" + re.escape(message)) as caught:
        read_recipe_file(file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_gives_a_one_line_error(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.yaml: No such file"):
        read_recipe_file(tmp_path / "gone.yaml")


def test_shipped_recipes_are_found_by_name():
    assert "miniature" in shipped_recipes()
    assert shipped_recipe("miniature").is_file()
    assert shipped_recipe("nothing") is None
    assert [name for name in shipped_recipes() if name.endswith("-train")] == []
    assert shipped_recipe("../recipes/cub") is None
