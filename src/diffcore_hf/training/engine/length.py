"""The length of a training: its number of steps, and the steps between two validations. All arms have the same
length."""

from __future__ import annotations

from dataclasses import dataclass

from diffcore_hf.config.train import TrainRecipe


@dataclass(frozen=True)
class Length:
    """Length of a training in steps."""

    steps: int
    per_epoch: float
    """Number of steps in one epoch of this arm."""
    evaluate_every: float
    """Steps between validations. Evaluating more often gives more chances to pick a high score, so all arms evaluate
    equally often."""

    @property
    def epochs(self) -> float:
        """Number of times that the training reads each sample of this arm."""
        return self.steps / self.per_epoch

    @property
    def evaluations(self) -> frozenset[int]:
        """The steps after which the model is validated; the last step is always one of them."""
        every = max(1.0, self.evaluate_every)
        count = int(self.steps / every)
        return frozenset({max(1, round(every * number)) for number in range(1, count + 1)} | {self.steps})

    @property
    def log_every(self) -> int:
        """Steps between two records of the log: one epoch, but at most 50 steps."""
        return max(1, min(50, round(self.per_epoch)))


def training_length(recipe: TrainRecipe, samples: int, like: Length | None = None) -> Length:
    """Return the length of a training.

    Args:
        recipe: recipe with max_steps or, if that is not set, epochs.
        samples: number of samples in an epoch.
        like: length of another arm; its number of steps and interval of evaluations are used. None: the recipe gives
            them.
    """
    per_epoch = samples / recipe.batch_size
    if like is not None:
        return Length(like.steps, per_epoch, like.evaluate_every)
    steps = recipe.max_steps or max(1, round(recipe.epochs * per_epoch))
    return Length(steps, per_epoch, recipe.evaluate_every * per_epoch)
