"""Verdicts: words for a difference, which follow from its interval and its number of seeds."""

from __future__ import annotations

from benchmarks.evidence.series import points
from diffcore_hf.training.comparison.statistics import Difference

NOT_MEASURED = "not measured"
FEWEST_SEEDS = 3
"""Smallest number of seeds for a judgement. The interval of two seeds is too wide for a conclusion."""


def verdict(gap: Difference | None, seeds: int) -> str:
    """Returns `higher`, `lower` or `no difference seen` with the difference, or why there is no judgement.

    Args:
        gap: the difference; None if nothing is measured.
        seeds: number of seeds that both series have.
    """
    if gap is None or not seeds:
        return NOT_MEASURED
    if seeds < FEWEST_SEEDS:
        return f"too few seeds to judge ({100 * gap.mean:+.1f}, {seeds} of {FEWEST_SEEDS})"
    if not gap.seen:
        return points(gap)
    return f"{'higher' if gap.mean > 0 else 'lower'} ({points(gap)})"
