"""Verification: the result of all checks of a dataset, as faults and as notes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Verification:
    """The faults of a dataset, and what a publisher may change without a fault. One line each."""

    faults: list[str] = field(default_factory=list)
    """A published value is wrong or cannot be checked."""
    notes: list[str] = field(default_factory=list)
    """Edited sections of the card, and files that diffcore-hf did not write."""
