"""The length of a training: its steps, and the steps between two validations. Both are the same for all arms."""

from __future__ import annotations

from dataclasses import dataclass

from diffcore_hf.config.train import TrainRecipe


@dataclass(frozen=True)
class Length:
    """How long a training is."""

    steps: int
    per_epoch: float
    """Steps for one epoch of this arm's samples."""
    evaluate_every: float
    """Steps between validations. Evaluating more often gives more chances to pick a high score, so all arms evaluate
    equally often."""

    @property
    def epochs(self) -> float:
        """How many times this arm's samples are read."""
        return self.steps / self.per_epoch

    @property
    def evaluations(self) -> frozenset[int]:
        """The numbers of steps after which a model is validated, the last step included."""
        every = max(1.0, self.evaluate_every)
        count = int(self.steps / every)
        return frozenset({max(1, round(every * number)) for number in range(1, count + 1)} | {self.steps})

    @property
    def log_every(self) -> int:
        """Steps between two records of the log: an epoch, at most 50."""
        return max(1, min(50, round(self.per_epoch)))


def training_length(recipe: TrainRecipe, samples: int, like: Length | None = None) -> Length:
    """Returns the length of a training.

    Args:
        recipe: max_steps, else epochs, say how long it is.
        samples: of an epoch.
        like: another arm's length, whose steps and evaluations are taken instead.
    """
    per_epoch = samples / recipe.batch_size
    if like is not None:
        return Length(like.steps, per_epoch, like.evaluate_every)
    steps = recipe.max_steps or max(1, round(recipe.epochs * per_epoch))
    return Length(steps, per_epoch, recipe.evaluate_every * per_epoch)
