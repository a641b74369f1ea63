"""Text from data in the terminal: control characters and characters without a visible form are escaped.

Labels, file names, contexts and columns of a dataset may contain terminal escapes, which change the output of a
command. They may also contain characters that reverse the order of the text around them. `escaped_streams` escapes
everything that a program prints or logs. `visible` escapes one value, line breaks included, so that it stays in its
line.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from diffcore_hf.core import signals

JOINERS = "\u200c\u200d"
"""Characters without a visible form that several scripts and emoji need; they are never escaped."""
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
_CURSOR = re.compile(r"\n+|(?:\x1b\[A)+")
"""Sequences that tqdm writes to move to the line of another progress bar."""


def visible(text: object, keep: str = "") -> str:
    r"""Return the text with control, format and line-breaking characters as escapes such as `\x1b` and `\u202e`.

    Args:
        text: a value from data.
        keep: characters that stay as they are.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        _escape(character) if _is_hidden(character) and character not in keep else character for character in line
    )


def _is_hidden(character: str) -> bool:
    return character not in JOINERS and unicodedata.category(character) in _ESCAPED


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class EscapedStream:
    """A text stream that escapes what it writes. Line feeds, tabs and the output of progress bars are kept."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; characters that the encoding of the stream does not have are escaped too."""
        if not _CURSOR.fullmatch(text):
            start = "\r" if text.startswith("\r") else ""
            text = start + visible(text[len(start) :], keep="\n\t")
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with self._without_reader():
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._without_reader():
            self._stream.flush()

    @contextmanager
    def _without_reader(self) -> Iterator[None]:
        """Ignore a failed write after a signal, because the signal may also have ended the reader of a pipe."""
        try:
            yield
        except OSError:
            if signals.requested() is None:
                raise
            signals.silence(self._stream)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def escaped_streams() -> Iterator[None]:
    """Escape what is printed inside the block to stdout and stderr, and restore the streams after it."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream if stream is None or isinstance(stream, EscapedStream) else EscapedStream(stream) for stream in streams
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
