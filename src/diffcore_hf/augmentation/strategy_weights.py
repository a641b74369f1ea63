"""Strategy weights: the weights that options of a strategy name, and the weights of a captioner.

They are pinned and hashed like the weights of the model and of the image tower. Owns the replacement of a branch by its
commit, and the record of the weights. Does not decide which files may be loaded (models/weights_access.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from diffcore_hf.config.augment import ModelConfig, Recipe, StrategyConfig
from diffcore_hf.core.errors import UserError

if TYPE_CHECKING:
    from diffcore_hf.models.weights_access import HashCache

REVISION = "{}_revision"
"""Name of the option with the revision of the weights that another option names."""


class WeightsRecord(TypedDict):
    """The record of weights that an option names."""

    path: str
    """Path in the form that may be published."""
    identity: str
    licence: str | None


def resolve_weights_of(
    strategy: StrategyConfig,
    model: ModelConfig,
    previous: Mapping[str, Any] | None = None,
    *,
    hash_cache: HashCache = None,
) -> tuple[StrategyConfig, dict[str, WeightsRecord]]:
    """Return section `strategy` with commits as revisions, and the record of the weights of each option.

    Args:
        strategy: section `strategy` of the recipe.
        model: section `model` of the recipe.
        previous: content of run.json. A revision that the recipe does not give is the one of the earlier run, if the
            path is the same.
        hash_cache: hashes of local files, see `weights_access.resolve_weights`.

    Raises:
        UserError: an option is not a path, or its weights do not exist or are pickled.
    """
    from diffcore_hf.generation.base import make_strategy
    from diffcore_hf.models.weights_access import public_path, resolve_weights

    options, records = dict(strategy.options or {}), {}
    earlier = ((previous or {}).get("resolved", {}).get("strategy") or {}).get("options") or {}
    for option, kind, _ in make_strategy(strategy, model).other_weights():
        name, path = REVISION.format(option), options[option]
        if not isinstance(path, str) or not path.strip() or "\0" in path:
            raise UserError(
                f"strategy.options.{option} is {path!r}, not a Hub id or a folder. Use --strategy.options.{option} "
                "owner/name"
            )
        revision = options.get(name)
        if revision is not None and not isinstance(revision, str):
            raise UserError(
                f"strategy.options.{name} is {revision!r}, not a branch, tag or commit. Use --strategy.options.{name} "
                "main"
            )
        if revision is None and earlier.get(option) == path:
            revision = earlier.get(name)
        weights = resolve_weights(path, revision, kind, hash_cache=hash_cache)
        options[name] = weights.revision
        records[option] = WeightsRecord(
            path=public_path(path, weights), identity=weights.identity, licence=weights.licence
        )
    return (dataclasses.replace(strategy, options=options) if records else strategy), records


def resolve_captioner_of(
    recipe: Recipe, previous: Mapping[str, Any] | None = None, *, hash_cache: HashCache = None
) -> tuple[Recipe, dict[str, WeightsRecord]]:
    """Return a recipe with the commit of its captioner as the revision, and the record of the captioner.

    Args:
        recipe: the recipe.
        previous: content of run.json, see `resolve_weights_of`.
        hash_cache: hashes of local files, see `weights_access.resolve_weights`.

    Returns:
        The recipe and {} if it has no captioner.

    Raises:
        UserError: the captioner does not exist, is pickled, or is not a captioner.
    """
    from diffcore_hf.models.captioner_resolution import resolve_captioner
    from diffcore_hf.models.weights_access import public_path

    captioner = recipe.prompts.captioner
    if captioner is None:
        return recipe, {}
    earlier = ((previous or {}).get("resolved", {}).get("prompts") or {}).get("captioner") or {}
    if captioner.revision is None and earlier.get("path") == captioner.path:
        captioner = dataclasses.replace(captioner, revision=earlier.get("revision"))
    weights = resolve_captioner(captioner, hash_cache=hash_cache)
    record = WeightsRecord(
        path=public_path(captioner.path, weights), identity=weights.identity, licence=weights.licence
    )
    captioner = dataclasses.replace(captioner, revision=weights.revision)
    prompts = dataclasses.replace(recipe.prompts, captioner=captioner)
    return dataclasses.replace(recipe, prompts=prompts), {"captioner": record}
