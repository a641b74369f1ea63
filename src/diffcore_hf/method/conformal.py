"""Conformal bounds, which reject at most about the share alpha of new real images.

Owns the finite-sample quantile, the pooling of small classes, and the leave-one-out test of each real image. Does not
own the computation of scores (thresholds.py, ranking.py).

The guarantee assumes that a new image is exchangeable with the dataset's images. Then it is rejected with a probability
of at most about alpha, on average over the classes whose scores are pooled. The guarantee does not hold for generated
images, because they are not drawn from the dataset. Their rejection rate is measured. The guarantee is approximate,
because scores are computed in two ways. The score of a left-out image is computed without that image. The score of a
new image is computed with all images of the class.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from diffcore_hf.method.arrays import Bools, Floats, Ints
from diffcore_hf.method.thresholds import rounded

SIMILARITIES_POOLED_BELOW = 30
"""A class with at least this many scores has its own similarity bound; smaller classes share one bound."""
RANKS_POOLED_BELOW = 50
"""A class with at least this many ranks has its own rank bound; smaller classes share one bound."""


def conformal_bound(scores: Floats, alpha: float) -> float:
    """Returns the k-th smallest of n scores, k = floor((n + 1) alpha).

    A new score from the same distribution is below this bound with probability at most alpha.

    Args:
        scores: (n,) float64, scores of real images; larger is better; n may be 0.
        alpha: in (0, 1). It is used as an exact decimal fraction, so that 0.29 of 100 is exactly 29.

    Returns:
        The bound. It is -inf (accept everything) if k = 0, because n is then too small for a guarantee.
    """
    k = int((len(scores) + 1) * Fraction(repr(float(alpha))))
    return float(np.partition(scores, k - 1)[k - 1]) if k else -np.inf


def conformal_rejected(scores: Floats, alpha: float) -> Bools:
    """Returns (n,) bool: true where a score is below the bound that is computed from the *other* scores."""
    k = int(len(scores) * Fraction(repr(float(alpha))))
    return np.searchsorted(np.sort(scores), scores, side="right") <= k


def similarity_bounds(scores: Floats, labels: Ints, classes: int, alpha: float) -> tuple[Floats, Floats]:
    """Returns the bounds on the similarity to the class mean; an image is kept if and only if score >= bound.

    A class of at least SIMILARITIES_POOLED_BELOW images has its own bound. The smaller classes pool the differences
    d_i = s_i - (mean of the other left-out scores of the class). Their bound is the mean score of the class plus the
    conformal bound of the pool. A class of one image has no left-out score, so the mean over the mean scores of the
    other classes replaces its mean score.

    Args:
        scores: (N,) float64, left-out similarities of real images; NaN if there is no score.
        labels: (N,) int64 in [0, K).
        classes: K.
        alpha: in (0, 1).

    Returns:
        bounds: (K,) float64, -inf where there are too few scores for a guarantee.
        rejected: (N,) float64, 1 where the left-out image would be rejected, else 0; NaN if there is no score.
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
    """Returns r_alpha, the rank that a share 1 - alpha of the left-out real images reach.

    An image is kept if and only if rank <= r_alpha. The bound is the ceil((n + 1)(1 - alpha))-th smallest of n left-out
    ranks. If that position is greater than n, the bound is the number of classes. A class of at least
    RANKS_POOLED_BELOW ranks has its own bound; the smaller classes share one bound.

    Args:
        ranks: (N,) int64, left-out ranks of real images, 1 = best; 0 if there is no rank.
        labels: (N,) int64 in [0, K).
        classes: K.
        alpha: in (0, 1).

    Returns:
        bounds: (K,) float64 in [1, K].
        rejected: (N,) float64, 1 where the left-out image would be rejected, else 0; NaN if there is no rank.
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


def _rows_by_class(labels: Ints, mask: Bools) -> list[Ints]:
    """Returns the indices of the rows that a mask selects, one array for each class with such rows."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    groups = np.split(rows, np.flatnonzero(np.diff(labels[rows])) + 1)
    return [group for group in groups if len(group)]
