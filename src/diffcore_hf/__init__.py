"""diffcore-hf: generated and checked counterparts for any image-classification dataset (DiffCoRe-Mix).

The public names load on first use, so that importing the package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcore_hf.augmentation.plan import plan
    from diffcore_hf.augmentation.stages.generate import Generate
    from diffcore_hf.augmentation.stages.score import Score
    from diffcore_hf.config.augment import Recipe
    from diffcore_hf.publishing.hub.loading import load_augmented
    from diffcore_hf.training.data.mixing_view import mixing_rows
    from diffcore_hf.training.data.transform import MixTransform
    from diffcore_hf.workflows.augment import augment
    from diffcore_hf.workflows.originals import join_originals
    from diffcore_hf.workflows.push import push

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

_MODULES = {
    "Generate": ".augmentation.stages.generate",
    "MixTransform": ".training.data.transform",
    "Recipe": ".config.augment",
    "Score": ".augmentation.stages.score",
    "augment": ".workflows.augment",
    "join_originals": ".workflows.originals",
    "load_augmented": ".publishing.hub.loading",
    "mixing_rows": ".training.data.mixing_view",
    "plan": ".augmentation.plan",
    "push": ".workflows.push",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
