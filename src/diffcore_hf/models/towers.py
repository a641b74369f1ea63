"""Image towers: compute embeddings of images and captions. Every embedding is normalised to length 1.

Owns loading any image tower of transformers, its preprocessing and its pooling. Does not decide which embeddings are
compared. A tower runs in float32 on every device, because its embeddings are stored and it is small compared with the
text-to-image model.

The embedding of an image does not depend on the other images of a batch, except for rounding differences. The image
processor resizes each image separately on the CPU. `strict` also removes the rounding differences: all batches then
have the same shape, and one thread is used.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn import functional

from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core.batch_size import BatchSize
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.components import check_headers, load_network
from diffcore_hf.models.device_batches import compute_or_halve
from diffcore_hf.models.file_contents import LARGEST_SIDE
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.model_views import model_view
from diffcore_hf.models.runtime import STRICT_BATCH, fixed_conditions, pad, pick_device, quiet_loading, quiet_warnings
from diffcore_hf.models.tower_resolution import TOWER_REMEDY, load_part, model_class
from diffcore_hf.models.weights_access import local_folder, resolve_weights

logger = logging.getLogger(__name__)

OWN_POOLING = ("siglip_vision_model", "siglip2_vision_model", "clip_vision_model", "timm_wrapper")
"""Model types whose pooled output is trained or defined by the architecture. It replaces the class token."""

CLASS_TOKEN = re.compile(r"(cls|class)_(token|emb|embedding)")
"""Pattern of the names that transformers uses for the parameter of a class token."""


MOST_PREPARED = 20_000_000
"""Largest number of pixels of an image that was resized, before it is cropped. Each takes about 12 bytes."""


class ImageTower:
    """An image tower (CLIP, SigLIP, DINOv2, ...), whose weights are loaded on first use.

    Args:
        config: the filter; only its path and revision are used.
        strict: compute the same bits for an image in every division of the images into batches.
        device: auto, cpu, mps, cuda or cuda:<number>.
        batch_size: number of images in a forward pass. It becomes smaller if memory runs out, unless `strict` is true.
    """

    def __init__(self, config: FilterConfig, *, strict: bool = False, device: str = "auto", batch_size: int = 32):
        self.config = config
        self.strict = strict
        self.device = device
        self._batch_size = BatchSize(STRICT_BATCH if strict else batch_size)
        self._model: Any = None
        self._processor: Any = None
        self._tokenizer: Any = None

    @property
    def batch_size(self) -> int:
        """Returns the number of images in a forward pass."""
        return self._batch_size.value

    def load(self) -> Any:
        """Returns the model. The first call loads it."""
        if self._model is None:
            path = self.config.path
            weights = resolve_weights(path, self.config.revision, "tower", identify=False)
            with quiet_loading(), model_view(local_folder(weights), path) as view:
                self._processor = load_part(transformers.AutoImageProcessor, view, path)
                _check_sides(self._processor, path)
                model_config = _without_class_count(load_part(transformers.AutoConfig, view, path))
                cls = model_class(model_config)
                with library_errors(f"{path} cannot be loaded as an image tower", TOWER_REMEDY):
                    check_headers(cls, view, path, config=model_config)
                model = load_network(
                    cls, view, path, dtype=torch.float32, config=model_config, is_optional=_is_unused_pooler
                )
            self._model = model.eval().requires_grad_(False).to(pick_device(self.device))
        return self._model

    @property
    def processor(self) -> str:
        """Returns the class name of the image processor that prepares the pixels."""
        self.load()
        return type(self._processor).__name__

    @property
    def has_text(self) -> bool:
        """Whether captions can be embedded into the same space."""
        return hasattr(self.load(), "get_text_features")

    @property
    def logit_scale(self) -> float | None:
        """Factor by which the training of CLIP and SigLIP multiplies the cosines; None if this tower has no factor."""
        parameter = getattr(self.load(), "logit_scale", None)
        return float(parameter.exp()) if isinstance(parameter, Tensor) and parameter.numel() == 1 else None

    def prepare(self, image: Tensor) -> dict[str, Tensor]:
        """Returns the model's input for one (3, H, W) uint8 image: a batch of one image on the CPU.

        Several threads may call this method at the same time.
        """
        self.load()
        height, width = image.shape[-2:]
        aspect = max(height, width) / max(1, min(height, width))
        if _largest_side(self._processor) ** 2 * aspect > MOST_PREPARED:
            raise ValueError(
                f"{width} x {height} is too long for an image tower of {_largest_side(self._processor)} pixels"
            )
        if _takes_tensors(self._processor):
            inputs = self._processor(images=image.cpu(), input_data_format="channels_first", return_tensors="pt")
        else:
            pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
            inputs = self._processor(images=Image.fromarray(pixels), return_tensors="pt")
        return {name: tensor for name, tensor in inputs.items() if isinstance(tensor, Tensor)}

    def embed(self, images: Sequence[Tensor]) -> Tensor:
        """Returns the embeddings of (3, H, W) uint8 images of any sizes: (B, d) float32 of length 1 on the CPU."""
        with fixed_conditions(self.strict):
            return self.embed_prepared([self.prepare(image) for image in images])

    @torch.no_grad()
    def embed_prepared(self, inputs: Sequence[dict[str, Tensor]]) -> Tensor:
        """Returns the embeddings of images that `prepare` has prepared: (B, d) float32 of length 1 on the CPU.

        Raises:
            OutOfMemory: one image does not fit into memory, or one batch of 16 images if `strict` is true.
        """
        self.load()
        rows: list[Tensor] = []
        start = 0
        with fixed_conditions(self.strict):
            while start < len(inputs):
                chunk = list(inputs[start : start + self.batch_size])
                if (embedded := self._embedded_or_halve(chunk)) is not None:
                    rows.append(embedded)
                    start += len(chunk)
        return torch.cat(rows) if rows else torch.empty(0, 0)

    def _embedded_or_halve(self, chunk: list[dict[str, Tensor]]) -> Tensor | None:
        """Returns the embeddings of a batch. If memory runs out, halves the batch size and returns None."""
        return compute_or_halve(
            lambda: self._embedded(chunk),
            len(chunk),
            self._batch_size,
            strict=self.strict,
            path=self.config.path,
            where="in the image tower",
            remedy="Use --strict false, or a smaller --filter.path" if self.strict else "Use a smaller --filter.path",
        )

    def _embedded(self, chunk: list[dict[str, Tensor]]) -> Tensor:
        """Returns the embeddings of one device batch."""
        model = self.load()
        padded = pad(chunk, STRICT_BATCH) if self.strict else chunk
        batch = {name: torch.cat([image[name] for image in padded]).to(model.device) for name in chunk[0]}
        return _unit(_pooled(model, batch))[: len(chunk)].cpu()

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor | None:
        """Returns the embeddings of captions: (K, d) float32 of length 1, in the space of `embed`.

        Texts are padded to the maximum length of the tower, because SigLIP was trained with such padding. CLIP ignores
        the padding.

        Returns:
            The embeddings; None if the model has no text tower.
        """
        model = self.load()
        tokenizer = self._load_tokenizer() if self.has_text else None
        if tokenizer is None:
            return None
        length = model.config.text_config.max_position_embeddings
        rows = []
        with fixed_conditions(self.strict), quiet_warnings():
            for start in range(0, len(texts), STRICT_BATCH):
                chunk = list(texts[start : start + STRICT_BATCH])
                tokens = tokenizer(
                    pad(chunk, STRICT_BATCH) if self.strict else chunk,
                    padding="max_length",
                    max_length=length,
                    truncation=True,
                    return_tensors="pt",
                )
                features = model.get_text_features(**tokens.to(model.device))
                rows.append(_unit(_tensor(features))[: len(chunk)].cpu())
        return torch.cat(rows) if rows else torch.empty(0, 0)

    def _load_tokenizer(self) -> Any:
        """Returns the tokenizer.

        If it cannot be loaded, for example because sentencepiece is not installed, logs one warning and returns None.
        """
        if self._tokenizer is None:
            weights = resolve_weights(self.config.path, self.config.revision, "tower", identify=False)
            try:
                with model_view(local_folder(weights), self.config.path) as view:
                    self._tokenizer = load_part(transformers.AutoTokenizer, view, self.config.path)
            except UserError as error:
                logger.warning("captions cannot be embedded: %s", error)
                self._tokenizer = False
        return self._tokenizer or None


def _is_unused_pooler(model: Any, name: str) -> bool:
    """Returns whether a weight belongs to a pooling layer whose output is not used; see `_pooled`."""
    return "pooler" in name and _has_class_token(model) and model.config.model_type not in OWN_POOLING


def _check_sides(processor: Any, path: str) -> None:
    """Raise UserError if an image processor makes images of more than LARGEST_SIDE pixels a side."""
    side = _largest_side(processor)
    if side > LARGEST_SIDE:
        raise UserError(f"{path}: its image processor makes images of {side} pixels a side. {TOWER_REMEDY}")


def _largest_side(processor: Any) -> int:
    """Return the largest number of pixels among the sizes that an image processor resizes and crops to."""
    sides: list[Any] = []
    for size in (getattr(processor, name, None) for name in ("size", "crop_size", "pad_size")):
        fields = size if isinstance(size, Mapping) else getattr(size, "__dict__", {"side": size})
        sides += fields.values()
    return max((side for side in sides if isinstance(side, int)), default=0)


def _without_class_count(config: Any) -> Any:
    """Returns the configuration without the number of classes that timm writes into `model_args`.

    transformers passes this number itself and raises if it is given twice.
    """
    if getattr(config, "model_args", None):
        config.model_args = {name: value for name, value in config.model_args.items() if name != "num_classes"}
    return config


def _tensor(features: Any) -> Tensor:
    """Returns projected features as a tensor; transformers 5 wraps them in an output object."""
    return features if isinstance(features, Tensor) else features.pooler_output


def _takes_tensors(processor: Any) -> bool:
    """Returns whether an image processor accepts channels-first tensors; every processor accepts PIL images.

    A processor without an argument for the order of the channels may assume another order, or expect floats in [0, 1].
    """
    parameters = inspect.signature(processor.preprocess).parameters
    return "input_data_format" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _has_class_token(model: Any) -> bool:
    return any(CLASS_TOKEN.fullmatch(name.rpartition(".")[2]) for name, _ in model.named_parameters())


def _pooled(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Returns the embeddings of a batch, (B, d).

    The embedding is the first of these outputs that exists: the model's projection, the pooled output of a type in
    `OWN_POOLING`, the class token, or the mean over all positions. Other models with a class token may have a pooled
    output too. It is not used, because its layer is untrained in many checkpoints.
    """
    if hasattr(model, "get_image_features"):
        return _tensor(model.get_image_features(**batch))
    output = model(**batch)
    if getattr(output, "image_embeds", None) is not None:
        return output.image_embeds
    hidden, pooled = output.last_hidden_state, getattr(output, "pooler_output", None)
    if pooled is not None and model.config.model_type in OWN_POOLING:
        return pooled.flatten(1)
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))
    if _has_class_token(model):
        return hidden[:, 0]
    return hidden.mean(dim=1) if pooled is None else pooled.flatten(1)


def _unit(rows: Tensor) -> Tensor:
    """Returns embeddings normalised to length 1."""
    return functional.normalize(rows.float(), dim=-1)
