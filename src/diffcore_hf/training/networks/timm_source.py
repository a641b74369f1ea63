"""Names of networks and optimisers in the source files of timm, read without an import of timm or torch.

Owns the check of names before a training starts, so that a typing error is reported at once. The modules that import
timm check the names again, with its own lists.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.names import check_mixer_name

_MODEL = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
_OPTIMIZER = re.compile(r"""OptimInfo\(\s*name=['"](\w+)['"]""")
_LOOKAHEAD = "lookahead_"


def check_names(recipe: TrainRecipe) -> None:
    """Check the names of network, optimiser and mixer of a recipe.

    Raises:
        UserError: timm certainly has no such network or optimiser, or there is no such mixer.
    """
    check_mixer_name(recipe.mixer.name)
    models = _source("models/*.py")
    if models:
        models += Path(__file__).with_name("preact.py").read_text(encoding="utf-8")
    architecture = recipe.model.name.partition(".")[0]
    known_models = set(_MODEL.findall(models))
    if known_models and re.fullmatch(r"\w+", architecture) and not re.search(rf"\b{architecture}\b", models):
        raise unknown_in_timm("model.name", recipe.model.name, known_models, "resnet50")
    known_optimizers = set(_OPTIMIZER.findall(_source("optim/_optim_factory.py")))
    name = recipe.optimizer.name.lower()
    if known_optimizers and name.removeprefix(_LOOKAHEAD) not in known_optimizers:
        raise unknown_in_timm("optimizer.name", recipe.optimizer.name, known_optimizers, "sgd")


def unknown_in_timm(key: str, name: str, known: Collection[str], example: str) -> UserError:
    """Return the error for a name that timm does not have, with the nearest names.

    Args:
        key: key of the recipe.
        name: its value.
        known: the names in timm.
        example: a valid name, if no name is similar.
    """
    near = difflib.get_close_matches(name.lower(), sorted(known), n=3)
    nearest = f" The nearest names: {', '.join(near)}." if near else ""
    return UserError(
        f"{key} is {name!r}, which timm does not have.{nearest} Use e.g. --{key} {near[0] if near else example}"
    )


@functools.cache
def _source(pattern: str) -> str:
    """Return the text of source files of timm; "" if timm is not installed as files."""
    spec = find_spec("timm")
    root = Path(spec.origin).parent if spec is not None and spec.origin else None
    try:
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(root.glob(pattern))) if root else ""
    except (OSError, UnicodeDecodeError):
        return ""
