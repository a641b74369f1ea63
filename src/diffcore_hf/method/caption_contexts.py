"""Contexts from captions: removes from the caption of a real image what describes the object itself.

The functions are pure functions of texts. Does not make captions (models/captioner.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ARTICLES = frozenset({"a", "an", "the"})
FILLERS = (
    frozenset({"picture", "image", "view", "close", "up"})
    | ARTICLES
    | frozenset(
        (
            "of",
            "and",
            "with",
            "is",
            "are",
            "was",
            "there",
            "this",
            "that",
            "its",
            "it",
            "his",
            "her",
            "photo",
            "photograph",
        )
    )
)
"""Words that are removed at the ends of a context."""
FEWEST_WORDS = 2
"""A context has at least this number of words, because a single word mostly describes the object."""


def contexts_from_captions(captions: Iterable[tuple[str, int]], names: Sequence[str], noun: str) -> list[str]:
    """Return the different contexts in captions, in the order of the captions.

    Args:
        captions: caption and class of each image.
        names: the names of the classes in prompts.
        noun: the noun of the kind of object, such as `bird`; "" for none.
    """
    contexts: dict[str, str] = {}
    for caption, label in captions:
        if context := context_of(caption, names[label], names, noun):
            contexts.setdefault(context.casefold(), context)
    return list(contexts.values())


def context_of(caption: str, name: str, names: Sequence[str], noun: str) -> str:
    """Return the context in the caption of an image; "" if the caption describes nothing else than the object.

    These words are removed: those of the class of the image, the noun of the kind, the full names of the other classes,
    and the last words of these names. An article and the words between it and a removed word describe the object, so
    they are removed too. Of the pieces that are left, the last one with at least FEWEST_WORDS words is the context.

    Args:
        caption: the caption.
        name: name of the class of the image.
        names: the names of all classes.
        noun: the noun of the kind of object; "" for none.
    """
    words = caption.translate({ord(brace): " " for brace in "{}"}).split()
    words = [word for word in words if word.isprintable()]
    removed = _removed(words, name, names, noun)
    pieces: list[list[str]] = [[]]
    for word, is_removed in zip(words, removed, strict=True):
        if not is_removed:
            pieces[-1].append(word)
        else:
            pieces[-1] = _before_last_article(pieces[-1])
            pieces.append([])
    trimmed = [_trimmed(piece) for piece in pieces]
    long = [piece for piece in trimmed if len(piece) >= FEWEST_WORDS]
    return " ".join(long[-1]).strip(" .,;:") if long else ""


def _removed(words: Sequence[str], name: str, names: Sequence[str], noun: str) -> list[bool]:
    """Return for each word whether it names the object."""
    own = {*_parts(name), *_parts(noun)} - FILLERS
    last_words = {_parts(other)[-1] for other in names if _parts(other)}
    single = {form for word in own | last_words for form in _forms(word)}
    parts = [_parts(word) for word in words]
    removed = [bool(each) and all(part in single for part in each) for each in parts]
    phrases = {tuple(_parts(other)) for other in names}
    for start in range(len(words)):
        for length in {len(phrase) for phrase in phrases if phrase}:
            flat = tuple(part for each in parts[start : start + length] for part in each)
            if flat in phrases and len(parts[start : start + length]) == length:
                removed[start : start + length] = [True] * length
    return removed


def _forms(word: str) -> tuple[str, ...]:
    """Return a word and its regular plurals."""
    return word, f"{word}s", f"{word}es"


def _parts(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _plain(word: str) -> str:
    return word.casefold().strip(" .,;:!?\"'()")


def _before_last_article(words: list[str]) -> list[str]:
    """Return the words before the last article. Without an article all words are returned."""
    positions = [index for index, word in enumerate(words) if _plain(word) in ARTICLES]
    return words[: positions[-1]] if positions else words


def _trimmed(words: list[str]) -> list[str]:
    """Return the words without fillers at both ends."""
    start, stop = 0, len(words)
    while start < stop and _plain(words[start]) in FILLERS | {""}:
        start += 1
    while stop > start and _plain(words[stop - 1]) in FILLERS | {""}:
        stop -= 1
    return words[start:stop]
