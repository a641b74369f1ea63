"""What it means for a user: the sentences under the tables.

Owns the words. Their numbers are taken from the facts, so a sentence and its table cannot differ; whoever measures anew
reads them again.
"""

from __future__ import annotations

from benchmarks.evidence.series import Facts


def judge(facts: Facts) -> list[str]:
    return []


def investment(facts: Facts) -> list[str]:
    return []


def guidance(facts: Facts) -> list[str]:
    return []


def context(facts: Facts) -> list[str]:
    return []


def mixing(facts: Facts) -> list[str]:
    return []


def alternatives(facts: Facts) -> list[str]:
    return []
