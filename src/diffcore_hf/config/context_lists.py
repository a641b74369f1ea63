"""Context lists: the contexts that `prompts.contexts_from` names, from a file or from a function of the user.

They replace `prompts.contexts` when a recipe is built, so a run and its digests contain the contexts themselves.
"""

from __future__ import annotations

import inspect
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffcore_hf.config.augment import Recipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.extensions import NAME, load_function
from diffcore_hf.core.list_files import read_list_file

KEY = "prompts.contexts_from"
CAPTIONS = "captions"
"""Value of KEY: the first run makes the contexts from captions of real images (augmentation/image_captions.py)."""
NO_CONTEXT = '""'
"""Line of a file that stands for the empty context."""
MAX_BYTES = 2**20
MAX_CONTEXTS = 10_000


def with_listed_contexts(recipe: Recipe) -> Recipe:
    """Return a recipe whose `prompts.contexts` are those that `prompts.contexts_from` names.

    Raises:
        UserError: contexts are given twice, the file or function cannot be read, or it has no contexts.
    """
    source = recipe.prompts.contexts_from
    if source is None:
        return recipe
    if recipe.prompts.contexts is not None:
        raise UserError(f"prompts.contexts and {KEY} are both given. Leave one out, e.g. with --prompts.contexts null")
    is_function = bool(NAME.fullmatch(source)) and not os.path.exists(source)
    contexts = _of_function(source) if is_function else _of_file(source)
    if not contexts:
        raise UserError(f"{KEY} {source} has no context. Give at least one; {NO_CONTEXT} stands for no context")
    if unusable := next((context for context in contexts if _control(context)), None):
        raise UserError(
            f"{KEY} {source} has {unusable[:80]!r} with the control character {_control(unusable)!r}. Remove it"
        )
    if len(contexts) > MAX_CONTEXTS:
        raise UserError(f"{KEY} {source} has {len(contexts):,} contexts. Give at most {MAX_CONTEXTS:,}")
    return replace(recipe, prompts=replace(recipe.prompts, contexts=tuple(contexts), contexts_from=None))


def _control(text: str) -> str:
    """Return the first control character except a tab, or the first unpaired surrogate; "" if there is neither."""
    controls = (each for each in text if unicodedata.category(each) in ("Cc", "Cs") and each != "\t")
    return next(controls, "")


def _of_file(path: str) -> list[str]:
    """Return the contexts of a file, one per line; empty lines are skipped."""
    remedy = "Give a file with one context per line, or module:NAME"
    file = read_list_file(path, key=KEY, items="contexts", remedy=remedy, max_bytes=MAX_BYTES)
    lines = [line.strip() for line in file.text.splitlines()]
    return ["" if line == NO_CONTEXT else line for line in lines if line]


def _of_function(name: str) -> Sequence[str]:
    """Return the contexts that a function without arguments returns. An error inside it keeps its traceback."""
    function = load_function(name, KEY)
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise UserError(f"{KEY} is {name}, a function that needs arguments. Name one without arguments") from error
    except ValueError:  # some functions of C have no signature
        pass
    contexts: Any = function()
    if not isinstance(contexts, (list, tuple)) or not all(isinstance(context, str) for context in contexts):
        raise UserError(f"{KEY} is {name}, which does not return a list of texts. Return e.g. ['in snow', 'at night']")
    return contexts
