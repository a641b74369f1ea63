"""The strategy `learned_tokens`: prompts name each class by a token that is learned from its references.

Covers textual inversion (Gal et al. 2022) for all classes together, and DA-Fusion (Trabucco et al. 2024), which learns
one class at a time and then changes real images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.base import Batch, Samples
from diffcore_hf.generation.image_to_image import FITS, ImageToImageStrategy
from diffcore_hf.generation.options import choice, count, number
from diffcore_hf.generation.pipelines import Model, PipelineStrategy
from diffcore_hf.generation.text_to_image import TextToImageStrategy
from diffcore_hf.models.learned_tokens import PIPELINES, LearnedTokens, add_tokens, collision

if TYPE_CHECKING:
    from diffcore_hf.models.image_to_image import Fit
    from diffcore_hf.models.token_steps import TokenSettings

FILE = "tokens.safetensors"
FEWEST_REFERENCES = 3
TRAININGS = ("all", "class")
MOST_STEPS, MOST_IN_STEP = 10_000_000, 1024
"""Largest values of `steps` and `batch`. The images of a step are in memory, and published trainings use up to 64."""
EVALUATIONS_PER_SAMPLE = 2
"""Cost of a training image in evaluations: one for the forward pass and one for the backward pass. The backward pass is
not more expensive, because no gradients of the weights are computed."""
LABEL = "{label}"
LORA_RATE = 5e-5
"""Learning rate of the LoRA in Diff-Mix (Wang et al. 2024)."""
MOST_RANK = 1024


class LearnedTokensStrategy(PipelineStrategy):
    """Learns a token for each class from its references. The prompts then name the class by its token.

    The token of class 17 is `<c17>`. Its embedding is learned; the weights of the model stay as they are. With `lora`,
    a LoRA on the attention layers is learned too.

    Options:
        strength: null: an image is made from its prompt, as in text_to_image. A number in (0, 1] or a list: the row's
            own image is changed, as in image_to_image.
        fit: how a real image becomes square. crop: the centre. stretch: the whole image.
        steps: number of optimiser steps of a training.
        batch: number of references in a step.
        rate: learning rate.
        per: all: one training for all classes. class: a training for each class, each with `steps` steps.
        initial: text whose embedding is the first value of a token. {label} is the name of the class, or the noun of
            the kind for an opaque name.
        caption: prompt of a reference. {label} is the token.
        token: letters of each token, before the number of the class.
        seed: seed of the training.
        lora: rank of a LoRA that is learned together with the tokens of all classes. null: no LoRA is learned.
        lora_rate: learning rate of the LoRA. null: 5e-5.
    """

    VERSION = "1"
    keeps_preparation = True
    optional = ("lora", "lora_rate")
    defaults = MappingProxyType(
        {
            "strength": None,
            "fit": FITS[0],
            "steps": 1000,
            "batch": 4,
            "rate": 2e-3,
            "per": TRAININGS[0],
            "initial": LABEL,
            "caption": f"a photo of a {LABEL}",
            "token": "c",
            "seed": 0,
        }
    )

    _tokens: LearnedTokens | None = None
    _has_tokens = False

    @cached_property
    def images(self) -> TextToImageStrategy | ImageToImageStrategy:
        """The strategy that generates the images."""
        keywords: dict[str, Any] = {"strict": self.strict, "batch_size": self._batch_size}
        if self.options["strength"] is None:
            return TextToImageStrategy(self.config, **keywords)
        of_images = {name: self.options[name] for name in ImageToImageStrategy.defaults}
        return ImageToImageStrategy(self.config, options=of_images, **keywords)

    @property
    def model(self) -> Model:
        return self.images.model

    def columns(self) -> tuple[str, ...]:
        return self.images.reads

    def check_options(self) -> None:
        options = self.options
        choice("fit", options["fit"], FITS)
        choice("per", options["per"], TRAININGS)
        count("steps", options["steps"], 1, 1000, MOST_STEPS)
        count("batch", options["batch"], 1, 4, MOST_IN_STEP)
        count("seed", options["seed"], 0, 0)
        number("rate", options["rate"], 1e-6, 0.002)
        if options["rate"] > 1:
            raise UserError(
                f"strategy.options.rate is {options['rate']}, not a number of at most 1. Use "
                "--strategy.options.rate 0.002"
            )
        if not isinstance(options["token"], str) or not re.fullmatch("[a-z]{1,16}", options["token"]):
            raise UserError(
                f"strategy.options.token is {options['token']!r}, not one to sixteen letters from a to z. Use "
                "--strategy.options.token c"
            )
        for name in ("initial", "caption"):
            if not isinstance(options[name], str) or not options[name].strip():
                raise UserError(
                    f"strategy.options.{name} is {options[name]!r}, not a text. Use --strategy.options.{name} "
                    f"'\"{self.defaults[name]}\"'"
                )
        if LABEL not in options["caption"]:
            raise UserError(
                f"strategy.options.caption is {options['caption']!r}, which has no {LABEL}. Use "
                f"--strategy.options.caption '{self.defaults['caption']}'"
            )
        self._check_lora(options.get("lora"), options.get("lora_rate"))

    def _check_lora(self, rank: Any, rate: Any) -> None:
        if rank is None:
            if rate is not None:
                raise UserError(
                    f"strategy.options.lora_rate is {rate!r}, but no LoRA is learned. Use --strategy.options.lora 10, "
                    "or leave lora_rate out"
                )
            return
        count("lora", rank, 1, 10, MOST_RANK)
        if rate is not None and number("lora_rate", rate, 1e-8, LORA_RATE) > 1:
            raise UserError(
                f"strategy.options.lora_rate is {rate}, not a number of at most 1. Use --strategy.options.lora_rate "
                f"{LORA_RATE:g}"
            )
        if self.options["per"] != TRAININGS[0]:
            raise UserError(
                f"strategy.options.lora is {rank}, but strategy.options.per is {self.options['per']}. A LoRA is "
                "learned with all classes together. Use --strategy.options.per all"
            )

    @classmethod
    def words(cls, names: Sequence[str], options: Mapping[str, Any]) -> dict[str, str]:
        prefix = {**cls.defaults, **options}["token"]
        return {name: f"<{prefix}{index}>" for index, name in enumerate(names)}

    def check(self, model: Mapping[str, Any]) -> None:
        scheduler = "" if self.config.scheduler is None else self.config.scheduler.name
        if model["pipeline"] not in PIPELINES or scheduler.startswith(("EDM", "FlowMatch")):
            what = model["pipeline"] if model["pipeline"] not in PIPELINES else scheduler
            raise UserError(
                f"{self.config.path}: strategy learned_tokens cannot learn tokens for {what}. Use "
                "--strategy.name text_to_image, or a model of Stable Diffusion 1, 2 or XL"
            )
        self.images.check(model)

    def check_words(self, words: Mapping[str, str], references: Mapping[str, int]) -> None:
        few = {name: number for name, number in references.items() if number < FEWEST_REFERENCES}
        if few:
            name, number = min(few.items(), key=lambda item: item[1])
            more = f" ({len(few)} classes have too few)" if len(few) > 1 else ""
            raise UserError(
                f"class {name!r} has {number} reference{'' if number == 1 else 's'}, and a learned token needs "
                f"{FEWEST_REFERENCES}{more}. Add images, set filter.references to {FEWEST_REFERENCES} or more, or "
                "leave the class out with --select.classes"
            )
        from diffcore_hf.models.text_tokenizers import text_tokenizer

        tokenizer = text_tokenizer(self.config)
        for word in words.values():
            if tokenizer is not None and tokenizer.has(word):
                raise UserError(collision(word, self.config.path))

    def evaluations(self, model: Mapping[str, Any]) -> float:
        return self.images.evaluations(model)

    def preparation_evaluations(self, classes: int) -> float:
        trainings = classes if self.options["per"] == "class" else 1
        return float(EVALUATIONS_PER_SAMPLE * self.options["steps"] * self.options["batch"] * trainings)

    def preparation(self) -> dict[str, Any]:
        generating = ("strength",)
        options = {
            name: value
            for name, value in self.options.items()
            if name not in generating and (value is not None or name not in self.optional)
        }
        return {"options": options, "size": self.config.size, "revision": self.config.revision}

    @property
    def settings_of_training(self) -> TokenSettings:
        """The settings with which the tokens are learned."""
        from diffcore_hf.models.token_steps import TokenSettings

        options = self.options
        return TokenSettings(
            options["steps"],
            options["batch"],
            float(options["rate"]),
            options["seed"],
            options["per"] == "class",
            options.get("lora") or 0,
            float(options.get("lora_rate") or LORA_RATE),
        )

    def prepare(self, references: Iterable[Mapping[str, Any]], folder: Path) -> None:
        from diffcore_hf.models.token_training import learn_tokens

        # float16 gradients underflow, and the hooks of an offload move weights before the backward pass.
        dtype = "float32" if self.config.dtype == "float16" else self.config.dtype
        images = TextToImageStrategy(replace(self.config, dtype=dtype, offload="none"), strict=self.strict)
        learned = learn_tokens(
            images.model,
            references,
            self.settings_of_training,
            caption=self.options["caption"],
            initial=self.options["initial"],
            fit=cast("Fit", self.options["fit"]),
            folder=folder,
        )
        learned.save(folder / FILE)

    def use_preparation(self, folder: Path) -> None:
        self._tokens = LearnedTokens.read(folder / FILE)

    def load(self) -> None:
        self.images.load()
        if self._tokens is None:
            raise ValueError("learned tokens are read (use_preparation) before the weights are loaded")
        if not self._has_tokens:
            add_tokens(self.images.model.load(), self._tokens, [adapter.scale for adapter in self.config.adapters])
            self._has_tokens = True

    def sample(self, batch: Batch) -> Samples:
        return self.images.sample(batch)
