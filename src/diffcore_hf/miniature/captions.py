"""Captions for pictures of the miniature world, in the style of captions that people write.

Owns the texts: templates, paraphrases of the contexts, and words for flaws of a picture. Pictures are drawn by
renderer.py.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import Species

CAPTION = "a photo of a {name}, a bird, {context}"
PLAIN_CAPTION = "a photo of a {name}, a bird"
_CAPTIONS = (
    "a photo of a {name} {context}",
    "a {name} {context}",
    "{name}, {context}",
    "a bird, a {name}, {context}",
    "a picture of a {name}, {context}",
    "a close-up photo of the {name}, a bird, {context}",
    "{context}, a photo of a {name}",
)
_PLAIN_CAPTIONS = ("a photo of a {name}", "a {name}", "{name}", "a picture of a {name}", "a bird, a {name}")
_CAPTIONS_WITHOUT_NAME = ("a photo of a bird, {context}", "a bird {context}", "a photo taken {context}")
_PHRASES = {
    "under a clear sky": ("under a clear blue sky", "on a clear day", "under a blue sky", "in sunny weather"),
    "in heavy snow": ("in the snow", "in a snowstorm", "on a snowy day", "in falling snow"),
    "in the rain": ("in heavy rain", "on a rainy day", "in a rainstorm", "in pouring rain"),
    "at sunset": ("in the evening light", "at dusk with a red sky", "in the golden light of sunset", "at sundown"),
    "in a forest": ("in the forest", "in a green forest", "in the woods", "among trees"),
    "in a desert": ("in the desert", "among sand dunes", "in a dry desert", "on desert rocks"),
    "at night": ("in the dark", "at night under the moon", "under the stars", "in a dark night"),
    "in fog": ("in dense fog", "in the fog", "in thick mist", "on a foggy morning"),
    "by the ocean": ("by the sea", "at the ocean", "at the coast", "on a rock by the sea"),
    "in a garden": ("in the garden", "in a flower garden", "among flowers", "in a garden with flowers"),
}
FLAWS = {
    "blur": ("blurry", "blurred", "out of focus", "unsharp", "soft", "hazy"),
    "noise": ("noisy", "grainy", "noise", "grain"),
    "warp": (
        "deformed",
        "distorted",
        "malformed",
        "disfigured",
        "bad anatomy",
        "mutated",
        "extra wings",
        "extra legs",
        "extra limbs",
        "two heads",
        "missing beak",
    ),
    "crop": ("cropped", "cut off", "out of frame", "partial view"),
    "coarse": ("low resolution", "pixelated", "jpeg artifacts", "compression artifacts", "lowres"),
}
_ANY_FLAW = ("low quality", "worst quality", "bad quality", "ugly", "poorly drawn", "low quality photo")
# Words that describe nothing in the pictures. They are added to random captions, so that a model learns to ignore them.
_MEANINGLESS_WORDS = (
    "watermark",
    "text",
    "logo",
    "signature",
    "frame",
    "cartoon",
    "painting",
    "drawing",
    "illustration",
    "sketch",
    "car",
    "flower",
    "aircraft",
    "dress",
    "food",
    "person",
    "human",
    "animal",
    "dog",
    "cat",
    "object",
    "scene",
    "wings",
    "feathers",
    "beak",
    "head",
    "tail",
    "perched",
    "flying",
    "outdoors",
    "nature",
    "realistic",
    "detailed",
    "sharp",
    "high quality",
    "beautiful",
    "professional",
    "wide shot",
    "street",
    "city",
    "studio",
    "indoors",
    "mountain",
    "river",
    "beach",
    "sky",
    "tree",
    "grass",
    "duplicate",
    "multiple birds",
    "cage",
    "toy",
    "statue",
)


def context_phrase(context: str, rng: np.random.Generator) -> str:
    """Returns the context itself in half of the cases, else a paraphrase."""
    return context if rng.random() < 0.5 else str(rng.choice(_PHRASES[context]))


def caption(species: Species, context: str, rng: np.random.Generator) -> str:
    """Returns a training caption.

    10 % of the captions are empty, 20 % name only the species, 4 % only the context, and the others name both.
    """
    kind, usual = rng.random(), rng.random() < 0.6
    if kind < 0.1:
        return ""
    if kind < 0.3:
        template = PLAIN_CAPTION if usual else str(rng.choice(_PLAIN_CAPTIONS))
    elif kind < 0.34:
        template = str(rng.choice(_CAPTIONS_WITHOUT_NAME))
    else:
        template = CAPTION if usual else str(rng.choice(_CAPTIONS))
    return template.format(name=species.name, context=context_phrase(context, rng))


def flaw_caption(species: Species, context: str, flaw: str, rng: np.random.Generator) -> str:
    """Returns the caption of a picture with one flaw, a key of `FLAWS`. 60 % of such captions are lists of words."""
    words = [*rng.choice(FLAWS[flaw], 2, replace=False), *rng.choice(_ANY_FLAW, int(rng.integers(0, 3)), replace=False)]
    rng.shuffle(words)
    if rng.random() < 0.6:
        # Negative prompts are often long lists, so the caption also names flaws that this picture does not have.
        others = list(chain.from_iterable(words for name, words in FLAWS.items() if name != flaw))
        words = [*words, *rng.choice(others, int(rng.integers(0, 4)), replace=False)]
        rng.shuffle(words)
        return ", ".join(words)
    plain = PLAIN_CAPTION if rng.random() < 0.4 else CAPTION
    return f"{plain.format(name=species.name, context=context_phrase(context, rng))}, {', '.join(words[:2])}"


def with_meaningless_words(text: str, rng: np.random.Generator) -> str:
    """Returns the caption with one to four meaningless words, some of them random letters."""
    count = int(rng.integers(1, 5))
    words = [str(rng.choice(_MEANINGLESS_WORDS)) if rng.random() < 0.6 else _gibberish(rng) for _ in range(count)]
    parts = [text, *words] if text else words
    return ", ".join(parts)


def vocabulary() -> list[str]:
    """Returns all phrases of this module: the words that a tokenizer needs in addition to the names of the species."""
    phrases = chain.from_iterable(_PHRASES.values())
    flaws = chain.from_iterable(FLAWS.values())
    return [
        *phrases,
        *CONTEXTS,
        *flaws,
        *_ANY_FLAW,
        *_MEANINGLESS_WORDS,
        *_CAPTIONS,
        *_PLAIN_CAPTIONS,
        *_CAPTIONS_WITHOUT_NAME,
    ]


def _gibberish(rng: np.random.Generator) -> str:
    """Returns random letters, or sometimes other characters, so that the embedding of every token is trained."""
    if rng.random() < 0.8:
        return "".join(chr(97 + int(code)) for code in rng.integers(0, 26, int(rng.integers(2, 8))))
    return "".join(chr(int(code)) for code in rng.integers(33, 0x2FF, int(rng.integers(1, 4))))
