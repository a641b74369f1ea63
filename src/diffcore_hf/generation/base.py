"""Strategies: the ways to generate the image of an attempt from the columns of its unit.

Owns the interface of a strategy and the names of strategies in a recipe. Does not choose the units
(augmentation/plan.py), encode images or isolate failures (augmentation/stages), or load weights (models).

A strategy of your own is a subclass of `Strategy` in a module that is installed beside this package. A recipe names it
`strategy: my_module:MyStrategy`. To add one to this package, write one file here and one line in `STRATEGIES`.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.extensions import load_class
from diffcore_hf.core.schema import CLASS_IMAGE, CONTROL_IMAGE, SOURCE_IMAGE
from diffcore_hf.models.samples import Samples

if TYPE_CHECKING:
    from diffcore_hf.config.augment import ModelConfig, StrategyConfig
    from diffcore_hf.models.weights_access import Kind

__all__ = ["STRATEGIES", "UNIT_COLUMNS", "Batch", "OtherWeights", "Samples", "Strategy", "strategy_class"]

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
    "strength": "strength in `strategy.options.strength`, or the unit's draw from a list of strengths; None: not given",
    SOURCE_IMAGE: "the row's real image, a PIL image in RGB at full size",
    CLASS_IMAGE: "another real image of the class that the image has to show, drawn for the unit",
    CONTROL_IMAGE: "the row's image in the column `strategy.options.control_column`",
}
"""The columns that a strategy can read. These names do not depend on the names of the source's columns."""

STRATEGIES = {
    "text_to_image": "diffcore_hf.generation.text_to_image:TextToImageStrategy",
    "image_to_image": "diffcore_hf.generation.image_to_image:ImageToImageStrategy",
    "inter_class": "diffcore_hf.generation.inter_class:InterClassStrategy",
    "edit": "diffcore_hf.generation.edit:EditStrategy",
    "learned_tokens": "diffcore_hf.generation.learned_tokens:LearnedTokensStrategy",
    "structure": "diffcore_hf.generation.structure:StructureStrategy",
}
"""The strategies of this package, by the name that a recipe uses."""


class OtherWeights(NamedTuple):
    """Weights that an option of a strategy names, in addition to the weights of section `model`."""

    option: str
    """Name of the option with the Hub id or path. The option `<name>_revision` is its branch, tag or commit."""
    kind: Kind
    """Use of the weights, for messages."""
    files: tuple[str, ...] = ()
    """Patterns of the files that `plan --fetch` downloads; () for all files."""


