"""The registry of mixers, and the function that builds the mixer of a recipe.

A new mixer is one file in this folder and one line in names.py. A mixer outside this package needs no registration: the
recipe names it as `module:Class`.
"""

from __future__ import annotations

import difflib
import inspect

from diffcore_hf.config.mixer_presets import resolved
from diffcore_hf.config.train import MixerConfig
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.extensions import load_class
from diffcore_hf.training.mixers.base import Mixer, MixerSetup
from diffcore_hf.training.mixers.names import MIXERS, check_mixer_name


def mixer_class(name: str) -> type[Mixer]:
    """Return the class of a registered mixer, or of a mixer that is named as `module:Class`.

    Raises:
        UserError: the name is not registered, or the class cannot be imported.
    """
    if ":" in name:
        mixer = load_class(name, Mixer, "mixer.name")
        if mixer.forward is Mixer.forward or inspect.isabstract(mixer):
            raise UserError(f"mixer.name is {name!r}, a class without a method forward. Name a subclass that has one")
        return mixer
    check_mixer_name(name)
    return load_class(MIXERS[name], Mixer, "mixer.name")


def make_mixer(config: MixerConfig, classes: int, seed: int = 0) -> Mixer | None:
    """Return the mixer of a recipe; None if the recipe names no mixer.

    Args:
        config: section `mixer` of the recipe.
        classes: number of classes.
        seed: seed of the training.

    Raises:
        UserError: the mixer is unknown, it lacks one of the options, or it does not accept the value of an option or of
            the partner.
    """
    if config.name is None:
        return None
    selected = mixer_class(config.name)
    config = resolved(config)
    probability = 1.0 if config.probability is None else config.probability
    options = dict(config.options or {})
    parameters = inspect.signature(selected).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Its options: {', '.join(known) or 'none'}"
            raise UserError(f"mixer.options.{name} is not an option of {config.name}. {hint}")
    if config.partner not in selected.partners:
        able = [name for name in MIXERS if config.partner in mixer_class(name).partners]
        raise UserError(
            f"mixer.partner is {config.partner!r}, which {config.name} does not support. Use --mixer.partner "
            f"{selected.partners[0]}, or one of {', '.join(able)}"
        )
    setup = MixerSetup(classes, probability, config.per, config.partner, seed)
    try:
        inspect.signature(selected).bind(setup, **options)
    except TypeError as error:
        raise UserError(
            f"mixer.name is {config.name!r}, whose constructor cannot be called: {innermost_cause(error)}. "
            "Define it as __init__(self, setup, *, option=DEFAULT)"
        ) from error
    return selected(setup, **options)
