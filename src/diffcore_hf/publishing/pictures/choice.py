"""Choice: selects images of different classes and contexts for a sheet, from two kinds in a fixed ratio.

Owns a deterministic choice among candidates that are described by their properties. Does not draw.
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
        minority: indices of the candidates of the second kind, by their description.
        count: maximum number of chosen candidates.
        share: share of the minority in `count`. If one kind has too few candidates, more of the other kind are chosen.

    Returns:
        Indices in the order in which they are shown; they depend on the arguments only.
    """
    majority_total = sum(map(len, majority.values()))
    minority_total = sum(map(len, minority.values()))
    minority_count = min(minority_total, max(round(count * share), count - majority_total))
    majority_count = min(majority_total, count - minority_count)
    used: list[Counter[str]] = []
    from_majority, from_minority = _spread(majority, majority_count, used), _spread(minority, minority_count, used)
    total, order = majority_count + minority_count, []
    for position in range(total):
        takes_minority = (position + 1) * minority_count // total - position * minority_count // total
        order.append((from_minority if takes_minority else from_majority).pop(0))
    return order


def _spread(groups: Mapping[Description, Sequence[int]], count: int, used: list[Counter[str]]) -> list[int]:
    """Returns `count` indices, each from the group whose class, and then whose context, was used least.

    Args:
        groups: indices by description.
        count: number of indices to return; at most the number of all indices.
        used: for each property a counter of its used values; the chosen values are added.
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
