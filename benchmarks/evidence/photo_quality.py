"""Counterparts of lower quality: photographs of a wrong class, degraded photographs, and those that a filter keeps.

Owns the qualities by name and how a counterpart is made worse. The first quality is the perfect one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.core.seeding import generator
from diffcore_hf.method.policies import fit
from diffcore_hf.method.references import ReferenceEmbeddings

PERFECT = "perfect"


@dataclass(frozen=True)
class Quality:
    """How the counterparts differ from held-back photographs of the class."""

    words: str
    wrong: float = 0.0
    """Share of the counterparts that show another class."""
    level: int = 0
    """Strength of blur, JPEG compression and colour shift, an index into LEVELS; 0: none."""
    keep: str = "all"
    """Counterparts that are kept. `all`; `filter`: those that the default policy keeps; `right`: those of the right
    class."""


@dataclass(frozen=True)
class Level:
    """One step of degradation, for photographs of about 160 pixels."""

    blur: float
    """Radius of the Gaussian blur in pixels."""
    jpeg: int
    """Quality of the JPEG compression."""
    colour: float
    """Largest relative change of a colour channel."""


LEVELS = (Level(0, 95, 0), Level(1, 25, 0.15), Level(2.5, 12, 0.3), Level(5, 6, 0.45))

QUALITIES = {
    PERFECT: Quality("held-back photographs of the class"),
    "wrong-10": Quality("10 % show another class", wrong=0.1),
    "wrong-30": Quality("30 % show another class", wrong=0.3),
    "less-real-1": Quality("blur 1 pixel, JPEG quality 25, colours shifted by up to 15 %", level=1),
    "less-real-2": Quality("blur 2.5 pixels, JPEG quality 12, colours shifted by up to 30 %", level=2),
    "less-real-3": Quality("blur 5 pixels, JPEG quality 6, colours shifted by up to 45 %", level=3),
    "wrong-30-filter": Quality("30 % show another class, and the default filter decides", wrong=0.3, keep="filter"),
    "wrong-30-right": Quality("30 % show another class, and only the right class is kept", wrong=0.3, keep="right"),
}
"""Qualities in the order of the table."""


def wrong_rows(
    labels: Sequence[int], real: Sequence[int], counterparts: Sequence[int], share: float, seed: int
) -> list[int]:
    """Returns the rows of the counterparts, where a share of them is replaced by unused rows of other classes.

    A larger share replaces all counterparts that a smaller share replaces, and further counterparts.
    """
    random = generator("photographs", "wrong", seed)
    order = random.permutation(len(counterparts)).tolist()
    used = set(real) | set(counterparts)
    unused = [row for row in random.permutation(len(labels)).tolist() if row not in used]
    found = list(counterparts)
    for place in order[: round(share * len(counterparts))]:
        row = next(row for row in unused if labels[row] != labels[counterparts[place]])
        unused.remove(row)
        found[place] = row
    return found


def degraded(content: bytes, level: Level, random: np.random.Generator) -> bytes:
    """Returns an encoded image after blur, a change of each colour channel, and JPEG compression."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    if level.blur:
        image = image.filter(ImageFilter.GaussianBlur(level.blur))
    gains = 1 + level.colour * random.uniform(-1, 1, 3)
    pixels = (np.asarray(image) * gains).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=level.jpeg)
    return buffer.getvalue()


def accepted(
    labels: np.ndarray, real: np.ndarray, generated: np.ndarray, classes: int, policy: PolicyConfig | None = None
) -> np.ndarray:
    """Returns which counterparts a policy accepts, (N,) bool; the real images are its references.

    Args:
        labels: (N,) class of each real image and of the prompt of its counterpart.
        real: (N, d) embeddings of the real images.
        generated: (N, d) embeddings of the counterparts.
        classes: number of classes.
        policy: the policy; None: the default.
    """
    ids = [f"train/{row}" for row in range(len(labels))]
    judge = fit(policy or PolicyConfig(), ReferenceEmbeddings(ids, labels, real, classes), 0)
    return judge.verdicts(labels, generated, real, [("photographs", 0, row) for row in range(len(labels))]).passed


def distance(
    labels: np.ndarray, real: np.ndarray, generated: np.ndarray, generated_labels: np.ndarray | None = None
) -> float:
    """Returns the distance of counterparts from the real images of their class; 0 for other real images of the class.

    It is the mean cosine similarity of two different real images of a class, minus the mean cosine similarity
    of a real image and a counterpart. A user can compute it from the embeddings that a run stores.

    Args:
        labels: (N,) class of each real image.
        real: (N, d) embeddings of the real images.
        generated: (M, d) embeddings of the counterparts.
        generated_labels: (M,) class of each counterpart; None: the classes in `labels`.
    """
    shown = labels if generated_labels is None else generated_labels
    units = [rows.astype(np.float64) for rows in (real, generated)]
    own, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in units)
    different = (labels[:, None] == labels[None]) & ~np.eye(len(labels), dtype=bool)
    return float((own @ own.T)[different].mean() - (own @ other.T)[labels[:, None] == shown[None]].mean())
