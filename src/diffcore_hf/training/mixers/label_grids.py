"""Labelings of a small grid with a low energy, by expansion moves whose best move is found exactly.

Owns the energy and the moves. The energy has a cost for each label and cell, and a distance between the labels of
neighbours. Both terms are computed in joint_labels.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

_SMALLEST_GAIN = 1e-12
"""A move must lower the energy by more than this. So the search ends although energies have rounding errors."""


@dataclass(frozen=True)
class LabelEnergy:
    """The energy sum_p unary[label_p, p] + weight * sum over neighbours distance[label_p, label_q]."""

    unary: np.ndarray
    """(E, n, n): cost of each label in each cell."""
    distance: np.ndarray
    """(E, E): distance of two labels, symmetric, 0 for equal labels."""
    weight: float
    """Weight of the distances, not negative."""

    def of(self, labels: np.ndarray) -> float:
        """Return the energy of labels (n, n)."""
        down, right = self.distance[labels[:-1], labels[1:]], self.distance[labels[:, :-1], labels[:, 1:]]
        unary = np.take_along_axis(self.unary, labels[None], 0)
        return float(unary.sum() + self.weight * (down.sum() + right.sum()))


def low_labels(energy: LabelEnergy, start: np.ndarray | None) -> np.ndarray:
    """Return labels (n, n) with an energy that no expansion move lowers and that is not above the energy of `start`.

    An expansion move changes any set of cells to one label (Boykov et al. 2001). If there are only two labels, the
    result has the lowest possible energy.

    Args:
        energy: the energy.
        start: labels (n, n). The search begins from them and again from the best single label. None: only from the
            single label.
    """
    grid = energy.unary.shape[1]
    single = np.full((grid, grid), int(energy.unary.sum((1, 2)).argmin()))
    found = [_descended(energy, labels) for labels in (single, start) if labels is not None]
    return min(found, key=energy.of)


def _descended(energy: LabelEnergy, labels: np.ndarray) -> np.ndarray:
    lowest = energy.of(labels)
    while True:
        changed, value = _best_move(energy, labels)
        if value > lowest - _SMALLEST_GAIN:
            return labels
        labels, lowest = changed, value


def _best_move(energy: LabelEnergy, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the labels after the best expansion move, and their energy.

    Dynamic programming over the rows is exact: each row has 2^n patterns of changed cells.
    """
    count, grid = energy.unary.shape[:2]
    patterns = _patterns(grid)
    label = np.arange(count)[:, None, None]
    old = np.take_along_axis(energy.unary, labels[None], 0)
    choice = np.stack([np.broadcast_to(old, energy.unary.shape), energy.unary], -1)
    columns = np.arange(grid)
    cost = choice[:, :, columns, patterns].sum(-1)
    pair = np.stack([np.broadcast_to(labels, (count, grid, grid)), np.broadcast_to(label, (count, grid, grid))], -1)
    right = energy.distance[pair[:, :, :-1, :, None], pair[:, :, 1:, None, :]]
    cost = cost + energy.weight * right[:, :, columns[:-1], patterns[:, :-1], patterns[:, 1:]].sum(-1)
    down = energy.distance[pair[:, :-1, :, :, None], pair[:, 1:, :, None, :]]
    step = energy.weight * sum(
        down[:, :, column][:, :, patterns[:, None, column], patterns[None, :, column]] for column in range(grid)
    )
    best, came_from = cost[:, 0], []
    for row in range(1, grid):
        total = best[:, :, None] + step[:, row - 1]
        came_from.append(total.argmin(1))
        best = total.min(1) + cost[:, row]
    chosen = int(best.min(1).argmin())
    pattern = int(best[chosen].argmin())
    value, selected = float(best[chosen, pattern]), [pattern]
    for origin in reversed(came_from):
        selected.append(int(origin[chosen, selected[-1]]))
    return np.where(patterns[selected[::-1]] == 1, chosen, labels), value


@lru_cache(maxsize=8)
def _patterns(grid: int) -> np.ndarray:
    """Return all patterns of changed cells of a row, (2^n, n) of 0 and 1."""
    return np.array(list(product((0, 1), repeat=grid)))
