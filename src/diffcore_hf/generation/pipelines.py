"""Strategies whose images come from one pipeline: the parts that they share.

Owns the loading of the model, the check of the names of the options, and the choice of the columns that the options
need. Does not own the pipelines (models/).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from diffcore_hf.generation.base import Strategy
from diffcore_hf.generation.options import check_names

if TYPE_CHECKING:
    from diffcore_hf.config.augment import ModelConfig


class Model(Protocol):
    """A model of the package `models` that generates images."""

    @property
    def batch_size(self) -> int: ...

    def load(self) -> Any: ...


class PipelineStrategy(Strategy):
    """A strategy with one model. Its options are the keys of `defaults`; `check_options` checks their values."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        strict: bool = False,
        batch_size: int | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(config, strict=strict, batch_size=batch_size, options=options)
        check_names(self.options, (*self.defaults, *self.optional))
        self.check_options()
        self.reads = self.columns()

    def check_options(self) -> None:  # not abstract: a strategy without options has nothing to check
        """Check the values of the options.

        Raises:
            UserError: an option has a wrong value.
        """

    def columns(self) -> tuple[str, ...]:
        """Return the columns of a unit that `sample` needs with these options. They become `reads`."""
        return self.reads

    @property
    @abstractmethod
    def model(self) -> Model:
        """The model. Its weights are loaded before the first image."""

    @property
    def batch_size(self) -> int:
        return self.model.batch_size

    def load(self) -> None:
        self.model.load()
