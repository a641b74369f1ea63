"""Class thresholds: the similarity of real images of one class, computed from sums over the class (Eq. 5).

Owns the sums over the unit embeddings of a class, and the values that are computed from these sums. The values are
tau_k, class means, and the similarity of an image to the mean of the other images of its class. Does not compare them
(policies/).

Cosines are rounded to twelve decimals before a comparison (`rounded`). Then equal cosines are equal numbers, even if
sums were computed in another order. float16 embeddings are far less precise than twelve decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diffcore_hf.core.seeding import uniform
from diffcore_hf.method.arrays import Embeddings, Floats, Ints

_MAX_ROWS, _MAX_NUMBERS = 8192, 8_000_000
"""Limits of one chunk of a computation: its rows, and the numbers in its largest table (64 MB as float64)."""


def unit_rows(embeddings: Embeddings) -> Floats:
    """Returns the rows divided by their norms.

    Args:
        embeddings: (M, d), any float type and norm.

    Returns:
        (M, d) float64, rows of norm 1. A row of zeros does not change. A row with NaN or an infinity becomes NaN.
    """
    rows = np.asarray(embeddings).astype(np.float64)
    norms = np.sqrt(np.einsum("md,md->m", rows, rows))
    norms[norms == 0] = 1
    with np.errstate(invalid="ignore"):
        rows /= norms[:, None]
    return rows


def rounded(cosines: Floats) -> Floats:
    """Returns cosines rounded to twelve decimals. Before a comparison with `>` or `>=`, round both sides."""
    return np.round(cosines, 12)


def row_cosines(a: Embeddings, b: Embeddings) -> Floats:
    """Returns the cosine similarity S of each row of `a` with the same row of `b`.

    Args:
        a: (M, d), any float type and norm.
        b: (M, d).

    Returns:
        (M,) float64 in [-1, 1], rounded; NaN if one of the two rows is not finite.
    """
    return rounded(np.clip(np.einsum("md,md->m", unit_rows(a), unit_rows(b)), -1, 1))


def chunks(count: int, width: int) -> Iterator[slice]:
    """Yields slices over `count` rows of `width` columns, so that each chunk fits into memory."""
    step = max(1, min(_MAX_ROWS, _MAX_NUMBERS // max(1, width)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def class_threshold(embeddings: Embeddings) -> float:
    """Returns the expected cosine similarity of two different real images of one class (Eq. 5, unordered pairs).

    The result is exact and takes O(N d) operations. The squared norm of the sum of the unit vectors is twice the sum of
    the cosines of all pairs, plus one for each vector, which is subtracted. The paper divides the sum
    over ordered pairs by C(N, 2), which gives twice this value.

    Args:
        embeddings: (N, d), any float type and norm; N >= 2.

    Returns:
        tau in [-1, 1].

    Raises:
        ValueError: there are fewer than two images; use the pooled threshold.
    """
    n = len(embeddings)
    if n < 2:
        raise ValueError(f"a class of {n} image has no pairs: use the pooled threshold (pooled_threshold)")
    unit = unit_rows(embeddings)
    total = unit.sum(axis=0)
    return float((total @ total - np.square(unit).sum()) / (n * (n - 1)))


def pooled_threshold(embeddings: Embeddings, labels: Ints) -> float:
    """Returns Eq. 5 over the pairs of all classes together. The two images of a pair have the same class.

    A class that has no pairs uses this threshold.

    Args:
        embeddings: (N, d), any float type and norm.
        labels: (N,) int64, >= 0.

    Returns:
        tau in [-1, 1]; NaN where no class has two images.
    """
    return PairSums.of(embeddings, labels, int(labels.max(initial=-1)) + 1).pooled_threshold()


def sampled_threshold(embeddings: Embeddings, pairs: int, seed: int, label: int) -> float:
    """Returns Eq. 5 as the paper estimates it: the mean over `pairs` random pairs of two different images.

    Pairs are drawn with replacement. A class with at most `pairs` different pairs uses all of them.

    Args:
        embeddings: (N, d), in a reproducible order (by row id); N >= 2.
        pairs: number of pairs, at least 1.
        seed: seed of the recipe.
        label: index of the class; each class has different draws.

    Returns:
        tau in [-1, 1].

    Raises:
        ValueError: there are fewer than two images.
    """
    n = len(embeddings)
    if n * (n - 1) // 2 <= pairs:
        return class_threshold(embeddings)
    draws = np.array([(uniform("pairs", seed, label, z, 0), uniform("pairs", seed, label, z, 1)) for z in range(pairs)])
    first = (draws[:, 0] * n).astype(np.int64)
    second = (draws[:, 1] * (n - 1)).astype(np.int64)
    second += second >= first
    unit = unit_rows(embeddings)
    return float(np.einsum("zd,zd->z", unit[first], unit[second]).mean())


@dataclass(frozen=True)
class PairSums:
    """The sums from which Eq. 5 is computed, for any subset of the references. The sums of disjoint subsets can be
    added."""

    counts: Ints
    """(K,) int64: images of each class."""
    totals: Floats
    """(K, d) float64: sum of the unit embeddings of each class."""
    squares: Floats
    """(K,) float64: sum of their squared norms. It equals the count, unless there are rows of zeros."""

    @classmethod
    def of(cls, embeddings: Embeddings, labels: Ints, classes: int) -> PairSums:
        """Returns the sums over (N, d) embeddings with (N,) labels in [0, classes). It takes O(classes d) memory."""
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

    def __sub__(self, other: PairSums) -> PairSums:
        """Returns the sums minus the sums of a subset."""
        return PairSums(self.counts - other.counts, self.totals - other.totals, self.squares - other.squares)

    def _pairs(self) -> tuple[Floats, Ints]:
        """Returns for each class the sum of similarities over ordered pairs of different images, and the number of
        pairs."""
        return np.einsum("kd,kd->k", self.totals, self.totals) - self.squares, self.counts * (self.counts - 1)

    def class_thresholds(self) -> Floats:
        """Returns (K,) float64: tau_k of Eq. 5; NaN for a class without pairs."""
        ordered, count = self._pairs()
        return np.where(count > 0, ordered / np.maximum(count, 1), np.nan)

    def pooled_threshold(self) -> float:
        """Returns tau over the pairs of all classes; NaN if there are no pairs."""
        ordered, count = self._pairs()
        return float(ordered[count > 0].sum() / count.sum()) if count.sum() else float("nan")

    def means(self) -> Floats:
        """Returns the (K, d) mean unit embedding of each class, of norm <= 1; NaN for a class without images.

        After a subtraction, the total of such a class may differ from 0 by rounding.
        """
        counts = self.counts[:, None]
        return np.where(counts > 0, self.totals / np.maximum(counts, 1), np.nan)

    def directions(self) -> Floats:
        """Returns the (K, d) unit vector of each class mean; NaN for a class without images."""
        return unit_rows(self.means())

    def left_out_similarities(self, embeddings: Embeddings, labels: Ints) -> Floats:
        """Returns the similarity of each image to the mean of the *other* images of its class.

        Args:
            embeddings: (N, d), embeddings of images that the sums include.
            labels: (N,) int64, their classes.

        Returns:
            (N,) float64 in [-1, 1], rounded; NaN if the class has no other image.
        """
        similarities = np.full(len(labels), np.nan)
        for rows in chunks(len(labels), embeddings.shape[1]):
            unit = unit_rows(embeddings[rows])
            similarities[rows] = row_cosines(unit, self.totals[labels[rows]] - unit)
        return np.where(self.counts[labels] > 1, similarities, np.nan)
