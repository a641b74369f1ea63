"""Piece 1: the filter as a judge. What each policy accepts of right and of wrong images, where the truth is known.

Owns the images that are judged and the shares that are counted. Judges are those of the package, fitted as a run fits
them: on the 240 training pictures of a world.

Right images show the class that was asked for, in each of the ten contexts. Wrong ones show another species of the
dataset, a look-alike, or a species outside it. `perfect` images are rendered; `generated` ones come out of the
miniature's text-to-image model (their truth is the oracle's word: an image counts as right or wrong by what it shows).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from cells import Cell
from PIL import Image

from diffcore_hf.core.images import to_array
from diffcore_hf.core.kinds import TEMPLATES
from diffcore_hf.core.recipe import Filter, Policy
from diffcore_hf.core.seeding import generator
from diffcore_hf.method.policies import Judge, fit
from diffcore_hf.method.prompts import render_prompt
from diffcore_hf.method.references import References
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, OTHER_SPECIES, Species, look_alike
from diffcore_hf.miniature.world import World
from diffcore_hf.models.clip import ImageTower

SEEDS = range(5)
TOWERS = {"unseen": "package:diffcore_hf.miniature/models/clip", "seen": "out/evidence/clip-seen"}
POLICIES = {
    "mean": Policy("mean"),
    "fixed 0.7": Policy("fixed", t=0.7),
    "quantile": Policy("quantile"),
    "rank by class mean": Policy("rank", by="class_mean"),
    "rank by classifier": Policy("rank", by="classifier"),
    "rank by text": Policy("rank", by="text"),
}
KINDS = ("right", "other species", "look-alike", "outside")
EACH = 3  # pictures for each species, context and kind


@dataclass(frozen=True)
class Asked:
    """One picture: the class that it stands for, what it shows, and where."""

    label: int
    shows: Species
    context: str
    kind: str


def asked(seed: int) -> Iterator[Asked]:
    """EACH right and wrong pictures of every class in every context."""
    random = generator("evidence", "judge", seed)
    for label, species in enumerate(DATASET_SPECIES):
        for context in CONTEXTS:
            for _ in range(EACH):
                others = [other for other in DATASET_SPECIES if other not in (species, look_alike(species))]
                yield Asked(label, species, context, "right")
                yield Asked(label, others[random.integers(len(others))], context, "other species")
                yield Asked(label, look_alike(species), context, "look-alike")
                yield Asked(label, OTHER_SPECIES[random.integers(len(OTHER_SPECIES))], context, "outside")


@lru_cache(maxsize=4)
def tower(name: str) -> ImageTower:
    """A CLIP by its row of TOWERS."""
    return ImageTower(Filter(path=TOWERS[name]), device="cpu", batch_size=128)


def embed(images: Sequence[Image.Image], name: str) -> np.ndarray:
    """(N, d) float16, as a run stores them."""
    made = [
        tower(name).embed([torch.from_numpy(to_array(image)).permute(2, 0, 1) for image in images[first : first + 128]])
        for first in range(0, len(images), 128)
    ]
    return torch.cat(made).numpy().astype(np.float16)


def references(world: World, name: str) -> References:
    """The training pictures of a world, embedded."""
    pictures = world.pictures("train")
    labels = np.array([DATASET_SPECIES.index(picture.species) for picture in pictures])
    images = [render(picture.species, picture.context, np.random.default_rng(picture.seed)) for picture in pictures]
    captions = [render_prompt(TEMPLATES["caption"], species.name, "bird", "") for species in DATASET_SPECIES]
    text = tower(name).embed_text(captions)
    return References(
        [f"train/{place}" for place in range(len(pictures))], labels, embed(images, name), len(DATASET_SPECIES),
        None if text is None else text.numpy().astype(np.float16),
    )  # fmt: skip


def scores_of(judge: Judge, labels: np.ndarray, embeddings: np.ndarray, parents: np.ndarray) -> tuple[np.ndarray, Any]:
    """(N,) the score of each image, higher is better, and whether it passed."""
    verdicts = judge.judge(labels, embeddings, parents, [("evidence", 0, place) for place in range(len(labels))])
    sign = -1 if type(judge).__name__ == "Rank" else 1
    return sign * verdicts.score, verdicts.passed


def area(right: np.ndarray, wrong: np.ndarray) -> float:
    """AUC: the chance that a right image scores above a wrong one, ties counting half."""
    _, inverse, counts = np.unique(np.concatenate([right, wrong]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[: len(right)].sum() - len(right) * (len(right) + 1) / 2) / (len(right) * len(wrong)))


def judged(policy: Policy, held: References, items: Sequence[Asked], embeddings: np.ndarray, seed: int) -> dict[str, Any]:
    """Shares accepted by kind and context, AUC and balanced accuracy of one policy."""
    judge = fit(policy, held, seed)
    labels = np.array([item.label for item in items])
    random = generator("evidence", "parent", seed)
    places = {label: np.flatnonzero(held.labels == label) for label in range(held.classes)}
    parents = held.embeddings[[places[label][random.integers(len(places[label]))] for label in labels.tolist()]]
    score, passed = scores_of(judge, labels, embeddings, parents)
    kinds = np.array([item.kind for item in items])
    contexts = np.array([item.context for item in items])
    share = {kind: float(passed[kinds == kind].mean()) for kind in KINDS if (kinds == kind).any()}
    right, wrong = kinds == "right", kinds != "right"
    return {
        "accepted": share,
        "right_by_context": {c: float(passed[right & (contexts == c)].mean()) for c in dict.fromkeys(contexts)},
        "auc": area(score[right], score[wrong]),
        "balanced_accuracy": float((passed[right].mean() + (~passed[wrong]).mean()) / 2),
        "rejected_real": float(np.nanmean(judge.rejected_real())),
    }


def measure(clip: str, contexts: str, seed: int) -> dict[str, Any]:
    """All policies in one of the four cells, on rendered images."""
    held = references(World(seed, contexts), clip)
    items = list(asked(seed))
    random = generator("evidence", "render", seed)
    images = [
        render(item.shows, item.context, np.random.default_rng(random.integers(2**62, size=2))) for item in items
    ]
    embeddings = embed(images, clip)
    return {
        "images": len(items),
        "policies": {name: judged(policy, held, items, embeddings, seed) for name, policy in POLICIES.items()},
    }


def cells() -> list[Cell]:
    """The four cells {saw, did not see the species} x {shared, own contexts}, five seeds each."""
    return [
        Cell(f"judge/{clip}-{contexts}-{seed}", 60, lambda clip=clip, contexts=contexts, seed=seed: measure(clip, contexts, seed))
        for clip in TOWERS
        for contexts in ("shared", "own")
        for seed in SEEDS
    ]
