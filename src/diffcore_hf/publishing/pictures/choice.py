"""The choice of what a sheet shows: different classes and contexts, two kinds in a fixed ratio.

Owns a deterministic choice among described candidates. Does not draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

Description = tuple[str, ...]
"""Properties of a candidate, the most important first, such as (class, context)."""


def choose_balanced(
    majority: Mapping[Description, Sequence[int]],
    minority: Mapping[Description, Sequence[int]],
    count: int,
    *,
    share: float,
) -> list[int]:
    """Chooses from two kinds of candidates and spreads the minority evenly among the majority.

    Args:
        majority: indices of the candidates of the first kind, by their description.
        minority: the same for the second kind.
        count: maximum number of chosen candidates.
        share: part of `count` for the minority; a kind with too few candidates is filled up with the other.

    Returns:
        Indices, in the order in which they are shown. A function of the arguments only.
    """
    majority_total = sum(map(len, majority.values()))
    minority_total = sum(map(len, minority.values()))
    few = min(minority_total, max(round(count * share), count - majority_total))
    many = min(majority_total, count - few)
    used: list[Counter[str]] = []
    first, second = _spread(majority, many, used), _spread(minority, few, used)
    total, order = many + few, []
    for position in range(total):
        due = (position + 1) * few // total - position * few // total
        order.append((second if due else first).pop(0))
    return order


def _spread(groups: Mapping[Description, Sequence[int]], count: int, used: list[Counter[str]]) -> list[int]:
    """Takes `count` indices, each from the group whose class, then context, ... was used least.

    Args:
        groups: indices by description.
        count: how many to take; at most the number of indices.
        used: how often each value was used, a counter for each property; updated.
    """
    remaining = {key: list(members) for key, members in groups.items() if members}
    properties = len(next(iter(remaining), ()))
    used += [Counter() for _ in range(properties - len(used))]

    def rank(key: Description) -> tuple[int, ...]:
        counts = [counter[value] for counter, value in zip(used, key, strict=True)]
        return (*counts, remaining[key][0])

    chosen = []
    for _ in range(count):
        key = min(remaining, key=rank)
        chosen.append(remaining[key].pop(0))
        for counter, value in zip(used, key, strict=True):
            counter[value] += 1
        if not remaining[key]:
            del remaining[key]
    return chosen
