"""Nearest real images of generated images, for the search for copies.

Owns the search. Products of float32 numbers select candidates, with a bound on their rounding error. Only candidates
are compared with float64 numbers, so the result is that of float64 distances of all pairs, in a tenth of the time.

Source: Yoon et al. 2023 (ratio of the distances to the two nearest training images).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diffcore_hf.method.arrays import Embeddings, Floats, Ints
from diffcore_hf.method.distances import squared_distances
from diffcore_hf.method.thresholds import chunks, rounded

_MOST_CANDIDATES = 16
"""Largest mean number of candidates per image. With more, the distances of all pairs are computed in float64."""


class Nearest(NamedTuple):
    """The real image that is nearest to each image of a set."""

    rows: Ints
    """(M,) int64: index of the nearest real image."""
    distance: Floats
    """(M,) float64: Euclidean distance to it."""
    ratio: Floats
    """(M,) float64 in [0, 1]: this distance divided by the distance to the second nearest; 0 if this distance is 0."""


def nearest(real: Embeddings, generated: Embeddings) -> Nearest:
    """Return the nearest real image of each generated image.

    Args:
        real: (N, d), finite, N >= 2.
        generated: (M, d), finite.

    Raises:
        ValueError: there are fewer than two real images.
    """
    return _nearest(real, generated, None)


def nearest_others(real: Embeddings, rows: Ints | None = None) -> Nearest:
    """Return the nearest other real image of each real image, for comparison with `nearest`.

    Args:
        real: (N, d), finite, N >= 3.
        rows: (M,) int64: the real images whose nearest images are returned; None: all of them.

    Raises:
        ValueError: there are fewer than three real images.
    """
    own = np.arange(len(real)) if rows is None else rows
    return _nearest(real, real[own], own)


def _nearest(real: Embeddings, queries: Embeddings, own: Ints | None) -> Nearest:
    """Return the nearest real image of each query.

    Args:
        real: (N, d).
        queries: (M, d).
        own: (M,) int64: the real image that is the query itself and is left out; None if the queries are no real
            images.
    """
    if len(real) < (2 if own is None else 3):
        raise ValueError(f"{len(real)} real images: the two nearest are needed")
    search = _Search(real)
    first, squared = np.zeros(len(queries), np.int64), np.zeros((len(queries), 2))
    for rows in chunks(len(queries), len(real)):
        first[rows], squared[rows] = search.two_nearest(queries[rows], None if own is None else own[rows])
    two = np.sqrt(squared)
    ratio = np.divide(two[:, 0], two[:, 1], out=np.zeros(len(queries)), where=two[:, 1] > 0)
    return Nearest(first, two[:, 0], ratio)


class _Search:
    """Search among real images, which are converted once."""

    def __init__(self, real: Embeddings) -> None:
        self._real = np.asarray(real).astype(np.float64)
        self._norms = np.einsum("nd,nd->n", self._real, self._real)
        self._narrow = self._real.astype(np.float32)
        self._half_norms = (self._norms / 2).astype(np.float32)

    def two_nearest(self, queries: Embeddings, own: Ints | None) -> tuple[Ints, Floats]:
        """Return (M,) the nearest real image of each query, and (M, 2) the two smallest squared distances.

        Of equal distances, the real image with the lowest index is the nearest.
        """
        wide = np.asarray(queries).astype(np.float64)
        query, candidate = self._candidates(wide, own)
        if len(query) > _MOST_CANDIDATES * len(wide):
            return _two_smallest(squared_distances(wide, self._real), own)
        norms = np.einsum("md,md->m", wide, wide)
        products = np.einsum("kd,kd->k", wide[query], self._real[candidate])
        squared = np.maximum(rounded(norms[query] + self._norms[candidate] - 2 * products), 0)
        order = np.lexsort((candidate, squared, query))
        best = np.searchsorted(query[order], np.arange(len(wide)))
        return candidate[order[best]], np.stack([squared[order[best]], squared[order[best + 1]]], axis=1)

    def _candidates(self, queries: Floats, own: Ints | None) -> tuple[Ints, Ints]:
        """Return pairs of a query and a real image, sorted by query. They contain the two nearest images of each query.

        Half of a squared distance, without the norm of the query, is |r|^2 / 2 - q r. A float32 product of d numbers
        differs from the exact one by at most (d + 2) 2^-24 |q| |r|.
        """
        scores = self._half_norms - queries.astype(np.float32) @ self._narrow.T
        every = np.arange(len(scores))
        if own is not None:
            scores[every, own] = np.inf
        first = scores.argmin(axis=1)
        lowest = scores[every, first]
        scores[every, first] = np.inf
        second = scores.min(axis=1)
        scores[every, first] = lowest
        largest = np.sqrt(self._norms.max())
        size = largest * (np.sqrt(np.einsum("md,md->m", queries, queries)) + largest)
        bound = second + 4 * (queries.shape[1] + 2) * 2.0**-24 * size
        return np.divmod(np.flatnonzero(scores <= bound[:, None].astype(np.float32)), scores.shape[1])


def _two_smallest(squared: Floats, own: Ints | None) -> tuple[Ints, Floats]:
    """Return the result of `two_nearest` from the squared distances of all pairs."""
    if own is not None:
        squared[np.arange(len(squared)), own] = np.inf
    return squared.argmin(axis=1), np.partition(squared, 1, axis=1)[:, :2]
