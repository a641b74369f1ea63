"""Lint of the texts of a run, for `plan --lint` and `plan --deny`. Only tokenizers are read, and no weights.

Owns the findings and their texts. The single rules are in method/prompt_lint.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from diffcore_hf.augmentation.plan import Unit
from diffcore_hf.augmentation.run import Run
from diffcore_hf.config.digests import NO_MODEL
from diffcore_hf.config.kinds import template_pieces
from diffcore_hf.config.yaml_text import map_in_shell
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.list_files import read_list_file
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.method.ambiguous_labels import meanings_of
from diffcore_hf.method.prompt_lint import Phrases, contradicting_terms, cut_text, shared_prompts, unreadable, words_of
from diffcore_hf.models.text_tokenizers import text_tokenizer

MOST_PROMPTS = 20_000
"""Largest number of different prompts that are checked. A column of the source can make every prompt different."""
SHOWN = 10
"""Largest number of findings of one rule in the text."""
MAX_BYTES = 2**20
"""Largest size of a file of denied words."""


def read_denied(path: str | None) -> list[str]:
    """Return the words of a file, one word or phrase per line; [] without a file. Empty lines are skipped.

    Raises:
        UserError: the file cannot be read, has no word, or has a line without a letter or digit.
    """
    if path is None:
        return []
    remedy = "Use --deny FILE with one word per line, or leave it out"
    file = read_list_file(path, key="--deny", items="words", remedy=remedy, max_bytes=MAX_BYTES)
    words = list(dict.fromkeys(line.strip() for line in file.text.splitlines() if line.strip()))
    if not words:
        raise UserError(f"--deny {path} has no word. Write one word per line, or leave --deny out")
    if wrong := next((word for word in words if not words_of(word)), None):
        raise UserError(f"--deny {path} has the line {wrong[:80]!r}, which has no letter or digit. Remove this line")
    return words


def findings(run: Run, words: Sequence[str], *, lint: bool) -> list[list[str]]:
    """Return the findings about the texts of a run: for each rule a list of lines.

    Args:
        run: the prepared run.
        words: words that no label and no context may contain.
        lint: check the prompts too.
    """
    rules = [denied_texts(run, words)]
    if lint:
        units = list(islice(_different_units(run), MOST_PROMPTS))
        rules += [
            ambiguous_labels(run),
            contradictions(run),
            unreadable_texts(run, units),
            too_long(run, units),
            duplicates(run, units),
        ]
    return rules


def findings_text(rules: Sequence[Sequence[str]], *, without_contexts: bool = False) -> str:
    """Return the findings as lines for the terminal, at most SHOWN of each rule.

    Args:
        rules: for each rule its findings.
        without_contexts: the contexts were not checked, because they are still to be made from captions.
    """
    count = sum(map(len, rules))
    lines = [f"lint: {count:,} finding{'' if count == 1 else 's'}"]
    for listed in rules:
        lines += [f"  {line}" for line in listed[:SHOWN]]
        if len(listed) > SHOWN:
            lines.append(f"  ... and {len(listed) - SHOWN:,} more of this kind")
    if without_contexts:
        lines.append(
            "  note: the contexts are still to be made from captions, so repeat this command after the first run"
        )
    return "\n".join(map(visible, lines))


def denied_texts(run: Run, words: Sequence[str]) -> list[str]:
    """Return the labels, names in prompts, contexts and values of columns in prompts that contain a denied word."""
    if not words:
        return []
    plan, texts = run.plan, run.plan.prompt_texts
    named = [(f"class {name!r}", name) for name in run.source.names]
    named += [(f"the name in prompts {name!r}", name) for name in texts.names if name not in run.source.names]
    named += [(f"context {context!r}", context) for context in texts.contexts]
    rows = np.unique(plan.rows).tolist()
    for field, values in plan.fields.items():
        different = dict.fromkeys(values[row] for row in rows if values[row])
        named += [(f"column {field} with the value {value!r}", value) for value in different]
    phrases = Phrases(words)
    return [
        f"{what} contains {word!r}, which the file of --deny lists"
        for what, each in named
        for word in phrases.found_in(each)
    ]


def ambiguous_labels(run: Run) -> list[str]:
    """Return the names with another common meaning.

    A name is left out if the prompt also names the kind of object, or if the user chose the name: the class has an
    entry in `source.label_names` or `prompts.label_descriptions`.
    """
    texts, recipe = run.plan.prompt_texts, run.recipe
    if texts.noun and "kind" in {name for _, name in template_pieces(texts.template)}:
        return []
    mapped = recipe.source.label_names
    chosen = {*(mapped if isinstance(mapped, dict) else ()), *(recipe.prompts.label_descriptions or {})}
    lines = []
    for original, name in zip(run.source.names, texts.names, strict=True):
        meanings = None if {original, name} & chosen else meanings_of(name)
        if meanings is not None:
            described = map_in_shell({original: f"{name}, {meanings[0]}"})
            lines.append(
                f"label {name!r} has several meanings, such as {meanings[0]} and {meanings[1]}. Describe it with "
                f"--prompts.label_descriptions {described}, or confirm it with --source.label_names "
                f"{map_in_shell({original: name})}"
            )
    return lines


def contradictions(run: Run) -> list[str]:
    """Return the negative terms that name a class or a context in another form, such as the plural.

    A term with the same words needs no finding: it is an error, or it is left out of the prompt (method/prompts.py).
    """
    texts = run.plan.prompt_texts
    lines: dict[str, None] = {}
    for label in sorted(set(run.plan.shown.tolist())):
        for context, negative in zip(texts.contexts, texts.negatives[label], strict=True):
            for what, named in (("label", texts.names[label]), ("context", context)):
                for term in contradicting_terms(negative or "", named):
                    line = f"negative term {term!r} names the {what} {named!r}. Change prompts.negatives"
                    lines[line] = None
    return list(lines)


def unreadable_texts(run: Run, units: Sequence[Unit]) -> list[str]:
    """Return the texts of prompts that are not readable phrases: template, names, contexts and values of columns."""
    plan, texts = run.plan, run.plan.prompt_texts
    named = [("the template", " x ".join(["", *(piece for piece, _ in template_pieces(texts.template))]))]
    named += [
        (f"the name {name!r} of class {original!r}", name)
        for original, name in zip(run.source.names, texts.names, strict=True)
    ]
    named += [(f"context {each!r}", " x ".join(piece for piece, _ in template_pieces(each))) for each in texts.contexts]
    for field, values in plan.fields.items():
        named += [(f"column {field} of row {unit.row_id}", values[unit.row]) for unit in units if values[unit.row]]
    return [f"{what} has {reason}" for what, each in named if each.strip() and (reason := unreadable(each))]


def too_long(run: Run, units: Sequence[Unit]) -> list[str]:
    """Return the prompts that are longer than the text encoder reads, with the text that is cut."""
    tokenizer = None if run.resolution.model["family"] == NO_MODEL else text_tokenizer(run.recipe.model)
    if tokenizer is None:
        return []
    lines: dict[str, None] = {}
    for unit in units:
        for what, each in (("prompt", unit.prompt), ("negative prompt", unit.negative_prompt or "")):
            if cut := cut_text(each, tokenizer.tokens, tokenizer.limit):
                line = (
                    f"the {what} {each!r} has {len(tokenizer.tokens(each))} tokens, and the text encoder reads the "
                    f"first {tokenizer.limit}. The end {cut!r} is cut"
                )
                lines[line] = None
    return list(lines)


def duplicates(run: Run, units: Sequence[Unit]) -> list[str]:
    """Return the prompts that several classes have, or several contexts of one class."""
    names = run.source.names
    owners = dict.fromkeys(
        (unit.prompt, f"class {names[unit.target_label]!r} with context {unit.context!r}")
        for unit in sorted(units, key=lambda unit: (unit.target_label, unit.context))
    )
    return [
        f"the prompt {prompt!r} belongs to {' and '.join(named[:2])}"
        + (f" and {len(named) - 2} more" if len(named) > 2 else "")
        for prompt, named in shared_prompts(owners).items()
    ]


def _different_units(run: Run) -> Iterator[Unit]:
    """Yield one unit for each class and context; all units if the template names columns of the source."""
    plan = run.plan
    seen = set()
    for index, key in enumerate(zip(plan.shown.tolist(), plan.contexts.tolist(), strict=True)):
        if plan.fields or key not in seen:
            seen.add(key)
            yield plan.unit(index)
