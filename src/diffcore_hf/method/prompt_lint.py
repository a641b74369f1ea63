"""Lint of prompts: texts that a model reads differently from what the user means.

Owns the single rules as pure functions of texts. The findings of a run are in workflows/lint.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sized

_WORD = re.compile(r"[^\W_]+")
_MARKS = re.compile(r"[A-Za-z0-9]+_[A-Za-z0-9_]+|[{}<>|\\]|%[0-9A-Fa-f]{2}|&#?\w+;")
"""Characters of file names, templates and markup, which are not part of a phrase."""
_TOKEN = re.compile(r"<[a-z]{1,16}\d+>")
"""A learned token, such as <c17>."""


def stem(word: str) -> str:
    """Return a word in lower case without the ending of an English plural: `birds` and `bird` are equal."""
    word = word.casefold()
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def words_of(text: str) -> list[str]:
    """Return the stems of the words of a text."""
    return [stem(word) for word in _WORD.findall(text)]


def contains(text: str, phrase: str) -> bool:
    """Return whether a text contains a phrase as whole words, in the singular or the plural, in any case."""
    words, wanted = words_of(text), words_of(phrase)
    return bool(wanted) and any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


class Phrases:
    """Phrases that texts are searched for. The time of a search does not depend on their number."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_words: dict[tuple[str, ...], list[str]] = {}
        for phrase in phrases:
            self._by_words.setdefault(tuple(words_of(phrase)), []).append(phrase)
        self._by_words.pop((), None)
        self._lengths = sorted({len(words) for words in self._by_words})

    def found_in(self, text: str) -> list[str]:
        """Return the phrases that a text contains, as `contains` defines it, in the order of their first words."""
        words = words_of(text)
        found: dict[str, None] = {}
        for start in range(len(words)):
            for length in self._lengths:
                if start + length > len(words):
                    break
                found |= dict.fromkeys(self._by_words.get(tuple(words[start : start + length]), ()))
        return list(found)


def cut_text(prompt: str, tokens: Callable[[str], Sized], limit: int) -> str:
    """Return the end of a prompt that the text encoder does not read; "" if it reads the whole prompt.

    Args:
        prompt: the prompt.
        tokens: function from a text to its tokens, start and end included.
        limit: largest number of tokens that the text encoder uses.
    """
    if len(tokens(prompt)) <= limit:
        return ""
    ends = [match.end() for match in re.finditer(r"\S+", prompt)]
    low, high = 0, len(ends)  # the first `low` words fit, and the first `high` words do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(tokens(prompt[: ends[middle - 1]])) <= limit else (low, middle)
    return prompt[ends[low - 1] :].strip() if low else prompt.strip()


def unreadable(text: str) -> str:
    """Return why a text is not a readable phrase, with the characters that show it; "" if it is readable."""
    control = next((each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Co", "Cn", "Cs")), "")
    if control:
        return f"the character U+{ord(control):04X}, which is not visible"
    if "\ufffd" in text:
        return "the character U+FFFD, which replaces a character that could not be decoded"
    if _is_wrongly_decoded(text):
        return "UTF-8 text that was decoded as another encoding"
    if mark := _MARKS.search(_TOKEN.sub("", text)):
        return f"{mark.group()!r}, which is not part of a phrase"
    return "" if any(each.isalnum() for each in text) else "no letter or digit"


def _is_wrongly_decoded(text: str) -> bool:
    """Return whether a text is UTF-8 that was decoded as Windows-1252 or Latin-1, such as `Ã©` for `é`."""
    for encoding in ("cp1252", "latin-1"):
        try:
            if text.encode(encoding).decode("utf-8") != text:
                return True
        except UnicodeError:
            continue
    return False


def shared_prompts(prompts: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the prompts that several classes or contexts share: prompt -> their names, in the given order.

    Args:
        prompts: pairs of a prompt and the name of its class or context.
    """
    owners: dict[str, list[str]] = {}
    for prompt, owner in prompts:
        owners.setdefault(" ".join(prompt.casefold().split()), []).append(owner)
    return {prompt: tuple(names) for prompt, names in owners.items() if len(names) > 1}


def contradicting_terms(negative: str, text: str) -> list[str]:
    """Return the terms of a negative prompt that a text contains, or that contain the text.

    Args:
        negative: terms with commas between them.
        text: a label or a context; "" for no context.
    """
    terms = [term.strip() for term in negative.split(",")]
    return [term for term in terms if contains(term, text) or contains(text, term)]
