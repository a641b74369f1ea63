"""Masks with the labels 1, 1/2 and 0 on a grid that minimise an energy exactly, by one minimum cut for each image.

Owns the energy of grids with quadratic differences between neighbours, and its minimum. The terms of the energy are
computed in puzzlemix.py. All images of a batch are solved together with numpy, so that no other library is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VALUES = np.array([1.0, 0.5, 0.0])
"""Value of the mask for each label."""
_LARGEST_FLOW = 2**40
"""Capacities are whole numbers, so that a flow is exact. This scale leaves a relative rounding error of about 1e-12."""
_SWEEPS = 4
"""Number of times that flow is pushed along all edges before the distances to the sink are computed again."""


@dataclass(frozen=True)
class GridEnergy:
    """The energy sum_p unary[label_p, p] + sum_edges weight * (value_p - value_q)^2 of a labeling, for each image."""

    unary: np.ndarray
    """(B, 3, n, m): cost of each label in each cell."""
    down: np.ndarray
    """(B, n - 1, m): weight of the edge between a cell and the cell below; not negative."""
    right: np.ndarray
    """(B, n, m - 1): weight of the edge between a cell and the cell on its right; not negative."""

    def of(self, labels: np.ndarray) -> np.ndarray:
        """Return the energy (B,) of labels (B, n, m)."""
        values = VALUES[labels]
        unary = np.take_along_axis(self.unary, labels[:, None], 1).sum((1, 2, 3))
        down, right = (weight * np.diff(values, axis=axis) ** 2 for weight, axis in ((self.down, 1), (self.right, 2)))
        return np.asarray(unary + down.sum((1, 2)) + right.sum((1, 2)))


def minimal_labels(energy: GridEnergy) -> np.ndarray:
    """Return the labels (B, n, m) in 0, 1, 2 with the smallest energy.

    Three ordered labels with quadratic differences are one minimum cut (Ishikawa 2003). Each cell has the two nodes
    "label >= 1" and "label >= 2". The edges between the nodes of two neighbours add up to the product of their labels.
    The squares of the labels are part of the unary costs.
    """
    unary = energy.unary.astype(np.float64).copy()
    for weights, ends in ((energy.down, np.s_[:, :-1]), (energy.right, np.s_[:, :, :-1])):
        unary[:, 1][ends] -= weights / 4
    unary[:, 1, 1:] -= energy.down / 4
    unary[:, 1, :, 1:] -= energy.right / 4
    unary -= unary.min(1, keepdims=True)
    total = unary.sum((1, 2, 3), keepdims=True)
    scale = _LARGEST_FLOW / np.where(total > 0, total, 1.0)
    down, right = (
        np.rint(weights / 4 * scale[:, 0]).clip(0, _LARGEST_FLOW).astype(np.int64)
        for weights in (energy.down, energy.right)
    )
    return _Flow(np.rint(unary * scale).astype(np.int64), down, right).labels()


class _Flow:
    """Preflow in the graphs of all images: push-relabel in which all nodes act at once."""

    def __init__(self, unary: np.ndarray, down: np.ndarray, right: np.ndarray):
        """Fill the edges that leave the source.

        Args:
            unary: (B, 3, n, m) int64 capacities: source to first node, first to second node, second node to sink.
            down: (B, n - 1, m) int64: capacity between each node of a cell and each node of the cell below.
            right: (B, n, m - 1) int64: capacity between each node of a cell and each node of the cell on its right.
        """
        self.excess = np.zeros_like(unary[:, :2])
        self.excess[:, 0] = unary[:, 0]
        self.to_second, self.to_sink = unary[:, 1].copy(), unary[:, 2].copy()
        self.unreachable = 4 * unary.shape[2] * unary.shape[3]
        self.height = np.full(self.excess.shape, self.unreachable)
        upper, lower = np.s_[:, :, :-1], np.s_[:, :, 1:]
        left, right_side = np.s_[:, :, :, :-1], np.s_[:, :, :, 1:]
        self.edges = []
        for capacity, one, two in ((down, upper, lower), (right, left, right_side)):
            for shift in (0, 1):
                # Both nodes of a cell are connected with both nodes of its neighbour: shift 1 exchanges the two nodes.
                there, back = (np.stack([capacity, capacity], 1) for _ in range(2))
                order = slice(None, None, -1 if shift else 1)
                self.edges.append((one, (two[0], order, *two[2:]), there, back))

    def labels(self) -> np.ndarray:
        """Return the number of nodes of each cell on the side of the source after a maximum flow."""
        self._measure()
        while ((self.excess > 0) & (self.height < self.unreachable)).any():
            for _ in range(_SWEEPS):
                self._sweep()
            self._measure()
        return (self.height >= self.unreachable).sum(1)

    def _sweep(self) -> None:
        """Push flow along each edge that leads one step closer to the sink."""
        height, excess = self.height, self.excess
        amount = np.minimum(excess[:, 1], self.to_sink) * (height[:, 1] == 1)
        excess[:, 1] -= amount
        self.to_sink -= amount
        amount = np.minimum(excess[:, 0], self.to_second) * (height[:, 0] == height[:, 1] + 1)
        # Flow also returns from the second node to the first. The capacity of this edge is unlimited, because
        # "label >= 2" without "label >= 1" is no label.
        amount -= excess[:, 1] * (height[:, 1] == height[:, 0] + 1)
        excess[:, 0] -= amount
        excess[:, 1] += amount
        self.to_second -= amount
        for one, two, there, back in self.edges:
            # The directions are processed one after the other, because a cell between two others has an edge in each
            # direction and must not push the same excess twice.
            for start, end, capacity, opposite in ((one, two, there, back), (two, one, back, there)):
                amount = np.minimum(excess[start], capacity) * (height[start] == height[end] + 1)
                excess[start] -= amount
                excess[end] += amount
                capacity -= amount
                opposite += amount

    def _measure(self) -> None:
        """Compute the distance of each node to the sink along edges that can take more flow."""
        height, far = self.height, self.unreachable
        height[:] = far
        height[:, 1][self.to_sink > 0] = 1
        open_edges = [
            (one, two, np.where(there > 0, 1, far), np.where(back > 0, 1, far)) for one, two, there, back in self.edges
        ]
        to_second = np.where(self.to_second > 0, 1, far)
        before = -1
        while (now := int(height.sum())) != before:
            before = now
            np.minimum(height[:, 0], height[:, 1] + to_second, out=height[:, 0])
            np.minimum(height[:, 1], height[:, 0] + 1, out=height[:, 1])
            for one, two, there, back in open_edges:
                height[one] = np.minimum(height[one], height[two] + there)
                height[two] = np.minimum(height[two], height[one] + back)
        np.minimum(height, far, out=height)
