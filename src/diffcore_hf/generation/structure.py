"""The strategy `structure`: a ControlNet keeps the structure of the row's own image, and the prompt determines the
rest.

Implements the idea of SaSPA (Michaeli and Fried 2024): Canny edges of the row's image, and optionally the appearance of
another image of the class. SaSPA uses BLIP-Diffusion for the appearance; this strategy uses an IP-Adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.schema import CLASS_IMAGE, CONTROL_IMAGE, SOURCE_IMAGE
from diffcore_hf.generation.base import Batch, OtherWeights, Samples, evaluations_per_step
from diffcore_hf.generation.image_to_image import FITS
from diffcore_hf.generation.options import choice, count, number
from diffcore_hf.generation.pipelines import PipelineStrategy
from diffcore_hf.method.canny import canny
from diffcore_hf.models.structure_resolution import (
    PIPELINES,
    ControlNet,
    IPAdapter,
    check_controlnet,
    check_ip_adapter,
)

if TYPE_CHECKING:
    from diffcore_hf.models.image_to_image import Fit
    from diffcore_hf.models.structure import Structure

LARGEST_GRADIENT = 2040
"""Largest gradient of an 8-bit image: the sum of two Sobel derivatives."""
FILES_OF_CONTROLNET = ("config.json", "diffusion_pytorch_model.safetensors")


class StructureStrategy(PipelineStrategy):
    """Generates an image from its prompt and the structure of the row's image.

    Options:
        controlnet: Hub id or folder of the ControlNet. It has no default.
        controlnet_revision: branch, tag or commit of a Hub id. The commit is recorded.
        control_column: image column of the source with the control images, such as depth maps. null: the Canny edges of
            the row's image.
        low: every pixel of an edge has a gradient above this value.
        high: at least one pixel of each edge has a gradient above this value. It is at least `low`.
        scale: factor of the output of the ControlNet. With 0 the ControlNet has no effect.
        fit: how a real image becomes square. crop: the centre. stretch: the whole image.
        ip_adapter: Hub id or folder of an IP-Adapter. Another real image of the class then guides the appearance.
        ip_adapter_revision: branch, tag or commit of a Hub id. The commit is recorded.
        ip_adapter_file: path of the weights inside `ip_adapter`.
        ip_adapter_encoder: folder of the image encoder inside `ip_adapter`.
        ip_adapter_scale: factor of the output of the IP-Adapter.
    """

    VERSION = "1"
    defaults = MappingProxyType(
        {
            "controlnet": None,
            "controlnet_revision": None,
            "control_column": None,
            "low": 100,
            "high": 200,
            "scale": 0.75,
            "fit": FITS[0],
            "ip_adapter": None,
            "ip_adapter_revision": None,
            "ip_adapter_file": "ip_adapter.safetensors",
            "ip_adapter_encoder": "image_encoder",
            "ip_adapter_scale": 0.6,
        }
    )

    def columns(self) -> tuple[str, ...]:
        image = SOURCE_IMAGE if self.options["control_column"] is None else CONTROL_IMAGE
        class_image = () if self.options["ip_adapter"] is None else (CLASS_IMAGE,)
        return ("prompt", "negative_prompt", "seed", image, *class_image)

    def check_options(self) -> None:
        options = self.options
        if options["controlnet"] is None:
            raise UserError(
                "strategy.options.controlnet is missing: strategy structure needs a ControlNet for its model. Use e.g. "
                "--strategy.options.controlnet lllyasviel/sd-controlnet-canny"
            )
        for name in ("controlnet", "control_column", "ip_adapter", "ip_adapter_file", "ip_adapter_encoder"):
            value = options[name]
            may_be_null = name in ("control_column", "ip_adapter")
            if not (isinstance(value, str) and value.strip() and "\0" not in value) and not (
                may_be_null and value is None
            ):
                raise UserError(
                    f"strategy.options.{name} is {value!r}, not a text. Use --strategy.options.{name} "
                    f"{'null' if may_be_null else 'NAME'}"
                )
        count("low", options["low"], 0, 100)
        count("high", options["high"], 0, 200)
        if not options["low"] <= options["high"] <= LARGEST_GRADIENT:
            raise UserError(
                f"strategy.options.low is {options['low']} and high is {options['high']}, but low is at most high, and "
                f"high at most {LARGEST_GRADIENT}. Use --strategy.options.low 100 --strategy.options.high 200"
            )
        number("scale", options["scale"], 0, 0.75)
        number("ip_adapter_scale", options["ip_adapter_scale"], 0, 0.6)
        choice("fit", options["fit"], FITS)

    @property
    def controlnet(self) -> ControlNet:
        """The ControlNet of the recipe."""
        options = self.options
        return ControlNet(options["controlnet"], options["controlnet_revision"], options["scale"])

    @property
    def ip_adapter(self) -> IPAdapter | None:
        """The IP-Adapter of the recipe; None: there is none."""
        options = self.options
        if options["ip_adapter"] is None:
            return None
        return IPAdapter(
            options["ip_adapter"],
            options["ip_adapter_revision"],
            options["ip_adapter_file"],
            options["ip_adapter_encoder"],
            options["ip_adapter_scale"],
        )

    @cached_property
    def model(self) -> Structure:
        """The ControlNet pipeline. Its weights are loaded before the first image."""
        from diffcore_hf.models.structure import Structure

        return Structure(
            self.config,
            controlnet=self.controlnet,
            ip_adapter=self.ip_adapter,
            strict=self.strict,
            batch_size=self._batch_size,
        )

    def other_weights(self) -> tuple[OtherWeights, ...]:
        controlnet = OtherWeights("controlnet", "ControlNet", FILES_OF_CONTROLNET)
        if self.ip_adapter is None:
            return (controlnet,)
        encoder = f"{self.ip_adapter.encoder}/"
        files = (self.ip_adapter.file, f"{encoder}config.json", f"{encoder}*.safetensors")
        return controlnet, OtherWeights("ip_adapter", "IP-Adapter", files)

    def check(self, model: Mapping[str, Any]) -> None:
        if model["pipeline"] not in PIPELINES:
            raise UserError(
                f"{self.config.path}: strategy structure has no ControlNet pipeline for {model['pipeline']}. Use "
                "--strategy.name image_to_image, or a model of Stable Diffusion 1, 2 or XL"
            )
        check_controlnet(self.controlnet, self.config)
        if self.ip_adapter is not None:
            if self.config.attention == "slicing":
                raise UserError(
                    "model.attention is 'slicing', with which no IP-Adapter works. Use --model.attention native"
                )
            check_ip_adapter(self.ip_adapter, self.config)

    def evaluations(self, model: Mapping[str, Any]) -> float:
        return self.config.steps * evaluations_per_step(self.config)

    def sample(self, batch: Batch) -> Samples:
        from diffcore_hf.models.image_to_image import square

        fit, side = cast("Fit", self.options["fit"]), self.model.side
        if CONTROL_IMAGE in self.reads:
            controls = [square(image, side, fit) for image in batch[CONTROL_IMAGE]]
        else:
            controls = [self._edges(square(image, side, fit)) for image in batch[SOURCE_IMAGE]]
        class_images = batch[CLASS_IMAGE] if CLASS_IMAGE in self.reads else ()
        return self.model.sample(batch["prompt"], batch["negative_prompt"], batch["seed"], controls, class_images)

    def _edges(self, image: Image.Image) -> Image.Image:
        """Return the Canny edges of an image, white on black."""
        edges = canny(np.asarray(image), self.options["low"], self.options["high"])
        return Image.fromarray((edges * np.uint8(255)).astype(np.uint8)).convert("RGB")
