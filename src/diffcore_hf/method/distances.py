"""Distances between real and generated embeddings: CMMD, coverage and density.

Owns the figures that compare two sets of embeddings. Each has an exact expectation if both sets are samples of one
distribution. Does not own the nearest real images (nearest.py), the diversity of one set (diversity.py) or the choice
of the sets (description.py).

Sources: Jayasumana et al. 2024 (CMMD), Gretton et al. 2012 (the unbiased estimate of MMD), Naeem et al. 2020 (coverage
and density).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diffcore_hf.method.arrays import Embeddings, Floats
from diffcore_hf.method.thresholds import chunks, rounded

SIGMA, SCALE = 10.0, 1000.0
"""Width of the Gaussian kernel, and the factor by which the literature multiplies CMMD."""
MIN_CMMD = 3
"""Smallest number of images on each side of CMMD. The jackknife leaves one image out, and a pair must remain."""
NEIGHBOURS = 3
"""The k of coverage and density. A larger k brings the expected coverage close to 1 in small classes."""
_WIDTH = 16_000
"""Smallest width that `chunks` gets. It limits a chunk to 500 rows, because pairs within a chunk are computed twice."""


class Estimate(NamedTuple):
    """An estimate and its standard error."""

    value: float
    error: float


def squared_distances(a: Embeddings, b: Embeddings) -> Floats:
    """Return the squared Euclidean distances of all pairs.

    Args:
        a: (N, d), finite.
        b: (M, d), finite.

    Returns:
        (N, M) float64, at least 0, rounded to twelve decimals so that equal rows have the distance 0.
    """
    left, right = a.astype(np.float64), b.astype(np.float64)
    norms = np.einsum("nd,nd->n", left, left)[:, None] + np.einsum("md,md->m", right, right)
    return np.maximum(rounded(norms - 2 * left @ right.T), 0)


def cmmd(real: Embeddings, generated: Embeddings) -> Estimate:
    """Return the unbiased estimate of CMMD, times 1000, with its jackknife standard error.

    CMMD is the squared maximum mean discrepancy with the kernel k(x, y) = exp(-|x - y|^2 / (2 sigma^2)), sigma = 10:

        U = mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean over i, j of k(x_i, y_j)

    Its expectation is 0 for equal distributions, so U can be negative. For unit rows the kernel is almost linear, and
    1000 U is about 10 |mean(x) - mean(y)|^2. The released implementations include the pairs i = j, which adds a
    positive bias. If both distributions are equal, the jackknife error is too large, by a factor of up to sqrt(2).

    Args:
        real: (N, d), the rows x; N >= 3. Unit rows, if values are compared with the literature.
        generated: (M, d), the rows y; M >= 3.

    Raises:
        ValueError: a side has fewer than three rows.
    """
    n, m = len(real), len(generated)
    if min(n, m) < MIN_CMMD:
        raise ValueError(f"CMMD of {n} and {m} images: each side needs at least {MIN_CMMD}")
    # The sums are over k - 1, which keeps the precision. The constants of the three means cancel.
    within_real, within_generated = _sums_within(real), _sums_within(generated)
    from_real, from_generated = _sums_between(real, generated)
    all_real, all_generated, between = within_real.sum(), within_generated.sum(), from_real.sum()
    value = all_real / (n * (n - 1)) + all_generated / (m * (m - 1)) - 2 * between / (n * m)
    without_real = (
        (all_real - 2 * within_real) / ((n - 1) * (n - 2))
        + all_generated / (m * (m - 1))
        - 2 * (between - from_real) / ((n - 1) * m)
    )
    without_generated = (
        all_real / (n * (n - 1))
        + (all_generated - 2 * within_generated) / ((m - 1) * (m - 2))
        - 2 * (between - from_generated) / (n * (m - 1))
    )
    variance = (n - 1) * without_real.var() + (m - 1) * without_generated.var()
    return Estimate(float(SCALE * value), float(SCALE * np.sqrt(variance)))


def _sums_within(a: Embeddings) -> Floats:
    """Return (N,) float64: the sum of k(a_i, a_j) - 1 over all j. Each pair is computed once."""
    sums = np.zeros(len(a))
    for rows in chunks(len(a), max(len(a), _WIDTH)):
        values = _kernel(a[rows], a[rows.start :])
        sums[rows] += values.sum(axis=1)
        sums[rows.stop :] += values[:, rows.stop - rows.start :].sum(axis=0)
    return sums


def _sums_between(a: Embeddings, b: Embeddings) -> tuple[Floats, Floats]:
    """Return (N,) and (M,) float64: the sums of k(a_i, b_j) - 1 over all j, and over all i."""
    over_b, over_a = np.zeros(len(a)), np.zeros(len(b))
    for rows in chunks(len(a), max(len(b), _WIDTH)):
        values = _kernel(a[rows], b)
        over_b[rows] = values.sum(axis=1)
        over_a += values.sum(axis=0)
    return over_b, over_a


def _kernel(a: Embeddings, b: Embeddings) -> Floats:
    """Return (N, M) float64: k(a_i, b_j) - 1."""
    return np.asarray(np.expm1(squared_distances(a, b) / (-2 * SIGMA**2)))


def coverage_and_density(real: Embeddings, generated: Embeddings, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Return coverage and density of the generated images.

    The ball of a real image reaches to its k-th nearest other real image. Coverage is the share of the balls that
    contain a generated image. Density is the number of pairs of a generated image and a ball that contains it, divided
    by k times the number of generated images.

    Args:
        real: (N, d), N > k.
        generated: (M, d), M >= 1.
        k: number of neighbours.

    Returns:
        Coverage in [0, 1] and density in [0, N / k]. The expected coverage is `expected_coverage`, the expected density
        is 1.

    Raises:
        ValueError: there are too few images.
    """
    n, m = len(real), len(generated)
    if n <= k or m < 1:
        raise ValueError(f"coverage of {n} real and {m} generated images: it needs more than {k} real ones, and one")
    inside = np.zeros(n, np.int64)
    for rows in chunks(n, n + m):
        among_real = squared_distances(real[rows], real)
        among_real[np.arange(len(among_real)), np.arange(rows.start, rows.stop)] = np.inf
        radii = np.partition(among_real, k - 1, axis=1)[:, k - 1]
        inside[rows] = (squared_distances(real[rows], generated) <= radii[:, None]).sum(axis=1)
    return float((inside > 0).mean()), float(inside.sum() / (k * m))


def expected_coverage(real: int, generated: int, k: int = NEIGHBOURS) -> float:
    """Return the expected coverage if real and generated images are samples of one continuous distribution.

    A ball contains no generated image if the k images nearest to its centre are all real. The order of the N - 1 other
    real images and the M generated ones is uniform, so the probability is prod over i = 1..k of (N - i) / (M + N - i).
    The expected density is 1: a generated image is in a ball with probability k / N.

    Args:
        real: N, above k.
        generated: M.
        k: number of neighbours.
    """
    i = np.arange(1, k + 1)
    return float(1 - np.prod((real - i) / (generated + real - i)))
