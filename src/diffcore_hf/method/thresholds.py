"""Class thresholds: the similarity of real images of one class, from sums that merge (Eq. 5).

Owns unit rows, the sums over a class and what follows from them in closed form: tau_k, class means, and the similarity
of an image to the mean of the others of its class. Does not own who is compared with what (policies.py).

Cosines that are compared are settled at twelve decimals first, far below what float16 embeddings resolve, so that equal
ones are equal whatever order a sum was taken in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diffcore_hf.core.seeding import uniform


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Rows of norm 1 in float64; a row of zeros stays zero, a row with NaN or an infinity becomes NaN.

    Args:
        embeddings: (M, d), any float type and norm.
    """
    rows = np.asarray(embeddings).astype(np.float64)
    norms = np.sqrt(np.einsum("md,md->m", rows, rows))
    norms[norms == 0] = 1
    with np.errstate(invalid="ignore"):
        return rows / norms[:, None]


def settled(cosines: np.ndarray | float) -> np.ndarray | float:
    """Cosines at twelve decimals, NaN and infinities untouched: what is compared with `>` and `>=`."""
    return np.round(cosines, 12)


def row_cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """S row by row: (M, d) twice -> (M,) float64 in [-1, 1], settled; NaN where either row has no direction."""
    return settled(np.clip(np.einsum("md,md->m", unit_rows(a), unit_rows(b)), -1, 1))


def chunks(count: int, width: int) -> Iterator[slice]:
    """Slices over `count` rows, each a table of at most about eight million numbers at `width` columns."""
    step = max(1, min(8192, 8_000_000 // max(1, width)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def class_threshold(embeddings: np.ndarray) -> float:
    """Expected cosine similarity of two different real images of one class (Eq. 5, unordered pairs).

    Exact in O(N d): the squared norm of the sum of unit vectors counts every pair twice and each
    vector once. The paper's formula divides the ordered sum by C(N, 2), twice too large.

    Args:
        embeddings: (N, d), any norm; N >= 2.

    Returns:
        tau in [-1, 1].

    Raises:
        ValueError: fewer than two images; use the pooled threshold.
    """
    n = len(embeddings)
    if n < 2:
        raise ValueError(f"a class of {n} image has no pairs: use the pooled threshold (pooled_threshold)")
    unit = unit_rows(embeddings)
    total = unit.sum(axis=0)
    return float((total @ total - np.square(unit).sum()) / (n * (n - 1)))


def pooled_threshold(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Eq. 5 over the pairs within all classes, each pair counted once: what a class without pairs is held against.

    Args:
        embeddings: (N, d), any norm.
        labels: (N,) int64, >= 0.

    Returns:
        tau in [-1, 1]; NaN where no class has two images.
    """
    return PairSums.of(embeddings, labels, int(labels.max(initial=-1)) + 1).pooled_threshold()


def sampled_threshold(embeddings: np.ndarray, pairs: int, seed: int, label: int) -> float:
    """Eq. 5 as the paper estimates it: the mean over `pairs` seeded random pairs of two different images.

    Pairs are drawn with replacement. A class that has no more than `pairs` of them gives all of them.

    Args:
        embeddings: (N, d), in an order that is reproducible (by row id); N >= 2.
        pairs: z >= 1.
        seed: the recipe's.
        label: the class, so that each draws its own.

    Returns:
        tau in [-1, 1].

    Raises:
        ValueError: fewer than two images, from class_threshold.
    """
    n = len(embeddings)
    if n * (n - 1) // 2 <= pairs:
        return class_threshold(embeddings)
    drawn = np.array([[uniform("pairs", seed, label, z, side) for side in (0, 1)] for z in range(pairs)])
    first = (drawn[:, 0] * n).astype(np.int64)
    second = (drawn[:, 1] * (n - 1)).astype(np.int64)
    second += second >= first
    unit = unit_rows(embeddings)
    return float(np.einsum("zd,zd->z", unit[first], unit[second]).mean())


@dataclass(frozen=True)
class PairSums:
    """What Eq. 5 needs of each class, over any shard of the references; shards merge with `+`."""

    counts: np.ndarray
    """(K,) int64: images."""
    totals: np.ndarray
    """(K, d) float64: sum of the unit embeddings."""
    squares: np.ndarray
    """(K,) float64: sum of their squared norms (the count, but for rows of zeros)."""

    @classmethod
    def of(cls, embeddings: np.ndarray, labels: np.ndarray, classes: int) -> PairSums:
        """The sums over (N, d) embeddings with (N,) labels in [0, classes); memory O(classes d)."""
        totals, squares = np.zeros((classes, embeddings.shape[1])), np.zeros(classes)
        for rows in chunks(len(labels), embeddings.shape[1]):
            order = np.argsort(labels[rows], kind="stable")
            present, starts = np.unique(labels[rows][order], return_index=True)
            unit = unit_rows(embeddings[rows][order])
            totals[present] += np.add.reduceat(unit, starts)
            squares[present] += np.add.reduceat(np.einsum("nd,nd->n", unit, unit), starts)
        return cls(np.bincount(labels, minlength=classes).astype(np.int64), totals, squares)

    def __add__(self, other: PairSums) -> PairSums:
        return PairSums(self.counts + other.counts, self.totals + other.totals, self.squares + other.squares)

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """By class: the sum of similarities over ordered pairs of different images, and how many there are."""
        return np.einsum("kd,kd->k", self.totals, self.totals) - self.squares, self.counts * (self.counts - 1)

    def class_thresholds(self) -> np.ndarray:
        """(K,) tau_k of Eq. 5; NaN where a class has no pairs."""
        ordered, count = self._pairs()
        return np.where(count > 0, ordered / np.maximum(count, 1), np.nan)

    def pooled_threshold(self) -> float:
        """tau over the pairs of all classes together; NaN where there are none."""
        ordered, count = self._pairs()
        return float(ordered[count > 0].sum() / count.sum()) if count.sum() else float("nan")

    def means(self) -> np.ndarray:
        """(K, d) mean unit embedding of each class, of norm <= 1; NaN for a class without images."""
        with np.errstate(invalid="ignore"):
            return self.totals / self.counts[:, None]

    def directions(self) -> np.ndarray:
        """(K, d) unit vector of each class mean; NaN for a class without images."""
        return unit_rows(self.means())

    def left_out_similarities(self, embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Similarity of each image to the mean of the *other* images of its class.

        Args:
            embeddings: (N, d), images that the sums contain.
            labels: (N,) int64.

        Returns:
            (N,) float64 in [-1, 1], settled; NaN where the class has no other image.
        """
        similarities = np.full(len(labels), np.nan)
        for rows in chunks(len(labels), embeddings.shape[1]):
            unit = unit_rows(embeddings[rows])
            similarities[rows] = row_cosines(unit, self.totals[labels[rows]] - unit)
        return np.where(self.counts[labels] > 1, similarities, np.nan)
