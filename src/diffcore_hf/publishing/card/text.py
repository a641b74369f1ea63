"""Foreign text in our pages: labels, prompts and paths that anybody may have written.

Owns what makes such text harmless in one line, in Markdown and in a code block, and the free sections of a card, which
belong to the person who publishes. Does not know what a card says (card.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from diffcore_hf.core.errors import UserError

# Characters that reorder what stands around them.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# What could end a table cell, a code span or a template, open a tag, a mention or a formula.
_ENTITIES = {character: f"&#{ord(character)};" for character in "|`{}@\\"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BACKSLASHED = re.compile(
    r"[*_\[\]#~$]"
    r"|:(?=\S)|(?i:(?<=\bwww)\.)"  # shorthand for pictures, addresses
    r"|^(?:[-+](?= |$)|-(?=-)|=|[0-9]+[.)](?= |$))"  # a list item, a rule, the underline of a heading
)
_FREE = re.compile(r"^<!-- free:start ([\w-]+) -->\n(.*?)^<!-- free:end -->$", re.MULTILINE | re.DOTALL)
_FREE_START = re.compile(r"^<!-- free:start\b.*$", re.MULTILINE)


class Markdown(str):
    """Text that is Markdown already: a template puts it in as it is, and escapes everything else."""

    __slots__ = ()


def one_line(text: object) -> str:
    """The text in one line: white space and control characters become one blank, lone surrogates U+FFFD."""
    out = []
    for character in str(text):
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp", "Zs"):
            out.append(" ")
        elif category == "Cs":
            out.append("\ufffd")
        elif character not in _BIDI:
            out.append(character)
    return " ".join("".join(out).split())


def escape_md(text: object) -> Markdown:
    """The text as Markdown that shows exactly its characters, in one line, wherever a line of text may stand.

    It opens no tag, table cell, code span, link, formula, template or block; addresses are no links.
    """
    if isinstance(text, Markdown):
        return text
    line = _BACKSLASHED.sub(lambda found: f"{found.group()[:-1]}\0{found.group()[-1]}", one_line(text))
    return Markdown("".join(_ENTITIES.get(character, character) for character in line).replace("\0", "\\"))


def code(text: object) -> Markdown:
    """A code span for a word of plain characters, such as a path or a hash; anything else is escaped as text."""
    line = str(text)
    return Markdown(f"`{line}`") if re.fullmatch(r"[\w./+=:-]+( [\w./+=:-]+)*", line, re.ASCII) else escape_md(line)


def listed(values: Iterable[object], separator: str = ", ") -> Markdown:
    """Each value escaped, with our own separator between."""
    return Markdown(separator.join(map(escape_md, values)))


def fenced(text: str, language: str = "") -> Markdown:
    """A code block that the text cannot leave: its fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def free_sections(card: str) -> dict[str, str]:
    """The sections between `<!-- free:start NAME -->` and `<!-- free:end -->`, each marker alone in its line.

    Raises:
        UserError: a section that begins but does not end, or two of one name; what is in them could be lost.
    """
    card = card.replace("\r\n", "\n").replace("\r", "\n")
    sections: dict[str, str] = {}
    for match in _FREE.finditer(card):
        if match.group(1) in sections:
            raise UserError(f"README.md: two free sections are named {match.group(1)!r}. Give one another name")
        sections[match.group(1)] = match.group(2)
    for start in _FREE_START.findall(_FREE.sub("", card)):
        raise UserError(f"README.md: the section {start!r} has no end: put <!-- free:end --> alone in a line after it")
    for name, text in sections.items():
        if _FREE_START.search(text):
            raise UserError(f"README.md: the free section {name!r} has no end: put <!-- free:end --> alone in a line")
    return sections


def merge_free_sections(new: str, old: str | None) -> str:
    """The new card with what a person wrote in the free sections of the old one.

    Sections that the new card no longer has are appended at its end, so nothing that somebody wrote is lost.
    """
    if not old:
        return new
    written = free_sections(old)
    known = free_sections(new)

    def section(name: str, text: str) -> str:
        return f"<!-- free:start {name} -->\n{text}<!-- free:end -->"

    merged = _FREE.sub(lambda found: section(found.group(1), written.get(found.group(1), found.group(2))), new)
    for name in sorted(written.keys() - known.keys()):
        merged = f"{merged.rstrip()}\n\n{section(name, written[name])}\n"
    return merged
