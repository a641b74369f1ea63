"""Tests of the parsing of YAML: plain values have the types of YAML 1.2."""

from diffcore_hf.config.recipe_files import read_recipe_file


def test_plain_values_have_the_types_of_yaml_1_2(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("a: on\nb: 1e-3\nc: 2012-01-01\nd: no\ne: true\nf: null\ng: -3\nh: 1:30\ni: ~\nj: 010\n")
    read = read_recipe_file(file)
    assert read == {"a": "on", "b": 0.001, "c": "2012-01-01", "d": "no", "e": True, "f": None, "g": -3, "h": "1:30",
                    "i": None, "j": 10}  # fmt: skip
