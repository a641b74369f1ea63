"""diffcore-hf: generated, checked counterparts for any image-classification dataset (DiffCoRe-Mix).

The names handed out here load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcore_hf.augmentation.plan import plan
    from diffcore_hf.augmentation.stages.generate import Generate
    from diffcore_hf.augmentation.stages.score import Score
    from diffcore_hf.core.recipe import Recipe
    from diffcore_hf.jobs import augment
    from diffcore_hf.publications import join_originals, push
    from diffcore_hf.publishing.hub.loading import load_augmented
    from diffcore_hf.training.pool import mixing_rows
    from diffcore_hf.training.transform import MixTransform

__version__ = "0.1.0"
__all__ = [
    "Generate",
    "MixTransform",
    "Recipe",
    "Score",
    "__version__",
    "augment",
    "join_originals",
    "load_augmented",
    "mixing_rows",
    "plan",
    "push",
]

_HOMES = {
    "Generate": ".augmentation.stages.generate",
    "MixTransform": ".training.transform",
    "Recipe": ".core.recipe",
    "Score": ".augmentation.stages.score",
    "augment": ".jobs",
    "join_originals": ".publications",
    "load_augmented": ".publishing.hub.loading",
    "mixing_rows": ".training.pool",
    "plan": ".augmentation.plan",
    "push": ".publications",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
