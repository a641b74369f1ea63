"""The filter on photographs: the share of right and wrong photographs that each policy accepts, with an ImageNet tower.

The references are real photographs of each class. The images that the policies judge are other photographs: of the
class, of a random other class, and of the class with the most similar mean embedding. A tower without text has no
directions of contexts, so `rank` uses the plain discriminant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.judging import area
from benchmarks.evidence.photo_tower import embedded
from benchmarks.evidence.photographs import draw, scored_splits
from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.core.dataset_columns import column_values
from diffcore_hf.core.loading import load_splits
from diffcore_hf.core.seeding import generator
from diffcore_hf.method.policies import FittedPolicy, Rank, fit
from diffcore_hf.method.references import ReferenceEmbeddings

EACH = 30
"""Number of references of each class, and number of judged images of each class and kind."""
SECONDS = 120
RIGHT, RANDOM, CONFUSED = "right", "random class", "most confused class"
KINDS = (RIGHT, RANDOM, CONFUSED)
POLICIES = {
    "mean": PolicyConfig("mean"),
    "fixed": PolicyConfig("fixed", t=0.7),
    "quantile": PolicyConfig("quantile"),
    "class_mean": PolicyConfig("rank", by="class_mean"),
    "classifier": PolicyConfig("rank"),
}


def measure(work: Path, data: str, seed: int) -> dict[str, Any]:
    """Draws photographs from the training split by the seed, and judges them with every policy."""
    train = scored_splits(load_splits(data, None, None, None, section="data")[0])["train"]
    labels = np.array(column_values(train, "label"))
    drawn = draw(labels.tolist(), seed, EACH)
    rows = np.array([*drawn.real, *drawn.counterparts])
    embeddings = embedded(work, column_values(train.select(rows.tolist()), "image"))
    count = len(drawn.real)
    return judged(labels[rows[:count]], embeddings[:count], embeddings[count:], seed)


def judged(labels: np.ndarray, references: np.ndarray, others: np.ndarray, seed: int) -> dict[str, Any]:
    """Returns, for each policy, the shares that it accepts by kind, its balanced accuracy and its AUC.

    Args:
        labels: (N,) class of each reference and of the image with the same index in `others`.
        references: (N, d) embeddings of the references.
        others: (N, d) embeddings of N real images that are not references.
        seed: draws the wrong images.
    """
    random = generator("photographs", "judged", seed)
    confused = most_confused(labels, references)
    places = {RIGHT: np.arange(len(labels)), RANDOM: np.empty(len(labels), int), CONFUSED: np.empty(len(labels), int)}
    for place, label in enumerate(labels.tolist()):
        places[RANDOM][place] = random.choice(np.flatnonzero(labels != label))
        places[CONFUSED][place] = random.choice(np.flatnonzero(labels == confused[label]))
    ids = [f"train/{row}" for row in range(len(labels))]
    held = ReferenceEmbeddings(ids, labels, references, int(labels.max()) + 1)
    return {
        "images": 3 * len(labels),
        "policies": {
            name: _shares(fit(policy, held, seed), labels, references, {kind: others[places[kind]] for kind in KINDS})
            for name, policy in POLICIES.items()
        },
    }


def most_confused(labels: np.ndarray, references: np.ndarray) -> dict[int, int]:
    """Returns class -> the other class whose mean embedding is most similar."""
    classes = np.unique(labels)
    means = np.stack([references[labels == label].astype(np.float64).mean(0) for label in classes])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similar = means @ means.T - 2 * np.eye(len(classes))
    return dict(zip(classes.tolist(), classes[similar.argmax(1)].tolist(), strict=True))


def _shares(
    judge: FittedPolicy, labels: np.ndarray, parents: np.ndarray, images: dict[str, np.ndarray]
) -> dict[str, Any]:
    keys = [("photographs", 0, place) for place in range(len(labels))]
    passed, scores = {}, {}
    for kind, embeddings in images.items():
        verdicts = judge.verdicts(labels, embeddings, parents, keys)
        passed[kind] = verdicts.passed
        scores[kind] = -verdicts.score if isinstance(judge, Rank) else verdicts.score
    right = float(passed[RIGHT].mean())
    return {
        "accepted": {kind: float(passed[kind].mean()) for kind in KINDS},
        "balanced_accuracy": {kind: (right + float((~passed[kind]).mean())) / 2 for kind in KINDS[1:]},
        "auc": {kind: area(scores[RIGHT], scores[kind]) for kind in KINDS[1:]},
    }
