"""Resolution: a recipe whose values `auto` and null are replaced, with its identities and digests.

Owns the values that the first run in a folder resolves and that later runs use again, and the content of run.json. It
loads no weights. The functions of models/ that this module calls read only configuration files.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffcore_hf.augmentation.inputs import StrategyInputs
from diffcore_hf.augmentation.review import Review
from diffcore_hf.augmentation.row_list import row_list_identity
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.augmentation.strategy_weights import resolve_captioner_of, resolve_weights_of
from diffcore_hf.config import digests
from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.context_lists import CAPTIONS
from diffcore_hf.config.kinds import TEMPLATES
from diffcore_hf.config.mappings import to_mapping
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.licences import require_accepted
from diffcore_hf.method.prompts import contexts_of, negatives_of

RESOLVED = {
    "model": ("revision", "variant", "dtype", "scheduler", "size", "attention"),
    "filter": ("revision",),
    "source": ("revision",),
    "prompts": ("contexts", "negatives"),
}
"""Fields in which the first run replaces `auto` and null by a value. A later run takes the value from run.json."""
NO_MODEL_FACTS: dict[str, Any] = {
    "family": digests.NO_MODEL,
    "path": None,
    "identity": digests.NO_MODEL,
    "licence": None,
}
"""The facts about the model in a run whose strategy uses no model."""


@dataclass(frozen=True)
class Resolution:
    """A recipe in which `auto` and null are replaced by values, with the identities of its source and models."""

    recipe: Recipe
    identities: Mapping[str, Any]
    """Commits or content hashes of the source, the models, the adapters, the weights that options of the strategy name,
    the review and the list of rows."""
    model: Mapping[str, Any]
    """Facts about the model for the card: family, licence, name and value of the guidance argument, ...

    It is NO_MODEL_FACTS if the strategy uses no model.
    """
    filter: Mapping[str, Any]
    """Facts about the filter's model for the card."""
    attempt_digest: str
    recipe_digest: str
    stages: Mapping[str, str]
    """Versions of the stages and of the strategy that compute the facts."""
    strategy: StrategyInputs
    """What the strategy reads. It decides which facts fit the plan."""
    hashes: Mapping[str, Any]
    """Hashes of local weights by file, size and modification time. They are stored in the output folder."""

    def scope_fields(self, *scopes: str) -> dict[str, Any]:
        """Return the fields of the recipe with these scopes, with identities in place of paths."""
        return digests.fields_with_identities(self.recipe, self.identities, scopes)


def resolve_run(
    recipe: Recipe,
    source: LoadedSource,
    review: Review,
    folder: Folder,
    previous: Mapping[str, Any] | None,
    *,
    describe_only: bool = False,
) -> Resolution:
    """Resolve the models and identities of a recipe that `complete_recipe` returned.

    Args:
        recipe: the recipe.
        source: the loaded source.
        review: the verdicts of the reviewer.
        folder: the output folder, which stores hashes of local weights.
        previous: content of run.json; None in a new folder.
        describe_only: the models are described and not loaded afterwards; see `resolve_filter`.

    Raises:
        UserError: a model cannot be used, or the folder has another attempt digest. The message then names the changed
            keys.
    """
    from diffcore_hf.generation.base import make_strategy, strategy_class
    from diffcore_hf.models.model_resolution import resolve_model
    from diffcore_hf.models.tower_resolution import resolve_filter

    hashes = folder.read_hashes()
    strategy_type = strategy_class(recipe.strategy.name)
    model, about_model = recipe.model, NO_MODEL_FACTS
    licences = {f"the source {recipe.source.path}": source.licence}
    if strategy_type.uses_model:
        model, record = resolve_model(recipe.model, hash_cache=hashes)
        about_model = dict(record)
        if "negative_prompt" in strategy_type.reads and not record["takes_negatives"] and recipe.prompts.negatives:
            raise UserError(
                f"prompts.negatives is set, but {recipe.model.path} ({record['pipeline']}) uses no negative prompt. "
                "Use --prompts.negatives []"
            )
        licences |= {f"the model {recipe.model.path}": record["licence"]}
        owners = [f"the adapter {adapter.path}" for adapter in recipe.model.adapters]
        licences |= dict(zip(owners, record.get("adapter_licences", ()), strict=True))
    recorded = previous["about"]["filter"] if previous else None
    tower, about_filter = resolve_filter(
        recipe.filter, hash_cache=hashes, describe_only=describe_only, recorded=recorded
    )
    options, weights = resolve_weights_of(recipe.strategy, model, previous, hash_cache=hashes)
    recipe = dataclasses.replace(recipe, source=source.config, model=model, filter=tower, strategy=options)
    recipe, captioner = resolve_captioner_of(recipe, previous, hash_cache=hashes)
    weights |= captioner
    licences |= {f"the weights of {option}": about["licence"] for option, about in weights.items()}
    require_accepted(licences, recipe.accept_license)
    if weights:
        about_model = {**about_model, "weights": weights}
    identities: dict[str, Any] = {
        "source": source.identity,
        "model": about_model["identity"],
        "filter": about_filter["identity"],
    }
    if strategy_type.uses_model and recipe.model.adapters:
        identities["adapters"] = about_model["adapters"]
    if weights:
        identities["weights"] = {option: record["identity"] for option, record in weights.items()}
    identities |= _identities_of_files(recipe, review)
    strategy = make_strategy(recipe.strategy, recipe.model, strict=recipe.strict)
    if strategy_type.uses_model:
        strategy.check(about_model)
    stages = stage_versions(recipe)
    resolution = Resolution(
        recipe,
        identities,
        about_model,
        about_filter,
        digests.attempt_digest(recipe, identities, stages),
        digests.recipe_digest(recipe, identities, stages),
        stages,
        StrategyInputs.of(recipe.strategy.name, strategy),
        hashes,
    )
    if previous and previous["attempt_digest"] != resolution.attempt_digest:
        before, now = dict(previous["attempt"]), resolution.scope_fields("attempt")
        if ("model" in before) != ("model" in now):
            # Only one of the two runs uses a model. So the message names the strategy and not each key of the model.
            before.pop("model", None)
            now.pop("model", None)
        changed = digests.differences(before, now)
        changed = changed or ["this version of diffcore-hf generates other images"]
        raise UserError(
            f"output {folder.path} was started with settings that give other images ({'; '.join(changed[:3])}). "
            "Choose another --output, or use the earlier value"
        )
    return resolution


