"""Soft labels: the weights of two classes in one label.

Such a label belongs to an image that was generated from a real image of one class and shows the other class.

Owns the weight of the class that an image has to show (Diff-Mix, Wang et al. 2024). Does not draw the class
(unit_draws.py) or build the labels of mixed images (training/data/image_labels.py).
"""

from __future__ import annotations


def target_weight(strength: float | None, gamma: float) -> float:
    """Returns the weight of the target class B in the label L = (1 - s^gamma) e_A + s^gamma e_B.

    Args:
        strength: s in (0, 1]; None: the image was not made from an image of class A, so the weight is 1.
        gamma: exponent, at least 0; 0 gives weight 1.

    Returns:
        s^gamma in (0, 1].
    """
    return 1.0 if strength is None else float(strength**gamma)
