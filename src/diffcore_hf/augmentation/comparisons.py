"""Comparisons: the facts about generated images that were compared with other images.

Owns the facts in memory and the digest of the images that an attempt is compared with. Does not compare images
(comparing.py) or decide (method/filtration.py). A comparison is used only if it was made with the present images of the
source, by the present method.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from diffcore_hf.augmentation.part_files import COMPARISONS, PAIRS, keys_of
from diffcore_hf.augmentation.print_groups import RealRow
from diffcore_hf.augmentation.run import Run
from diffcore_hf.core import seeding
from diffcore_hf.core.schema import AttemptKey
from diffcore_hf.method.copies.closeness import COPY, METHOD, Comparison, Neighbour
from diffcore_hf.method.copies.nomination import Hashes


class Comparisons:
    """The comparisons of a run, and the scores of pairs of generated images.

    Args:
        run: the run.
    """

    def __init__(self, run: Run):
        self._run = run
        self.reasons = frozenset(run.recipe.filter.compare)
        """The reasons for which attempts are rejected; empty: nothing is compared."""
        self._found: dict[tuple[AttemptKey, str], Comparison] = {}
        self._pairs: dict[tuple[str, str], float] = {}
        self._paths: set[Path] = set()

    def __bool__(self) -> bool:
        """Return whether images are compared."""
        return bool(self.reasons)

    def read_new(self) -> int:
        """Read the parts that are not read yet, and return the number of new facts."""
        if not self.reasons:
            return 0
        ledger, before = self._run.ledger, len(self._found) + len(self._pairs)
        for kind in (COMPARISONS, PAIRS):
            for path in ledger.parts(kind):
                if path not in self._paths and (table := ledger.facts(kind, path)) is not None:
                    self._paths.add(path)
                    self._add(kind, table)
        return len(self._found) + len(self._pairs) - before

    def of(self, key: AttemptKey, image_sha256: str | None) -> Comparison | None:
        """Return the comparison of an attempt; None if it is not compared yet, or has no image."""
        return None if image_sha256 is None else self._found.get((key, image_sha256))

    def pair(self, tested_sha256: str, other_sha256: str) -> float | None:
        """Return the score of two generated images; None if they are not compared yet."""
        return self._pairs.get((tested_sha256, other_sha256))

    def inputs(self, image_sha256: str) -> str:
        """Return the digest of the inputs of a comparison, 32 hex digits."""
        return seeding.digest("near", METHOD, image_sha256, self._rows_digest).hex()[:32]

    @property
    def finds_copies(self) -> bool:
        """Whether copies of other counterparts are rejected."""
        return COPY in self.reasons

    @cached_property
    def rows(self) -> tuple[list[RealRow], list[RealRow]]:
        """Two groups of real images: those of other splits and held-out rows, and those of augmented rows.

        Rows without a readable file are left out. Equal files of one group are compared once.
        """
        source, heldout = self._run.source, self._run.plan.heldout
        others: dict[str, RealRow] = {}
        training: dict[str, RealRow] = {}
        for split, ids in source.row_ids.items():
            own = split == source.config.split
            for row, (row_id, sha256) in enumerate(zip(ids, source.sha256[split], strict=True)):
                if sha256 is not None:
                    group = training if own and not heldout[row] else others
                    real = RealRow(split, row, row_id, sha256)
                    if sha256 not in group or row_id < group[sha256].row_id:
                        group[sha256] = real
        first, second = (sorted(group.values(), key=lambda real: real.row_id) for group in (others, training))
        return first, second

    @cached_property
    def _rows_digest(self) -> str:
        texts = [f"{group} {real.row_id} {real.sha256}" for group, rows in enumerate(self.rows) for real in rows]
        return seeding.digest("rows", "\n".join(texts)).hex()

    def _add(self, kind: str, table: pa.Table) -> None:
        columns = table.to_pydict()
        if kind == PAIRS:
            for tested, other, method, score in zip(*columns.values(), strict=True):
                if method == METHOD:
                    self._pairs.setdefault((tested, other), score)
            return
        for index, key in enumerate(keys_of(table)):
            sha256 = columns["image_sha256"][index]
            if columns["inputs"][index] == self.inputs(sha256):
                split, training = (
                    _neighbour(columns[f"{name}_row_id"][index], columns[f"{name}_score"][index])
                    for name in ("split", "training")
                )
                comparison = Comparison(split, training, hash_of(columns["hash"][index]))
                self._found.setdefault((key, sha256), comparison)


def _neighbour(row_id: str | None, score: float | None) -> Neighbour | None:
    return None if row_id is None or score is None else Neighbour(row_id, score)


def hash_of(text: str) -> Hashes:
    """Return the hash that was stored as hex digits."""
    return np.frombuffer(bytes.fromhex(text), np.int8)
