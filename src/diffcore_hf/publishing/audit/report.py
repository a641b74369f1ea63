"""Verification: the result of all checks of a dataset, as faults and as notes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Verification:
    """The faults of a dataset, and the changes that a publisher may make. Each is one line."""

    faults: list[str] = field(default_factory=list)
    """Published values that are wrong or cannot be checked."""
    notes: list[str] = field(default_factory=list)
    """Edited sections of the card, and files that diffcore-hf did not write."""
