"""Tests of the description of library exceptions by their innermost cause, in words instead of class names."""

from __future__ import annotations

import ast
import errno
import io
import json
from pathlib import Path

import PIL
import pytest

import diffcore_hf
from diffcore_hf.core.errors import environment_fault, innermost_cause

SOURCE = Path(diffcore_hf.__file__).parent
OWN_MESSAGES = {"UserError", "UnreadableImage", "SamplesError", "Interrupted", "OtherFormat"}
"""Exceptions of this package, whose message is a complete text."""


class ReadTimeout(Exception):
    """An exception of a library without a message."""


def caused_by(outer, inner):
    outer.__cause__ = inner
    return outer


def while_handling(outer, inner):
    outer.__context__ = inner
    return outer


def raised(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def failing_assertion():
    value = 3
    assert value == 4


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("the header is damaged"), "the header is damaged"),
        (ValueError("\n  first line\nsecond line"), "first line"),
        (RuntimeError("Error(s) in loading state_dict for Net:\n\tsize mismatch for a"), "size mismatch for a"),
        (KeyError("unet"), "the key 'unet' is missing"),
        (KeyError(3), "the key 3 is missing"),
        (KeyError("No such revision: main"), "No such revision: main"),
        (ValueError("unet"), "value error: unet"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), "No such file or directory: 'a/b'"),
        (MemoryError(), "not enough memory"),
        (EOFError(), "the data end too early"),
        (PIL.UnidentifiedImageError(), "no image in a known format"),
        (ReadTimeout(), "read timeout without a message"),
        (caused_by(RuntimeError("failed"), ValueError("the header is damaged")), "the header is damaged"),
        (caused_by(RuntimeError("the file is damaged"), EOFError()), "the file is damaged"),
        (while_handling(RuntimeError(), ValueError("the header is damaged")), "the header is damaged"),
        (
            while_handling(
                OSError("the file cannot be loaded"), while_handling(ValueError(), EOFError("cut off here"))
            ),
            "the file cannot be loaded (cut off here)",
        ),
        (while_handling(OSError("the file cannot be loaded"), KeyError("next")), "the file cannot be loaded"),
        (ExceptionGroup("two errors", [ValueError("the header is damaged"), ValueError("b")]), "the header is damaged"),
        (ValueError("x" * 5 + " " + "y" * 500), "x" * 5 + " " + "y" * 191 + "..."),
    ],
)
def test_the_innermost_cause_is_described_without_class_names(error, text):
    assert innermost_cause(error) == text


def test_addresses_of_objects_are_left_out():
    error = raised(PIL.Image.open, io.BytesIO(b"no image"))
    assert innermost_cause(error) == "cannot identify image file"


def test_the_description_of_an_exception_without_a_message_names_the_line_that_raised_it():
    text = innermost_cause(raised(failing_assertion))
    if "without a message" in text:
        assert "test_errors.py" in text and "assert value == 4" in text
    else:  # pytest adds a message to each assertion
        assert "3 == 4" in text


def test_the_description_of_a_damaged_json_text_says_what_was_expected():
    assert innermost_cause(raised(json.loads, "{")).startswith("Expecting property name enclosed in double quotes")


def test_a_cycle_of_causes_is_described():
    first, second = ValueError("the first fault"), ValueError("the second fault")
    caused_by(first, caused_by(second, first))
    assert innermost_cause(first) == "the second fault"
    assert environment_fault(first) is None


def _handlers():
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and node.name:
                yield path.relative_to(SOURCE).as_posix(), node


def _raw_uses(handler):
    """Yield the numbers of source lines that format the caught exception itself instead of its innermost cause."""
    caught = {name.id for name in ast.walk(handler.type) if isinstance(name, ast.Name)} if handler.type else set()
    if caught & OWN_MESSAGES:
        return
    for raised_error in (node for node in ast.walk(handler) if isinstance(node, ast.Raise)):
        for value in (node.value for node in ast.walk(raised_error) if isinstance(node, ast.FormattedValue)):
            text = ast.unparse(value)
            if text in (handler.name, f"str({handler.name})", f"type({handler.name}).__name__"):
                yield raised_error.lineno


ALLOWED = {
    (
        "config/augment_schema.py",
        "{key}: {error}",
    ): "the caught exception is a UserError of config/kinds.py, whose message is complete",
    ("config/kinds.py", "braces"): "the message of string.Formatter says which brace is wrong",
}


def test_messages_contain_only_the_innermost_cause_of_a_library_exception():
    allowed = {name for name, _ in ALLOWED}
    found = [f"{name}:{line}" for name, node in _handlers() for line in _raw_uses(node) if name not in allowed]
    assert found == []
