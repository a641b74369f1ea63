"""Wording: all the words of one recipe over the classes of one dataset, checked and ready to be put together.

Owns the pairing of label and context into the two prompts of Eq. 4. How a prompt is rendered is prompts.py; which unit
gets which context is augmentation/plan.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.augment_rules import PRESETS
from diffcore_hf.config.kinds import KINDS, TEMPLATES
from diffcore_hf.method.prompts import (
    contexts_of,
    negative_prompts,
    negatives_of,
    prompt_names,
    render_prompt,
    template_fields,
)


@dataclass(frozen=True)
class Wording:
    """Template, names, contexts and negatives of a run."""

    template: str
    noun: str
    """What {kind} stands for."""
    names: tuple[str, ...]
    """What {label} stands for, by class."""
    contexts: tuple[str, ...]
    fields: tuple[str, ...]
    """Columns of the source that the template names."""
    negatives: tuple[tuple[str | None, ...], ...]
    """The negative prompt by class and context."""
    notes: tuple[str, ...]
    """What a reader should know of these words, in one line each."""
    backgrounds: tuple[str, ...] = ()
    """Contexts that tell nothing about a class: the recipe's and the usual ones. Empty where a class is a context."""

    def pair(self, label: int, context: str, fields: Mapping[str, str]) -> tuple[str, str | None]:
        """P_c and P_n of one class in one context; `fields` holds the row's values of `self.fields`."""
        positive = render_prompt(self.template, self.names[label], self.noun, context, fields)
        return positive, self.negatives[label][self.contexts.index(context)]

    def captions(self) -> list[str]:
        """The plain caption of each class, without a context: what a text tower compares images with."""
        return [render_prompt(TEMPLATES["caption"], name, self.noun, "") for name in self.names]

    def context_captions(self) -> list[str]:
        """A caption of each background, no class named: where contexts lie in the space of a text tower."""
        subject = "a photo of a {kind}, {context}" if self.noun else "a photo, {context}"
        return [render_prompt(subject, "", self.noun, context) for context in self.backgrounds]


def wording(recipe: Recipe, names: Sequence[str]) -> Wording:
    """The words of a recipe for the classes called `names` in the source.

    Raises:
        UserError: an opaque id as a class name, a map that names no class, a negative term of the user's that holds
            the label or the context it is used with.
    """
    template = TEMPLATES.get(recipe.prompts.template, recipe.prompts.template)
    contexts = contexts_of(recipe.prompts, recipe.kind)
    terms, builtin = negatives_of(recipe.prompts, recipe.kind)
    called = prompt_names(names, recipe.source.label_names, recipe.prompts.label_descriptions)
    negatives, dropped = negative_prompts(terms, called, contexts, builtin)
    notes = [*our_reading(recipe), *namesakes(names, called)]
    if dropped:
        notes.append(f"{dropped:,} built-in negative terms dropped where they clash with the label or the context")
    return Wording(
        template=template,
        noun=KINDS[recipe.kind].noun,
        names=tuple(called),
        contexts=contexts,
        fields=tuple(sorted(template_fields(template))),
        negatives=tuple(negatives),
        notes=tuple(notes),
        backgrounds=backgrounds(contexts, recipe.kind),
    )


def backgrounds(contexts: Sequence[str], kind: str) -> tuple[str, ...]:
    """The contexts of a recipe, of its kind and of things in general, each once; those that name a class are left out.

    The usual ones too, because real images stand in contexts that no prompt names.
    """
    if KINDS[kind].is_context:
        return ()
    usual = (*contexts, *KINDS[kind].contexts, *KINDS["general"].contexts)
    return tuple(dict.fromkeys(context for context in usual if context.strip() and "{" not in context))


def our_reading(recipe: Recipe) -> list[str]:
    """What `preset: paper` reads into the paper, said wherever its template and gamma meet."""
    gamma = PRESETS["paper"]["model"]["gamma"]
    template = TEMPLATES.get(recipe.prompts.template, recipe.prompts.template)
    if template != TEMPLATES["paper"] or recipe.model.gamma != gamma:
        return []
    return [f"the template is the paper's, but the paper gives no gamma: {gamma} is our reading of it"]


def namesakes(names: Sequence[str], called: Sequence[str]) -> list[str]:
    """A line about classes that prompts cannot tell apart, with three examples."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(called):
        groups[name.casefold()].append(place)
    same = [places for places in groups.values() if len(places) > 1]
    if not same:
        return []
    shown = [
        f"{called[places[0]]!r} ({', '.join(names[place] for place in places[:3])}{', ...' if len(places) > 3 else ''})"
        for places in same[:3]
    ]
    more = f" and {len(same) - 3} more" if len(same) > 3 else ""
    return [
        f"classes that share a name in prompts: {', '.join(shown)}{more}. "
        "Tell them apart with prompts.label_descriptions"
    ]
