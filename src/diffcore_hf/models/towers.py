"""Image towers: pixels (and captions) in, unit embeddings out.

Owns loading any image tower of transformers, its preprocessing and its pooling. Does not own what is compared with
what. Everything is float32 on every device: a tower is small beside the model that draws, and scores are stored.

An image's embedding does not depend on its companions: each is resized alone, on the CPU, by the processor that is
recorded; with `strict` batches are padded to one shape and threads fixed, so that the bits agree too.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn import functional

from diffcore_hf.config.augment import Filter
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import door
from diffcore_hf.models.door import HashCache
from diffcore_hf.models.runtime import STRICT_BATCH, fixed_conditions, pad, pick_device, quiet_loading, quiet_warnings

logger = logging.getLogger(__name__)

OWN_POOLING = ("siglip_vision_model", "siglip2_vision_model", "clip_vision_model", "timm_wrapper")
"""Model types whose pooled output is trained, or chosen by the architecture, and is better than the class token."""

CLASS_TOKEN = re.compile(r"(cls|class)_(token|emb|embedding)")
"""Names that transformers gives to the parameter of a class token."""


def resolve_filter(config: Filter, *, hash_cache: HashCache = None) -> tuple[Filter, dict[str, Any]]:
    """The filter with its revision a commit, and what to record: path, identity, licence, classes, text tower.

    Loads no weights.

    Raises:
        UserError: nothing there, pickled weights only, or no image tower.
    """
    resolved = door.resolve(config.path, config.revision, "tower", hash_cache=hash_cache)
    place = _place(resolved)
    model_config = _read(transformers.AutoConfig, place, config.path)
    processor = _read(transformers.AutoImageProcessor, place, config.path)
    cls = _model_class(model_config)
    info = {
        "model": cls.__name__,
        "processor": type(processor).__name__,
        "path": door.public_path(config.path, resolved),
        "identity": resolved.identity,
        "licence": resolved.licence,
        "has_text": hasattr(cls, "get_text_features"),
    }
    return replace(config, revision=resolved.revision), info


class ImageTower:
    """An image tower (CLIP, SigLIP, DINOv2, ...); its weights load on first use.

    Args:
        config: the filter; its path and revision alone matter here.
        strict: equal bits however the work is cut.
        device: auto, cpu, mps, cuda or cuda:<number>.
        batch_size: images a forward pass.
    """

    def __init__(self, config: Filter, *, strict: bool = False, device: str = "auto", batch_size: int = 32):
        self.config = config
        self.strict = strict
        self.device = device
        self.batch_size = STRICT_BATCH if strict else batch_size
        self._model: Any = None
        self._processor: Any = None
        self._tokenizer: Any = None

    def load(self) -> Any:
        """The model, loaded on the first call."""
        if self._model is None:
            place = _place(door.resolve(self.config.path, self.config.revision, "tower", identify=False))
            with quiet_loading():
                self._processor = _read(transformers.AutoImageProcessor, place, self.config.path)
                model_config = _read(transformers.AutoConfig, place, self.config.path)
                model, report = _model_class(model_config).from_pretrained(
                    place[0],
                    **place[1],
                    config=_without_class_count(model_config),
                    dtype=torch.float32,
                    use_safetensors=True,
                    output_loading_info=True,
                )
            missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
            if missing:
                raise UserError(
                    f"{self.config.path}: its weights lack {missing[0]}. Give a checkpoint of an image tower"
                )
            self._model = model.eval().requires_grad_(False).to(pick_device(self.device))
        return self._model

    @property
    def processor(self) -> str:
        """Class name of the image processor that prepares the pixels."""
        self.load()
        return type(self._processor).__name__

    @property
    def has_text(self) -> bool:
        """Whether captions can be embedded into the same space."""
        return hasattr(self.load(), "get_text_features")

    def prepare(self, image: Tensor) -> dict[str, Tensor]:
        """(3, H, W) uint8 of any size -> the model's input, a batch of one, on the CPU. Threads may call it."""
        self.load()
        if _takes_tensors(self._processor):
            inputs = self._processor(images=image.cpu(), input_data_format="channels_first", return_tensors="pt")
        else:
            pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
            inputs = self._processor(images=Image.fromarray(pixels), return_tensors="pt")
        return {name: tensor for name, tensor in inputs.items() if isinstance(tensor, Tensor)}

    def embed(self, images: Sequence[Tensor]) -> Tensor:
        """(3, H, W) uint8 each, of any sizes -> (B, d) float32 unit rows, on the CPU."""
        with fixed_conditions(self.strict):
            return self.embed_prepared([self.prepare(image) for image in images])

    @torch.no_grad()
    def embed_prepared(self, inputs: Sequence[dict[str, Tensor]]) -> Tensor:
        """What `prepare` returned, one an image -> (B, d) float32 unit rows, on the CPU."""
        model = self.load()
        rows = []
        with fixed_conditions(self.strict):
            for start in range(0, len(inputs), self.batch_size):
                chunk = list(inputs[start : start + self.batch_size])
                padded = pad(chunk, STRICT_BATCH) if self.strict else chunk
                batch = {name: torch.cat([one[name] for one in padded]).to(model.device) for name in chunk[0]}
                rows.append(_unit(_pooled(model, batch))[: len(chunk)].cpu())
        return torch.cat(rows) if rows else torch.empty(0, 0)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor | None:
        """Captions -> (K, d) float32 unit rows in the space of `embed`; None where the model has no text tower.

        Texts are padded to the tower's full length, as SigLIP was trained; CLIP does not see the padding.
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
        """The tokenizer, or None (said once in the log) where it cannot be read, such as for want of sentencepiece."""
        if self._tokenizer is None:
            place = _place(door.resolve(self.config.path, self.config.revision, "tower", identify=False))
            try:
                self._tokenizer = _read(transformers.AutoTokenizer, place, self.config.path)
            except (ValueError, ImportError) as error:
                logger.warning("%s: its captions cannot be embedded: %s", self.config.path, error)
                self._tokenizer = False
        return self._tokenizer or None


def _place(resolved: door.Resolved) -> tuple[str, dict[str, str]]:
    """First argument and keywords of `from_pretrained`."""
    return resolved.location, {"revision": resolved.revision} if resolved.revision else {}


def _read(auto: Any, place: tuple[str, dict[str, str]], path: str) -> Any:
    """A configuration, processor or tokenizer, never with remote code."""
    try:
        return auto.from_pretrained(place[0], **place[1], trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"{path}: no image tower of transformers ({auto.__name__}): {reason}") from error


def _model_class(config: Any) -> Any:
    """The class that AutoModel takes, but for CLIP's vision tower saved with its projection."""
    if (config.architectures or [""])[0] == "CLIPVisionModelWithProjection":
        return transformers.CLIPVisionModelWithProjection
    try:
        return transformers.MODEL_MAPPING[type(config)]
    except KeyError:
        raise UserError(f"filter.path: {config.model_type} is no model that transformers.AutoModel loads") from None


def _without_class_count(config: Any) -> Any:
    """The configuration without the class count that timm writes into `model_args`; transformers sets its own."""
    if getattr(config, "model_args", None):
        config.model_args = {name: value for name, value in config.model_args.items() if name != "num_classes"}
    return config


def _tensor(features: Any) -> Tensor:
    """Projected features: transformers 5 wraps them in an output object."""
    return features if isinstance(features, Tensor) else features.pooler_output


def _takes_tensors(processor: Any) -> bool:
    """Whether an image processor reads channels-first tensors; every processor reads PIL images.

    A processor that cannot be given the order of the channels may guess it wrongly, or expect floats in [0, 1].
    """
    parameters = inspect.signature(processor.preprocess).parameters
    return "input_data_format" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _has_class_token(model: Any) -> bool:
    return any(CLASS_TOKEN.fullmatch(name.rpartition(".")[2]) for name, _ in model.named_parameters())


def _pooled(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Returns (B, d): the projection, else the model's own pooling, else the class token, else the mean over space.

    The pooled output of a transformer with a class token is skipped: many checkpoints leave its layer untrained.
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
    return functional.normalize(rows.float(), dim=-1)
