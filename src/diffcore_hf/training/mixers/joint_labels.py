"""Joint choice of the cells of several mixed images (Co-Mixup, Kim et al. 2021, arXiv:2102.03065, section 4).

Owns the objective and its coordinate descent. The images are mixed in comixup.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diffcore_hf.training.mixers.label_grids import LabelEnergy, low_labels

SHARED_CELL_BONUS = 5e-4
"""Amount by which the cost of a cell that two images share is lower than the mean of their costs."""
_EXCLUDED = 1e3
"""Cost of an image that an output must not use."""


@dataclass(frozen=True)
class JointWeights:
    """Weights of the objective; the values of the paper."""

    beta: float = 0.32
    gamma: float = 1.0
    omega: float = 0.001
    threshold: float = 0.83
    rounds: int = 4


@dataclass(frozen=True)
class Output:
    """The two images of each cell of one output. Both are the same image if the cell is not shared."""

    first: np.ndarray
    """(n, n) int64."""
    second: np.ndarray
    """(n, n) int64."""

    def cells_of(self, count: int) -> np.ndarray:
        """Return the number of cells (K,) of each image; a shared cell counts half for each of its images."""
        both = np.concatenate([self.first.ravel(), self.second.ravel()])
        return np.bincount(both, minlength=count) / 2

    def equals(self, other: Output) -> bool:
        """Return whether two outputs show the same images in all cells."""
        return bool((self.first == other.first).all() and (self.second == other.second).all())


def joint_outputs(cost: np.ndarray, saliency: np.ndarray, weights: JointWeights) -> list[Output]:
    """Return as many outputs as inputs, found by coordinate descent.

    The cost of an output is the sum of `cost` over its cells, plus beta / n^2 for each border between different images,
    plus gamma / n^2 <n_o, A n_rest>. Here n_o counts the cells of each image in this output, and n_rest the cells in
    all other outputs. A is (1 - omega) I + omega D with the distance D of the most salient cells. The last term is
    added only for images with A n_rest above `threshold` n^2. From the second round on, images of an output can share a
    cell. In the last of several rounds, an output that equals an earlier one is solved again without the image that it
    shows most.

    Args:
        cost: (K, n, n) cost of each image in each cell.
        saliency: (K, n, n) saliency of each image.
        weights: weights of the objective.
    """
    count, grid = cost.shape[:2]
    similarity = (1 - weights.omega) * np.eye(count) + weights.omega * peak_distances(saliency)
    outputs: list[Output | None] = [None] * count
    for turn in range(weights.rounds):
        for index in range(count):
            others = [output for place, output in enumerate(outputs) if output is not None and place != index]
            used = similarity @ sum((output.cells_of(count) for output in others), start=np.zeros(count))
            penalty = np.where(used > weights.threshold * grid**2, weights.gamma / grid**2 * used, 0.0)
            solved = _solved(cost + penalty[:, None, None], outputs[index], weights.beta, shared=turn > 0)
            if turn == weights.rounds - 1 and turn > 0:
                earlier = [output for output in outputs[:index] if output is not None]
                solved = _different(solved, earlier, cost + penalty[:, None, None], weights.beta)
            outputs[index] = solved
    return [output for output in outputs if output is not None]


def peak_distances(saliency: np.ndarray) -> np.ndarray:
    """Return the distance in rows plus columns between the most salient cells: (K, n, n) -> (K, K)."""
    flat = saliency.reshape(len(saliency), -1).argmax(1)
    peaks = np.stack(np.unravel_index(flat, saliency.shape[1:]), 1)
    return np.abs(peaks[:, None] - peaks).sum(-1)


def _solved(cost: np.ndarray, before: Output | None, beta: float, shared: bool) -> Output:
    """Return the output with the lowest cost that the search finds; this cost is never above that of `before`."""
    count, grid = cost.shape[:2]
    first = second = np.arange(count)
    if before is not None and shared:
        cells = before.cells_of(count)
        most = [image for image in np.argsort(-cells, kind="stable")[:3] if cells[image] > 0]
        used = {tuple(sorted(pair)) for pair in zip(before.first.flat, before.second.flat, strict=True)}
        pairs = {tuple(sorted(pair)) for pair in combinations(most, 2)} | {pair for pair in used if pair[0] != pair[1]}
        extra = np.array(sorted(pairs), np.int64).reshape(-1, 2)
        first, second = np.append(first, extra[:, 0]), np.append(second, extra[:, 1])
    shares = (np.eye(count)[first] + np.eye(count)[second]) / 2
    distance = np.abs(shares[:, None] - shares).sum(-1) / 2
    unary = (cost[first] + cost[second]) / 2 - SHARED_CELL_BONUS * (first != second)[:, None, None]
    start = None if before is None else _labels_of(before, first, second)
    labels = low_labels(LabelEnergy(unary, distance, beta / grid**2), start)
    return Output(first[labels], second[labels])


def _labels_of(output: Output, first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """Return the label of each cell of an output."""
    place = {pair: label for label, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True))}
    pairs = zip(output.first.ravel().tolist(), output.second.ravel().tolist(), strict=True)
    return np.array([place[pair] for pair in pairs]).reshape(output.first.shape)


def _different(output: Output, earlier: list[Output], cost: np.ndarray, beta: float) -> Output:
    """Return the output, or a different one if an earlier output equals it and enough images are left."""
    cost = cost.copy()
    for _ in range(len(cost) - 1):
        if not any(output.equals(other) for other in earlier):
            break
        cost[int(output.cells_of(len(cost)).argmax())] += _EXCLUDED
        output = _solved(cost, None, beta, shared=False)
    return output
