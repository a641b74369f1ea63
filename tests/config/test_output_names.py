"""Tests of the name of the default output folder, which is the name of the source."""

import pytest

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.output_names import default_output
from diffcore_hf.core.errors import UserError


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("org/cub-200_2011", "out/cub-200_2011"),
        ("./my photos/", "out/my-photos"),
        ("C:\\data\\birds", "out/birds"),
        ("/", "out/dataset"),
        ("a/Vögel!", "out/V-gel"),
        ("x/...", "out/dataset"),
    ],
)
def test_the_output_is_named_after_the_source(path, output):
    assert default_output(build_recipe({"source": path})) == output


def test_the_default_output_of_source_dot_is_named_after_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "birds").mkdir()
    monkeypatch.chdir(tmp_path / "birds")
    assert default_output(build_recipe({"source": "."})) == "out/birds"


@pytest.mark.parametrize("output", ["", "  ", "a\0b"])
def test_an_output_that_cannot_be_a_path_is_refused(output):
    with pytest.raises(UserError, match="output is .*, not a folder"):
        build_recipe({"source": "birds", "output": output})
