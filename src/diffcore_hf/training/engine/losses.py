"""The loss of a classification, against classes or probabilities. A pure function; which one is the recipe's."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def classification_loss(logits: Tensor, targets: Tensor, kind: str, smoothing: float) -> Tensor:
    """Mean loss of (B, K) logits against class indices (B,) or probabilities (B, K).

    Args:
        logits: float32.
        targets: int64 or float.
        kind: `cross_entropy`, or `softmax_bce`: binary cross-entropy of the softmax against each class's target, mean
            over all of them, whose first gradient is about 1/K of cross-entropy's.
        smoothing: label smoothing in [0, 1), for both.
    """
    if kind == "cross_entropy":
        return functional.cross_entropy(logits, targets, label_smoothing=smoothing, ignore_index=-100)
    classes = logits.shape[1]
    if targets.ndim == 1:
        logits, targets = logits[targets >= 0], targets[targets >= 0]
        targets = functional.one_hot(targets, classes).to(logits.dtype)
    targets = targets * (1 - smoothing) + smoothing / classes
    return functional.binary_cross_entropy(logits.softmax(1), targets)
