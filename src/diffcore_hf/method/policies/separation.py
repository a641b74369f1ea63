"""Separation: how well a policy separates the classes, measured on the real images to which it is fitted.

Owns the rule by which a filter is weak, and its figures. A policy that compares ranks is weak in a class if it accepts
ranks above a quarter of the number of classes. A policy that compares similarities has no ranks. It is weak in a class
if more than a quarter of the real images of *other* classes would pass as images of this class. In both cases an
image of another class passes with a probability above 1/4. The control policies compare nothing, so they have no
separation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffcore_hf.method.arrays import Bools, Floats, Ints
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import chunks, unit_rows

WEAK_SHARE = 0.25
"""Largest share of the classes, or of other classes' images, that a policy may accept without being weak."""


@dataclass(frozen=True)
class Separation:
    """Measurement of how well a policy separates K classes."""

    weak: Bools
    """(K,) bool: true for the classes in which the policy is weak."""
    accepts: str
    """What the policy accepts in the weak classes, as the end of a sentence; "" if it is weak in no class."""
    accuracy: float | None
    """Balanced accuracy in [0, 1]: the mean over the classes of the share of left-out real images whose own class has
    rank 1. None: no real image can be ranked when it is left out."""
    classes: int
    """Number of classes that can be ranked. By chance the balanced accuracy is 1 / classes."""
    images: int
    """Number of left-out real images that have a rank."""


def balanced_accuracy(ranks: Ints, labels: Ints) -> float | None:
    """Returns the mean over the classes of the share of images with rank 1; None if no image has a rank.

    Args:
        ranks: (N,) int64, left-out ranks of real images, 1 = best; 0 if there is no rank.
        labels: (N,) int64, their classes.
    """
    ranked = ranks > 0
    counts = np.bincount(labels[ranked])
    first = np.bincount(labels[ranked], weights=ranks[ranked] == 1)
    return float(np.mean(first[counts > 0] / counts[counts > 0])) if ranked.any() else None


def separation_of_ranks(bound: Floats, ranked: Bools, ranks: Ints, labels: Ints) -> Separation:
    """Returns the separation of a policy that accepts ranks up to a bound.

    A bound of rank 1 is never weak, because no bound is stricter. This matters if there are fewer than four classes.

    Args:
        bound: (K,) float64, the worst rank that passes in each class.
        ranked: (K,) bool: the classes that can be ranked.
        ranks: (N,) int64, left-out ranks of the references; 0 if there is no rank.
        labels: (N,) int64, their classes.
    """
    classes, accuracy = int(np.count_nonzero(ranked)), balanced_accuracy(ranks, labels)
    if accuracy is None:
        return Separation(
            ranked, "every rank, because no real image can be ranked when it is left out", None, classes, 0
        )
    weak = ranked & (bound > max(1, WEAK_SHARE * classes))
    worst = int(bound[weak].max()) if weak.any() else 0
    return Separation(
        weak, f"rank {worst} of {classes}" if weak.any() else "", accuracy, classes, int(np.count_nonzero(ranks))
    )


def separation_of_similarities(others: Floats, ranked: Bools, ranks: Ints, labels: Ints) -> Separation:
    """Returns the separation of a policy that compares similarities.

    Args:
        others: (K,) float64 in [0, 1], share of the real images of other classes that pass as images of each class; NaN
            if there is nothing to compare.
        ranked: (K,) bool: the classes that have a reference.
        ranks: (N,) int64, left-out ranks of the references by class mean; 0 if there is no rank.
        labels: (N,) int64, their classes.
    """
    weak = ranked & (np.nan_to_num(others) > WEAK_SHARE)
    accepts = f"{100 * float(others[weak].max()):.0f} % of the real images of other classes" if weak.any() else ""
    accuracy, classes = balanced_accuracy(ranks, labels), int(np.count_nonzero(ranked))
    return Separation(weak, accepts, accuracy, classes, int(np.count_nonzero(ranks)))


def passing_others(references: ReferenceEmbeddings, passes: Callable[[Floats], Bools]) -> Floats:
    """Returns the share of the references of other classes that pass as images of each class.

    Args:
        references: the references.
        passes: function from (m, d) unit embeddings to (m, K) bool, whether each image passes for each class.

    Returns:
        (K,) float64 in [0, 1]; NaN if no other class has a reference.
    """
    labels, classes = references.labels, references.classes
    passed = np.zeros(classes)
    for rows in chunks(len(labels), max(classes, references.embeddings.shape[1])):
        of_others = passes(unit_rows(references.embeddings[rows]))
        of_others[np.arange(len(of_others)), labels[rows]] = False
        passed += of_others.sum(axis=0)
    count = len(labels) - np.bincount(labels, minlength=classes)
    return np.divide(passed, count, out=np.full(classes, np.nan), where=count > 0)
