"""Conformal bounds: at most about a share alpha of fresh real images would be rejected.

Owns the finite-sample quantile, the pooling of small classes and the judgement of each real image as if it were left
out. Does not own how a score comes about (thresholds.py, ranking.py).

The promise rests on exchangeability with the *dataset's* images: a fresh photograph of the same kind as the references
is rejected at most about once in 1 / alpha times, on average over the classes whose scores are pooled. It says nothing
about generated images, which are no draw from the dataset; how many of them are rejected is measured, not promised.
"About", because left-out scores are taken against a class that lacks one image, and a fresh one against all of it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from diffcore_hf.method.thresholds import settled

SIMILARITIES_POOLED_BELOW = 30
"""Images a class from which similarities are bounded class by class."""
RANKS_POOLED_BELOW = 50
"""Images a class from which ranks are bounded class by class."""


def conformal_bound(scores: np.ndarray, alpha: float) -> float:
    """The k-th smallest of n scores, k = floor((n + 1) alpha): a fresh one lies below with probability <= alpha.

    Args:
        scores: (n,) of real images, larger is better; n may be 0.
        alpha: in (0, 1), read as the decimal it is written as (0.29 of 100 is 29).

    Returns:
        The bound; -inf (accept everything) where n is too small for a promise, k = 0.
    """
    k = int((len(scores) + 1) * Fraction(repr(float(alpha))))
    return float(np.partition(scores, k - 1)[k - 1]) if k else -np.inf


def conformal_rejected(scores: np.ndarray, alpha: float) -> np.ndarray:
    """(n,) bool: whether each score lies below the bound that the *others* set, as a fresh image would."""
    k = int(len(scores) * Fraction(repr(float(alpha))))
    return np.searchsorted(np.sort(scores), scores, side="right") <= k


def similarity_bounds(
    scores: np.ndarray, labels: np.ndarray, classes: int, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on the similarity to the class mean; keep iff score >= bound.

    A class of at least SIMILARITIES_POOLED_BELOW images sets its own bound. Smaller ones pool the differences
    d_i = s_i - (mean of the other left-out scores of the class); their bound is the mean score of the class plus the
    conformal bound of the pool. A class of one image has no score: the mean over classes of mean scores stands in.

    Args:
        scores: (N,) left-out similarities of real images, NaN where there is none.
        labels: (N,) int64 in [0, classes).
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
    differences = settled(scores[small] - others)
    rejected[small] = conformal_rejected(differences, alpha)
    pooled = counts < SIMILARITIES_POOLED_BELOW
    means = np.divide(sums, counts, out=np.zeros(classes), where=counts > 0)
    means[counts == 0] = means[counts > 0].mean() if counts.any() else 0
    bounds[pooled] = settled(means[pooled] + conformal_bound(differences, alpha))
    return bounds, rejected


def rank_bounds(ranks: np.ndarray, labels: np.ndarray, classes: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """r_alpha: the rank that a share 1 - alpha of real images reach when left out; keep iff rank <= r_alpha.

    The ceil((n + 1)(1 - alpha))-th smallest of n left-out ranks, the number of classes where that is beyond n. A class
    of at least RANKS_POOLED_BELOW ranks sets its own; the smaller ones set one together.

    Args:
        ranks: (N,) int64 left-out ranks of real images, 1 = best; 0 where there is none.
        labels: (N,) int64 in [0, classes).
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


def _rows_by_class(labels: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Indices of the wanted rows, one array for each class that has any."""
    rows = np.flatnonzero(wanted)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    return [group for group in np.split(rows, np.flatnonzero(np.diff(labels[rows])) + 1) if len(group)]
