"""Description of generated images: the figures of distances.py, nearest.py and diversity.py, per class and over all.

If a class has too few images for a figure, the figure is None. A figure over all classes uses the classes for which it
is not None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from diffcore_hf.method.arrays import Embeddings, Floats, Ints
from diffcore_hf.method.distances import (
    MIN_CMMD,
    NEIGHBOURS,
    Estimate,
    cmmd,
    coverage_and_density,
    expected_coverage,
)
from diffcore_hf.method.diversity import Diversity, diversity_at_equal_size
from diffcore_hf.method.nearest import Nearest, nearest, nearest_others
from diffcore_hf.method.thresholds import class_threshold, unit_rows

MOST_PER_CLASS = 2000
"""Largest number of images of a class in CMMD, coverage and density, because their cost grows with its square."""
MOST_PAIRS = 1_000_000_000
"""Bound of the search for nearest real images. This number divided by the number of all real images is the largest
number of images of a class that are compared, but not below MOST_PER_CLASS."""
COPY_QUANTILE = 0.05
"""Quantile of the ratios of real images. About this share of the kept images has a lower ratio if none is a copy."""


class Coverage(NamedTuple):
    """Coverage and density of generated images; the expected density is 1."""

    coverage: float
    expected: float
    """Coverage that is expected if both sets are samples of one distribution."""
    density: float


class Cosines(NamedTuple):
    """Mean cosine similarity of the pairs of a set."""

    real: float
    generated: float


class Copies(NamedTuple):
    """Ratios of the distances to the nearest and second nearest real image."""

    lowest: float
    """Lowest ratio of a kept image."""
    median: float
    lowest_real: float
    """Lowest ratio of a real image to the other real images."""
    median_real: float
    bound: float
    """The 5 % quantile of the ratios of real images. A kept image with a lower ratio is unusually close."""
    below: float
    """Share of the kept images whose ratio is below the bound."""


@dataclass(frozen=True)
class Figures:
    """The figures of one class, or of all classes. None: there are too few images."""

    name: str
    """Name of the class; "" for all classes."""
    real: int
    kept: int
    cmmd: Estimate | None
    coverage: Coverage | None
    diversity: Diversity | None
    cosines: Cosines | None
    copies: Copies | None


class Pair(NamedTuple):
    """A kept image and the real image of its class that is nearest to it."""

    kept: int
    """Index of the kept image."""
    real: int
    """Index of the real image."""
    distance: float
    ratio: float


@dataclass(frozen=True)
class Description:
    """The figures of a dataset."""

    classes: tuple[Figures, ...]
    overall: Figures
    """Figures over all classes. Each is a mean over the classes that have it, see `overall`."""
    used: dict[str, int]
    """Figure -> number of classes in its mean."""
    closest: tuple[Pair, ...]
    """The compared kept images, each with its nearest real image, the closest pair first."""
    compared: int
    """Largest number of real and of kept images of a class whose nearest real images were searched. In larger classes,
    the ratios and the closest pairs are those of a sample."""


@dataclass(frozen=True)
class _ClassDistances:
    """Nearest real images of one class; None if there are too few."""

    kept_rows: Ints
    """Indices of the kept images that were compared."""
    real_rows: Ints
    """Indices of all real images of the class."""
    kept: Nearest | None
    real: Nearest | None


def describe(
    names: Sequence[str],
    real: tuple[Embeddings, Ints],
    kept: tuple[Embeddings, Ints],
) -> Description:
    """Return the figures of the kept images of each class against its real images.

    Args:
        names: names of the K classes.
        real: (N, d) finite embeddings of real images, and their classes in [0, K).
        kept: (M, d) finite embeddings of kept images, and the classes that they show.
    """
    classes, distances = [], []
    compared = max(MOST_PER_CLASS, MOST_PAIRS // max(1, len(real[1])))
    for label, name in enumerate(names):
        real_rows, kept_rows = np.flatnonzero(real[1] == label), np.flatnonzero(kept[1] == label)
        own_real, own_kept = unit_rows(real[0][real_rows]), unit_rows(kept[0][kept_rows])
        queries = _some(len(own_kept), compared)
        near = _ClassDistances(
            kept_rows[queries],
            real_rows,
            nearest(own_real, own_kept[queries]) if len(own_real) >= 2 and len(own_kept) else None,
            nearest_others(own_real, _some(len(own_real), compared)) if len(own_real) >= 3 else None,
        )
        distances.append(near)
        classes.append(_figures(name, own_real, own_kept, near))
    overall, used = _overall(classes, distances, len(real[1]), len(kept[1]))
    return Description(tuple(classes), overall, used, tuple(_pairs(distances)), compared)


def _figures(name: str, real: Floats, kept: Floats, near: _ClassDistances) -> Figures:
    """Return the figures of one class from the unit embeddings of its images."""
    n, m = len(real), len(kept)
    some_real, some_kept = real[_some(n, MOST_PER_CLASS)], kept[_some(m, MOST_PER_CLASS)]
    coverage = None
    if n > NEIGHBOURS and m:
        share, density = coverage_and_density(some_real, some_kept)
        coverage = Coverage(share, expected_coverage(len(some_real), len(some_kept)), density)
    return Figures(
        name=name,
        real=n,
        kept=m,
        cmmd=cmmd(some_real, some_kept) if min(n, m) >= MIN_CMMD else None,
        coverage=coverage,
        diversity=diversity_at_equal_size(real, kept) if min(n, m) >= 2 else None,
        cosines=Cosines(class_threshold(real), class_threshold(kept)) if min(n, m) >= 2 else None,
        copies=_copies([near]),
    )


def _some(count: int, most: int) -> Ints:
    """Return the indices of all images, or of `most` of them drawn with a fixed seed, in ascending order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _copies(distances: Sequence[_ClassDistances]) -> Copies | None:
    """Return the ratios over some classes; None if no class has them."""
    both = [(near.kept.ratio, near.real.ratio) for near in distances if near.kept is not None and near.real is not None]
    if not both:
        return None
    kept, real = np.concatenate([pair[0] for pair in both]), np.concatenate([pair[1] for pair in both])
    bound = float(np.quantile(real, COPY_QUANTILE))
    return Copies(
        lowest=float(kept.min()),
        median=float(np.median(kept)),
        lowest_real=float(real.min()),
        median_real=float(np.median(real)),
        bound=bound,
        below=float((kept < bound).mean()),
    )


