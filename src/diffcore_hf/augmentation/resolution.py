"""Resolution: a recipe without `auto` and null, its identities and its digests.

Owns the values that the first run in a folder resolves and every later run uses again, and the content of run.json.
Loads no weights: models/ reads configuration files at most.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffcore_hf.augmentation.review import Review
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.config import digests
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.kinds import TEMPLATES
from diffcore_hf.config.mappings import to_mapping
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.method.prompts import contexts_of, negatives_of

RESOLVED = {
    "model": ("revision", "variant", "dtype", "scheduler", "size", "attention"),
    "filter": ("revision",),
    "source": ("revision",),
    "prompts": ("contexts", "negatives"),
}
"""Fields whose `auto` or null the first run resolves; a later run takes the value from run.json."""


@dataclass(frozen=True)
class Resolution:
    """A recipe without `auto` and null, with what identifies its source and its models."""

    recipe: Recipe
    identities: Mapping[str, Any]
    """Commits or content hashes of the source, the models, the adapters and the review."""
    model: Mapping[str, Any]
    """What the card says about the model: family, licence, name and value of the guidance argument, ..."""
    filter: Mapping[str, Any]
    attempt_digest: str
    recipe_digest: str
    stages: Mapping[str, str]
    """Versions of the stages and of the strategy whose output the facts are."""
    hashes: Mapping[str, Any]
    """Hashes of local weights by file, size and modification time, to store in the output folder."""

    def scope_fields(self, *scopes: str) -> dict[str, Any]:
        """Return the fields of some scopes, with identities in place of paths."""
        return digests.fields_with_identities(self.recipe, self.identities, scopes)


def resolve_run(
    recipe: Recipe, source: LoadedSource, review: Review, folder: Folder, previous: Mapping[str, Any] | None
) -> Resolution:
    """Resolve the models and identities of a recipe that `complete_recipe` returned.

    Args:
        recipe: the recipe.
        source: its source.
        review: its review.
        folder: the output folder, which stores hashes of local weights.
        previous: content of run.json; None in a new folder.

    Raises:
        UserError: a model that may not be loaded, or a folder with another attempt digest; it names the keys.
    """
    from diffcore_hf.generation.base import strategy_class
    from diffcore_hf.models.pipelines import resolve_model
    from diffcore_hf.models.towers import resolve_filter

    hashes = folder.read_hashes()
    model, about_model = resolve_model(recipe.model, hash_cache=hashes)
    tower, about_filter = resolve_filter(recipe.filter, hash_cache=hashes)
    reads = strategy_class(recipe.strategy.name).reads
    if "negative_prompt" in reads and not about_model["takes_negatives"] and recipe.prompts.negatives:
        raise UserError(
            f"prompts.negatives is set, but {recipe.model.path} ({about_model['pipeline']}) takes no negative prompt. "
            "Use --prompts.negatives []"
        )
    recipe = dataclasses.replace(recipe, source=source.config, model=model, filter=tower)
    identities: dict[str, Any] = {
        "source": source.identity,
        "model": about_model["identity"],
        "filter": about_filter["identity"],
    }
    if recipe.model.adapters:
        identities["adapters"] = about_model["adapters"]
    if review.sha256:
        identities["review"] = review.sha256
    stages = stage_versions(recipe)
    resolution = Resolution(
        recipe,
        identities,
        about_model,
        about_filter,
        digests.attempt_digest(recipe, identities, stages),
        digests.recipe_digest(recipe, identities, stages),
        stages,
        hashes,
    )
    if previous and previous["attempt_digest"] != resolution.attempt_digest:
        changed = digests.differences(previous["attempt"], resolution.scope_fields("attempt"))
        changed = changed or ["this version of diffcore-hf generates other images"]
        raise UserError(
            f"output {folder.path} was started with other attempts ({'; '.join(changed[:3])}). "
            "Choose another --output, or go back to that value"
        )
    return resolution


def stage_versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions of the stages and of the strategy whose output the facts are."""
    from diffcore_hf.augmentation.stages.attempt import Attempt
    from diffcore_hf.augmentation.stages.reference import Reference

    attempt = Attempt(recipe)
    own, score = Attempt.VERSION.split("+")
    versions = {"attempt": f"{own}+{attempt.strategy.VERSION}+{score}", "reference": Reference.VERSION}
    if settings := attempt.strategy.settings():
        versions["strategy"] = hashlib.sha256(digests.canonical(settings)).hexdigest()[:16]
    return versions


def complete_recipe(recipe: Recipe, previous: Mapping[str, Any] | None) -> Recipe:
    """Fill in what an earlier run in this folder resolved, and spell out template, contexts and negatives.

    Reads no model. The words of a kind may change with the version of this package; a run keeps its first ones.

    Args:
        recipe: the recipe as the user gave it.
        previous: content of run.json; None in a new folder.
    """
    recipe = _with_earlier_values(recipe, previous)
    words = recipe.prompts
    words = dataclasses.replace(
        words,
        template=TEMPLATES.get(words.template, words.template),
        contexts=contexts_of(words, recipe.kind),
        negatives=negatives_of(words, recipe.kind)[0],
    )
    return dataclasses.replace(recipe, prompts=words)


def _with_earlier_values(recipe: Recipe, previous: Mapping[str, Any] | None) -> Recipe:
    """Replace every `auto` and null by the value of an earlier run, where the recipe still names the same model."""
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


def resolution_from_run(recipe: Recipe, review: Review, run: Mapping[str, Any]) -> Resolution:
    """Return the resolution of a folder from run.json alone, without models; `recipe` may differ in decisions."""
    identities = dict(run["identities"])
    identities.pop("review", None)
    if review.sha256:
        identities["review"] = review.sha256
    digest = digests.recipe_digest(recipe, identities, run["stages"])
    about = run["about"]
    return Resolution(
        recipe, identities, about["model"], about["filter"], run["attempt_digest"], digest, run["stages"], {}
    )


def type_of_scheduler(values: Mapping[str, Any]) -> Any:
    """Return a stored scheduler as the section of a recipe."""
    from diffcore_hf.config.augment import SchedulerConfig

    return SchedulerConfig(values["name"], values.get("options"))


def run_content(resolution: Resolution, previous: Mapping[str, Any] | None, **extra: Any) -> dict[str, Any]:
    """Return the content of run.json: what never changes, and every recipe that the folder was continued under."""
    recipes = list(previous["recipes"]) if previous else []
    entry = {"digest": resolution.recipe_digest, "decision": to_mapping(resolution.recipe, ("decision",))}
    if not recipes or recipes[-1]["digest"] != entry["digest"]:
        recipes.append(entry)
    return {
        "attempt_digest": resolution.attempt_digest,
        "attempt": resolution.scope_fields("attempt"),
        "resolved": to_mapping(resolution.recipe),
        "identities": dict(resolution.identities),
        "stages": dict(resolution.stages),
        "about": {"model": dict(resolution.model), "filter": dict(resolution.filter)},
        "recipes": recipes,
        **extra,
    }
