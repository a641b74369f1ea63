"""Tests of the strategy `image_to_image`: its options, and a run on photos."""

import pytest

from diffcore_hf.config.augment import ModelConfig, StrategyConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.base import make_strategy
from diffcore_hf.method.strength import denoising_steps

RECORD = {"pipeline": "StableDiffusionPipeline"}


def made(steps: int = 16, **options):
    return make_strategy(StrategyConfig("image_to_image", options=options), ModelConfig(steps=steps))


def test_the_options_have_defaults():
    assert made().options == {"strength": 0.5, "fit": "crop"}
    assert made(strength=[0.25, 1]).strengths == (0.25, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strenght": 0.5}, "strategy.options has 'strenght', which this strategy does not have; its options are: str"),
        (
            {"strength": 0},
            "strategy.options.strength is 0, not a number in (0, 1]. Use --strategy.options.strength 0.5",
        ),
        ({"strength": "high"}, "strategy.options.strength is 'high', not a number in (0, 1]"),
        ({"strength": 0.06}, "strength is 0.06, which leaves no denoising step of model.steps 16. Use --strategy.opt"),
        (
            {"strength": [0.5, 0.5]},
            "strength is [0.5, 0.5], not a number or a list of different numbers. Use --strateg",
        ),
        ({"strength": []}, "strength is [], not a number or a list"),
        ({"strength": [1, 1.0]}, "strength is [1, 1.0], not a number or a list of different numbers"),
        ({"strength": float("nan")}, "strength is nan, not a number in (0, 1]"),
        ({"strength": [0.5, 0.01]}, "strength is 0.01, which leaves no denoising step"),
        ({"fit": "pad"}, "strategy.options.fit is 'pad', not one of crop, stretch. Use --strategy.options.fit crop"),
    ],
)
def test_a_wrong_option_gives_a_one_line_error(options, message):
    with pytest.raises(UserError) as error:
        made(**options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("steps", [1, 3, 16, 50])
def test_the_strength_that_the_error_names_works(steps):
    with pytest.raises(UserError) as error:
        made(steps, strength=0.0001)
    strength = float(str(error.value).split("--strategy.options.strength ")[1].split()[0])
    assert denoising_steps(steps, made(steps, strength=strength).strengths[0]) == 1


def test_the_cost_counts_both_prompts_of_equation_4():
    assert made(25, strength=0.15).evaluations(RECORD) == 2 * 3
    assert made(20, strength=[0.25, 0.75]).evaluations(RECORD) == 2 * 10
    assert make_strategy(StrategyConfig(), ModelConfig(steps=25)).evaluations(RECORD) == 50
    assert make_strategy(StrategyConfig(), ModelConfig(steps=25, gamma=0.0)).evaluations(RECORD) == 25
