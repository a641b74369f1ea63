"""Resolution: what a recipe means on this machine today, fixed for as long as the output folder lives.

Owns the filling of every auto and null of an `attempt` field, the identities, the two digests, and the content of
run.json. Does not load weights (models/ reads configuration files at most).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.config import digests
from diffcore_hf.config import merging as layers
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.kinds import TEMPLATES
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.method.prompts import contexts_of, negatives_of

# Fields whose auto or null the first run decides; a restart takes them from run.json.
RESOLVED = {
    "model": ("revision", "variant", "dtype", "scheduler", "size", "attention"),
    "filter": ("revision",),
    "source": ("revision",),
    "prompts": ("contexts", "negatives"),
}


@dataclass(frozen=True)
class Resolution:
    """A recipe without auto and null, and what it is known by."""

    recipe: Recipe
    identities: Mapping[str, str]
    model: Mapping[str, Any]
    """What is told about the model: family, licence, the argument and value of the guidance, ..."""
    filter: Mapping[str, Any]
    attempt_digest: str
    recipe_digest: str
    hashes: Mapping[str, Any]
    """Hashes of local weights by file, size and time; to be kept in the output folder."""

    def known_by(self, *scopes: str) -> dict[str, Any]:
        """Fields of some scopes with identities in place of paths."""
        return digests.identified(self.recipe, self.identities, scopes)


def resolve(recipe: Recipe, source: LoadedSource, folder: Folder) -> Resolution:
    """Resolve a settled recipe: models and identities.

    Raises:
        UserError: a model that may not be loaded; a folder made with another attempt digest (naming the keys).
    """
    from diffcore_hf.models.diffusion import resolve_model
    from diffcore_hf.models.towers import resolve_filter

    previous = folder.run()
    hashes = folder.hashes()
    model, about_model = resolve_model(recipe.model, hash_cache=hashes)
    tower, about_filter = resolve_filter(recipe.filter, hash_cache=hashes)
    if not about_model["takes_negatives"] and recipe.prompts.negatives:
        raise UserError(
            f"prompts.negatives is set, but {recipe.model.path} ({about_model['pipeline']}) takes no negative prompt. "
            "Use --prompts.negatives []"
        )
    recipe = dataclasses.replace(recipe, source=source.config, model=model, filter=tower)
    identities = {"source": source.identity, "model": about_model["identity"], "filter": about_filter["identity"]}
    if recipe.model.adapters:
        identities["adapters"] = about_model["adapters"]
    if recipe.review:
        identities["review"] = _content(recipe.review)
    versions = stage_versions()
    resolution = Resolution(
        recipe,
        identities,
        about_model,
        about_filter,
        digests.attempt_digest(recipe, identities, versions),
        digests.recipe_digest(recipe, identities, versions),
        hashes,
    )
    if previous and previous["attempt_digest"] != resolution.attempt_digest:
        changed = digests.differences(previous["attempt"], resolution.known_by("attempt"))
        changed = changed or ["the stages of this version of diffcore-hf make other attempts"]
        raise UserError(
            f"output {folder.path} was begun with other attempts ({'; '.join(changed[:3])}). "
            "Choose another --output, or go back to that value"
        )
    return resolution


def stage_versions() -> dict[str, str]:
    """VERSION of the stages whose output facts are."""
    from diffcore_hf.augmentation.stages.attempt import Attempt
    from diffcore_hf.augmentation.stages.reference import Reference

    return {"attempt": Attempt.VERSION, "reference": Reference.VERSION}


def settle(recipe: Recipe, folder: Folder) -> Recipe:
    """The recipe as an earlier run in this folder resolved it, and its words spelled out. Reads no model.

    The words of a kind may change with the version of this package; a run keeps those that it began with.
    """
    recipe = _as_before(recipe, folder.run())
    words = recipe.prompts
    words = dataclasses.replace(
        words,
        template=TEMPLATES.get(words.template, words.template),
        contexts=contexts_of(words, recipe.kind),
        negatives=negatives_of(words, recipe.kind)[0],
    )
    return dataclasses.replace(recipe, prompts=words)


def _as_before(recipe: Recipe, previous: Mapping[str, Any] | None) -> Recipe:
    """Every auto and null that an earlier run resolved, as it resolved it, while the same thing is named."""
    if previous is None:
        return recipe
    for section, names in RESOLVED.items():
        now, before = getattr(recipe, section), previous["resolved"].get(section, {})
        if before.get("path") != getattr(now, "path", None):
            names = tuple(name for name in names if name != "revision")
        values = {
            name: before[name]
            for name in names
            if getattr(now, name) in (None, "auto") and before.get(name) is not None
        }
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        if "scheduler" in values:
            values["scheduler"] = type_of_scheduler(values["scheduler"])
        recipe = dataclasses.replace(recipe, **{section: dataclasses.replace(now, **values)})
    return recipe


def reopened(recipe: Recipe, run: Mapping[str, Any]) -> Resolution:
    """The resolution of a folder that a run began, from run.json alone; `recipe` may differ in decisions."""
    identities = dict(run["identities"])
    identities.pop("review", None)
    if recipe.review:
        identities["review"] = _content(recipe.review)
    digest = digests.recipe_digest(recipe, identities, run["stages"])
    about = run["about"]
    return Resolution(recipe, identities, about["model"], about["filter"], run["attempt_digest"], digest, hashes={})


def _content(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def type_of_scheduler(values: Mapping[str, Any]) -> Any:
    """A stored scheduler as the recipe's record."""
    from diffcore_hf.config.augment import Scheduler

    return Scheduler(values["name"], values.get("options"))


def record(resolution: Resolution, previous: Mapping[str, Any] | None, **extra: Any) -> dict[str, Any]:
    """The content of run.json: what never changes, and every recipe that the folder was continued under."""
    recipes = list(previous["recipes"]) if previous else []
    entry = {"digest": resolution.recipe_digest, "decision": layers.to_mapping(resolution.recipe, ("decision",))}
    if not recipes or recipes[-1]["digest"] != entry["digest"]:
        recipes.append(entry)
    return {
        "attempt_digest": resolution.attempt_digest,
        "attempt": resolution.known_by("attempt"),
        "resolved": layers.to_mapping(resolution.recipe),
        "identities": dict(resolution.identities),
        "stages": stage_versions(),
        "about": {"model": dict(resolution.model), "filter": dict(resolution.filter)},
        "recipes": recipes,
        **extra,
    }
