"""Remedies: the advice for a user about attempts that were rejected for one reason.

Owns one text for each reason of method/checks.py, with values of the run and flags that work. A setting that changes
the content of an attempt needs a new output folder, so the text names such a folder.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffcore_hf.augmentation.material import Material
from diffcore_hf.config.digests import NO_MODEL
from diffcore_hf.core.terminal_text import visible
from diffcore_hf.method.checks import CRASHED, Check, checks_of

FULL_PRECISION = "float32"


@dataclass(frozen=True)
class Situation:
    """The facts about a run that the remedies name."""

    output: str
    """The folder of the run."""
    model: str | None
    """`model.path` of the recipe; None: the strategy uses no model."""
    dtype: str
    """Precision of the model."""
    strategy: str
    """Name of the strategy."""
    adapters: bool
    """Whether the recipe adds adapters to the model."""
    review: str | None
    """Path of the reviewer's file."""
    most_frequent_class: str
    """Name of the class with most attempts of this reason."""
    first_error: str
    """Text of the first crashed attempt; "" if none crashed."""

    def new_output(self, suffix: str = "2") -> str:
        """Returns the flag for another output folder, whose name has a suffix."""
        return f"--output {shlex.quote(f'{self.output}-{suffix}')}"


def situation_of(material: Material, reason: str) -> Situation:
    """Returns the facts of a run that the remedy for a reason names."""
    recipe, model = material.recipe, material.run.resolution.model
    has_reason = np.flatnonzero(material.decisions.reason == reason)
    labels = Counter(material.plan.shown[material.attempts.units[has_reason]].tolist())
    names = material.plan.prompt_texts.names
    return Situation(
        output=str(material.run.folder.path),
        model=None if model["family"] == NO_MODEL else recipe.model.path,
        dtype=recipe.model.dtype,
        strategy=recipe.strategy.name,
        adapters=bool(recipe.model.adapters),
        review=recipe.review,
        most_frequent_class=visible(names[labels.most_common(1)[0][0]]) if labels else "",
        first_error=visible(_first_error(material)),
    )


def _first_error(material: Material) -> str:
    """Returns the text of the first crashed attempt in the order of the table; "" if no attempt crashed."""
    for attempt in material.sorted_attempts:
        if material.decisions.reason[attempt] == CRASHED:
            return (material.attempts.reasons[attempt] or "").partition(":")[2].strip() or "an error without a text"
    return ""


def remedy(material: Material, reason: str) -> str:
    """Returns the remedy for the attempts of a run that have a reason."""
    return remedy_of(reason, situation_of(material, reason), checks_of(material.recipe.filter.checks))


def remedy_of(reason: str, situation: Situation, checks: Sequence[Check]) -> str:
    """Returns the likely cause of a reason, and flags or a command that change it, in one to three sentences.

    Args:
        reason: a reason of a check, other than `kept`.
        situation: the facts about the run.
        checks: the checks of the run.
    """
    if reason in _REMEDIES:
        return _REMEDIES[reason](situation)
    [check] = [check for check in checks if check.reason == reason]
    return _own_check(check, situation)


def _own_check(check: Check, situation: Situation) -> str:
    if check.recorded:
        return (
            f"{check.meaning}: strategy {situation.strategy} recorded it. Change the strategy or its "
            f"--strategy.options, and use {situation.new_output()}"
        )
    return f"{check.meaning}. To keep such images, leave this check out of --filter.checks"


def _crashed(situation: Situation) -> str:
    return (
        f"the first error was: {situation.first_error}. Correct its cause, and use {situation.new_output()}, because a "
        "crashed attempt is never repeated in its folder"
    )


def _unsafe(situation: Situation) -> str:
    where = f"most of them in class {situation.most_frequent_class}"
    if situation.model is None:
        return (
            f"strategy {situation.strategy} flagged them, {where}. Change the strategy or its --strategy.options, and "
            f"use {situation.new_output()}"
        )
    return (
        f"the safety checker of {situation.model} flagged them, {where}. Describe the class in other words "
        f"(--prompts.label_descriptions) or use another --model.path, and use {situation.new_output()}"
    )


def _invalid(situation: Situation) -> str:
    if situation.model is None:
        return (
            f"strategy {situation.strategy} returned images of one colour. Correct the strategy, and use "
            f"{situation.new_output()}"
        )
    if situation.dtype != FULL_PRECISION:
        return (
            f"with precision {situation.dtype} some models compute values that are not finite, which become images of "
            f"one colour. Use --model.dtype {FULL_PRECISION} {situation.new_output(FULL_PRECISION)}. A new folder is "
            "necessary, because the precision changes the attempts"
        )
    without = " or leave out --model.adapters" if situation.adapters else ""
    return (
        f"{situation.model} gives no usable pixels, although its precision is {FULL_PRECISION}. Use another "
        f"--model.path{without}, and use {situation.new_output()}"
    )


def _review(situation: Situation) -> str:
    return f"{situation.review} rejects them. --max_attempts sets how often such an image is generated again"


def _duplicate(situation: Situation) -> str:
    source = f"model {situation.model}" if situation.model else f"strategy {situation.strategy}"
    return (
        f"{source} gave the same file for different seeds. --max_attempts 1 avoids further attempts, which would be "
        "equal again"
    )


def _unlike_its_class(situation: Situation) -> str:
    return (
        f"look at them: diffcore-hf preview {shlex.quote(situation.output)} --samples 20. If they show their class, "
        "keep them with --filter.policy.name all. If not, describe the class (--prompts.label_descriptions), and use "
        f"{situation.new_output()}"
    )


def _below_floor(situation: Situation) -> str:
    return (
        f"look at them: diffcore-hf preview {shlex.quote(situation.output)} --samples 20. If they show their class, "
        "keep them with --filter.policy.floor off"
    )


def _not_drawn(situation: Situation) -> str:
    return "policy random keeps a random share, which --filter.policy.p sets"


def _leak(situation: Situation) -> str:
    return (
        "compare them with the real images that column nearest_row_id names. The model may know these real images. "
        "To keep the generated images, leave leak out of --filter.compare"
    )


def _memorised(situation: Situation) -> str:
    return (
        f"strategy {situation.strategy} may start from real images, or the model may know them. "
        "To keep the generated images, leave memorised out of --filter.compare"
    )


def _copy(situation: Situation) -> str:
    return (
        "the model generates few different pictures of the class. More contexts or a lower --model.gamma give other "
        "pictures. To keep such copies, leave copy out of --filter.compare"
    )


_REMEDIES: dict[str, Callable[[Situation], str]] = {
    CRASHED: _crashed,
    "unsafe": _unsafe,
    "invalid": _invalid,
    "review": _review,
    "duplicate": _duplicate,
    "leak": _leak,
    "memorised": _memorised,
    "copy": _copy,
    "low_similarity": _unlike_its_class,
    "low_rank": _unlike_its_class,
    "below_floor": _below_floor,
    "not_drawn": _not_drawn,
}
"""Reason of a built-in check -> function that writes its remedy."""
