"""The linear probe: a classifier on the embeddings of the filter, for which no network is trained.

Owns the probe, which is multinomial logistic regression on unit embeddings. A run with a filter has already computed
these embeddings. So the probe is the cheapest baseline for generated images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.evidence.folders import BEST, STANDARD, kept_by, made
from benchmarks.evidence.judging import embed, tower_of
from benchmarks.evidence.worlds import world_folder
from diffcore_hf.method.thresholds import unit_rows
from diffcore_hf.workflows import export as export_workflow

SECONDS = 60
DECAYS = (1e-4, 1e-3, 1e-2)
"""Weight decays. The one with the best validation accuracy is used."""


def measure(work: Path, seed: int) -> dict[str, Any]:
    """Measures the accuracy of probes in each group of test images.

    The probes are fitted to the 240 real images, alone and together with kept generated images.
    """
    from datasets import load_dataset

    splits = load_dataset(str(world_folder(work, seed)))
    tower = tower_of(work, "unseen")
    scored = {name: embed(splits[name]["image"][:], tower) for name in ("validation", "test")}
    labels = {name: np.array(splits[name]["label"][:]) for name in scored}
    groups = np.array(splits["test"]["group"][:])
    material = export_workflow.read_decided(made(work, STANDARD, seed))
    held, attempts = material.embeddings, material.attempts
    units = [(material.plan.row_ids[unit], int(material.plan.copies[unit])) for unit in attempts.units.tolist()]
    scores: dict[str, Any] = {}
    for name in ("real", "all", BEST, "oracle"):
        keep = set() if name == "real" else set(kept_by(work, STANDARD, seed, name))
        places = [place for place, unit in enumerate(units) if unit in keep]
        train = np.concatenate([held.embeddings, attempts.embeddings[places]])
        known = np.concatenate([held.labels, material.plan.labels[attempts.units[places]]])
        weight = probe(train, known, scored["validation"], labels["validation"])
        hits = predicted(weight, scored["test"]) == labels["test"]
        scores[name] = {
            "images": len(known),
            "top1": float(hits.mean()),
            "by_group": {group: float(hits[groups == group].mean()) for group in sorted(set(groups.tolist()))},
        }
    return scores


def probe(train: np.ndarray, labels: np.ndarray, validation: np.ndarray, known: np.ndarray) -> torch.Tensor:
    """Returns the (d + 1, K) weights of the decay with the best validation accuracy.

    If several decays have the same accuracy, the largest one is used.
    """
    best = (-1.0, torch.empty(0))
    for decay in DECAYS:
        weight = fitted(train, labels, decay)
        score = float((predicted(weight, validation) == known).mean())
        best = max(best, (score, weight), key=lambda pair: pair[0]) if score != best[0] else (score, weight)
    return best[1]


def fitted(train: np.ndarray, labels: np.ndarray, decay: float) -> torch.Tensor:
    """Returns the weights that minimise the mean cross-entropy plus the decay times the squared weights.

    L-BFGS starts from zero weights.
    """
    inputs, targets = _with_one(train), torch.from_numpy(labels)
    weight = torch.zeros(inputs.shape[1], int(labels.max()) + 1, dtype=inputs.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weight, targets) + decay * weight[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach()


def predicted(weight: torch.Tensor, embeddings: np.ndarray) -> np.ndarray:
    """Returns the predicted classes, (N,)."""
    return (_with_one(embeddings) @ weight).argmax(1).numpy()


def _with_one(embeddings: np.ndarray) -> torch.Tensor:
    """Returns the features of the probe: scaled unit rows, and a column of ones.

    The rows are scaled by the root of their width, so that each feature is of order one.
    """
    unit = torch.from_numpy(unit_rows(embeddings))
    return torch.cat([unit * unit.shape[1] ** 0.5, torch.ones(len(unit), 1, dtype=unit.dtype)], dim=1)
