"""Tests of `plan --lint` and `plan --deny`: findings of a run, their remedies, and the exit status."""

import os
import time

import pytest
from datasets import ClassLabel, Dataset, Features, Image
from small_photos import picture, write_photos

from diffcore_hf.commands.main import main
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.prompt_lint import Phrases
from diffcore_hf.workflows import augment, lint

MODELS = "package:diffcore_hf.miniature/models"


@pytest.fixture
def found(tmp_path):
    """Returns a function that returns the findings for class names and keys of a recipe."""

    def found(*names, words=(), **keys):
        features = Features({"image": Image(), "label": ClassLabel(names=list(names))})
        cells = [{"bytes": picture(label, 0), "path": None} for label in range(len(names)) for _ in range(4)]
        labels = [label for label in range(len(names)) for _ in range(4)]
        ds = Dataset.from_dict({"image": cells, "label": labels}, features=features)
        base = {
            "source": {"path": "in-memory"},
            "model": {"path": f"{MODELS}/sd"},
            "filter": {"path": f"{MODELS}/clip"},
            "prompts": {"contexts": ["in snow"]},
            "output": str(tmp_path / "out"),
        }
        run = augment.prepare(build_recipe(base, keys), ds, describe_only=True)
        rules = lint.findings(run, list(words), lint=True)
        return [line for rule in rules for line in rule]

    return found


def test_usual_names_and_contexts_have_no_finding(found):
    assert found("red fox", "grey wolf") == []


def test_a_name_with_several_meanings_is_described_or_confirmed(found):
    [line] = found("crane", "grey wolf")
    assert line.startswith("label 'crane' has several meanings, such as a bird and a machine. Describe it with")
    assert '--prompts.label_descriptions \'{"crane": "crane, a bird"}\'' in line
    assert line.endswith('or confirm it with --source.label_names \'{"crane": "crane"}\'')
    assert found("crane", "grey wolf", source={"label_names": {"crane": "crane"}}) == []
    assert found("crane", "grey wolf", prompts={"label_descriptions": {"crane": "crane, a bird"}}) == []
    assert found("crane", "grey wolf", kind="bird") == []  # the prompt names the kind


def test_negative_terms_that_name_a_class_or_a_context_are_found(found):
    lines = found("car", "grey wolf", prompts={"negatives": ["blurry", "two cars", "snows"], "contexts": ["in snow"]})
    assert lines == [
        "negative term 'two cars' names the label 'car'. Change prompts.negatives",
        "negative term 'snows' names the context 'in snow'. Change prompts.negatives",
    ]


def test_a_prompt_that_is_too_long_shows_what_is_cut(found):
    context = " ".join(["very"] * 90) + " far away"
    lines = found("red fox", prompts={"contexts": [context], "negatives": []})
    assert len(lines) == 1
    assert "tokens, and the text encoder reads the first" in lines[0]
    assert lines[0].endswith("very far away' is cut")


def test_unreadable_and_equal_prompts_are_found(found):
    lines = found("Red_fox", "red fox", source={"label_names": "raw"})
    assert lines == ["the name 'Red_fox' of class 'Red_fox' has 'Red_fox', which is not part of a phrase"]
    lines = found("Red_fox", "red fox", "wolf")
    assert lines == [
        "the prompt 'a photo of a red fox, in snow' belongs to class 'Red_fox' with context 'in snow' and class 'red "
        "fox' with context 'in snow'"
    ]


def test_denied_words_are_found_in_labels_and_contexts(found):
    lines = found("toy Gun", "grey wolf", prompts={"contexts": ["at a crime scene"]}, words=["guns", "crime"])
    assert lines == [
        "class 'toy Gun' contains 'guns', which the file of --deny lists",
        "context 'at a crime scene' contains 'crime', which the file of --deny lists",
    ]


