"""Comparing: compares the generated images of a run with real images and with each other.

Owns the prints of the images and the order of the work. One worker at a time compares; others wait for its facts. So
the result does not depend on the number of workers. A part is written after at most PART comparisons, and a later run
continues after the last part.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.augmentation.comparisons import Comparisons
from diffcore_hf.augmentation.part_files import COMPARISONS, PAIRS, Location, read_images
from diffcore_hf.augmentation.picture_prints import print_of_cell
from diffcore_hf.augmentation.print_groups import AT_ONCE, PrintGroup, RealRow
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.stages.batches import worker_threads
from diffcore_hf.core import schema, signals
from diffcore_hf.core.locks import locked
from diffcore_hf.core.schema import AttemptKey
from diffcore_hf.method.copies.closeness import METHOD
from diffcore_hf.method.copies.nomination import picture_hash
from diffcore_hf.method.copies.prints import Print
from diffcore_hf.method.copies.registration import register

if TYPE_CHECKING:
    from datasets import Features

    from diffcore_hf.augmentation.decisions import Decider

PART = 1024
"""Largest number of comparisons in a part."""


class Comparing:
    """Compares the images of a run. The prints of the real images are made once, when they are first needed.

    Args:
        run: the run.
    """

    def __init__(self, run: Run):
        self._run = run

    def complete(self, decider: Decider) -> bool:
        """Make all comparisons that the decisions need, and return whether there are new ones.

        After a signal the comparisons that are finished are kept, and the rest is left to the next run.

        Args:
            decider: has all facts; the comparisons are added to it.

        Raises:
            Stopped: a signal was received.
        """
        found = decider.comparisons.read_new()
        with locked(self._run.folder.private / "compare.lock"):
            found += decider.comparisons.read_new()
            missing = decider.not_compared()
            for start in range(0, len(missing), PART):
                found += self._compare(decider.comparisons, missing[start : start + PART])
                signals.check()
            if decider.comparisons.finds_copies:
                found += self._compare_pairs(decider)
        return found > 0

    def _compare(self, comparisons: Comparisons, attempts: Sequence[tuple[AttemptKey, str, Location]]) -> int:
        """Write the comparisons of some attempts with real images, and return their number."""
        rows: list[dict[str, Any]] = []
        for start in range(0, len(attempts), AT_ONCE):
            if signals.requested() is not None:
                break
            with signals.interruptible(signals.PREPARATION):
                rows += self._rows(comparisons, attempts[start : start + AT_ONCE])
        self._write(COMPARISONS, rows, schema.comparison_facts())
        return comparisons.read_new()

    def _rows(
        self, comparisons: Comparisons, attempts: Sequence[tuple[AttemptKey, str, Location]]
    ) -> list[dict[str, Any]]:
        """Return the facts about some attempts."""
        images = read_images([location for _, _, location in attempts])
        pictures = [self._required(content) for content in images]
        with ThreadPoolExecutor(worker_threads()) as threads:
            near = [list(threads.map(group.closest, pictures, group.nominate(pictures))) for group in self._groups]
        return [
            {
                **dict(zip(("row_id", "copy", "attempt"), key, strict=True)),
                "inputs": comparisons.inputs(sha256),
                "image_sha256": sha256,
                "method": METHOD,
                "hash": picture_hash(picture).tobytes().hex(),
                **_columns("split", split),
                **_columns("training", training),
            }
            for (key, sha256, _), picture, split, training in zip(attempts, pictures, *near, strict=True)
        ]

    def _required(self, content: bytes | None) -> Print:
        """Return the print of a generated image. The image is readable, because the hash of its part was checked."""
        picture = print_of_cell({"bytes": content})
        if picture is None:
            raise ValueError("a generated image cannot be decoded")
        return picture

    @cached_property
    def _groups(self) -> list[PrintGroup]:
        return [PrintGroup(self._run.source, rows) for rows in Comparisons(self._run).rows]

    def _compare_pairs(self, decider: Decider) -> int:
        """Write the scores of the pairs of generated images that the decisions need, and return their number."""
        made: dict[tuple[str, str], float] = {}

        @lru_cache(maxsize=256)
        def picture(location: Location) -> Print:
            return self._required(read_images([location])[0])

        def score(tested: tuple[str, Location], other: tuple[str, Location]) -> float:
            pair = tested[0], other[0]
            if pair not in made:
                made[pair] = register(picture(tested[1]), picture(other[1]))
            return made[pair]

        decider.decide_with(score)
        rows = [
            {"tested_sha256": tested, "other_sha256": other, "method": METHOD, "score": value}
            for (tested, other), value in sorted(made.items())
        ]
        self._write(PAIRS, rows, schema.pair_facts())
        return decider.comparisons.read_new()

    def _write(self, kind: str, rows: Sequence[dict[str, Any]], features: Features) -> None:
        """Write a part with some rows; nothing if there are none."""
        if rows:
            table = pa.Table.from_pylist(list(rows), schema=features.arrow_schema).combine_chunks()
            with signals.protected():
                self._run.ledger.write(kind, table)


def _columns(name: str, near: tuple[RealRow, float] | None) -> dict[str, Any]:
    """Return the columns of the closest image of a group; all are null if there is none."""
    values = (None, None, None) if near is None else (near[0].row_id, near[0].sha256, near[1])
    return dict(zip((f"{name}_row_id", f"{name}_sha256", f"{name}_score"), values, strict=True))
