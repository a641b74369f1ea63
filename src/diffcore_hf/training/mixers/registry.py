"""The mixers by name, and how the one of a recipe is built.

A new mixer is one file in this folder and one line here. A user's own mixer needs neither: the recipe names it as
`module:Class`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping

from diffcore_hf.config.train import MixerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.extensions import load_class
from diffcore_hf.training.mixers.base import Mixer, MixerSetup

MIXERS: Mapping[str, str] = {
    "mixup": "diffcore_hf.training.mixers.mixup:Mixup",
    "cutmix": "diffcore_hf.training.mixers.cutmix:CutMix",
}


def mixer_class(name: str) -> type[Mixer]:
    """Returns the class of a registered name, or of a user's own `module:Class`.

    Raises:
        UserError: neither.
    """
    if ":" in name:
        return load_class(name, Mixer, "mixer.name")
    if name not in MIXERS:
        near = difflib.get_close_matches(name, MIXERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(MIXERS)}."
        raise UserError(f"mixer.name is {name!r}, which is no mixer; {hint} Name a mixer of your own module:Class")
    return load_class(MIXERS[name], Mixer, "mixer.name")


def make_mixer(config: MixerConfig, classes: int) -> Mixer | None:
    """Returns the mixer of a recipe, None where no mixer is named.

    Raises:
        UserError: an unknown mixer, or an option that it does not have or accept.
    """
    if config.name is None:
        return None
    chosen = mixer_class(config.name)
    options = dict(config.options or {})
    parameters = inspect.signature(chosen).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise UserError(f"mixer.options.{name} is no option of {config.name}; {hint}")
    return chosen(MixerSetup(classes, config.probability, config.per), **options)
