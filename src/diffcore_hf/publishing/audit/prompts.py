"""Prompts: recomputes the context and both prompts of a unit from the recipe.

They follow from the recipe, the row id, the copy and the class, if the template names no column of the source, contexts
are not captions of images, and the strategy has no words of its own for classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from diffcore_hf.config.kinds import KINDS
from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.manifest import Manifest
from diffcore_hf.method.prompts import negative_prompts, prompt_names, render_prompt, template_fields

_WORDS = "learned_tokens"
"""Built-in strategy with words of its own for classes. Strategies of users may have such words, too."""


@dataclass(frozen=True)
class ExpectedPrompts:
    """The texts of a recipe."""

    template: str | None
    """Template of the prompts; None: the prompts do not follow from the recipe."""
    noun: str
    names: tuple[str, ...]
    """Names of the classes in prompts."""
    contexts: tuple[str, ...] | None
    """None: the contexts do not follow from the recipe."""
    negatives: tuple[tuple[str | None, ...], ...] | None
    """Negative prompt of each class in each context; None: they do not follow from the recipe."""
    seed: int

    def context(self, row_id: str, copy: int) -> str | None:
        """Return the context of a unit; None if it does not follow from the recipe."""
        if self.contexts is None:
            return None
        first = int.from_bytes(seeding.digest("context", self.seed, row_id)[:8], "big")
        return self.contexts[(first + copy) % len(self.contexts)]

    def prompt(self, label: int, context: str) -> str | None:
        """Return the prompt of a class in a context; None if it does not follow from the recipe."""
        if self.template is None or not 0 <= label < len(self.names):
            return None
        return _rendered(self.template, self.names[label], self.noun, context)

    def negative_fits(self, label: int, context: str, text: str | None) -> bool:
        """Return whether a text is the negative prompt of a class in a context."""
        if self.negatives is None or self.contexts is None or context not in self.contexts:
            return True
        return not 0 <= label < len(self.names) or text == self.negatives[label][self.contexts.index(context)]


@cache
def _rendered(template: str, name: str, noun: str, context: str) -> str:
    return render_prompt(template, name, noun, context)


def expected_prompts(manifest: Manifest, names: Sequence[str]) -> ExpectedPrompts:
    """Return the texts of the recipe in a manifest.

    Args:
        manifest: content of diffcore.json.
        names: names of the classes in prompts.
    """
    recipe = manifest["recipe"]
    prompts: Mapping[str, Any] = recipe.get("prompts") or {}
    listed, template = prompts.get("contexts"), prompts.get("template")
    strategy = (recipe.get("strategy") or {}).get("name", "text_to_image")
    contexts = tuple(map(str, listed)) if isinstance(listed, list) and listed else None
    if not isinstance(template, str) or strategy == _WORDS or ":" in strategy or _has_fields(template):
        template = None
    noun = KINDS[recipe["kind"]].noun if recipe.get("kind") in KINDS else ""
    return ExpectedPrompts(
        template, noun, tuple(names), contexts, _negatives(recipe, names, contexts), recipe.get("seed", 0)
    )


def _has_fields(template: str) -> bool:
    try:
        return bool(template_fields(template))
    except UserError:
        return True


def _negatives(
    recipe: Mapping[str, Any], names: Sequence[str], contexts: tuple[str, ...] | None
) -> tuple[tuple[str | None, ...], ...] | None:
    """Return the negative prompt of each class in each context; None if they do not follow from the recipe."""
    terms = (recipe.get("prompts") or {}).get("negatives")
    if contexts is None or not isinstance(terms, list) or recipe.get("kind") not in KINDS:
        return None
    try:
        # A term of the user contradicts no class and no context, so nothing is removed from the terms of the user.
        return tuple(negative_prompts([str(term) for term in terms], names, contexts, True)[0])
    except UserError:
        return None


def names_in_prompts(manifest: Manifest, names: Sequence[str]) -> list[str] | None:
    """Return the names of the classes in prompts as the recipe defines them; None if the recipe does not fit them."""
    recipe = manifest["recipe"]
    descriptions = (recipe.get("prompts") or {}).get("label_descriptions")
    try:
        return prompt_names(names, recipe["source"].get("label_names", "clean"), descriptions, unread=names)
    except (UserError, AttributeError, TypeError):
        return None
