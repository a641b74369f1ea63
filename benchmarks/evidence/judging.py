"""Measures the policies of the filter: the share of right and of wrong images that each policy accepts.

Owns the rendered test images, for which the species is known, and the shares. Each policy is fitted to the 240 training
images of a world, as in a run. Right images show the class of their prompt, in each of the ten contexts. Wrong images
show another species of the dataset, a look-alike, or a species outside the dataset. folders.py computes the same shares
for generated images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.evidence.folders import KINDS, POLICIES
from benchmarks.evidence.towers import seen_clip
from diffcore_hf.config.augment import FilterConfig, Recipe
from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.core.images import to_array
from diffcore_hf.core.seeding import generator
from diffcore_hf.method.policies import FittedPolicy, Rank, fit
from diffcore_hf.method.prompt_texts import make_prompt_texts
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, OTHER_SPECIES, Species, look_alike
from diffcore_hf.miniature.world import World
from diffcore_hf.models.towers import ImageTower

JUDGED = {name: PolicyConfig(**policy) for name, policy in POLICIES.items() if name != "all"} | {
    "fixed": PolicyConfig("fixed", t=0.7)
}
TOWERS = ("unseen", "seen")
"""`unseen`: the CLIP of the package, which was not trained on the species of the dataset. `seen`: a CLIP that was
trained on all forty species."""
EACH = 3
"""Number of images of each species, context and kind."""
SECONDS = 40


@dataclass(frozen=True)
class Asked:
    """One test image: its class, the species and the context that it shows, and its kind."""

    label: int
    shows: Species
    context: str
    kind: str


def measure(work: Path, clip: str, contexts: str, seed: int) -> dict[str, Any]:
    """Measures all policies with one of two CLIPs (TOWERS), in a world of one seed.

    Args:
        work: folder of the CLIPs.
        clip: name in TOWERS.
        contexts: how a world chooses the training contexts of a species, see `World`.
        seed: seed of the world and of the test images.
    """
    tower = tower_of(work, clip)
    held = references(World(seed, contexts), tower)
    items = asked(seed)
    labels = np.array([item.label for item in items])
    embeddings = embed(pictures(items, seed), tower)
    random = generator("evidence", "parents", seed)
    parents = held.embeddings[[random.choice(np.flatnonzero(held.labels == label)) for label in labels.tolist()]]
    return {
        "images": len(items),
        "policies": {
            name: judged(fit(policy, held, seed), items, labels, embeddings, parents) for name, policy in JUDGED.items()
        },
    }


def asked(seed: int) -> list[Asked]:
    """Returns the test images: for every class in every context, EACH right images and 3 * EACH wrong ones."""
    random = generator("evidence", "asked", seed)
    items = []
    for label, species in enumerate(DATASET_SPECIES):
        others = [other for other in DATASET_SPECIES if other not in (species, look_alike(species))]
        for context in CONTEXTS:
            for _ in range(EACH):
                items += [
                    Asked(label, species, context, "right"),
                    Asked(label, others[random.integers(len(others))], context, "other species"),
                    Asked(label, look_alike(species), context, "look-alike"),
                    Asked(label, OTHER_SPECIES[random.integers(len(OTHER_SPECIES))], context, "outside"),
                ]
    return items


def pictures(items: Sequence[Asked], seed: int) -> list[Image.Image]:
    """Renders the test images."""
    random = generator("evidence", "render", seed)
    return [render(item.shows, item.context, np.random.default_rng(random.integers(2**62, size=2))) for item in items]


@cache
def tower_of(work: Path, clip: str) -> ImageTower:
    """Returns the CLIP with a name in TOWERS."""
    path = "package:diffcore_hf.miniature/models/clip" if clip == "unseen" else str(seen_clip(work))
    return ImageTower(FilterConfig(path=path), device="cpu", batch_size=128)


def embed(images: Sequence[Image.Image], tower: ImageTower) -> np.ndarray:
    """Returns (N, d) float16 embeddings, as a run stores them."""
    parts = [
        tower.embed([torch.from_numpy(to_array(image)).permute(2, 0, 1) for image in images[first : first + 128]])
        for first in range(0, len(images), 128)
    ]
    return torch.cat(parts).numpy().astype(np.float16)


def references(world: World, tower: ImageTower) -> ReferenceEmbeddings:
    """Returns the reference embeddings of the training images of a world."""
    shown = world.pictures("train")
    labels = np.array([DATASET_SPECIES.index(picture.species) for picture in shown])
    images = [render(picture.species, picture.context, np.random.default_rng(picture.seed)) for picture in shown]
    said = make_prompt_texts(Recipe.load("miniature"), [species.name for species in DATASET_SPECIES])
    ids = [f"train/{place}" for place in range(len(shown))]
    text, contexts = (
        tower.embed_text(captions).numpy().astype(np.float16) for captions in (said.captions(), said.context_captions())
    )
    return ReferenceEmbeddings(ids, labels, embed(images, tower), len(DATASET_SPECIES), text, contexts)


def judged(
    judge: FittedPolicy, items: Sequence[Asked], labels: np.ndarray, embeddings: np.ndarray, parents: np.ndarray
) -> dict[str, Any]:
    """Returns the accepted shares by kind and by context, the AUC and the balanced accuracy of a policy.

    For AUC and balanced accuracy, all kinds of wrong images are one class.
    """
    verdicts = judge.verdicts(labels, embeddings, parents, [("evidence", 0, place) for place in range(len(labels))])
    passed, score = verdicts.passed, -verdicts.score if isinstance(judge, Rank) else verdicts.score
    kinds, contexts = np.array([item.kind for item in items]), np.array([item.context for item in items])
    right = kinds == "right"
    return {
        "accepted": {kind: float(passed[kinds == kind].mean()) for kind in KINDS},
        "right_by_context": {context: float(passed[right & (contexts == context)].mean()) for context in CONTEXTS},
        "auc": area(score[right], score[~right]),
        "balanced_accuracy": float((passed[right].mean() + (~passed[~right]).mean()) / 2),
        "rejected_real": float(np.nanmean(judge.rejected_real())),
    }


def area(right: np.ndarray, wrong: np.ndarray) -> float:
    """Returns the AUC: the probability that a right image has a higher score than a wrong one.

    A pair with equal scores adds one half.
    """
    _, inverse, counts = np.unique(np.concatenate([right, wrong]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[: len(right)].sum() - len(right) * (len(right) + 1) / 2) / (len(right) * len(wrong)))
