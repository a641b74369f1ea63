"""Conformal bounds: at most about a share alpha of fresh real images would be rejected.

Owns the finite-sample quantile, the pooling of small classes, and the test of each real image as if it were left out.
Does not own how a score is computed (thresholds.py, ranking.py).

The promise rests on exchangeability with the *dataset's* images: a fresh photograph of the same kind as the references
is rejected at most about once in 1 / alpha times, on average over the classes whose scores are pooled. It says nothing
about generated images, which are not drawn from the dataset; their rate of rejection is measured, not promised.
"About", because a left-out score is compared with a class that lacks one image, and a fresh one with the whole class.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from diffcore_hf.method.arrays import Bools, Floats, Ints
from diffcore_hf.method.thresholds import rounded

SIMILARITIES_POOLED_BELOW = 30
"""A class with at least this many scores has a similarity bound of its own; smaller classes share one."""
RANKS_POOLED_BELOW = 50
"""A class with at least this many ranks has a rank bound of its own; smaller classes share one."""


def conformal_bound(scores: Floats, alpha: float) -> float:
    """Returns the k-th smallest of n scores, k = floor((n + 1) alpha).

    A fresh score of the same kind lies below this bound with probability at most alpha.

    Args:
        scores: (n,) float64 of real images, larger is better; n may be 0.
        alpha: in (0, 1). It is read as the decimal number that it prints as, so that 0.29 of 100 is exactly 29.

    Returns:
        The bound; -inf (accept everything) where n is too small for a promise, k = 0.
    """
    k = int((len(scores) + 1) * Fraction(repr(float(alpha))))
    return float(np.partition(scores, k - 1)[k - 1]) if k else -np.inf


def conformal_rejected(scores: Floats, alpha: float) -> Bools:
    """Returns (n,) bool: true where a score lies below the bound that the *other* scores set, as a fresh one would."""
    k = int(len(scores) * Fraction(repr(float(alpha))))
    return np.searchsorted(np.sort(scores), scores, side="right") <= k


def similarity_bounds(scores: Floats, labels: Ints, classes: int, alpha: float) -> tuple[Floats, Floats]:
    """Returns the bounds on the similarity to the class mean; an image is kept iff score >= bound.

    A class of at least SIMILARITIES_POOLED_BELOW images has its own bound. Smaller ones pool the differences
    d_i = s_i - (mean of the other left-out scores of the class); their bound is the mean score of the class plus the
    conformal bound of the pool. A class of one image has no score; the mean over classes of mean scores replaces it.

    Args:
        scores: (N,) float64, left-out similarities of real images, NaN where there is none.
        labels: (N,) int64 in [0, K).
        classes: K.
        alpha: in (0, 1).

    Returns:
        bounds: (K,) float64, -inf where there are too few scores for a promise.
        rejected: (N,) float64, 1 where the image itself would be rejected when left out, else 0; NaN without score.
    """
    scored = ~np.isnan(scores)
    counts = np.bincount(labels[scored], minlength=classes)
    sums = np.bincount(labels[scored], weights=scores[scored], minlength=classes)
    bounds, rejected = np.full(classes, -np.inf), np.full(len(scores), np.nan)
    for rows in _rows_by_class(labels, scored & (counts[labels] >= SIMILARITIES_POOLED_BELOW)):
        bounds[labels[rows[0]]] = conformal_bound(scores[rows], alpha)
        rejected[rows] = conformal_rejected(scores[rows], alpha)
    small = np.flatnonzero(scored & (counts[labels] < SIMILARITIES_POOLED_BELOW))
    others = (sums[labels[small]] - scores[small]) / (counts[labels[small]] - 1)
    differences = rounded(scores[small] - others)
    rejected[small] = conformal_rejected(differences, alpha)
    pooled = counts < SIMILARITIES_POOLED_BELOW
    means = np.divide(sums, counts, out=np.zeros(classes), where=counts > 0)
    means[counts == 0] = means[counts > 0].mean() if counts.any() else 0
    bounds[pooled] = rounded(means[pooled] + conformal_bound(differences, alpha))
    return bounds, rejected


def rank_bounds(ranks: Ints, labels: Ints, classes: int, alpha: float) -> tuple[Floats, Floats]:
    """Returns r_alpha, the rank that a share 1 - alpha of real images reach when left out; kept iff rank <= r_alpha.

    It is the ceil((n + 1)(1 - alpha))-th smallest of n left-out ranks, or the number of classes where that is beyond n.
    A class of at least RANKS_POOLED_BELOW ranks has its own; the smaller ones share one.

    Args:
        ranks: (N,) int64 left-out ranks of real images, 1 = best; 0 where there is none.
        labels: (N,) int64 in [0, K).
        classes: K.
        alpha: in (0, 1).

    Returns:
        bounds: (K,) float64 in [1, K].
        rejected: (N,) float64, 1 where the image itself would be rejected when left out, else 0; NaN without rank.
    """
    ranked, scores = ranks > 0, -ranks.astype(np.float64)
    counts = np.bincount(labels[ranked], minlength=classes)
    large = counts >= RANKS_POOLED_BELOW
    bounds, rejected = np.empty(classes), np.full(len(ranks), np.nan)
    for rows in _rows_by_class(labels, ranked & large[labels]):
        bounds[labels[rows[0]]] = -conformal_bound(scores[rows], alpha)
        rejected[rows] = conformal_rejected(scores[rows], alpha)
    small = np.flatnonzero(ranked & ~large[labels])
    bounds[~large] = -conformal_bound(scores[small], alpha)
    rejected[small] = conformal_rejected(scores[small], alpha)
    return np.where(np.isinf(bounds), classes, bounds), rejected


def _rows_by_class(labels: Ints, wanted: Bools) -> list[Ints]:
    """Returns the indices of the wanted rows, one array for each class that has any."""
    rows = np.flatnonzero(wanted)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(labels[rows])) + 1)
    return [group for group in groups if len(group)]
