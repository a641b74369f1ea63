"""Rankings: the rank of an image's own class among all classes, by one of four methods.

Owns the weights of the classes and the ranks of left-out real images. The four methods are class mean, linear
discriminant, linear discriminant without the directions of contexts, and caption. Does not own the computation of ranks
from weights (linear_scores.py) or the bound on ranks (conformal.py).

A rank is 1 + the number of other classes that score at least as high, so ties get the worst rank. Scores that differ
only by rounding are ties. A class without a reference or caption scores NaN. It does not change the rank of other
classes, and its own images have rank 0.

To add a ranking: write a subclass of Ranking here and add it to RANKINGS. Then add its name to `PolicyConfig.by` in
config/policy.py and its texts to publishing/card/policy_words.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.seeding import digest
from diffcore_hf.method.arrays import Bools, Embeddings, Floats, Ints
from diffcore_hf.method.linear_scores import LinearScores
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, unit_rows

FOLDS = 5
"""Number of cross-validation folds in which the discriminant ranks real images."""
SHRINKAGE = 0.3
"""Weight s of the identity in the shrunk covariance (1 - s) W + s tr(W)/d I."""


class Ranking:
    """Scores all classes for an image. Each method is a subclass that is fitted to the references once."""

    ranked: Bools
    """(K,) bool: true for classes that can be ranked."""
    linear: LinearScores
    """The scores of the classes."""
    notes: tuple[str, ...] = ()
    """Remarks on the fit for the summary and the card, one line each."""

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums) -> None:
        self._references, self._sums = references, sums
        self.ranked = sums.counts > 0

    def scores(self, unit: Floats) -> Floats:
        """Returns (M, K) float64 for (M, d) unit rows, larger is better; NaN for classes that cannot be ranked."""
        return self.linear.of(unit)

    def ranks(self, unit: Floats, labels: Ints) -> Ints:
        """Returns (M,) int64: ranks for (M, d) unit rows and their labels; 0 for a NaN row or a class without rank."""
        return self.linear.ranks(unit, labels)

    def left_out_ranks(self) -> Ints:
        """Returns (N,) int64: the rank of each reference by a fit without it; 0 if such a fit is not possible."""
        raise NotImplementedError


class ByClassMean(Ranking):
    """Ranks by the cosine to the class means; a real image is left out of the mean of its own class."""

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums) -> None:
        super().__init__(references, sums)
        directions = sums.directions()
        self.linear = LinearScores(directions.T, np.where(self.ranked, 0.0, np.nan))

    def left_out_ranks(self) -> Ints:
        labels, embeddings = self._references.labels, self._references.embeddings
        own = self._sums.left_out_similarities(embeddings, labels)
        ranks = np.zeros(len(labels), np.int64)
        for rows in chunks(len(labels), len(self.ranked)):
            ranks[rows] = self.linear.ranks(unit_rows(embeddings[rows]), labels[rows], own[rows])
        return ranks


class ByClassifier(Ranking):
    """Ranks by a linear discriminant of unit embeddings with equal priors.

    The covariance is shrunk: (1 - s) W + s tr(W)/d I with s = 0.3. W is the pooled within-class covariance; its scale
    does not change a rank. Real images are ranked in five folds, fold = digest(row id) mod 5. The discriminant for a
    fold is fitted to the other four folds. An image whose class has no image in these four has rank 0. The fits are
    computed from sums over each fold, so the references are read twice instead of five times.
    """

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums) -> None:
        super().__init__(references, sums)
        means = sums.means()
        folds = [int.from_bytes(digest(row_id), "big") % FOLDS for row_id in references.row_ids]
        self._folds = np.array(folds, np.int64)
        fitted = [self._fold_sums(means, self._folds == fold) for fold in range(FOLDS)]
        self._totals, self._scatters = [totals for totals, _ in fitted], [scatter for _, scatter in fitted]
        total = _sum(self._scatters)
        self.linear = self._discriminant(means, total, float(np.trace(total)))

    def _discriminant(self, means: Floats, scatter: Floats, magnitude: float) -> LinearScores:
        return discriminant(means, scatter, magnitude)

    def _fold_sums(self, means: Floats, mask: Bools) -> tuple[Floats, Floats]:
        """Returns the sums over the selected references u.

        Returns:
            (K, d): the sum of u for each class; (d, d): the sum of (u - m)(u - m)^T, m is the mean of the class.
        """
        totals, scatter = np.zeros(means.shape), np.zeros((means.shape[1],) * 2)
        members = np.flatnonzero(mask)
        for rows in chunks(len(members), means.shape[1]):
            part = members[rows]
            unit, labels = unit_rows(self._references.embeddings[part]), self._references.labels[part]
            starts = np.flatnonzero(np.diff(labels, prepend=-1)).tolist()
            for start, stop in zip(starts, [*starts[1:], len(part)], strict=True):
                of_class, label = unit[start:stop], labels[start]
                totals[label] += of_class.sum(axis=0)
                of_class -= means[label]
            scatter += unit.T @ unit
        return totals, scatter

    def left_out_ranks(self) -> Ints:
        labels, embeddings = self._references.labels, self._references.embeddings
        means, ranks = self._sums.means(), np.zeros(len(labels), np.int64)
        for fold, totals in enumerate(self._totals):
            members = np.flatnonzero(self._folds == fold)
            counts = np.bincount(labels[members], minlength=len(self.ranked))
            rest = self._sums - PairSums(counts, totals, np.zeros(len(counts)))
            # The scatter was computed with the means of all references. Here it is corrected for the means of the other
            # four folds.
            scatter = _sum([*self._scatters[:fold], *self._scatters[fold + 1 :]])
            shift = np.where(rest.counts[:, None] > 0, rest.means() - means, 0) * np.sqrt(rest.counts)[:, None]
            linear = self._discriminant(rest.means(), scatter - shift.T @ shift, float(np.trace(scatter)))
            for rows in chunks(len(members), len(self.ranked)):
                part = members[rows]
                ranks[part] = linear.ranks(unit_rows(embeddings[part]), labels[part])
        return ranks


class ContextFree(ByClassifier):
    """Ranks by a linear discriminant of embeddings from which the directions of contexts are removed.

    In most datasets class and context are confounded. If two classes were photographed in different places, their means
    also differ because of the places. The within-class covariance does not include the contexts that prompts add.

    The directions of contexts are computed without images. They come from captions that name a context and no class,
    such as `a photo of a bird, in heavy snow`. Means and covariance are projected onto the orthogonal complement.
    Chuang et al. 2023 (*Debiasing Vision-Language Models via Biased Prompts*) project in the same way with prompts that
    describe a bias. If there is no text tower, or if there are fewer than two contexts, this class ranks like
    ByClassifier.
    """

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums) -> None:
        self._contexts = context_directions(references.contexts, references.embeddings.shape[1])
        if not len(self._contexts):
            self.notes = (
                "policy rank uses `by: classifier`, because the directions of contexts are not known: the model has no "
                "text tower, the classes are contexts themselves, or an older run did not embed the captions. In the "
                "last case run augment again",
            )
        super().__init__(references, sums)

    def _discriminant(self, means: Floats, scatter: Floats, magnitude: float) -> LinearScores:
        # The weights are then orthogonal to the directions of contexts, so the embeddings of images need no projection.
        projection = np.eye(means.shape[1]) - self._contexts.T @ self._contexts
        return discriminant(means @ projection, projection @ scatter @ projection, magnitude)


class ByText(Ranking):
    """Ranks by the cosine to the caption of each class. No real image is used, so a fit without one image is the same.

    Raises:
        UserError: the references have no caption embeddings.
    """

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums) -> None:
        super().__init__(references, sums)
        if references.text is None:
            raise UserError(
                "filter.policy.by is 'text', but the filter's model has no text tower: "
                "use --filter.policy.by classifier, or a filter.path that has one (CLIP, SigLIP)"
            )
        text = unit_rows(references.text)
        self.ranked = np.count_nonzero(np.isnan(text), axis=1) == 0
        self.linear = LinearScores(text.T, np.where(self.ranked, 0.0, np.nan))

    def left_out_ranks(self) -> Ints:
        labels, embeddings = self._references.labels, self._references.embeddings
        ranks = np.zeros(len(labels), np.int64)
        for rows in chunks(len(labels), len(self.ranked)):
            ranks[rows] = self.ranks(unit_rows(embeddings[rows]), labels[rows])
        return ranks


def discriminant(means: Floats, scatter: Floats, magnitude: float) -> LinearScores:
    """Returns the linear discriminant with equal priors.

    Args:
        means: (K, d) class means, NaN for a class without images.
        scatter: (d, d) proportional to the pooled within-class covariance W.
        magnitude: trace of the sum from which `scatter` was computed by subtraction. If the trace of `scatter` is far
            smaller, it is rounding error and is treated as 0.

    Returns:
        The scores, with NaN for classes without images. If tr(W) = 0, the identity replaces W.
    """
    width, trace = means.shape[1], float(np.trace(scatter))
    if trace <= max(1e-12 * magnitude, 1e-20):
        shrunk = np.eye(width)
    else:
        # The scatter is divided by tr(W) / d, so that the size of scores is about 1.
        shrunk = (1 - SHRINKAGE) * scatter * (width / trace) + SHRINKAGE * np.eye(width)
    weights = np.full(means.T.shape, np.nan)
    known = ~np.isnan(means).any(axis=1)
    weights[:, known] = np.linalg.solve(shrunk, means[known].T)
    return LinearScores(weights, -0.5 * np.einsum("kd,dk->k", means, weights))


def _sum(scatters: Sequence[Floats]) -> Floats:
    """Returns the sum of (d, d) arrays, added in this order."""
    return sum(scatters, np.zeros_like(scatters[0]))


def context_directions(captions: Embeddings | None, width: int) -> Floats:
    """Returns orthonormal rows that span the differences between captions of contexts.

    Args:
        captions: (C, d) embeddings of captions that differ only in their context; None: there are none.
        width: d, the length of an embedding.

    Returns:
        (r, d) float64, r <= C - 1; r = 0 if there are fewer than two captions.
    """
    if captions is None or len(captions) < 2:
        return np.zeros((0, width))
    unit = unit_rows(captions)
    _, sizes, directions = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    return directions[sizes > 1e-6 * max(float(sizes[0]), 1e-20)]


RANKINGS: dict[str, type[Ranking]] = {
    "class_mean": ByClassMean,
    "classifier": ByClassifier,
    "context_free": ContextFree,
    "text": ByText,
}
"""The rankings by their name in the recipe (filter.policy.by)."""
