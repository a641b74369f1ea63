"""Text to image: prompts and seeds in, uint8 pixels out.

Owns sampling: noise by seed, prompts encoded once each, device batches and their size, checks of a finished image.
Loading is pipelines.py. What an image is depends on its prompt, negative prompt and seed alone, up to rounding; with
`strict` the bits are the same too, however the work is cut.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from diffcore_hf.config.augment import Model
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import guidance
from diffcore_hf.models.guidance import Encoded, Family
from diffcore_hf.models.pipelines import load_pipeline, resolve_model
from diffcore_hf.models.runtime import (
    STRICT_BATCH,
    OutOfMemory,
    fixed_conditions,
    is_out_of_memory,
    pad,
    quiet_warnings,
)

__all__ = ["Samples", "TextToImage", "resolve_model"]

logger = logging.getLogger(__name__)

ENCODE_BATCH = 16
CACHE_BYTES = 2 * 2**30
"""Encoded prompts kept in main memory; the least recently used ones beyond this are encoded again when needed."""
BYTES_AT_512 = 1.5 * 2**30
"""First guess of what one image of 512 x 512 with guidance needs on a GPU in 16 bits, besides the weights."""


@dataclass(frozen=True)
class Samples:
    """Generated images and what is wrong with them."""

    images: Tensor
    """(B, 3, H, W) uint8, on the model's device."""
    flags: list[str | None]
    """`unsafe` (the pipeline's safety checker), `invalid` (not finite, or of one colour), or None."""


