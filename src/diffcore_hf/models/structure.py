"""Structure: generates an image from a prompt and a control image, with a ControlNet.

Owns the loading of a ControlNet and of an IP-Adapter into a text-to-image pipeline, and their inputs. Sampling is in
diffusion.py, the checks before loading are in structure_resolution.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.embeddings import ImageProjection
from PIL import Image
from torch import Tensor

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.models import weights_access
from diffcore_hf.models.components import check_headers, load_network
from diffcore_hf.models.diffusion import Diffusion
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.model_views import model_view
from diffcore_hf.models.pipelines import load_pipeline
from diffcore_hf.models.runtime import DTYPES
from diffcore_hf.models.samples import Samples
from diffcore_hf.models.structure_resolution import ControlNet, IPAdapter


class Structure(Diffusion):
    """A ControlNet pipeline for the weights of a text-to-image model.

    Args:
        config: the model.
        controlnet: the ControlNet.
        ip_adapter: the IP-Adapter; None: images of the class are not used.
        strict: see Diffusion.
        batch_size: see Diffusion.
    """

    task = "text_to_image"

    def __init__(
        self,
        config: ModelConfig,
        *,
        controlnet: ControlNet,
        ip_adapter: IPAdapter | None = None,
        strict: bool = False,
        batch_size: int | None = None,
    ):
        super().__init__(config, strict=strict, batch_size=batch_size)
        self.controlnet, self.ip_adapter = controlnet, ip_adapter

    def sample(
        self,
        prompts: Sequence[str],
        negatives: Sequence[str | None],
        seeds: Sequence[int],
        controls: Sequence[Image.Image],
        class_images: Sequence[Image.Image] = (),
    ) -> Samples:
        """Generates images, each from one prompt, one negative prompt, one seed and one control image.

        Args:
            prompts: prompt of each image.
            negatives: negative prompt of each image.
            seeds: seed of each image.
            controls: control image of each image, a square of `side` pixels.
            class_images: image for the IP-Adapter of each image; () without an IP-Adapter.

        Raises:
            ValueError: class images without an IP-Adapter, or an IP-Adapter without class images.
        """
        if (self.ip_adapter is not None) != (len(class_images) > 0) and len(seeds):
            raise ValueError(f"{len(class_images)} class images, but the IP-Adapter is {self.ip_adapter}")
        inputs = [controls, class_images] if self.ip_adapter is not None else [controls]
        return self._sample(prompts, negatives, seeds, *inputs)

    def _loaded(self) -> Any:
        return load_pipeline(self.config, self.task, extend=self._with_controlnet)

    def _with_controlnet(self, pipeline: Any) -> Any:
        """Returns the ControlNet pipeline of the family with the modules of a text-to-image pipeline."""
        path = self.controlnet.path
        weights = weights_access.resolve_weights(path, self.controlnet.revision, "ControlNet", identify=False)
        remedy = "Give a ControlNet for this model, or download it again"
        with model_view(weights_access.local_folder(weights), path) as view:
            check_headers(diffusers.ControlNetModel, view, path)
            controlnet = load_network(diffusers.ControlNetModel, view, path, dtype=DTYPES[self.config.dtype])
        with library_errors(f"{path} cannot be loaded as a ControlNet of {self.config.path}", remedy):
            name = type(pipeline).__name__.replace("Pipeline", "ControlNetPipeline")
            accepted = inspect.signature(getattr(diffusers, name)).parameters
            options = {"add_watermarker": False} if "add_watermarker" in accepted else {}
            extended = diffusers.AutoPipelineForText2Image.from_pipe(pipeline, controlnet=controlnet, **options)
        if self.ip_adapter is not None:
            _add_ip_adapter(extended, self.ip_adapter, self.config)
        return extended

    def _task_arguments(self, *inputs: list[Any]) -> dict[str, Any]:
        arguments = super()._task_arguments()
        arguments |= {"image": inputs[0], "controlnet_conditioning_scale": float(self.controlnet.scale)}
        if self.ip_adapter is not None:
            arguments["ip_adapter_image_embeds"] = [self._image_embeddings(inputs[1])]
        return arguments

    def _image_embeddings(self, images: Sequence[Image.Image]) -> Tensor:
        """Returns the embeddings of images for the IP-Adapter.

        With guidance, the embeddings without an image come first: (2 B, ...). Otherwise they are left out: (B, ...).
        """
        pipeline = self._pipeline
        projection = pipeline.unet.encoder_hid_proj.image_projection_layers[0]
        side = pipeline.image_encoder.config.image_size
        # The feature extractor of the pipeline belongs to the safety checker, which can have another size.
        from transformers import CLIPImageProcessor

        processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
        pixels = processor(list(images), return_tensors="pt").pixel_values
        hidden = not isinstance(projection, ImageProjection)
        positive, negative = pipeline.encode_image(pixels, pipeline._execution_device, 1, hidden)
        positive, negative = positive[:, None], negative[:, None]
        return torch.cat([negative, positive]) if self._is_guided else positive

    @property
    def _is_guided(self) -> bool:
        """Whether the pipeline evaluates the negative prompt too: its guidance scale is then above 1."""
        gamma = self.config.gamma
        return (gamma if self._family is None else self._family.scale(gamma)) > 1


def _add_ip_adapter(pipeline: Any, adapter: IPAdapter, model: ModelConfig) -> None:
    """Adds an IP-Adapter and its image encoder to a pipeline.

    Raises:
        UserError: the files cannot be read, or the adapter does not fit the pipeline.
    """
    from transformers import CLIPVisionModelWithProjection

    weights = weights_access.resolve_weights(adapter.path, adapter.revision, "IP-Adapter", identify=False)
    remedy = "Give an IP-Adapter for this model, or leave strategy.options.ip_adapter out"
    folder = weights_access.local_folder(weights, (f"{adapter.encoder}/*", adapter.file))
    with model_view(folder, adapter.path) as view:
        encoder_path = f"{adapter.path}: {adapter.encoder}"
        check_headers(CLIPVisionModelWithProjection, view / adapter.encoder, encoder_path)
        encoder = load_network(
            CLIPVisionModelWithProjection, view / adapter.encoder, encoder_path, dtype=DTYPES[model.dtype]
        )
        with library_errors(f"{adapter.path} cannot be loaded as an IP-Adapter of {model.path}", remedy):
            pipeline.register_modules(image_encoder=encoder)
            # Tensors are given and no path, so diffusers opens no file.
            pipeline.load_ip_adapter(_tensors(view / adapter.file), subfolder=None, weight_name=None)
    pipeline.set_ip_adapter_scale(float(adapter.scale))
    # The method of diffusers gives every image of a batch the embeddings of all images of the batch.
    pipeline.prepare_ip_adapter_image_embeds = _given_embeddings


def _given_embeddings(image: Any, embeddings: list[Tensor], *others: Any) -> list[Tensor]:
    """Returns the embeddings that `Structure._image_embeddings` computed, one for each image of the batch."""
    return embeddings


def _tensors(file: Path) -> dict[str, dict[str, Tensor]]:
    """Returns the two groups of tensors in the file of an IP-Adapter."""
    from safetensors.torch import load_file

    tensors = load_file(file)
    return {
        group: {key.removeprefix(f"{group}."): tensor for key, tensor in tensors.items() if key.startswith(f"{group}.")}
        for group in ("image_proj", "ip_adapter")
    }