def test_denied_words_are_found_in_the_columns_of_a_prompt(tmp_path, capsys):
    photos, words = write_photos(tmp_path / "photos", [2, 1]), tmp_path / "words.txt"
    rows = [f"{path.relative_to(photos)},{path.parent.name},near a gun" for path in sorted(photos.rglob("*.jpg"))]
    (photos / "metadata.csv").write_text("\n".join(["file_name,label,place", *rows]))
    words.write_text("Guns\n")
    command = ["plan", str(photos), "--output", str(tmp_path / "out"), "--model.path", f"{MODELS}/sd"]
    command += ["--filter.path", f"{MODELS}/clip", "--prompts.template", "a photo of a {label}, {place}"]
    assert main([*command, "--deny", str(words)]) == 1
    line = "column place with the value 'near a gun' contains 'Guns', which the file of --deny lists"
    assert capsys.readouterr().out.count(line) == 1


UNREADABLE = "Save it as text in UTF-8"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no word"),
        ("\n \n\ufeff\n", "has the line"),
        ("gun\n--\n", "has the line '--'"),
        (None, "which is not a file"),
        ("gun\n".encode("utf-16"), UNREADABLE),
        ("gun\n".encode("utf-16-le"), UNREADABLE),
        ("gun\n".encode("utf-32-be"), UNREADABLE),
        ("é\n".encode("latin-1"), UNREADABLE),
        (bytes(range(1, 128)) + b"\0", UNREADABLE),
        (b"\x89PNG\r\n\x1a\n", UNREADABLE),
        (b"a\n" * 600_000, "has more than 1 MiB. List fewer words"),
        (("-" * 100_000 + "\n").encode(), "has the line '-----"),
    ],
    ids=lambda value: None if value is None else repr(value)[:30],
)
def test_a_file_without_words_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as error:
        lint.read_denied(str(path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_pipes_folders_and_broken_links_are_not_read_and_other_links_are(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "words.txt").write_bytes("\ufeffgun\r\nred \x1b[31m knife\r\n".encode())
    for name, target in (("link", "words.txt"), ("broken", "nothing"), ("loop", "loop"), ("device", "/dev/zero")):
        (tmp_path / name).symlink_to(target)
    assert lint.read_denied(str(tmp_path / "link")) == ["gun", "red \x1b[31m knife"]
    for name in ("pipe", ".", "broken", "loop", "device", "x" * 5000, "nul\0"):
        with pytest.raises(UserError, match="which is not a file"):
            lint.read_denied(f"{tmp_path}/{name}")


def test_many_denied_words_are_searched_in_one_pass():
    words = [f"word{number} gun{number % 7}" for number in range(50_000)]
    started = time.process_time()
    phrases = Phrases(words)
    assert phrases.found_in("a Word77 gun0s, and word78") == ["word77 gun0"]
    assert [phrases.found_in(f"class number {number}") for number in range(1000)] == [[]] * 1000
    assert time.process_time() - started < 5


def test_only_some_findings_of_a_rule_are_shown():
    shown = lint.findings_text([["a"], [f"b{number}" for number in range(15)]])
    assert shown.splitlines()[0] == "lint: 16 findings"
    assert shown.splitlines()[-1] == "  ... and 5 more of this kind"
    assert lint.findings_text([["one"]]).startswith("lint: 1 finding\n")
    assert "note: the contexts are still to be made" in lint.findings_text([], without_contexts=True)


def test_the_command_prints_the_findings_and_its_status_is_1(tmp_path, capsys):
    photos, words = write_photos(tmp_path / "photos", [3, 3]), tmp_path / "words.txt"
    words.write_text("frogs\n")
    command = ["plan", str(photos), "--output", str(tmp_path / "out"), "--model.path", f"{MODELS}/sd"]
    command += ["--filter.path", f"{MODELS}/clip"]
    assert main([*command, "--lint"]) == 0
    assert capsys.readouterr().out.endswith("\nlint: 0 findings\n")
    assert main([*command, "--deny", str(words)]) == 1
    assert "class 'green_frog' contains 'frogs', which the file of --deny lists" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