class Strategy(ABC):
    """A way to generate the images of attempts.

    The image of an attempt depends only on the columns in `reads`, the configuration and the preparation. It does not
    depend on the other images of the batch, so that an interrupted run gives the same result as an uninterrupted one.

    Args:
        config: section `model` of the recipe. A run replaces the values `auto` and null in it first. It does not do so
            for a strategy with `uses_model = False`.
        strict: true if an image must be the same bit for bit, however the attempts are divided into batches.
        batch_size: number of images in a device batch. None: the strategy chooses the number.
        options: `strategy.options` of the recipe. `self.options` contains the values in `defaults` too.
    """

    VERSION: ClassVar[str] = "1"
    """Version of the output. Increase it when the output changes. The attempt digest includes it."""
    reads: tuple[str, ...] = ("prompt", "negative_prompt", "seed")
    """The columns of a unit that `sample` needs, as keys of UNIT_COLUMNS. If they depend on the options, an object can
    have another value than its class."""

    uses_model: ClassVar[bool] = True
    """Whether the strategy uses section `model` of the recipe. If it does not, the run resolves no model, the digests
    leave out the section, and the card and `plan` name no model."""

    targets: ClassVar[Literal["own", "other", "any"]] = "own"
    """The class that an image has to show if `strategy.targets` is null: the class of its row, or a class that is drawn
    for each unit. The prompts name this class, and the filter compares the image with real images of this class."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Values of the options that a recipe leaves out. The run adds them to the recipe, so that digests cover them."""

    optional: ClassVar[tuple[str, ...]] = ()
    """Options without a default value. An option that is null is left out of the recipe, so that digests that were
    computed before it existed stay the same."""

    keeps_preparation: ClassVar[bool] = False
    """Whether a run continues with its first finished preparation after the references changed. If it does not, the
    preparation and all attempts are made again."""

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
        self.options = {**self.defaults, **(options or {})}
        self._batch_size = batch_size

    @property
    def batch_size(self) -> int:
        """Images per device batch. It may become smaller during a run if the device runs out of memory."""
        return self._batch_size or 1

    def check(self, model: Mapping[str, Any]) -> None:  # noqa: B027  # not abstract: most strategies have no conditions
        """Check that the strategy can use the model of the recipe. No weights are loaded.

        The run calls this once before it writes anything, if `uses_model` is true.

        Args:
            model: the record of the model, a ModelRecord of models/model_resolution.py.

        Raises:
            UserError: the strategy cannot use this model.
        """

    @classmethod
    def words(cls, names: Sequence[str], options: Mapping[str, Any]) -> dict[str, str]:
        """Return the words with which prompts name classes, such as learned tokens: name of the class -> word.

        Args:
            names: the class names of the source.
            options: `strategy.options` of the recipe.

        Returns:
            A word for some or all classes. For the others, prompts use the name of the class.
        """
        return {}

    def check_words(  # noqa: B027  # not abstract: most strategies have no words
        self, words: Mapping[str, str], references: Mapping[str, int]
    ) -> None:
        """Check the words of the classes before a preparation. No weights are loaded.

        The run calls this once, before it writes anything. It does not do so if there are no words, or if the
        preparation is finished.

        Args:
            words: name of each class -> its word.
            references: name of each class that an image has to show -> its number of references.

        Raises:
            UserError: a word cannot be used, or a class has too few references.
        """

    def other_weights(self) -> tuple[OtherWeights, ...]:
        """Return the weights that the options name, in addition to the weights of section `model`.

        The run pins and hashes them as it does those of the model, before `check`. The options then have the commit as
        the revision, and the digests have the identity in place of the path. Load the weights only from safetensors
        files, at this revision.
        """
        return ()

    def evaluations(self, model: Mapping[str, Any]) -> float | None:
        """Return how many evaluations of the denoising network one image takes, for `plan`; None if it is not known.

        Args:
            model: the record of the model, a ModelRecord of models/model_resolution.py.
        """
        return None

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
            (B, 3, H, W) uint8 images and B flags. A flag is None for a usable image, otherwise the reason that is
            recorded: `crashed`, `unsafe`, `invalid`, or the reason of a check in `filter.checks` with `recorded=True`.
            Images of one colour need no flag, because the run finds them itself.

        If this method raises an exception, the run calls it again for each unit of the batch alone. A unit for which it
        raises again gets the reason `crashed`.
        """

    def settings(self) -> dict[str, Any]:
        """Return all other values that change the output, such as the commits of other weights. Use plain values only.

        The attempt digest includes them, in addition to VERSION, the model and the options.
        """
        return {}

    def preparation(self) -> dict[str, Any] | None:
        """Return the inputs of the preparation, without the references, as plain values.

        None means that the strategy has no preparation.
        """
        return None

    def preparation_evaluations(self, classes: int) -> float | None:
        """Return how many evaluations of the denoising network the preparation takes; None if it is not known.

        Args:
            classes: number of classes with references.
        """
        return None

    def prepare(self, references: Iterable[Mapping[str, Any]], folder: Path) -> None:
        """Write the files that all attempts use, such as learned tokens.

        The run calls this method once, before the first attempt, and records the files as a fact. The name of the
        folder is a digest of the inputs. After an interruption, the run calls this method again with the same folder,
        so that a strategy can resume from its own checkpoints.

        Args:
            references: the drawn real images, each with row_id, label, class_name (the noun of the kind, if the name
                is an opaque id), word (the text that prompts use for the class) and source_image.
            folder: the folder for the files.
        """
        raise NotImplementedError(f"{type(self).__name__} has a preparation() but no prepare()")

    def use_preparation(self, folder: Path) -> None:
        """Read the files that `prepare` wrote. The run calls this before `load` in each process that generates."""
        raise NotImplementedError(f"{type(self).__name__} has a preparation() but no use_preparation()")


def evaluations_per_step(config: ModelConfig) -> int:
    """Return how many evaluations of the network a denoising step takes: one for each prompt of Eq. 4."""
    return 2 if config.gamma > 0 else 1


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
            f"strategy.name is {name!r}, which is not a strategy. The strategies are: {', '.join(STRATEGIES)}. Use one "
            "of them, or module:Class for a strategy of your own"
        )
    # mypy refuses an abstract class as type[...] (python/mypy#4717); only subclasses of it are returned here.
    strategy_type = load_class(path, Strategy, "strategy.name")  # type: ignore[type-abstract]
    if unknown := [column for column in strategy_type.reads if column not in UNIT_COLUMNS]:
        raise UserError(
            f"strategy {name!r} reads {unknown[0]!r}, which is not a column of a unit. The columns are: "
            f"{', '.join(UNIT_COLUMNS)}"
        )
    return strategy_type


def completed(config: StrategyConfig) -> StrategyConfig:
    """Return section `strategy` with the default options of the strategy, and with its targets in place of null.

    Raises:
        UserError: `strategy.name` does not name a strategy (see strategy_class).
    """
    strategy_type = strategy_class(config.name)
    defaults, optional = strategy_type.defaults, strategy_type.optional
    given = {name: each for name, each in (config.options or {}).items() if each is not None or name not in optional}
    options = {**defaults, **given} if defaults else config.options
    return replace(config, targets=targets_of(config), options=options)


def targets_of(config: StrategyConfig) -> Literal["own", "other", "any"]:
    """Return which class an image has to show: `strategy.targets`, or `targets` of the strategy if that is null.

    Raises:
        UserError: `strategy.name` does not name a strategy (see strategy_class).
    """
    return strategy_class(config.name).targets if config.targets is None else config.targets


def words_of(config: StrategyConfig, names: Sequence[str]) -> dict[str, str]:
    """Return the words with which prompts name classes (Strategy.words); {} for most strategies.

    Raises:
        UserError: `strategy.name` does not name a strategy (see strategy_class).
    """
    return strategy_class(config.name).words(names, config.options or {})


def control_column_of(options: Mapping[str, Any] | None) -> str | None:
    """Return the column in `strategy.options.control_column`; None if there is none, or it is not a text."""
    value = (options or {}).get("control_column")
    return value if isinstance(value, str) else None


def strengths_of(options: Mapping[str, Any] | None) -> tuple[float, ...]:
    """Return the strengths in `strategy.options`: one number, or a list from which each unit draws one.

    Returns:
        () if there is no option `strength` or it is not a number or a list of numbers. A strategy that needs strengths
        checks its options itself.
    """
    value = (options or {}).get("strength")
    values = value if isinstance(value, (list, tuple)) else [value]
    # An integer can be too large for float.
    kinds = [each for each in values if isinstance(each, (int, float)) and not isinstance(each, bool)]
    numbers = [each for each in kinds if abs(each) <= sys.float_info.max]
    return tuple(map(float, numbers)) if len(numbers) == len(values) else ()


def make_strategy(
    strategy: StrategyConfig, config: ModelConfig, *, strict: bool = False, batch_size: int | None = None
) -> Strategy:
    """Return the strategy of a recipe. This function does not load its weights.

    Args:
        strategy: section `strategy` of the recipe.
        config: section `model` of the recipe.
        strict: true if an image must be the same bit for bit, however the attempts are divided into batches.
        batch_size: number of images in a device batch. None: the strategy chooses the number.

    Raises:
        UserError: `strategy.name` does not name a strategy (see strategy_class).
    """
    strategy_type = strategy_class(strategy.name)
    return strategy_type(config, strict=strict, batch_size=batch_size, options=strategy.options)
