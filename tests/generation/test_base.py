"""Tests of the names of strategies in a recipe, and of the errors about them."""

import pytest

from diffcore_hf.config.augment import ModelConfig, StrategyConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.base import Strategy, make_strategy, strategy_class, strengths_of
from diffcore_hf.generation.text_to_image import TextToImageStrategy


class Unknown(Strategy):
    reads = ("prompt", "img")

    def sample(self, batch):
        raise NotImplementedError


class Named(Strategy):
    """A strategy that can be named and generates nothing."""

    def sample(self, batch):
        raise NotImplementedError


@pytest.mark.parametrize(
    "name, message",
    [
        ("image2image", "not a strategy. The strategies are: text_to_image, image_to_image"),
        ("no_such_module_anywhere:X", "no module 'no_such_module_anywhere'"),
        ("json:JSONDecoder", "not a subclass of"),
        (f"{__name__}:Missing", "is missing"),
        (f"{__name__}:Unknown", "reads 'img', which is not a column of a unit"),
    ],
)
def test_a_strategy_that_cannot_be_used_gives_a_one_line_error(name, message):
    with pytest.raises(UserError, match=message) as error:
        strategy_class(name)
    assert "\n" not in str(error.value)


def test_the_default_is_text_to_image_without_options():
    strategy = make_strategy(StrategyConfig(), ModelConfig(), batch_size=3)
    assert isinstance(strategy, TextToImageStrategy)
    assert strategy.batch_size == 3
    with pytest.raises(
        UserError, match=r"strategy\.options has 'strength', which this strategy does not have; it has no options"
    ):
        make_strategy(StrategyConfig(options={"strength": 0.5}), ModelConfig())


@pytest.mark.parametrize(
    ("value", "strengths"),
    [
        (0.5, (0.5,)),
        ([0.25, 1], (0.25, 1.0)),
        (10**400, ()),
        ([0.5, 10**400], ()),
        (float("nan"), ()),
        ("x", ()),
        (None, ()),
    ],
)
def test_values_that_are_no_finite_numbers_are_no_strengths(value, strengths):
    assert strengths_of({"strength": value}) == strengths
