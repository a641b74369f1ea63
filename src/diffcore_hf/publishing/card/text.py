"""Text in Markdown: escapes labels, prompts and paths, and handles the free sections of a card.

Owns the escaping in a line, in Markdown and in a code block. Also owns the reading and merging of free sections, which
the publisher writes and every later card keeps. Does not decide what a card contains (dataset_card.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.terminal_text import visible

# Characters that could end a table cell, a code span or a template, or open a tag, a mention or a formula.
_ENTITIES = {character: f"&#{ord(character)};" for character in "|`{}@\\"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BACKSLASHED = re.compile(
    r"[*_\[\]#~$]"
    r"|:(?=\S)|(?i:(?<=\bwww)\.)"  # emoji such as :bird:, addresses
    r"|^(?:[-+](?= |$)|-(?=-)|=|[0-9]+[.)](?= |$))"  # a list item, a horizontal line, the underline of a heading
)
_CODE = re.compile(r"[\w./+=:-]+( [\w./+=:-]+)*", re.ASCII)
_FREE = re.compile(r"^<!-- free:start ([\w-]+) -->\n(.*?)^<!-- free:end -->$", re.MULTILINE | re.DOTALL)
_FREE_START = re.compile(r"^<!-- free:start\b.*$", re.MULTILINE)
_FREE_END = re.compile(r"^<!-- free:end -->$", re.MULTILINE)


class Markdown(str):
    """Text that is already Markdown. A template inserts it unchanged and escapes all other values."""

    __slots__ = ()


def one_line(text: object) -> str:
    """Return the text in one line. White space becomes one blank; other characters without a visible form are escaped.

    Control characters and characters that change the direction of text are shown as escapes such as `\\u202e`.
    """
    return visible(" ".join(str(text).split()))


def escape_md(text: object) -> Markdown:
    """Return Markdown that shows exactly the characters of the text, in one line.

    No part of the text is interpreted as Markdown, HTML or a template, and addresses do not become links.
    """
    if isinstance(text, Markdown):
        return text
    line = _BACKSLASHED.sub(lambda match: f"{match.group()[:-1]}\0{match.group()[-1]}", one_line(text))
    return Markdown("".join(_ENTITIES.get(character, character) for character in line).replace("\0", "\\"))


def code(text: object) -> Markdown:
    """Return a code span for simple text such as a path or a hash; other text is escaped."""
    line = str(text)
    return Markdown(f"`{line}`") if _CODE.fullmatch(line) else escape_md(line)


def listed(values: Iterable[object], separator: str = ", ") -> Markdown:
    """Return the values, each escaped, with the separator between them."""
    return Markdown(separator.join(map(escape_md, values)))


def fenced(text: str, language: str = "") -> Markdown:
    """Return a code block. Its fence is longer than any run of backticks in the text, so the text cannot end it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def free_sections(card: str) -> dict[str, str]:
    """Return the text of each section between `<!-- free:start NAME -->` and `<!-- free:end -->`, by name.

    Each marker is a separate line.

    Raises:
        UserError: a section has no end, or two sections have the same name, so that text could be lost.
    """
    card = card.replace("\r\n", "\n").replace("\r", "\n")
    sections: dict[str, str] = {}
    last_end = max((match.end() for match in _FREE_END.finditer(card)), default=0)
    # This check comes first. Without an end, `_FREE` would read the rest of the card once for each start.
    if unfinished := _FREE_START.search(card, last_end):
        raise _without_end(f"section {unfinished.group()!r}")
    for match in _FREE.finditer(card):
        if match.group(1) in sections:
            raise UserError(f"README.md: two free sections are named {match.group(1)!r}. Rename one of them")
        sections[match.group(1)] = match.group(2)
    for start in _FREE_START.findall(_FREE.sub("", card)):
        raise _without_end(f"section {start!r}")
    for name, text in sections.items():
        if _FREE_START.search(text):
            raise _without_end(f"free section {name!r}")
    return sections


def _without_end(what: str) -> UserError:
    return UserError(f"README.md: the {what} has no end. Add a line <!-- free:end --> after it")


def merge_free_sections(new: str, old: str | None) -> str:
    """Return the new card with the free sections of the old card.

    Sections that the new card does not have are appended at its end, so that no text is lost.
    """
    if not old:
        return new
    written = free_sections(old)
    known = free_sections(new)

    def section(name: str, text: str) -> str:
        return f"<!-- free:start {name} -->\n{text}<!-- free:end -->"

    merged = _FREE.sub(lambda match: section(match.group(1), written.get(match.group(1), match.group(2))), new)
    for name in sorted(written.keys() - known.keys()):
        merged = f"{merged.rstrip()}\n\n{section(name, written[name])}\n"
    return merged
