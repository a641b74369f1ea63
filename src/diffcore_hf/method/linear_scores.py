"""Linear scores: the scores of classes that are linear in a unit embedding, and the ranks that follow from them.

Owns the rule for ranks and their fast computation. A product of matrices in float32 takes about a third of the time of
one in float64. So the scores are computed in float32, and only those that are too close to the score of the own class
are computed again in float64. The bound on the rounding error of float32 holds for every order of summation, so the
ranks are those of float64. Does not own the weights (ranking.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.method.arrays import Floats, Ints
from diffcore_hf.method.thresholds import chunks

_UNIT = 2.0**-24
"""Largest relative error of one operation in float32."""
_MOST_NEAR = 0.02
"""If a larger share of the scores is too close to the score of the own class, all scores are computed in float64."""


def worst_ranks(scores: Floats, labels: Ints) -> Ints:
    """Returns the rank of the class in `labels` among all classes; ties get the worst rank.

    Args:
        scores: (M, K) float64, larger is better; NaN for a class that cannot be ranked.
        labels: (M,) int64, the class of each row.

    Returns:
        (M,) int64 in [1, K]; 0 if this class scores NaN.
    """
    own = scores[np.arange(len(labels)), labels]
    return np.count_nonzero(scores >= _least(own)[:, None], axis=1)


def _least(own: Floats) -> Floats:
    """Returns the bound from which a score counts as equal to or higher than the score of the own class.

    The bound is slightly below that score, so rounding does not break a tie.
    """
    return own - 1e-10 * np.maximum(1, np.abs(own))


@dataclass(frozen=True)
class LinearScores:
    """The scores u . weights_k + offsets_k of K classes for a unit embedding u."""

    weights: Floats
    """(d, K) float64; NaN for a class that cannot be ranked."""
    offsets: Floats
    """(K,) float64; NaN for a class that cannot be ranked."""

    def of(self, unit: Floats) -> Floats:
        """Returns (M, K) float64 scores for (M, d) unit rows."""
        return unit @ self.weights + self.offsets

    def ranks(self, unit: Floats, labels: Ints, own: Floats | None = None) -> Ints:
        """Returns (M,) int64: the rank of the class in `labels`, see `worst_ranks`; 0 for a row with NaN.

        Args:
            unit: (M, d) float64 rows of norm 1 or 0, or of NaN.
            labels: (M,) int64, the class of each row.
            own: (M,) float64: score of the own class; None: the linear score is used. A row with NaN gets the rank 0.
        """
        if own is None:
            own = self._pairs(unit, labels)
        ranks = np.zeros(len(labels), np.int64)
        valid = np.flatnonzero(np.isfinite(own) & np.isfinite(unit).all(axis=1))
        for rows in chunks(len(valid), len(self.offsets)):
            part = valid[rows]
            ranks[part] = self._ranks(unit[part], labels[part], own[part])
        return ranks

    def _ranks(self, unit: Floats, labels: Ints, own: Floats) -> Ints:
        """Returns the ranks of rows without NaN."""
        weights, offsets, mean, error = self._short
        if not np.isfinite(error):
            return self._exact_ranks(unit, labels, own)
        least = _least(own)
        bound = least - unit @ mean
        near = error + _UNIT * np.abs(bound)  # the bound is rounded to float32 too
        scores = unit.astype(np.float32) @ weights
        scores += offsets
        scores[np.arange(len(labels)), labels] = np.nan
        above = scores >= (bound + near).astype(np.float32)[:, None]
        unsure = np.flatnonzero((scores >= (bound - near).astype(np.float32)[:, None]) & ~above)
        if len(unsure) > _MOST_NEAR * scores.size:
            return self._exact_ranks(unit, labels, own)
        rows, classes = np.divmod(unsure, len(self.offsets))
        higher = self._pairs(unit, classes, rows) >= least[rows]
        # The 1 is the own class, whose entry in `scores` is NaN.
        return 1 + np.count_nonzero(above, axis=1) + np.bincount(rows[higher], minlength=len(labels))

    def _exact_ranks(self, unit: Floats, labels: Ints, own: Floats) -> Ints:
        """Returns the ranks of rows without NaN, and computes all scores in float64."""
        scores = self.of(unit)
        scores[np.arange(len(labels)), labels] = own
        return worst_ranks(scores, labels)

    def _pairs(self, unit: Floats, classes: Ints, rows: Ints | None = None) -> Floats:
        """Returns (n,) float64: the score of one class for each row, or for each of the given rows."""
        scores = np.empty(len(classes))
        for part in chunks(len(classes), len(self.weights)):
            selected = unit[part] if rows is None else unit[rows[part]]
            scores[part] = np.einsum("nd,nd->n", selected, self._by_class[classes[part]])
        return scores + self.offsets[classes]

    @cached_property
    def _by_class(self) -> Floats:
        """(K, d) float64: the weights of each class in one row."""
        return np.ascontiguousarray(self.weights.T)

    @cached_property
    def _short(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Floats, float]:
        """Values for the computation in float32.

        The mean weights are subtracted, because only differences between classes matter and smaller weights have
        smaller errors.

        Returns:
            (d, K) float32 weights, (K,) float32 offsets, (d,) float64 mean weights, and the largest error of a score
            of a unit row. The error is infinite if a value is too large for float32.
        """
        ranked = np.isfinite(self.weights).all(axis=0) & np.isfinite(self.offsets)
        if not ranked.any():
            mean = np.zeros(len(self.weights))
        else:
            mean = self.weights[:, ranked].mean(axis=1)
        weights = self.weights - mean[:, None]
        with np.errstate(over="ignore"):
            short = weights.astype(np.float32), self.offsets.astype(np.float32)
        norm = float(np.sqrt(np.square(weights[:, ranked]).sum(axis=0)).max(initial=0))
        offset = float(np.abs(self.offsets[ranked]).max(initial=0))
        # A sum of d products has an error of at most g |u| |w|, where g = n e / (1 - n e) and e = _UNIT. Here n is
        # d + 2, because u and w are rounded too. The term with 4 covers the offset, which is added last.
        steps = (len(weights) + 2) * _UNIT
        error = norm * steps / (1 - steps) + 4 * _UNIT * (norm + offset) + 1e-30
        finite = bool(np.isfinite(short[0][:, ranked]).all() and np.isfinite(short[1][ranked]).all())
        return *short, mean, 1.01 * error if finite else float("inf")
