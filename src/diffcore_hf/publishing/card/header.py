"""The header of a card: its metadata as YAML between two lines `---`.

Owns the writing. Line breaks and characters without a visible form are written as escapes. Otherwise YAML readers would
change line breaks such as U+0085 and U+2028.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from diffcore_hf.core.terminal_text import JOINERS

_NUMBER = re.compile(r"[-+]?(?:0o?[0-7]+|0x[0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)")
"""Texts that are numbers in one of the two versions of YAML, such as 08 and 1e5. They need quotes."""
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def header(values: Mapping[str, Any]) -> str:
    """Return the metadata of a card as YAML, without the two lines around it; keys without a value are left out."""
    return yaml_text({key: value for key, value in values.items() if value is not None}).rstrip("\n")


def yaml_text(value: Any, width: int = 80) -> str:
    """Return plain values as YAML that every reader turns into the same values, without any hidden character.

    Args:
        value: texts, numbers, lists and maps.
        width: the preferred length of a line.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """YAML writer without anchors, which quotes every text that a reader may change."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_text(self, text: str) -> yaml.ScalarNode:
            """Represent a text, in double quotes if it has hidden characters or white space at an end."""
            is_changed = text != text.strip() or "\n" in text or any(map(_is_hidden, text)) or _NUMBER.fullmatch(text)
            return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if is_changed else None)

    Dumper.add_representer(str, Dumper.represent_text)
    text = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=width)
    # Hidden characters are only in texts with double quotes, which accept escapes.
    return "".join(_escape(character) if _is_hidden(character) else character for character in text)


def _is_hidden(character: str) -> bool:
    return character not in JOINERS and character != "\n" and unicodedata.category(character) in _HIDDEN


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
