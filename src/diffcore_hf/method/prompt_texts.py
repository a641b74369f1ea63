"""Prompt texts: template, class names, contexts and negative prompts of one recipe for the classes of one dataset.

Owns the record of the texts, their checks, and the two prompts of Eq. 4 for a class and a context. Does not render a
prompt (prompts.py) or choose the context of a unit (augmentation/plan.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.augment_schema import PRESETS
from diffcore_hf.config.kinds import KINDS, TEMPLATES
from diffcore_hf.config.policy import PolicyConfig, reads_class_names
from diffcore_hf.config.yaml_text import map_in_shell
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.prompts import (
    contexts_of,
    negative_prompts,
    negatives_of,
    opaque_classes,
    prompt_names,
    render_prompt,
    template_fields,
)


@dataclass(frozen=True)
class PromptTexts:
    """Prompt texts of a run: template, class names, contexts and negative prompts."""

    template: str
    """The template of the positive prompts, with placeholders."""
    noun: str
    """The text for {kind}; may be empty."""
    names: tuple[str, ...]
    """The text for {label} of each class."""
    contexts: tuple[str, ...]
    """The text for {context} of each context; "" for a prompt without a context."""
    fields: tuple[str, ...]
    """Columns of the source that the template names."""
    negatives: tuple[tuple[str | None, ...], ...]
    """The negative prompt of each class in each context; None: there is no negative prompt."""
    notes: tuple[str, ...]
    """Remarks on these texts for the plan and the card, one line each."""
    backgrounds: tuple[str, ...] = ()
    """Contexts of the recipe and built-in contexts that do not name a class. Empty if the classes are contexts
    themselves."""
    words: tuple[str, ...] = ()
    """The text for {label} of each class in the prompts of generated images, such as learned tokens. If it is empty,
    the prompts use `names`. Captions always use `names`."""
    opaque: frozenset[int] = frozenset()
    """Indices of the classes whose names are opaque ids. Prompts name such a class by its word."""

    def prompt_pair(self, label: int, context: str, fields: Mapping[str, str]) -> tuple[str, str | None]:
        """Returns P_c and P_n of one class in one context.

        Args:
            label: index of the class.
            context: one of `contexts`.
            fields: the values of the columns in `self.fields` for the row.
        """
        positive = render_prompt(self.template, self.word(label), self.noun, context, fields)
        return positive, self.negatives[label][self.contexts.index(context)]

    def word(self, label: int) -> str:
        """Returns the text for {label} of a class in the prompts of generated images."""
        return (self.words or self.names)[label]

    def description(self, label: int) -> str:
        """Returns a text that describes a class. For an opaque name it is the noun of the kind, or `object`."""
        return self.names[label] if label not in self.opaque else self.noun or "object"

    def captions(self) -> list[str]:
        """Returns the caption of each class without a context, for ranking by text (ranking.py)."""
        return [render_prompt(TEMPLATES["caption"], name, self.noun, "") for name in self.names]

    def context_captions(self) -> list[str]:
        """Returns one caption for each background. The captions name no class.

        ranking.py computes the directions of the contexts from them.
        """
        subject = "a photo of a {kind}, {context}" if self.noun else "a photo, {context}"
        return [render_prompt(subject, "", self.noun, context) for context in self.backgrounds]


def make_prompt_texts(recipe: Recipe, names: Sequence[str], words: Mapping[str, str] | None = None) -> PromptTexts:
    """Returns the prompt texts of a recipe for the classes of a dataset.

    Args:
        recipe: the recipe; its `source`, `kind`, `prompts`, `model.gamma` and `filter.policy` are used.
        names: the K class names of the source.
        words: the text for {label} in the prompts of some classes, by the name of the class.

    Raises:
        UserError: a class without a word has an opaque id as its name. Or any class has such a name, and the policy
            compares images with names. Or a map has a key that is not a class. Or a negative term of the user
            contradicts a label or a context.
    """
    template = TEMPLATES.get(recipe.prompts.template, recipe.prompts.template)
    contexts = contexts_of(recipe.prompts, recipe.kind)
    terms, builtin = negatives_of(recipe.prompts, recipe.kind)
    label_names, words = recipe.source.label_names, words or {}
    names_in_prompts = prompt_names(names, label_names, recipe.prompts.label_descriptions, words.keys())
    opaque = opaque_classes(names, names_in_prompts, label_names)
    if opaque and reads_class_names(recipe.filter.policy):
        raise _opaque_caption(names[opaque[0]], recipe.filter.policy)
    negatives, removed = negative_prompts(terms, names_in_prompts, contexts, builtin)
    notes = [*gamma_note(recipe), *shared_names(names, names_in_prompts)]
    if removed:
        notes.append(f"{removed:,} built-in negative terms removed because they contradict the label or the context")
    return PromptTexts(
        template=template,
        noun=KINDS[recipe.kind].noun,
        names=tuple(names_in_prompts),
        contexts=contexts,
        fields=tuple(sorted(template_fields(template))),
        negatives=tuple(negatives),
        notes=tuple(notes),
        backgrounds=backgrounds(contexts, recipe.kind),
        words=tuple(words.get(name, text) for name, text in zip(names, names_in_prompts, strict=True)) if words else (),
        opaque=frozenset(opaque),
    )


def _opaque_caption(name: str, policy: PolicyConfig) -> UserError:
    """Returns the error for a class with a word and an opaque name, whose caption the policy reads."""
    other = "--filter.policy.name rank" if policy.name == "text_softmax" else "--filter.policy.by context_free"
    return UserError(
        f"class {name!r} is an opaque id, and the filter compares images with the names of the classes. Use {other}, "
        f"or describe the class with --source.label_names {map_in_shell({name: 'a description'})}"
    )


def backgrounds(contexts: Sequence[str], kind: str) -> tuple[str, ...]:
    """Returns the contexts that do not name a class: those of the recipe, of its kind and of kind `general`, each once.

    The contexts of the kinds are included, because real images show contexts that no prompt names.
    """
    if KINDS[kind].is_context:
        return ()
    candidates = (*contexts, *KINDS[kind].contexts, *KINDS["general"].contexts)
    return tuple(dict.fromkeys(context for context in candidates if context.strip() and "{" not in context))


def gamma_note(recipe: Recipe) -> list[str]:
    """Returns the remark that the paper gives no gamma, or [].

    The remark applies if the recipe has the template of the paper and the gamma of preset `paper`.
    """
    gamma = PRESETS["paper"]["model"]["gamma"]
    template = TEMPLATES.get(recipe.prompts.template, recipe.prompts.template)
    if template != TEMPLATES["paper"] or recipe.model.gamma != gamma:
        return []
    return [f"the template is the paper's, but the paper gives no gamma: {gamma} is an assumption of this project"]


def shared_names(names: Sequence[str], names_in_prompts: Sequence[str]) -> list[str]:
    """Returns a remark on classes that have the same name in prompts, with at most three examples; [] if there are
    none.

    Args:
        names: the K class names of the source.
        names_in_prompts: the K names in prompts.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names_in_prompts):
        groups[name.casefold()].append(index)
    shared = [members for members in groups.values() if len(members) > 1]
    if not shared:
        return []
    examples = []
    for members in shared[:3]:
        listed = ", ".join(names[index] for index in members[:3])
        examples.append(f"{names_in_prompts[members[0]]!r} ({listed}{', ...' if len(members) > 3 else ''})")
    more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
    return [
        f"classes that share a name in prompts: {', '.join(examples)}{more}. "
        "Give each class a different text with prompts.label_descriptions"
    ]
