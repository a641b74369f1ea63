"""Losses of a classification, for class indices or probabilities as targets."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def classification_loss(logits: Tensor, targets: Tensor, kind: str, smoothing: float) -> Tensor:
    """Compute the mean loss of a batch.

    Args:
        logits: (B, K) float32.
        targets: (B,) int64 class indices, -100 for an ignored image; or (B, K) float probabilities.
        kind: `cross_entropy`, or `softmax_bce`: the binary cross-entropy of the softmax for each class, averaged over
            classes. At the start of a training its gradient is about K times smaller than the gradient of
            cross-entropy.
        smoothing: label smoothing in [0, 1), for both kinds.
    """
    if kind == "cross_entropy":
        return functional.cross_entropy(logits, targets, label_smoothing=smoothing, ignore_index=-100)
    classes = logits.shape[1]
    if targets.ndim == 1:
        logits, targets = logits[targets >= 0], targets[targets >= 0]
        targets = functional.one_hot(targets, classes).to(logits.dtype)
    targets = targets * (1 - smoothing) + smoothing / classes
    # Sums of label weights can exceed 1 by a rounding error, which binary_cross_entropy refuses.
    return functional.binary_cross_entropy(logits.softmax(1), targets.clamp(0, 1))