def _overall(
    classes: Sequence[Figures], distances: Sequence[_ClassDistances], real: int, kept: int
) -> tuple[Figures, dict[str, int]]:
    """Return the figures over all classes, and the number of classes in each.

    CMMD and density are means over the kept images, and coverage is a mean over the real images: each class has the
    weight of its number of images. Diversity and cosines are means over the classes. The ratios are those of all images
    together.
    """
    diverse = [figures.diversity for figures in classes if figures.diversity is not None]
    similar = [figures.cosines for figures in classes if figures.cosines is not None]
    used = {
        name: sum(getattr(figures, name) is not None for figures in classes)
        for name in ("cmmd", "coverage", "diversity", "cosines", "copies")
    }
    overall = Figures(
        name="",
        real=real,
        kept=kept,
        cmmd=_overall_cmmd(classes),
        coverage=_overall_coverage(classes),
        diversity=_overall_diversity(diverse),
        cosines=Cosines(*np.mean(similar, axis=0).tolist()) if similar else None,
        copies=_copies(distances),
    )
    return overall, used


def _overall_cmmd(classes: Sequence[Figures]) -> Estimate | None:
    """Return the mean of CMMD over the classes, weighted by their kept images. It is unbiased, as the terms are."""
    found = [(figures.kept, figures.cmmd) for figures in classes if figures.cmmd is not None]
    if not found:
        return None
    weights = np.array([count for count, _ in found]) / sum(count for count, _ in found)
    values, errors = np.array([estimate for _, estimate in found]).T
    return Estimate(float(weights @ values), float(np.sqrt(np.square(weights * errors).sum())))


def _overall_coverage(classes: Sequence[Figures]) -> Coverage | None:
    found = [(figures.real, figures.kept, figures.coverage) for figures in classes if figures.coverage is not None]
    if not found:
        return None
    mean = _weighted_mean([coverage.coverage for _, _, coverage in found], [real for real, _, _ in found])
    expected = _weighted_mean([coverage.expected for _, _, coverage in found], [real for real, _, _ in found])
    density = _weighted_mean([coverage.density for _, _, coverage in found], [kept for _, kept, _ in found])
    return Coverage(mean, expected, density)


def _weighted_mean(values: Sequence[float], weights: Sequence[int]) -> float:
    return float(np.average(values, weights=weights))


def _overall_diversity(found: Sequence[Diversity]) -> Diversity | None:
    if not found:
        return None
    size, real, generated = np.mean(found, axis=0).tolist()
    return Diversity(round(size), real, generated)


def _pairs(distances: Sequence[_ClassDistances]) -> list[Pair]:
    """Return every compared kept image with its nearest real image, the closest pair first."""
    pairs = []
    for near in distances:
        if near.kept is None:
            continue
        columns = (near.kept_rows, near.real_rows[near.kept.rows], near.kept.distance, near.kept.ratio)
        pairs += [Pair(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]
    return sorted(pairs, key=lambda pair: (pair.distance, pair.kept))