class TextToImage:
    """A text-to-image model; its weights load on first use.

    Args:
        config: the model; `auto` and null are resolved on loading.
        strict: pads every device batch to 16 and fixes threads, for equal bits however the work is cut.
        batch_size: images a device batch. None: on a GPU a guess from its free memory, elsewhere 16 up to 128 pixels,
            4 up to 256, 1 above. Halved whenever memory runs out, and kept so.
    """

    def __init__(self, config: Model, *, strict: bool = False, batch_size: int | None = None):
        self.config = config
        self.strict = strict
        self.texts_encoded = 0
        self.images_drawn = 0
        self.info: dict[str, Any] = {}
        self._batch_size = STRICT_BATCH if strict else batch_size
        self._pipeline: Any = None
        self._family: Family | None = None
        self._texts: OrderedDict[str, Encoded] = OrderedDict()
        self._texts_bytes = 0
        self._measured: set[str] = set()

    def load(self) -> Any:
        """The diffusers pipeline, loaded on the first call; `config` is the resolved model from then on."""
        if self._pipeline is None:
            self.config, self.info = resolve_model(self.config, identify=False)
            pipeline = load_pipeline(self.config)
            self._family = guidance.guidance_for(type(pipeline).__name__, self.config.guidance)
            if self.strict and self._family is not None and self._family.ragged:
                raise UserError(f"strict: {self._family.name} pads prompts by their companions. Use --strict false")
            if self.info["guidance"]["argument"] is None:
                logger.warning("%s has no guidance_scale: model.gamma changes nothing", type(pipeline).__name__)
            self._pipeline = pipeline
        return self._pipeline

    @property
    def batch_size(self) -> int:
        """Images that are drawn at once; what is left of it when memory ran out."""
        if self._batch_size is None:
            self.load()
            self._batch_size = _guess_batch_size(self._pipeline._execution_device, self.config)
        return self._batch_size

    def sample(self, prompts: Sequence[str], negatives: Sequence[str | None], seeds: Sequence[int]) -> Samples:
        """One image for each prompt, negative prompt and seed.

        Args:
            negatives: None or "" for no negative prompt: the family's own unconditional branch.

        Raises:
            UserError: gamma does not fit the negatives, or the pipeline takes none.
            OutOfMemory: one image alone (with strict, a batch) does not fit into memory.
        """
        if not len(prompts) == len(negatives) == len(seeds):
            raise UserError(
                f"{len(prompts)} prompts, {len(negatives)} negatives, {len(seeds)} seeds: one each an image"
            )
        self.load()
        guidance.check(self.config.gamma, negatives, self.info["takes_negatives"])
        done: list[Samples] = []
        start = 0
        while start < len(prompts):
            stop = min(start + self.batch_size, len(prompts))
            samples = self._sample_or_halve(prompts[start:stop], negatives[start:stop], seeds[start:stop])
            if samples is None:
                continue
            done.append(samples)
            self.images_drawn += stop - start
            start = stop
        if not done:
            return Samples(torch.empty(0, 3, self.config.size, self.config.size, dtype=torch.uint8), [])
        return Samples(torch.cat([s.images for s in done]), [flag for s in done for flag in s.flags])

    def _sample_or_halve(self, prompts: Sequence[str], negatives: Sequence, seeds: Sequence[int]) -> Samples | None:
        """One device batch; None when memory ran out and the batch was halved."""
        try:
            return self._sample_batch(list(prompts), list(negatives), list(seeds))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if self.strict or len(prompts) == 1:
                needed = f"{STRICT_BATCH} images at once (strict)" if self.strict else "one image"
                raise OutOfMemory(
                    f"{self.config.path}: out of memory for {needed} of {self.config.size} pixels. "
                    "Use --model.offload sequential, a smaller --model.size"
                    + (", or --strict false" if self.strict else "")
                ) from error
        # outside the handler, so that the failed batch's tensors are gone
        self._batch_size = len(prompts) // 2
        logger.warning("out of memory with %d images at once; going on with %d", len(prompts), self._batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    @torch.no_grad()
    def _sample_batch(self, prompts: list[str], negatives: list[str | None], seeds: list[int]) -> Samples:
        count = len(prompts)
        if self.strict:
            prompts, negatives, seeds = (pad(items, STRICT_BATCH) for items in (prompts, negatives, seeds))
        with fixed_conditions(self.strict), quiet_warnings():
            if self._family is None:
                self._note_truncated([*prompts, *(negative for negative in negatives if negative)])
                arguments = guidance.native_arguments(self._pipeline, self.config.gamma, prompts, negatives)
            else:
                arguments = self._encoded_arguments(self._family, prompts, negatives)
            output = self._pipeline(
                **arguments,
                height=self.config.size,
                width=self.config.size,
                num_inference_steps=self.config.steps,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="pt",
            )
        unsafe = getattr(output, "nsfw_content_detected", None) or [False] * len(prompts)
        return _check(output.images[:count], unsafe[:count])

    def _encoded_arguments(self, family: Family, prompts: list[str], negatives: list[str | None]) -> dict[str, Any]:
        guided = self.config.gamma > 0
        zeros = family.zeros_without_negative and self._pipeline.config.get(family.zeros_without_negative)
        wanted = [*prompts, *(n or "" for n in negatives if guided and (n or not zeros))]
        texts = self._encode(wanted)
        positive = [texts[prompt] for prompt in prompts]
        negative = None
        if guided:
            blank = tuple(torch.zeros_like(tensor) for tensor in positive[0])
            negative = [texts[n or ""] if n or not zeros else blank for n in negatives]
        device = self._pipeline._execution_device
        return {
            family.argument: family.scale(self.config.gamma),
            **family.arguments(*(_batch(rows, device, family.ragged) for rows in (positive, negative))),
        }

    def _encode(self, wanted: Sequence[str]) -> dict[str, Encoded]:
        """Each distinct text's embeddings, on the CPU; a text met before is not encoded again."""
        distinct = list(dict.fromkeys(wanted))
        missing = [text for text in distinct if text not in self._texts]
        self._note_truncated(missing)
        for start in range(0, len(missing), ENCODE_BATCH):
            chunk = missing[start : start + ENCODE_BATCH]
            tensors = self._family.encode(self._pipeline, pad(chunk, ENCODE_BATCH) if self.strict else list(chunk))
            self.texts_encoded += len(chunk)
            for row, text in enumerate(chunk):
                self._texts[text] = tuple(tensor[row].cpu().clone() for tensor in tensors)
                self._texts_bytes += _size(self._texts[text])
        for text in distinct:
            self._texts.move_to_end(text)
        found = {text: self._texts[text] for text in distinct}
        while self._texts_bytes > CACHE_BYTES and self._texts:
            _, dropped = self._texts.popitem(last=False)
            self._texts_bytes -= _size(dropped)
        return found

    def _note_truncated(self, texts: Sequence[str]) -> None:
        """Tells the log, once for each text, that no text encoder takes it whole."""
        new = dict.fromkeys(text for text in texts if text not in self._measured)
        self._measured.update(new)
        parts = self._pipeline.components.values()
        tokenizers = [part for part in parts if isinstance(part, PreTrainedTokenizerBase)]
        for text in new:
            excess = [len(tokenizer(text).input_ids) - tokenizer.model_max_length for tokenizer in tokenizers]
            if excess and min(excess) > 0:
                logger.info("the text encoder drops the last %d tokens of %r", min(excess), text)


def _batch(rows: list[Encoded] | None, device: torch.device, ragged: bool) -> tuple | None:
    """One tensor (of texts of different length, one list) for each keyword of the family."""
    if rows is None:
        return None
    columns = zip(*rows, strict=True)
    if ragged:
        return tuple([tensor.to(device) for tensor in tensors] for tensors in columns)
    return tuple(torch.stack(tensors).to(device) for tensors in columns)


def _size(encoded: Encoded) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in encoded)


def _check(images: Tensor, unsafe: Sequence[bool]) -> Samples:
    """[0, 1] to uint8 by rounding, and what is wrong with each."""
    images = images.float()
    finite = torch.isfinite(images).flatten(1).all(1)
    pixels = (images.nan_to_num(0.0) * 255).round().clamp(0, 255).to(torch.uint8)
    flat = (pixels == pixels[:, :, :1, :1]).flatten(1).all(1)
    invalid = (flat | ~finite).tolist()
    flags = ["unsafe" if u else "invalid" if i else None for u, i in zip(unsafe, invalid, strict=True)]
    return Samples(pixels, flags)


def _guess_batch_size(device: torch.device, config: Model) -> int:
    if device.type != "cuda":
        return 16 if config.size <= 128 else 4 if config.size <= 256 else 1
    each = BYTES_AT_512 * (config.size / 512) ** 2 * (2 if config.dtype == "float32" else 1)
    fitting = int(0.8 * torch.cuda.mem_get_info(device)[0] / each)
    return max(1, min(64 if config.size <= 128 else 16, 1 << max(0, fitting.bit_length() - 1)))
