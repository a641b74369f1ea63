"""The schema of an augmentation recipe: ranges of values, rules between fields, short forms and presets.

Rules that need the dataset or a model (columns, classes, commits) are checked where these are loaded.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from diffcore_hf.config.augment import (
    AdapterConfig,
    CaptionerConfig,
    FilterConfig,
    ModelConfig,
    Recipe,
    SchedulerConfig,
    SourceConfig,
    StrategyConfig,
)
from diffcore_hf.config.context_lists import CAPTIONS, with_listed_contexts
from diffcore_hf.config.fields import RecipeSchema, Rule, shown
from diffcore_hf.config.kinds import KINDS, NO_CONTEXT_FITS, PAPER_CONTEXTS, TEMPLATES, template_pieces
from diffcore_hf.config.merging import build
from diffcore_hf.config.policy import POLICY_PARAMETERS, PolicyConfig
from diffcore_hf.config.strategy_presets import preset_values
from diffcore_hf.core.errors import UserError

COMPARED = ("leak", "memorised", "copy")
"""The values of `filter.compare`: reasons of method/copies/closeness.py."""
_SHARE = Rule("a number in (0, 1]", lambda v: 0 < v <= 1, "0.5")
_COUNT = Rule("an integer of at least 1", lambda v: v >= 1, "1")
_COUNT_OR_NULL = Rule("an integer of at least 1, or null", lambda v: v >= 1, "64")
_PIXELS = Rule("a positive multiple of 8, or null", lambda v: v >= 8 and v % 8 == 0, "512")
_NONEMPTY = Rule("a text", lambda v: bool(v.strip()), "")

RULES: dict[str, Rule] = {
    "source.path": Rule("a Hub id or a folder", lambda v: bool(v.strip()), "./photos"),
    "source.split": _NONEMPTY._replace(example="train"),
    "source.image": _NONEMPTY._replace(example="image"),
    "source.label": _NONEMPTY._replace(example="label"),
    "source.table": Rule("a file, or null", lambda v: bool(v.strip()) and "\0" not in v, "train.csv"),
    "source.label_names": Rule(
        "clean, raw or a map of names old: new",
        lambda v: isinstance(v, str) or all(t.strip() for t in v.values()),
        "clean",
    ),
    "source.holdout": Rule("a number in [0, 1)", lambda v: 0 <= v < 1, "0.1"),
    "prompts.contexts_from": Rule(
        "a file, module:NAME or captions, or null", lambda v: bool(v.strip()) and "\0" not in v, "contexts.txt"
    ),
    "prompts.captioner.path": Rule(
        "a Hub id or a folder", lambda v: bool(v.strip()) and "\0" not in v, "org/captioner"
    ),
    "prompts.captioner.images": _COUNT._replace(example="200"),
    "prompts.captioner.tokens": _COUNT._replace(example="30"),
    "prompts.label_descriptions": Rule(
        "a map of names to texts, or null", lambda v: all(t.strip() for t in v.values()), "'{crane: crane bird}'"
    ),
    "model.path": Rule(
        "a Hub id, a folder or a safetensors file",
        lambda v: bool(v.strip()),
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
    "model.scheduler.name": _NONEMPTY._replace(example="DPMSolverMultistepScheduler"),
    "model.steps": _COUNT._replace(example="30"),
    "model.gamma": Rule("a number of at least 0", lambda v: v >= 0, "2.0"),
    "model.size": _PIXELS,
    "model.adapters": Rule("a list of adapters", lambda v: True, "'[org/lora]'"),
    "model.device": Rule(
        "auto, cpu, mps, cuda or cuda:<number>",
        lambda v: bool(re.fullmatch(r"(auto|cpu|cuda|mps|xpu|hpu|xla|mtia|privateuseone)(:[0-9]+)?", v)),
        "auto",
    ),
    "strategy.name": _NONEMPTY._replace(expects="a strategy, or module:Class", example="text_to_image"),
    "strategy.gamma_label": Rule("a number of at least 0", lambda v: v >= 0, "1.0"),
    "filter.path": Rule("a Hub id or a folder", lambda v: bool(v.strip()), "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    "filter.references": Rule("an integer of at least 2", lambda v: v >= 2, "200"),
    "filter.compare": Rule(
        "a list of leak, memorised and copy, each once",
        lambda v: len(set(v)) == len(v) and set(v) <= set(COMPARED),
        "leak memorised copy",
    ),
    "filter.policy.alpha": Rule("a number in (0, 1)", lambda v: 0 < v < 1, "0.1"),
    "filter.policy.t": Rule("a number in [-1, 1]", lambda v: -1 <= v <= 1, "0.7"),
    "filter.policy.p": Rule("a number in [0, 1]", lambda v: 0 <= v <= 1, "0.5"),
    "filter.policy.pairs": _COUNT._replace(expects="an integer of at least 1, or null for all pairs", example="1000"),
    "select.classes": Rule(
        "a list of class names, or null", lambda v: bool(v) and all(name.strip() for name in v), "robin wren"
    ),
    "select.rows": Rule("a file, or null", lambda v: bool(v.strip()) and "\0" not in v, "rows.txt"),
    "select.per_class": Rule("an integer from 1 to 1,000,000, or null", lambda v: 1 <= v <= 1_000_000, "100"),
    "select.hardest": _NONEMPTY._replace(expects="a column, or null", example="loss"),
    "fraction": _SHARE,
    "copies": _COUNT,
    "max_attempts": _COUNT._replace(example="3"),
    "store_size": Rule("an integer of at least 1, or null", lambda v: v >= 1, "512"),
    "output": Rule("a folder", lambda v: bool(v.strip()) and "\0" not in v, "out/dataset"),
    "limit": _COUNT_OR_NULL,
    "accept_license": Rule("names of licences, or null", lambda v: bool(v.strip()), "creativeml-openrail-m"),
    "max_faulty": _SHARE._replace(expects="a number in (0, 1], or null", example="0.2"),
    "batch_size": _COUNT_OR_NULL._replace(example="16"),
    "part_size": _COUNT_OR_NULL,
}


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "filter": {"policy": {"name": "mean"}},
        "prompts": {"template": "paper", "contexts": list(PAPER_CONTEXTS)},
        "model": {"gamma": 6.5, "size": 512, "steps": 50},
    },
    **preset_values(),
}


def check(recipe: Recipe) -> None:
    """Check the rules between fields.

    Raises:
        UserError: a rule is broken; the message describes the first one.
    """
    if reason := NO_CONTEXT_FITS.get(recipe.kind.lower()):
        raise UserError(f"kind is {recipe.kind!r}, but {reason}")
    if recipe.kind not in KINDS:
        near = difflib.get_close_matches(recipe.kind, KINDS, 1)
        hint = f"did you mean {near[0]}?" if near else "use general for any object"
        raise UserError(f"kind is {recipe.kind!r}, not one of {', '.join(KINDS)}; {hint}")
    _check_prompts(recipe)
    _check_policy(recipe.filter.policy)
    if recipe.model.gamma <= 0:
        negatives = recipe.prompts.negatives
        description = f"those of kind {recipe.kind}" if negatives is None else f"{len(negatives)} given"
        if negatives is None or negatives:
            raise UserError(
                f"model.gamma is {recipe.model.gamma:g}, at which the negative prompts ({description}) are ignored. "
                "Set prompts.negatives [] or a gamma above 0, e.g. 2.0"
            )
    if recipe.select.per_class is not None and recipe.copies != 1:
        raise UserError(
            f"copies is {recipe.copies}, but select.per_class {recipe.select.per_class} sets the number of copies. "
            "Leave one of them out"
        )
    if recipe.strict and recipe.batch_size not in (None, 16):
        raise UserError(
            f"batch_size is {recipe.batch_size}, but strict pads every batch to 16. "
            "Leave batch_size out, or set strict false"
        )
    if any(not adapter.path.strip() for adapter in recipe.model.adapters):
        raise UserError("model.adapters has an empty path. Give a repo id, a folder or a safetensors file")


def _check_policy(policy: PolicyConfig) -> None:
    used = POLICY_PARAMETERS[policy.name]
    for field in dataclasses.fields(PolicyConfig):
        given = getattr(policy, field.name)
        if field.name != "name" and given is not None and field.name not in used:
            policies = " or ".join(name for name, names in POLICY_PARAMETERS.items() if field.name in names)
            raise UserError(
                f"filter.policy.{field.name} is {shown(given)}, which policy {policy.name} does not use (it uses "
                f"{', '.join(used) or 'nothing'}). Leave it out, or set filter.policy.name {policies}"
            )
    if policy.name == "fixed" and policy.t is None:
        raise UserError("filter.policy.t is missing: policy fixed needs a bound. Use e.g. --filter.policy.t 0.7")


def _check_prompts(recipe: Recipe) -> None:
    prompts = recipe.prompts
    names = _placeholders("prompts.template", TEMPLATES.get(prompts.template, prompts.template))
    if names <= {"kind", "context"}:  # a column of the source, such as a caption, may replace {label}
        raise UserError(
            f"prompts.template is {prompts.template!r}, which has no {{label}}. "
            "Use caption, paper or e.g. 'a photo of a {label}, {context}'"
        )
    for field, terms in (("contexts", prompts.contexts), ("negatives", prompts.negatives)):
        if repeated := [term for term, count in Counter(terms or ()).items() if count > 1]:
            raise UserError(f"prompts.{field} has {repeated[0]!r} twice. Leave one out")
    if (prompts.contexts_from == CAPTIONS) != (prompts.captioner is not None):
        if prompts.captioner is None:
            raise UserError(
                f"prompts.contexts_from is {CAPTIONS}, but prompts.captioner is missing. Use e.g. --prompts.captioner "
                "Salesforce/blip-image-captioning-large"
            )
        raise UserError(
            f"prompts.captioner is {prompts.captioner.path}, but no captions are made. Use --prompts.contexts_from "
            f"{CAPTIONS}, or leave prompts.captioner out"
        )
    if prompts.contexts == ():
        raise UserError(
            'prompts.contexts is an empty list. Use [""] for no context, or null for the contexts of the kind'
        )
    for context in prompts.contexts or ():
        for name in _placeholders("prompts.contexts", context) - {"label", "kind"}:
            raise UserError(
                f"prompts.contexts has {context!r} with the unknown placeholder {{{name}}}; "
                "the placeholders are {label} and {kind}. Write {{ for a brace"
            )
    for term in prompts.negatives or ():
        if not term.strip():
            raise UserError("prompts.negatives has an empty term. Leave it out, or set prompts.negatives []")


def _placeholders(key: str, text: str) -> set[str]:
    try:
        return {name for _, name in template_pieces(text) if name is not None}
    except ValueError as error:
        raise UserError(f"{key}: {error}") from None


AUGMENT_SCHEMA = RecipeSchema(
    recipe=Recipe,
    rules=RULES,
    check=check,
    shorthand={
        SourceConfig: "path",
        ModelConfig: "path",
        StrategyConfig: "name",
        FilterConfig: "path",
        AdapterConfig: "path",
        CaptionerConfig: "path",
        SchedulerConfig: "name",
        PolicyConfig: "name",
    },
    presets=PRESETS,
    describing_keys={
        ("source",): ("path", ("name", "data_files", "revision", "layout", "table")),
        ("model",): ("path", ("revision", "variant", "family_preset")),
        ("model", "scheduler"): ("name", ("options",)),
        ("prompts", "captioner"): ("path", ("revision",)),
        ("strategy",): ("name", ("targets", "gamma_label", "options")),
        ("filter",): ("path", ("revision",)),
        ("filter", "policy"): ("name", ("by", "alpha", "t", "p", "pairs", "floor")),
    },
)


def build_recipe(*layers: Mapping[str, Any]) -> Recipe:
    """Return the recipe of an augmentation from its layers; see `merging.build`."""
    recipe: Recipe = build(AUGMENT_SCHEMA, *layers)
    if recipe.prompts.contexts_from not in (None, CAPTIONS):
        recipe = with_listed_contexts(recipe)
        check(recipe)
    return recipe
