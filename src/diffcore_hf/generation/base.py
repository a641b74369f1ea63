"""Strategies: how the image of an attempt is generated from the columns of its unit.

Owns the interface of a strategy and how a recipe names one. Does not choose what is generated (augmentation/plan.py),
encode images or isolate failures (augmentation/stages), or load weights (models).

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
"""The columns of some units by name, all of one length."""

UNIT_COLUMNS = {
    "row_id": "id of the row of the source",
    "copy": "number of the counterpart of this row: 0, 1, ...",
    "attempt": "number of the attempt for this unit: 0, 1, ...",
    "label": "index of the row's class",
    "target_label": "index of the class that the image has to show",
    "context": "context that the prompt names; empty for none",
    "prompt": "positive prompt",
    "negative_prompt": "negative prompt, or None",
    "seed": "seed of the attempt, 63 bits",
    SOURCE_IMAGE: "the row's real image, a PIL image in RGB at full size",
}
"""The columns that a strategy can read. Their names are fixed, whatever the source calls its columns."""

STRATEGIES = {"text_to_image": "diffcore_hf.generation.text_to_image:TextToImageStrategy"}
"""The strategies of this package, by the name that a recipe uses."""


class Strategy(ABC):
    """A way to generate the images of attempts.

    The image of an attempt depends on the columns in `reads`, the configuration and the preparation alone. It does not
    depend on the other images of the batch, so that an interrupted run continues to the same result.

    Args:
        config: the model section of the recipe, without `auto` and null in a run.
        strict: equal bits, however the work is divided into batches.
        batch_size: images per device batch; None: the strategy chooses.
        options: the recipe's `strategy.options`.
    """

    VERSION: ClassVar[str] = "1"
    """Raise it when the output changes; it is part of the attempt digest."""
    reads: ClassVar[tuple[str, ...]] = ("prompt", "negative_prompt", "seed")
    """The columns of a unit that `sample` needs, names of UNIT_COLUMNS."""

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
        """Images per device batch. It may fall during a run, when memory is short."""
        return self._batch_size or 1

    def load(self) -> None:  # noqa: B027  # not abstract: a strategy without weights has nothing to load
        """Load the weights.

        The run calls this before the first image, so that a broken model is never recorded as a fact about an image.
        """

    @abstractmethod
    def sample(self, batch: Batch) -> Samples:
        """Generate one image per unit.

        Args:
            batch: the columns in `reads`.

        Returns:
            (B, 3, H, W) uint8 and B flags. An exception costs only this batch: its units are tried one by one, and a
            unit that fails alone gets the reason `crashed`.
        """

    def settings(self) -> dict[str, Any]:
        """Return what else decides the output, such as the commits of further weights, as plain values.

        The attempt digest covers it, beside VERSION, the model and the options.
        """
        return {}

    def preparation(self) -> dict[str, Any] | None:
        """Return what the preparation depends on beside the references, as plain values; None: there is none."""
        return None

    def prepare(self, references: Iterable[Mapping[str, Any]], folder: Path) -> None:
        """Make what all attempts share, such as learned tokens, before the first attempt.

        The run calls this once and records the files as a fact, named by a digest of the inputs. After an
        interruption it is called again with the same folder, where a strategy can find its own checkpoints.

        Args:
            references: the drawn real images: row_id, label, class_name and source_image.
            folder: where to write the files.
        """
        raise NotImplementedError(f"{type(self).__name__} has a preparation() but no prepare()")

    def use_preparation(self, folder: Path) -> None:
        """Read the files that `prepare` wrote. Every process that generates images calls this before `load`."""
        raise NotImplementedError(f"{type(self).__name__} has a preparation() but no use_preparation()")


def strategy_class(name: str) -> type[Strategy]:
    """Return the class of a strategy that a recipe names.

    Only modules that Python can import are used: nothing is taken from a dataset or a repository on the Hub.

    Args:
        name: a key of STRATEGIES, or `module:Class`.

    Raises:
        UserError: no such strategy, or a class that is none.
    """
    path = STRATEGIES.get(name, name)
    if ":" not in path:
        raise UserError(
            f"strategy.name is {name!r}, which is none of {', '.join(STRATEGIES)}. Use one of these, or module:Class "
            "for a strategy of your own"
        )
    # mypy refuses an abstract class as type[...] (python/mypy#4717); only subclasses of it are returned here.
    found = load_class(path, Strategy, "strategy.name")  # type: ignore[type-abstract]
    if unknown := [column for column in found.reads if column not in UNIT_COLUMNS]:
        raise UserError(
            f"strategy {name!r} reads {unknown[0]!r}, which no unit has. The columns of a unit: "
            f"{', '.join(UNIT_COLUMNS)}"
        )
    return found


def make_strategy(
    strategy: StrategyConfig, config: ModelConfig, *, strict: bool = False, batch_size: int | None = None
) -> Strategy:
    """Return the strategy of a recipe; its weights load when it generates.

    Raises:
        UserError: see strategy_class.
    """
    kind = strategy_class(strategy.name)
    return kind(config, strict=strict, batch_size=batch_size, options=strategy.options)
