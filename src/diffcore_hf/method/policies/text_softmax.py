"""The policy `text_softmax`: it computes the probability of the class from captions, and compares it with 1/K."""

from __future__ import annotations

import numpy as np

from diffcore_hf.core.errors import UserError
from diffcore_hf.method.arrays import Bools, Floats, Ints
from diffcore_hf.method.policies.base import ComparedAttempts, FitInput, FittedPolicy, share_by_class
from diffcore_hf.method.policies.quantile import Quantile
from diffcore_hf.method.policies.separation import Separation, passing_others, separation_of_similarities
from diffcore_hf.method.ranking import ByText
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.method.thresholds import PairSums, chunks, rounded, unit_rows

FALLBACK_ALPHA = 0.1
"""Parameter of the policy `quantile`, which replaces this policy if there is only one class."""


class TextSoftmax(FittedPolicy):
    """The policy `text_softmax`: an attempt passes if and only if the probability of its class is above 1/K.

    The probabilities are the softmax of K scores. The score of a class is the cosine of the image and the caption of
    the class, multiplied by the scale with which the image tower was trained. No real image is used, so there is no
    guarantee for real images.

    Source: He et al. 2023 (*Is synthetic data from generative models ready for image recognition?*), whose filter keeps
    images with a probability above 1/K.

    Args:
        references: the references. The shares of rejected real images are computed from them.
        sums: their sums.
        scale: the factor by which the cosines are multiplied, above 0.
    """

    def __init__(self, references: ReferenceEmbeddings, sums: PairSums, scale: float) -> None:
        ranking = ByText(references, sums)
        super().__init__(references, sums, ranking)
        self._by_text, self._scale = ranking, scale
        self.bound = np.full(references.classes, 1 / references.classes)

    def probabilities(self, unit: Floats) -> Floats:
        """Returns (m, K) float64 for (m, d) unit rows: the probability of each class; NaN for a NaN row."""
        logits = self._scale * self._by_text.scores(unit)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def _scores(self, attempts: ComparedAttempts) -> Floats:
        return self.probabilities(attempts.unit)[np.arange(len(attempts.labels)), attempts.labels]

    def _passes(self, attempts: ComparedAttempts, score: Floats) -> tuple[Bools, str]:
        return rounded(score) > rounded(self.bound[attempts.labels]), self.reason

    def rejected_real(self) -> Floats:
        labels, embeddings = self.references.labels, self.references.embeddings
        rejected = np.full(len(labels), np.nan)
        for rows in chunks(len(labels), max(self.references.classes, embeddings.shape[1])):
            passed = self._every_class(unit_rows(embeddings[rows]))
            rejected[rows] = ~passed[np.arange(len(passed)), labels[rows]]
        return share_by_class(rejected, self.references)

    def separation(self) -> Separation:
        others = passing_others(self.references, self._every_class)
        ranks: Ints = self._by_text.left_out_ranks()
        return separation_of_similarities(others, self._by_text.ranked, ranks, self.references.labels)

    def _every_class(self, unit: Floats) -> Bools:
        """Returns (m, K) bool: whether each image would pass as an image of each class."""
        return rounded(self.probabilities(unit)) > rounded(self.bound)


def fit_text_softmax(fit: FitInput) -> FittedPolicy:
    """Fits policy text_softmax. With one class the probability is always 1, so policy quantile replaces it.

    Raises:
        UserError: the image tower has no text tower, or it records no scale of the cosines.
    """
    references = fit.references
    if references.classes < 2:
        policy = Quantile(references, fit.sums, FALLBACK_ALPHA)
        policy.notes += (f"there is one class: policy quantile({FALLBACK_ALPHA}) replaces policy text_softmax",)
        return policy
    if references.text is None or references.logit_scale is None:
        raise UserError(
            "filter.policy.name is 'text_softmax', but the filter's model has no captions with a logit scale: use "
            "--filter.policy.name rank, or a filter.path that has them (CLIP, SigLIP)"
        )
    return TextSoftmax(references, fit.sums, references.logit_scale)
