"""Rankings: at which place an image's own class stands among all classes, by one of four judges.

Owns the scores of classes by class mean, by linear discriminant and by caption, the ranks that follow, and the ranks of
real images when they are left out. Does not own which rank is good enough (conformal.py).

A rank is 1 + the number of other classes that score at least as high: ties rank worst. Scores equal up to rounding are
ties. A class about which nothing is known (no reference, no caption) scores NaN, stands in no other's way and ranks
nobody: rank 0.
"""

from __future__ import annotations

import numpy as np

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.seeding import digest
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, unit_rows

FOLDS = 5
SHRINKAGE = 0.3


def worst_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Place of each row's own class, ties worst.

    Args:
        scores: (M, K) float64, larger is better; NaN for a class that cannot be judged.
        labels: (M,) int64, the own class.

    Returns:
        (M,) int64 in [1, K]; 0 where the own class scores NaN.
    """
    own = scores[np.arange(len(labels)), labels]
    return np.count_nonzero(scores >= (own - 1e-10 * np.maximum(1, np.abs(own)))[:, None], axis=1)


class Ranking:
    """Scores of all classes for any image; one subclass a judge."""

    ranked: np.ndarray
    """(K,) bool: the classes that can be judged."""
    notes: tuple[str, ...] = ()
    """What a person should know about the judge, a sentence each."""

    def scores(self, unit: np.ndarray) -> np.ndarray:
        """(M, d) unit rows -> (M, K) float64, NaN for classes that cannot be judged."""
        raise NotImplementedError

    def ranks(self, unit: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(M, d) unit rows and (M,) labels -> (M,) int64; 0 without embedding or where the own class is unknown."""
        ranks = np.zeros(len(labels), np.int64)
        for rows in chunks(len(labels), len(self.ranked)):
            ranks[rows] = worst_ranks(self.scores(unit[rows]), labels[rows])
        return ranks

    def left_out_ranks(self) -> np.ndarray:
        """(N,) int64: rank of each reference where the judge has not seen it; 0 where it leaves no judge."""
        raise NotImplementedError


class ByClassMean(Ranking):
    """Cosine to the class means; a real image is left out of the mean of its own class."""

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums):
        self._references, self._sums = references, sums
        self._directions = sums.directions()
        self.ranked = sums.counts > 0

    def scores(self, unit: np.ndarray) -> np.ndarray:
        return unit @ self._directions.T

    def left_out_ranks(self) -> np.ndarray:
        labels, embeddings = self._references.labels, self._references.embeddings
        own = self._sums.left_out_similarities(embeddings, labels)
        ranks = np.zeros(len(labels), np.int64)
        for rows in chunks(len(labels), len(self.ranked)):
            scores = self.scores(unit_rows(embeddings[rows]))
            scores[np.arange(len(scores)), labels[rows]] = own[rows]
            ranks[rows] = worst_ranks(scores, labels[rows])
        return ranks


