"""Tests of mixer classes of a user: a class that cannot be used gives a one-line error."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest

from diffcore_hf.config.train import MixerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.base import Mixer
from diffcore_hf.training.mixers.registry import make_mixer


class WithoutForward(Mixer):
    """A mixer that does not define `forward`."""


class Abstract(Mixer):
    """A mixer with an abstract method, which torch's classes do not enforce."""

    @abstractmethod
    def draw(self):
        """Draw something."""

    def forward(self, context):
        raise NotImplementedError


class AbstractBase(Abstract, ABC):
    """A mixer with an abstract method and a metaclass that enforces it."""


class Complete(Abstract):
    """A subclass that defines the abstract method."""

    def draw(self):
        return None


class WithArguments(Mixer):
    """A mixer whose constructor takes other arguments."""

    def __init__(self, first, second):
        super().__init__(first)

    def forward(self, context):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("WithoutForward", "a class without a method forward"),
        ("Abstract", "an abstract class without draw"),
        ("AbstractBase", "an abstract class without draw"),
        ("WithArguments", "constructor cannot be called: missing a required argument: 'second'"),
    ],
)
def test_a_class_that_cannot_be_used_gives_a_one_line_error(name, message):
    with pytest.raises(UserError, match=message) as error:
        make_mixer(MixerConfig(name=f"{__name__}:{name}"), 3)
    assert "\n" not in str(error.value)


def test_a_class_that_defines_the_abstract_method_is_used():
    assert isinstance(make_mixer(MixerConfig(name=f"{__name__}:Complete"), 3), Mixer)
