"""Reasons: how many attempts have each reason, as counts and as text.

Owns the counts of rejected attempts and their short text, which the summary, the card and the progress bar share. Does
not own the reasons themselves (method/checks.py) or the advice for each of them (remedies.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from diffcore_hf.augmentation.facts import Facts
from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.run import Run
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.checks import KEPT, OUTCOMES, Check, recorded_reasons

SHOWN_IN_BAR = 3
"""Number of reasons that the progress bar shows."""


def reason_counts(material: Material) -> Counter[str]:
    """Returns the number of decided attempts by reason. Kept attempts are included."""
    return Counter(material.decisions.reason.tolist())


def rejected_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Returns the numbers of rejected attempts by reason, the most frequent reason first."""
    rejected = [(reason, count) for reason, count in counts.items() if reason not in OUTCOMES and count]
    return dict(sorted(rejected, key=lambda item: (-item[1], item[0])))


def faulty_counts(counts: Mapping[str, int], checks: Sequence[Check]) -> dict[str, int]:
    """Returns the numbers of faulty attempts by reason, the most frequent reason first.

    An attempt is faulty if its reason was recorded when it was generated: `invalid`, `unsafe`, `crashed`, or a recorded
    reason of a check that the recipe names. A policy, a reviewer or a duplicate does not make an attempt faulty.
    """
    recorded = recorded_reasons(checks)
    return {reason: count for reason, count in rejected_counts(counts).items() if reason in recorded}


def counts_text(counts: Mapping[str, int], most: int | None = None) -> str:
    """Returns counts as a text such as `80 low_rank, 40 duplicate, 4 unsafe`.

    Args:
        counts: number of attempts by reason, in the order of the text.
        most: number of reasons in the text; the others are summed up. None: all.
    """
    listed = list(counts.items())
    words = [f"{count:,} {reason}" for reason, count in listed[:most]]
    if others := sum(count for _, count in listed[len(words) :]):
        words.append(f"{others:,} for other reasons")
    return ", ".join(words)


def rejected_text(rejected: Mapping[str, int], most: int | None = None) -> str:
    """Returns the number of rejected attempts and the counts by reason, such as `84: 80 low_rank, 4 unsafe`."""
    total = f"{sum(rejected.values()):,}"
    return f"{total}: {counts_text(rejected, most)}" if rejected else total


def progress_text(counts: Mapping[str, int]) -> str:
    """Returns the text for the progress bar, such as `kept 40, rejected 24: 20 low_rank, 4 invalid`."""
    return f"kept {counts.get(KEPT, 0):,}, rejected {rejected_text(rejected_counts(counts), SHOWN_IN_BAR)}"


def check_recorded_reasons(run: Run, attempts: Facts, checks: Sequence[Check]) -> None:
    """Raise an error if an attempt was recorded with a reason that none of the checks handles.

    Raises:
        UserError: `filter.checks` does not contain the check for a reason that an earlier run recorded.
    """
    found = {reason.partition(":")[0] for reason in attempts.reasons if reason}
    if unknown := sorted(found - set(recorded_reasons(checks))):
        earlier = (run.previous or {}).get("recipes", [])
        names = dict.fromkeys(name for entry in earlier for name in entry["decision"]["filter"].get("checks") or ())
        missing = [name for name in names if name not in run.recipe.filter.checks]
        raise UserError(
            f"attempts in {run.folder.path} were recorded with the reason {unknown[0]!r}, but filter.checks does not "
            f"contain the check for this reason. Use --filter.checks {' '.join([*run.recipe.filter.checks, *missing])}"
        )
