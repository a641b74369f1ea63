"""The guidance table: the arguments with which each family of text-to-image pipelines computes Eq. 4.

Eq. 4 of the paper: eps = (1 + gamma) eps(P_c) - gamma eps(P_n), for a positive prompt P_c and a negative one P_n.
Families differ in the name of the scale, in its value for gamma 0 (0 or 1), and in the encoding of prompts. For each
family in the table, a test compares one denoising step with Eq. 4.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from diffcore_hf.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Encoded: TypeAlias = "tuple[Tensor, ...]"
"""Output of the text encoders: one tensor for each keyword of a family, batch first."""

EncodedBatch: TypeAlias = "tuple[Tensor | list[Tensor], ...]"
"""Encoded prompts of a batch: for each keyword of a family one tensor, or one list of tensors if `ragged` is true."""


@dataclass(frozen=True)
class Family:
    """One row of the guidance table: a family of pipelines that share their arguments."""

    name: str
    pipelines: tuple[str, ...]
    """Class names in diffusers."""
    argument: str
    """Name of the pipeline's argument for the guidance scale."""
    offset: float
    """Guidance scale s minus gamma. It is 1 for a pipeline that computes neg + s (pos - neg)."""
    encode: Callable[[Any, list[str]], Encoded]
    """Function of (pipeline, texts) that returns embeddings of positive or negative prompts."""
    embeddings: tuple[str, ...] = ("prompt_embeds", "pooled_prompt_embeds")
    """Keywords of the pipeline for the tensors of `encode`; for negative prompts the prefix `negative_` is added."""
    ragged: bool = False
    """Whether the length of an embedding depends on the length of its text. The pipeline then takes lists and pads each
    embedding to the longest one of the batch. So such a family does not support `strict`."""
    zeros_without_negative: str | None = None
    """Name of an option in the pipeline's configuration, if the family has it. If the option is true, zeros replace a
    missing negative prompt. Otherwise the embedding of the empty text replaces it."""

    def scale(self, gamma: float) -> float:
        """Returns the value of `argument` for which the pipeline computes Eq. 4 with this gamma."""
        return gamma + self.offset

    def arguments(self, positive: EncodedBatch, negative: EncodedBatch | None) -> dict[str, Tensor | list[Tensor]]:
        """Returns the keyword arguments of the pipeline for encoded prompts."""
        named = dict(zip(self.embeddings, positive, strict=True))
        if negative is not None:
            named |= {f"negative_{name}": tensor for name, tensor in zip(self.embeddings, negative, strict=True)}
        return named


def _encode_sd(pipeline: Any, texts: list[str]) -> Encoded:
    return (pipeline.encode_prompt(texts, pipeline._execution_device, 1, False)[0],)


def _encode_instruct_pix2pix(pipeline: Any, texts: list[str]) -> Encoded:
    return (pipeline._encode_prompt(texts, pipeline._execution_device, 1, False),)


def _encode_sdxl(pipeline: Any, texts: list[str]) -> Encoded:
    prompt, _, pooled, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
    return prompt, pooled


def _encode_sd3(pipeline: Any, texts: list[str]) -> Encoded:
    prompt, _, pooled, _ = pipeline.encode_prompt(texts, None, None, do_classifier_free_guidance=False)
    return prompt, pooled


def _encode_z_image(pipeline: Any, texts: list[str]) -> Encoded:
    # encode_prompt changes the list of its argument, so it gets a copy.
    return (pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False)[0],)


def _encode_flux(pipeline: Any, texts: list[str]) -> Encoded:
    prompt, pooled, _ = pipeline.encode_prompt(texts)
    return prompt, pooled


