"""Arms: the recipes that a comparison trains. Each is the given recipe with a few keys changed."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffcore_hf.config.mappings import to_mapping
from diffcore_hf.config.merging import build
from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.config.train_schema import ARMS, TRAIN_SCHEMA
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.cache import NO_FRAMES
from diffcore_hf.training.engine.optimisers import check_known
from diffcore_hf.training.mixers.names import MIXERS
from diffcore_hf.training.mixers.registry import make_mixer
from diffcore_hf.training.networks.timm_names import architecture_of

SINGLE = "run"
"""Name of the only arm of a training without a comparison."""
_SHARED = (
    *("batch_size", "epochs", "max_steps", "evaluate_every", "precision", "deterministic", "device"),
    *("seeds", "compare", "arms", "output", "trackers", "push", "preset"),
)
"""Keys that no arm may change. All arms take the same number of steps with the same batch size, and share one output
folder."""


def arms_of(recipe: TrainRecipe, option: str = "compare") -> dict[str, TrainRecipe]:
    """Return the recipe of each arm by name. If there is no comparison, the recipe itself is the only arm.

    Args:
        recipe: recipe whose key `compare` names the arms.
        option: the option that the user gave, for messages.

    Raises:
        UserError: an arm does not exist, or it has a key that is unknown or that no arm may change.
    """
    if not recipe.compare:
        return {SINGLE: recipe}
    known = known_arms(recipe)
    arms = {}
    for name in recipe.compare:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UserError(
                f"{option} has {name!r}, which is not an arm. {hint}The arms are {', '.join(known)}. Define others in "
                "arms"
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise UserError(
                f"arms has {name!r}, which cannot be the name of a folder. Use letters, digits, and any of ._+-"
            )
        changes = known[name]
        if shared := [key for key in _SHARED if key in changes]:
            raise UserError(
                f"arms.{name} has {shared[0]}, which must be the same for all arms. Set it in the recipe itself"
            )
        # An arm that sets a kind of mixing must also turn mixing on if the recipe turns it off.
        names_kind = "kind" in changes.get("mix", {}) and "mode" not in changes["mix"]
        mode = {"mix": {"mode": "append"}} if names_kind and recipe.mix.mode == "off" else {}
        try:
            arms[name] = build(TRAIN_SCHEMA, to_mapping(recipe), mode, changes)
        except UserError as error:
            raise UserError(f"arms.{name}: {error}") from error
    return arms


def known_arms(recipe: TrainRecipe) -> dict[str, dict[str, Any]]:
    """Return the changed keys of each arm by name: built-in arms, one arm for each mixer, and arms of the recipe.

    The arm of a mixer trains on real images, and mixes the images of a batch with the default options of the mixer.
    """
    mixers = {name: {"mix": {"mode": "off"}, "mixer": {"name": name}} for name in MIXERS}
    return ARMS | mixers | dict(recipe.arms or {})


def check_mixer_of_all(recipe: TrainRecipe) -> None:
    """Check that arms of mixers are not compared with arms that have the mixer of the recipe.

    The mixer of a recipe is a setting of all its arms, also of `plain`. A comparison of `plain` with a mixer would then
    compare two mixers.

    Raises:
        UserError: the recipe has a mixer, and `compare` names a mixer of the package and an arm that is none.
    """
    mixer = recipe.mixer.name
    own = [name for name in recipe.compare if name in MIXERS and name not in (recipe.arms or {})]
    others = [name for name in recipe.compare if name not in MIXERS]
    if mixer is None or not own or not others:
        return
    raise UserError(
        f"mixer.name is {mixer!r} for all arms, so {others[0]} would have this mixer too when it is compared with "
        f"{own[0]}. Use --mixer.name null --mixer.options null. The key arms sets the options of one arm"
    )


def check_arm(arm: TrainRecipe) -> None:
    """Check network, optimiser, mixer and cache of an arm, so that it does not fail hours after the start.

    Raises:
        UserError: network, optimiser or mixer is unknown, or the protocol cannot use the cache.
    """
    architecture_of(arm.model.name)
    check_known(arm.optimizer.name)
    make_mixer(arm.mixer, classes=2)
    if framing.protocol_of(arm.transform).resize is None and arm.cache == "memory":
        raise UserError(NO_FRAMES)


def public_recipe(arm: TrainRecipe) -> TrainRecipe:
    """Return the recipe of an arm for publication, without the other arms and without paths of this machine."""
    weights = arm.model.pretrained
    if isinstance(weights, str) and Path(weights).expanduser().exists():
        weights = "local"
    model = replace(arm.model, pretrained=weights)
    options = arm.mixer.options and {name: _public(value) for name, value in arm.mixer.options.items()}
    mixer = replace(arm.mixer, options=options)
    return replace(arm, model=model, mixer=mixer, compare=(), arms=None, seeds=arm.seeds[:1], output=None, push=None)


def _public(value: Any) -> Any:
    """Return an option of a mixer without a path of this machine."""
    return "local" if isinstance(value, str) and Path(value).expanduser().exists() else value
