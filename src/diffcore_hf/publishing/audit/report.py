"""Verification: the result of all checks of a dataset, as faults and as notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffcore_hf.core.terminal_text import visible


@dataclass
class Verification:
    """The faults of a dataset, and the changes that a publisher may make. Each is one line."""

    faults: list[str] = field(default_factory=list)
    """Published values that are wrong or cannot be checked."""
    notes: list[str] = field(default_factory=list)
    """Edited sections of the card, and files that diffcore-hf did not write."""

    def in_lines(self) -> Verification:
        """Return the same faults and notes, in which names and values from the dataset cannot break a line."""
        return Verification([visible(fault) for fault in self.faults], [visible(note) for note in self.notes])


def what_is_correct(options: Mapping[str, Any]) -> str:
    """Return the text for a dataset without faults. It says what was checked.

    Args:
        options: the options of `verify`: `signer`, `rescore` and `regenerate`, each None if it was not given.
    """
    texts = {
        "signer": "a signer listed in {} signed it",
        "rescore": "{} attempts, or all if there are fewer, were embedded again",
        "regenerate": "{} attempts, or all if there are fewer, were generated again",
    }
    asked = [text.format(options[name]) for name, text in texts.items() if options.get(name) is not None]
    return "; ".join(["every file, hash, count and score is correct", *asked])