def stage_versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions of the stages and of the strategy that compute the facts."""
    from diffcore_hf.augmentation.stages.attempt import Attempt
    from diffcore_hf.augmentation.stages.reference import Reference

    attempt = Attempt(recipe)
    own, score = Attempt.VERSION.split("+")
    versions = {"attempt": f"{own}+{attempt.strategy.VERSION}+{score}", "reference": Reference.VERSION}
    if settings := attempt.strategy.settings():
        versions["strategy"] = hashlib.sha256(digests.canonical(settings)).hexdigest()[:16]
    return versions


def complete_recipe(recipe: Recipe, previous: Mapping[str, Any] | None) -> Recipe:
    """Return a recipe with the values of an earlier run in this folder, and with texts in place of their names.

    Names of built-in templates, contexts and negatives are replaced by the texts. The built-in texts may change with
    the version of this package, but a run keeps the texts that it started with. No model is read.
    Contexts from captions stay null until they are made.

    Args:
        recipe: the recipe as the user gave it.
        previous: content of run.json; None in a new folder.

    Raises:
        UserError: contexts are given twice.
    """
    from diffcore_hf.generation.base import completed

    if recipe.prompts.contexts_from == CAPTIONS and recipe.prompts.contexts is not None:
        raise UserError(
            "prompts.contexts and prompts.contexts_from are both given. Leave one out, e.g. with --prompts.contexts "
            "null"
        )
    recipe = _with_earlier_values(recipe, previous)
    prompts = recipe.prompts
    prompts = dataclasses.replace(
        prompts,
        template=TEMPLATES.get(prompts.template, prompts.template),
        contexts=prompts.contexts if prompts.contexts_from == CAPTIONS else contexts_of(prompts, recipe.kind),
        negatives=negatives_of(prompts, recipe.kind)[0],
    )
    return dataclasses.replace(recipe, prompts=prompts, strategy=completed(recipe.strategy))


def _with_earlier_values(recipe: Recipe, previous: Mapping[str, Any] | None) -> Recipe:
    """Replace every `auto` and null by the value of an earlier run.

    A revision is replaced only if the section still has the same path.
    """
    if previous is None:
        return recipe
    for section, names in RESOLVED.items():
        current, earlier = getattr(recipe, section), previous["resolved"].get(section, {})
        if earlier.get("path") != getattr(current, "path", None):
            names = tuple(name for name in names if name != "revision")
        values = {
            name: earlier[name]
            for name in names
            if getattr(current, name) in (None, "auto") and earlier.get(name) is not None
        }
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        if "scheduler" in values:
            values["scheduler"] = type_of_scheduler(values["scheduler"])
        recipe = dataclasses.replace(recipe, **{section: dataclasses.replace(current, **values)})
    return recipe


def resolved_recipe(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved recipe in run.json, as a layer of a recipe.

    A run that is older than `strategy.targets` has no value for it. Its images show the class of their row.
    """
    resolved = dict(run["resolved"])
    return resolved | {"strategy": {"targets": "own", **resolved.get("strategy", {})}}


def _identities_of_files(recipe: Recipe, review: Review) -> dict[str, str]:
    """Return the hashes of the two files that change the decisions, `review` and `select.rows`."""
    identities = {"review": review.sha256} if review.sha256 else {}
    if (rows := row_list_identity(recipe.select)) is not None:
        identities["rows"] = rows
    return identities


def resolution_from_run(recipe: Recipe, review: Review, run: Mapping[str, Any]) -> Resolution:
    """Return the resolution of a folder from run.json, without reading models.

    Args:
        recipe: the recipe; its fields of scope `decision` may differ from those of the run.
        review: the verdicts of the reviewer.
        run: content of run.json.
    """
    stored = {name: value for name, value in run["identities"].items() if name not in ("review", "rows")}
    identities = stored | _identities_of_files(recipe, review)
    digest = digests.recipe_digest(recipe, identities, run["stages"])
    about = run["about"]
    return Resolution(
        recipe,
        identities,
        about["model"],
        about["filter"],
        run["attempt_digest"],
        digest,
        run["stages"],
        StrategyInputs.from_plain(run["strategy"]),
        {},
    )


def type_of_scheduler(values: Mapping[str, Any]) -> Any:
    """Return a stored scheduler as a section of a recipe."""
    from diffcore_hf.config.augment import SchedulerConfig

    return SchedulerConfig(values["name"], values.get("options"))


def run_content(resolution: Resolution, previous: Mapping[str, Any] | None, **extra: Any) -> dict[str, Any]:
    """Return the content of run.json.

    It contains the values that never change, and the decision fields of all recipes that the folder was run with.

    Args:
        resolution: the resolution of the run.
        previous: content of run.json before this run; None in a new folder.
        extra: other keys of run.json.
    """
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
        "strategy": resolution.strategy.plain(),
        "about": {"model": dict(resolution.model), "filter": dict(resolution.filter)},
        "recipes": recipes,
        **extra,
    }
