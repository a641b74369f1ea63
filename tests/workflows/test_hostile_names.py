"""Tests of hostile names of classes, columns and files, such as control characters or syntax of YAML and HTML.

Every step keeps the names. The card and the output in the terminal show hidden characters as escapes.
"""

from __future__ import annotations

import io
import unicodedata

import pytest
from datasets import ClassLabel, Dataset, Features, Image, load_dataset
from hostile_names import hostile_names
from run_folders import go
from small_photos import picture

from diffcore_hf.commands.errors import run_program
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.terminal_text import EscapedStream, visible
from diffcore_hf.publishing.card.edits import with_edits
from diffcore_hf.publishing.card.header import header


def named(names, column="label"):
    """Returns a dataset in memory with one image of each class."""
    features = Features({"image": Image(), column: ClassLabel(names=list(names))})
    cells = [{"bytes": picture(0, number, (8, 8)), "path": None} for number in range(len(names))]
    return Dataset.from_dict({"image": cells, column: list(range(len(names)))}, features=features)


def test_there_are_329_different_names():
    assert len(set(hostile_names())) == 329


def is_hidden(character):
    return character not in "\u200c\u200d" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.fixture(scope="module")
def published(make, tmp_path_factory):
    """Returns the folder of a finished run on 329 classes, and the lines of its summary."""
    from diffcore_hf.augmentation import summary

    out = tmp_path_factory.mktemp("hostile") / "out"
    descriptions = {name: f"bird {number}" for number, name in enumerate(hostile_names())}
    policy = {"filter.policy": {"name": "all"}, "max_attempts": 1, "prompts.label_descriptions": descriptions}
    result = go(make(out, source={"path": "in-memory"}, **policy, limit=2), named(hostile_names()))
    return out, summary.text(result.summary, seconds=1.0, images=1)


def test_329_names_are_unchanged_after_export_card_and_loading(published):
    out, _ = published
    assert load_dataset(str(out))["train"].features["label"].names == hostile_names()
    assert load_dataset(str(out), "generated")["train"].features["label"].names == hostile_names()


def test_names_are_unchanged_after_a_merge_with_the_card_on_the_hub(published, tmp_path):
    out, _ = published
    card = (out / "README.md").read_text(encoding="utf-8")
    pushed = with_edits(card, None)
    edited = pushed.replace("license: unknown", "license: mit", 1).replace("tags:\n", "tags:\n- birds\n", 1)
    merged = with_edits(card, edited)
    assert "- birds" in merged
    (out / "README.md").write_text(merged, encoding="utf-8")
    try:
        assert load_dataset(str(out))["train"].features["label"].names == hostile_names()
    finally:
        (out / "README.md").write_text(card, encoding="utf-8")


def test_the_card_contains_no_hidden_characters(published):
    out, _ = published
    card = (out / "README.md").read_text(encoding="utf-8")
    assert {character for character in card if is_hidden(character)} <= {"\n"}


def test_the_summary_in_the_terminal_has_no_hidden_characters(published):
    _, text = published
    stream = io.StringIO()
    print(text, file=EscapedStream(stream))
    assert {character for character in stream.getvalue() if is_hidden(character)} <= {"\n"}
    assert {character for character in text if is_hidden(character)} <= {"\n"}


@pytest.mark.parametrize("name", hostile_names())
def test_a_name_is_unchanged_after_writing_and_reading_the_header_of_a_card(name):
    import yaml

    values = {"names": {"0": name}, "list": [name], name: "key"}
    written = header(values)
    assert yaml.safe_load(written) == values
    assert not any(is_hidden(character) for character in written.replace("\n", ""))
    # Readers of a card convert each line break to a line feed. The header ends at the line `---`.
    assert yaml.safe_load(io.StringIO(f"---\n{written}\n---\n", newline=None).read().split("\n---\n")[0][4:]) == values


def test_ordinary_names_are_written_without_escapes():
    assert header({"names": {"0": "red fox", "1": "größe", "2": "123"}, "none": None}) == (
        "names:\n  '0': red fox\n  '1': größe\n  '2': '123'"
    ).replace("'2': '123'", "'2': \"123\"").replace("'0'", '"0"').replace("'1'", '"1"').replace("'2'", '"2"')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red fox", "red fox"),
        ("冬の鳥 é 🐦", "冬の鳥 é 🐦"),
        ("👨\u200d👩", "👨\u200d👩"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("a\u202eb\u2028c\x85d", r"a\u202eb\u2028c\x85d"),
        ("a\udcffb", r"a\udcffb"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
    ],
)
def test_hidden_characters_are_shown_as_escapes(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a\nb\tc\n", "a\nb\tc\n"),
        ("\r 50%|##  |", "\r 50%|##  |"),
        ("\n\n", "\n\n"),
        ("\x1b[A\x1b[A", "\x1b[A\x1b[A"),
        ("label \x1b[A\rkept 100 %", r"label \x1b[A\rkept 100 %"),
        ("\u202eabc", r"\u202eabc"),
    ],
)
def test_the_escaping_stream_does_not_change_lines_and_progress_bars(written, expected):
    stream = io.StringIO()
    EscapedStream(stream).write(written)
    assert stream.getvalue() == expected


def test_a_terminal_without_the_character_shows_an_escape():
    raw = io.BytesIO()
    stream = EscapedStream(io.TextIOWrapper(raw, encoding="ascii"))
    print("冬 \udcff", file=stream, flush=True)
    assert raw.getvalue() == rb"\u51ac \udcff" + b"\n"


def test_a_program_escapes_what_it_prints_and_its_errors(capsys):
    def action():
        print("class \x1b[2J\u202e")
        raise UserError("source.label is '\x1b[31mx'\u2028, which is wrong. Use \u202eanother")

    assert run_program("prog", action) == 2
    printed = capsys.readouterr()
    assert printed.out == "class \\x1b[2J\\u202e\n"
    assert printed.err == "prog: source.label is '\\x1b[31mx' , which is wrong. Use \\u202eanother\n"


def test_a_traceback_is_escaped_too(capsys):
    def action():
        raise ValueError("\x1b[2J")

    assert run_program("prog", action) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_a_name_with_a_line_break_is_printed_in_one_line(make, tmp_path):
    from diffcore_hf.workflows import augment, plan

    ds = named(["red fox", "a\nkept 100 %\x1b[2J"])
    prepared = augment.prepare(make(tmp_path / "out", source={"path": "in-memory"}), ds)
    lines = plan.text(prepared).splitlines()
    assert [line for line in lines if line.startswith("kept")] == []


@pytest.mark.parametrize("name", ["\ud800", "a\udcffb"])
def test_a_name_that_is_no_valid_file_name_gives_a_one_line_error(name, make, tmp_path):
    from datasets import DatasetDict

    from diffcore_hf.augmentation.source.labels import encode_labels

    with pytest.raises(UserError, match=r"the name of class '.*ud[8c].*' is not valid Unicode text.*Rename") as error:
        encode_labels(DatasetDict({"train": named(["red fox", name])}), "label", "train")
    str(error.value).encode("ascii")