class ByClassifier(Ranking):
    """A linear discriminant: unit embeddings, (1 - s) W + s tr(W)/d I with s = 0.3, equal priors.

    W is the pooled within-class covariance; its scale does not matter to a rank. Real images are ranked by five folds,
    fold = digest(row id) mod 5, each by the fit on the other four; a class without an image there is left out of these
    ranks. Fits of the folds follow from sums over each fold, so the references are read twice, not five times.
    """

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums):
        self._references, self._sums = references, sums
        self.ranked = sums.counts > 0
        means = sums.means()
        self._folds = np.array([int.from_bytes(digest(row_id), "big") % FOLDS for row_id in references.row_ids], int)
        self._scatters = [self._scatter(means, self._folds == fold) for fold in range(FOLDS)]
        total = sum(self._scatters)
        self._weights, self._offsets = self._discriminant(means, total, float(np.trace(total)))

    def _discriminant(self, means: np.ndarray, scatter: np.ndarray, magnitude: float) -> tuple[np.ndarray, np.ndarray]:
        return discriminant(means, scatter, magnitude)

    def _scatter(self, means: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """(d, d): sum of (u - mean of all of its class)(...)^T over the wanted references."""
        scatter = np.zeros((means.shape[1],) * 2)
        where = np.flatnonzero(wanted)
        for rows in chunks(len(where), means.shape[1]):
            centred = unit_rows(self._references.embeddings[where[rows]]) - means[self._references.labels[where[rows]]]
            scatter += centred.T @ centred
        return scatter

    def scores(self, unit: np.ndarray) -> np.ndarray:
        return unit @ self._weights + self._offsets

    def left_out_ranks(self) -> np.ndarray:
        labels, embeddings = self._references.labels, self._references.embeddings
        means, ranks = self._sums.means(), np.zeros(len(labels), np.int64)
        for fold in range(FOLDS):
            where = np.flatnonzero(self._folds == fold)
            inside = PairSums.of(embeddings[where], labels[where], len(self.ranked))
            counts = self._sums.counts - inside.counts
            rest = PairSums(counts, self._sums.totals - inside.totals, self._sums.squares - inside.squares)
            # Scatter about the means of all references -> about the means of the other four folds.
            around = sum(scatter for other, scatter in enumerate(self._scatters) if other != fold)
            moved = np.where(counts[:, None] > 0, rest.means() - means, 0) * np.sqrt(counts)[:, None]
            weights, offsets = self._discriminant(rest.means(), around - moved.T @ moved, float(np.trace(around)))
            for rows in chunks(len(where), len(self.ranked)):
                scores = unit_rows(embeddings[where[rows]]) @ weights + offsets
                ranks[where[rows]] = worst_ranks(scores, labels[where[rows]])
        return ranks


class ContextFree(ByClassifier):
    """The classifier in what is left of embeddings when the directions of contexts are taken out.

    Class and context are confounded in most datasets: the means of classes that were photographed in different places
    differ by these places too, and the within-class covariance has not seen the places that prompts add. Where contexts
    lie in the shared space of images and texts is known without an image: captions such as `a photo of a bird, in heavy
    snow`, no class named, span their directions. Means and covariance are projected onto the complement (as prompts of
    a bias are by Chuang et al. 2023, *Debiasing Vision-Language Models via Biased Prompts*). Without a text tower, or
    with fewer than two contexts, it is the classifier.
    """

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums):
        self._contexts = context_directions(references.contexts, references.embeddings.shape[1])
        if not len(self._contexts):
            self.notes = (
                "contexts could not be taken out (a tower without text, a kind whose classes are contexts, or captions "
                "that an older run did not embed: augment again): the plain classifier judges",
            )
        super().__init__(references, sums)

    def _discriminant(self, means: np.ndarray, scatter: np.ndarray, magnitude: float) -> tuple[np.ndarray, np.ndarray]:
        # Weights then lie in the complement themselves, so images need no projection.
        keep = np.eye(means.shape[1]) - self._contexts.T @ self._contexts
        return discriminant(means @ keep, keep @ scatter @ keep, magnitude)


class ByText(Ranking):
    """Cosine to the embedding of each class's caption: zero-shot, so real images need no leaving out."""

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums):
        if references.text is None:
            raise UserError(
                "filter.policy.by is 'text', but the scorer has no text tower: use --filter.policy.by classifier, "
                "or a filter.path that has one (CLIP, SigLIP)"
            )
        self._references = references
        self._text = unit_rows(references.text)
        self.ranked = ~np.isnan(self._text).any(axis=1)

    def scores(self, unit: np.ndarray) -> np.ndarray:
        return unit @ self._text.T

    def left_out_ranks(self) -> np.ndarray:
        labels, embeddings = self._references.labels, self._references.embeddings
        ranks = np.zeros(len(labels), np.int64)
        for rows in chunks(len(labels), len(self.ranked)):
            ranks[rows] = worst_ranks(self.scores(unit_rows(embeddings[rows])), labels[rows])
        return ranks


def discriminant(means: np.ndarray, scatter: np.ndarray, magnitude: float) -> tuple[np.ndarray, np.ndarray]:
    """Linear discriminant with equal priors: score_k(u) = u . weights_k + offsets_k.

    Args:
        means: (K, d) class means, NaN for a class without images.
        scatter: (d, d) proportional to the pooled within-class covariance W.
        magnitude: trace of the sums that `scatter` is a difference of; a trace far below it is rounding, hence zero.

    Returns:
        weights (d, K) and offsets (K,), NaN for classes without images. With tr(W) = 0 the identity stands in for W.
    """
    width, trace = means.shape[1], float(np.trace(scatter))
    if trace <= max(1e-12 * magnitude, 1e-20):
        shrunk = np.eye(width)
    else:  # in units of tr(W) / d, so that scores are of order one
        shrunk = (1 - SHRINKAGE) * scatter * (width / trace) + SHRINKAGE * np.eye(width)
    weights = np.full(means.T.shape, np.nan)
    known = ~np.isnan(means).any(axis=1)
    weights[:, known] = np.linalg.solve(shrunk, means[known].T)
    return weights, -0.5 * np.einsum("kd,dk->k", means, weights)


def context_directions(captions: np.ndarray | None, width: int) -> np.ndarray:
    """(r, d) orthonormal rows that span the differences between captions of contexts; r <= C - 1, 0 without two.

    Args:
        captions: (C, d) embeddings of captions that differ by their context alone; None: there are none.
        width: d.
    """
    if captions is None or len(captions) < 2:
        return np.zeros((0, width))
    unit = unit_rows(captions)
    _, sizes, directions = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    return directions[sizes > 1e-6 * max(float(sizes[0]), 1e-20)]


RANKINGS = {"class_mean": ByClassMean, "classifier": ByClassifier, "context_free": ContextFree, "text": ByText}
