"""The length of a training: how many steps, and how often it is looked at. The same for every arm of a comparison."""

from __future__ import annotations

from dataclasses import dataclass

from diffcore_hf.config.train import TrainRecipe


@dataclass(frozen=True)
class Length:
    """How long a training is; the same steps for every arm of a comparison."""

    steps: int
    per_epoch: float
    """Steps an epoch of this arm's samples."""
    evaluate_every: float
    """Steps between validations, the same for every arm: whoever is looked at more often has the better best."""

    @property
    def epochs(self) -> float:
        """Passes over this arm's samples."""
        return self.steps / self.per_epoch


def length(recipe: TrainRecipe, samples: int, like: Length | None = None) -> Length:
    """Steps of a training of so many samples an epoch: as of another arm, else max_steps, else the recipe's epochs."""
    per_epoch = samples / recipe.batch_size
    if like is not None:
        return Length(like.steps, per_epoch, like.evaluate_every)
    steps = recipe.max_steps or max(1, round(recipe.epochs * per_epoch))
    return Length(steps, per_epoch, recipe.evaluate_every * per_epoch)
