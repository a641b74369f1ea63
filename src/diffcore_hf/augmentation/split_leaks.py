"""Split leaks: finds real images of different splits of a source that show the same picture.

Many published datasets contain such pairs.

Owns the groups that are compared and the choice of the pairs. The comparison is that of `filter.compare`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations

from diffcore_hf.augmentation.print_groups import AT_ONCE, PrintGroup, RealRow
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.stages.batches import worker_threads
from diffcore_hf.core import signals
from diffcore_hf.method.copies.closeness import BOUND

HELD_OUT = "held out"
"""Name of the group of the held-out rows, which are published as split `validation`."""
BELOW = 12
"""Number of pairs below the bound that are listed, so that people can judge whether the bound is right."""


@dataclass(frozen=True)
class SplitPair:
    """Two real images of different groups."""

    first: RealRow
    """The image that may show a part of the other one."""
    second: RealRow
    score: float

    @property
    def is_same(self) -> bool:
        """Whether both images show the same picture."""
        return self.score >= BOUND


@dataclass(frozen=True)
class SplitLeaks:
    """The result of a comparison of all splits."""

    groups: dict[str, int]
    """Group -> number of its images that were compared."""
    pairs: tuple[SplitPair, ...]
    """The pairs that show the same picture, and the next BELOW pairs, the highest score first."""

    @property
    def same(self) -> list[SplitPair]:
        """The pairs that show the same picture."""
        return [pair for pair in self.pairs if pair.is_same]


def groups_of(run: Run) -> dict[str, list[RealRow]]:
    """Return the rows of each split that have a file. The held-out rows are a group of their own."""
    source, heldout = run.source, run.plan.heldout
    groups: dict[str, list[RealRow]] = {}
    for split, ids in source.row_ids.items():
        own = split == source.config.split
        for row, (row_id, sha256) in enumerate(zip(ids, source.sha256[split], strict=True)):
            if sha256 is not None:
                name = HELD_OUT if own and heldout[row] else split
                groups.setdefault(name, []).append(RealRow(split, row, row_id, sha256))
    return groups


def compare_splits(
    run: Run, groups: dict[str, list[RealRow]], advance: Callable[[int], object] = lambda count: None
) -> SplitLeaks:
    """Compare each image with the images of all other groups.

    Both directions are compared, because each of the two images can be a part of the other one.

    Args:
        run: the run.
        groups: the result of `groups_of`.
        advance: called with the number of further steps, of `steps(groups)` in total.
    """
    prints = {name: PrintGroup(run.source, rows, advance) for name, rows in groups.items()}
    best: dict[tuple[str, str], SplitPair] = {}
    for tested, other in permutations(prints.values(), 2):
        for start in range(0, len(tested.rows), AT_ONCE):
            signals.check()
            for pair in _closest(tested, other, range(start, min(start + AT_ONCE, len(tested.rows)))):
                low, high = sorted((pair.first.row_id, pair.second.row_id))
                known = best.get((low, high))
                if known is None or pair.score > known.score:
                    best[low, high] = pair
            advance(min(AT_ONCE, len(tested.rows) - start))
    pairs = sorted(best.values(), key=lambda pair: (-pair.score, pair.first.row_id, pair.second.row_id))
    count = sum(pair.is_same for pair in pairs)
    return SplitLeaks({name: len(rows) for name, rows in groups.items()}, tuple(pairs[: count + BELOW]))


def steps(groups: dict[str, list[RealRow]]) -> int:
    """Return the number of steps of `compare_splits`: each image is read once and compared with each other group."""
    return sum(map(len, groups.values())) * len(groups)


def _closest(tested: PrintGroup, other: PrintGroup, rows: Sequence[int]) -> list[SplitPair]:
    """Return the closest image of another group for some images. Images that cannot be decoded are left out."""
    readable = [(row, picture) for row in rows if (picture := tested.pictures[row]) is not None]
    pictures = [picture for _, picture in readable]
    with ThreadPoolExecutor(worker_threads()) as threads:
        found = list(threads.map(other.closest, pictures, other.nominate(pictures)))
    return [
        SplitPair(tested.rows[row], near[0], near[1])
        for (row, _), near in zip(readable, found, strict=True)
        if near is not None
    ]