FAMILIES = (
    Family(
        "SD",
        ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"),
        "guidance_scale",
        1.0,
        _encode_sd,
        ("prompt_embeds",),
    ),
    Family(
        "SDXL",
        ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"),
        "guidance_scale",
        1.0,
        _encode_sdxl,
        zeros_without_negative="force_zeros_for_empty_prompt",
    ),
    Family("SD3", ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline"), "guidance_scale", 1.0, _encode_sd3),
    # Flux's argument guidance_scale is an input of its distilled network, not the scale of Eq. 4.
    Family("Flux", ("FluxPipeline", "FluxImg2ImgPipeline", "FluxKontextPipeline"), "true_cfg_scale", 1.0, _encode_flux),
    # The pipeline computes Eq. 4 with the image, plus (s_I - 1) (eps(P_n, image) - eps(P_n, no image)), where s_I is
    # the scale of the guidance by the image.
    Family(
        "InstructPix2Pix",
        ("StableDiffusionInstructPix2PixPipeline",),
        "guidance_scale",
        1.0,
        _encode_instruct_pix2pix,
        ("prompt_embeds",),
    ),
    Family(
        "SDXL InstructPix2Pix",
        ("StableDiffusionXLInstructPix2PixPipeline",),
        "guidance_scale",
        1.0,
        _encode_sdxl,
        zeros_without_negative="force_zeros_for_empty_prompt",
    ),
    # Z-Image computes pos + s (pos - neg).
    Family(
        "Z-Image",
        ("ZImagePipeline", "ZImageImg2ImgPipeline"),
        "guidance_scale",
        0.0,
        _encode_z_image,
        ("prompt_embeds",),
        ragged=True,
    ),
)


def guidance_for(pipeline_class: str, guidance: str = "eq4") -> Family | None:
    """Returns the row of the table for a pipeline; None with `guidance: native`.

    Raises:
        UserError: guidance is eq4 and the pipeline is not in the table.
    """
    if guidance == "native":
        return None
    for family in FAMILIES:
        if pipeline_class in family.pipelines:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise UserError(
        f"model.guidance is eq4, but {pipeline_class} is not in the guidance table ({known}). "
        "Use --model.guidance native, which passes gamma to the pipeline as guidance_scale"
    )


def check_negatives(gamma: float, negatives: Sequence[str | None], takes_negatives: bool = True) -> None:
    """Checks that gamma is valid and that each negative prompt has an effect.

    Raises:
        UserError: gamma is below 0, or a negative prompt is given although gamma is 0, or a negative prompt is given
            to a pipeline that takes none.
    """
    if any(negatives) and not takes_negatives:
        raise UserError(
            "this pipeline takes no negative prompt with model.guidance native. Use --prompts.negatives '[]'"
        )
    if gamma < 0:
        raise UserError(f"model.gamma is {gamma}; Eq. 4 needs gamma >= 0. Use --model.gamma 2.0")
    if gamma == 0 and any(negatives):
        raise UserError(
            f"model.gamma is {gamma} with a negative prompt, which would be ignored. "
            "Use --model.gamma 2.0, or --prompts.negatives '[]'"
        )


def native_parameters(pipeline: Any) -> tuple[bool, bool]:
    """Returns whether a pipeline or its class takes a guidance_scale and a negative prompt with `guidance: native`.

    A pipeline with a second scale (`true_cfg_scale`), such as Flux, ignores negative prompts if only the first scale is
    set.
    """
    return native_support(inspect.signature(pipeline.__call__).parameters)


def native_support(accepted: Collection[str]) -> tuple[bool, bool]:
    """Returns whether a pipeline with these parameters takes a guidance_scale and a negative prompt."""
    return "guidance_scale" in accepted, "negative_prompt" in accepted and "true_cfg_scale" not in accepted


def native_arguments(pipeline: Any, gamma: float, prompts: list[str], negatives: list[str | None]) -> dict[str, Any]:
    """Returns the arguments of a pipeline with `guidance: native`: plain texts, and gamma as guidance_scale.

    Call `check_negatives` first. A pipeline without guidance_scale ignores gamma. A warning is logged when such a
    pipeline is loaded.
    """
    takes_scale, _ = native_parameters(pipeline)
    arguments: dict[str, Any] = {"prompt": prompts}
    if takes_scale:
        arguments["guidance_scale"] = gamma
    if any(negatives):
        arguments["negative_prompt"] = [negative or "" for negative in negatives]
    return arguments
