"""Strategies: the ways to generate the image of an attempt from the columns of its unit.

Owns the interface of a strategy and the names of strategies in a recipe. Does not choose the units
(augmentation/plan.py), encode images or isolate failures (augmentation/stages), or load weights (models).

A strategy of your own is a subclass of `Strategy` in a module that is installed beside this package. A recipe names it
`strategy: my_module:MyStrategy`. To add one to this package, write one file here and one line in `STRATEGIES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.extensions import load_class
from diffcore_hf.core.schema import SOURCE_IMAGE
from diffcore_hf.models.samples import Samples

if TYPE_CHECKING:
    from diffcore_hf.config.augment import ModelConfig, StrategyConfig

__all__ = ["STRATEGIES", "UNIT_COLUMNS", "Batch", "Samples", "Strategy", "strategy_class"]

Batch = Mapping[str, Sequence[Any]]
"""The columns of some units by name; all columns have the same length."""

UNIT_COLUMNS = {
    "row_id": "id of the row of the source",
    "copy": "number of the counterpart of this row: 0, 1, ...",
    "attempt": "number of the attempt for this unit: 0, 1, ...",
    "label": "index of the row's class",
    "target_label": "index of the class that the image has to show",
    "context": "context that the prompt names; empty for no context",
    "prompt": "positive prompt",
    "negative_prompt": "negative prompt, or None",
    "seed": "seed of the attempt, 63 bits",
    SOURCE_IMAGE: "the row's real image, a PIL image in RGB at full size",
}
"""The columns that a strategy can read. These names do not depend on the names of the source's columns."""

STRATEGIES = {"text_to_image": "diffcore_hf.generation.text_to_image:TextToImageStrategy"}
"""The strategies of this package, by the name that a recipe uses."""


class Strategy(ABC):
    """A way to generate the images of attempts.

    The image of an attempt depends only on the columns in `reads`, the configuration and the preparation. It does not
    depend on the other images of the batch, so that an interrupted run gives the same result as an uninterrupted one.

    Args:
        config: section `model` of the recipe, with `auto` and null replaced when a run starts. Without `uses_model` it
            stays as the recipe has it.
        strict: true if the images must have equal bits for any division into batches.
        batch_size: images per device batch; None: the strategy chooses.
        options: `strategy.options` of the recipe.
    """

    VERSION: ClassVar[str] = "1"
    """Version of the output. Increase it when the output changes; the attempt digest includes it."""
    reads: ClassVar[tuple[str, ...]] = ("prompt", "negative_prompt", "seed")
    """The columns of a unit that `sample` needs, as keys of UNIT_COLUMNS."""

    uses_model: ClassVar[bool] = True
    """False: the strategy reads nothing of section `model`. The run then resolves no model, the digests leave out the
    section, and the card and `plan` name no model."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        strict: bool = False,
        batch_size: int | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        self.config = config
        self.strict = strict
        self.options = dict(options or {})
        self._batch_size = batch_size

    @property
    def batch_size(self) -> int:
        """Images per device batch. It may become smaller during a run if the device runs out of memory."""
        return self._batch_size or 1

    def load(self) -> None:  # noqa: B027  # not abstract: a strategy without weights has nothing to load
        """Load the weights.

        The run calls this before the first image, so that an error of the model is never recorded as a fact about an
        image.
        """

    @abstractmethod
    def sample(self, batch: Batch) -> Samples:
        """Generate one image per unit.

        Args:
            batch: the columns in `reads`.

        Returns:
            (B, 3, H, W) uint8 and B flags. A flag is None or a recorded reason: `crashed`, `unsafe`, `invalid`, or the
            reason of a check with recorded=True that `filter.checks` names. The run flags images of one colour itself.

        If this method raises, the units of the batch are tried one by one. A unit that raises again gets the reason
        `crashed`.
        """

    def settings(self) -> dict[str, Any]:
        """Return further values that change the output, such as the commits of other weights, as plain values.

        The attempt digest includes them, beside VERSION, the model and the options.
        """
        return {}

    def preparation(self) -> dict[str, Any] | None:
        """Return the inputs of the preparation beside the references, as plain values; None: no preparation."""
        return None

    def prepare(self, references: Iterable[Mapping[str, Any]], folder: Path) -> None:
        """Write the files that all attempts use, such as learned tokens, before the first attempt.

        The run calls this once and records the files as a fact. The folder is named by a digest of the inputs. After
        an interruption this is called again with the same folder, so a strategy can resume from its own checkpoints.

        Args:
            references: the drawn real images, each with row_id, label, class_name and source_image.
            folder: the folder for the files.
        """
        raise NotImplementedError(f"{type(self).__name__} has a preparation() but no prepare()")

    def use_preparation(self, folder: Path) -> None:
        """Read the files that `prepare` wrote. The run calls this before `load` in each process that generates."""
        raise NotImplementedError(f"{type(self).__name__} has a preparation() but no use_preparation()")


def strategy_class(name: str) -> type[Strategy]:
    """Return the class of a strategy that a recipe names.

    Only installed modules are used. No code is loaded from a dataset or a repository on the Hub.

    Args:
        name: a key of STRATEGIES, or `module:Class`.

    Raises:
        UserError: a name that is not a strategy, or a class that is not a subclass of Strategy.
    """
    path = STRATEGIES.get(name, name)
    if ":" not in path:
        raise UserError(
            f"strategy.name is {name!r}, which is not a strategy; the strategies: {', '.join(STRATEGIES)}. Use one of "
            "these, or module:Class for a strategy of your own"
        )
    # mypy refuses an abstract class as type[...] (python/mypy#4717); only subclasses of it are returned here.
    strategy_type = load_class(path, Strategy, "strategy.name")  # type: ignore[type-abstract]
    if unknown := [column for column in strategy_type.reads if column not in UNIT_COLUMNS]:
        raise UserError(
            f"strategy {name!r} reads {unknown[0]!r}, which is not a column of a unit. The columns: "
            f"{', '.join(UNIT_COLUMNS)}"
        )
    return strategy_type


def make_strategy(
    strategy: StrategyConfig, config: ModelConfig, *, strict: bool = False, batch_size: int | None = None
) -> Strategy:
    """Return the strategy of a recipe. Its weights are loaded before the first image.

    Args:
        strategy: section `strategy` of the recipe.
        config: section `model` of the recipe.
        strict: true if the images must have equal bits for any division into batches.
        batch_size: images per device batch; None: the strategy chooses.

    Raises:
        UserError: a name or class that is not a strategy (strategy_class).
    """
    strategy_type = strategy_class(strategy.name)
    return strategy_type(config, strict=strict, batch_size=batch_size, options=strategy.options)
