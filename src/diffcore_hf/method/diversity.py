"""Diversity of a set of embeddings: the Vendi score, alone and at equal numbers of images.

The mean cosine similarity of pairs is the other figure of diversity; it is `class_threshold` of thresholds.py. The
Vendi score grows with the number of images, so two sets are compared at an equal number. The mean cosine does not
depend on the number.

Source: Friedman and Dieng 2023 (Vendi score).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diffcore_hf.method.arrays import Embeddings
from diffcore_hf.method.thresholds import unit_rows

MOST = 100
"""Largest number of images of one Vendi score, because its cost grows with the third power of this number."""
DRAWS = 10
"""Number of random subsets of a larger set."""


class Diversity(NamedTuple):
    """The Vendi scores of two sets at an equal number of images."""

    size: int
    """Number of images of each score."""
    real: float
    """Score of the real images, in [1, size]."""
    generated: float
    """Score of the generated images, in [1, size]."""


def vendi_score(embeddings: Embeddings) -> float:
    """Return the Vendi score: the number of different images that would be as diverse.

    It is exp(-sum of l log l) over the eigenvalues l of K / n, where K has the cosine similarities of all pairs. It is
    n for n orthogonal rows, and 1 for n equal rows.

    Args:
        embeddings: (n, d), finite, any norm above 0; n >= 1.

    Raises:
        ValueError: there is no row.
    """
    n = len(embeddings)
    if not n:
        raise ValueError("the Vendi score of no image is not defined")
    unit = unit_rows(embeddings)
    # K = unit @ unit.T and unit.T @ unit have the same eigenvalues above 0. The smaller matrix is used.
    matrix = unit @ unit.T if n <= unit.shape[1] else unit.T @ unit
    shares = np.linalg.eigvalsh(matrix / n)
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def diversity_at_equal_size(real: Embeddings, generated: Embeddings, seed: int = 0) -> Diversity:
    """Return the Vendi scores of real and generated images at n images each.

    n is the number of images of the smaller set, at most 100. The score of a set with more images is the mean over ten
    random subsets of n images.

    Args:
        real: (N, d), N >= 2.
        generated: (M, d), M >= 2.
        seed: seed of the subsets.

    Raises:
        ValueError: a set has fewer than two images.
    """
    size = min(len(real), len(generated), MOST)
    if size < 2:
        raise ValueError(f"diversity of {len(real)} and {len(generated)} images: each set needs at least two")
    return Diversity(size, _mean_score(real, size, seed), _mean_score(generated, size, seed))


def _mean_score(embeddings: Embeddings, size: int, seed: int) -> float:
    """Return the mean Vendi score of random subsets; the score of the whole set if it has `size` images."""
    if len(embeddings) == size:
        return vendi_score(embeddings)
    random = np.random.default_rng(seed)
    subsets = (np.sort(random.choice(len(embeddings), size, replace=False)) for _ in range(DRAWS))
    return float(np.mean([vendi_score(embeddings[rows]) for rows in subsets]))
