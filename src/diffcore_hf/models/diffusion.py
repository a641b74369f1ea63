"""Diffusion: generates uint8 images from prompts, seeds and further inputs of a pipeline.

Owns sampling: noise from seeds, the encoding of each prompt, device batches and their size, and the checks of a
generated image. Loading is in pipelines.py. The inputs other than texts and seeds are in one module for each task, such
as image_to_image.py. An image depends only on its own inputs, except for rounding differences between batches. `strict`
removes these differences.
"""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.batch_size import BatchSize
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import guidance
from diffcore_hf.models.device_batches import compute_or_halve
from diffcore_hf.models.guidance import Encoded, EncodedBatch, Family
from diffcore_hf.models.model_resolution import resolve_model
from diffcore_hf.models.pipelines import Task, load_pipeline
from diffcore_hf.models.runtime import STRICT_BATCH, fixed_conditions, pad, quiet_warnings
from diffcore_hf.models.samples import Samples, single_colour

__all__ = ["Diffusion", "Samples", "TextToImage", "resolve_model"]

logger = logging.getLogger(__name__)

ENCODE_BATCH = 16
CACHE_BYTES = 2 * 2**30
"""Main memory that encoded prompts may use. Above this limit, the cache removes the least recently used prompts."""
BYTES_AT_512 = 1.5 * 2**30
"""Estimate of the GPU memory for one image of 512 x 512 with guidance in 16 bits, in addition to the weights."""


class Diffusion:
    """A diffusion pipeline, whose weights are loaded on first use.

    Each subclass is one task. It names its inputs in a method `sample`, which calls `_sample`.

    Args:
        config: the model. The values `auto` and null are replaced when the weights are loaded.
        strict: pad every device batch to 16 images and use one thread, so that the bits of an image do not depend on
            its batch.
        batch_size: number of images in a device batch. None: on a GPU, the number is estimated from the free memory.
            On a CPU, it is 16 for images with sides up to 128 pixels, 4 up to 256 pixels, and 1 for larger images.
            The number is halved whenever memory runs out, and grows again later (core/batch_size.py).
    """

    task: ClassVar[Task]
    """The pipeline that is loaded for the weights of the model."""

    def __init__(self, config: ModelConfig, *, strict: bool = False, batch_size: int | None = None):
        self.config = config
        self.strict = strict
        self.texts_encoded = 0
        self.images_drawn = 0
        fixed = STRICT_BATCH if strict else batch_size
        self._batch_size = None if fixed is None else BatchSize(fixed)
        self._pipeline: Any = None
        self._takes_negatives = True
        self._family: Family | None = None
        self._texts: OrderedDict[str, Encoded] = OrderedDict()
        self._texts_bytes = 0
        self._measured: set[str] = set()

    def load(self) -> Any:
        """Returns the diffusers pipeline. The first call loads it and replaces `config` by the resolved model."""
        if self._pipeline is None:
            self.config, record = resolve_model(self.config, identify=False)
            self._takes_negatives = record["takes_negatives"]
            pipeline = self._loaded()
            self._family = guidance.guidance_for(record["pipeline"], self.config.guidance)
            if self.strict and self._family is not None and self._family.ragged:
                raise UserError(
                    f"strict is true, but {self._family.name} pads each prompt to the longest prompt of its batch. "
                    "Use --strict false"
                )
            if record["guidance"]["argument"] is None:
                logger.warning("%s has no guidance_scale: model.gamma changes nothing", type(pipeline).__name__)
            self._pipeline = pipeline
        return self._pipeline

    def _loaded(self) -> Any:
        """Returns the pipeline of the task, for a resolved model."""
        return load_pipeline(self.config, self.task)

    @property
    def batch_size(self) -> int:
        """Returns the number of images in a device batch. It is smaller than the configured one if memory ran out."""
        if self._batch_size is None:
            self.load()
            guess = _guess_batch_size(self._pipeline._execution_device, self.side, self.config.dtype)
            self._batch_size = BatchSize(guess)
        return self._batch_size.value

    @property
    def side(self) -> int:
        """Returns the side of an image in pixels."""
        self.load()
        if self.config.size is None:
            raise TypeError("a resolved model has a size")
        return self.config.size

    def _sample(
        self, prompts: Sequence[str], negatives: Sequence[str | None], seeds: Sequence[int], *inputs: Sequence[Any]
    ) -> Samples:
        """Generates images, each from one prompt, one negative prompt, one seed and its further inputs.

        Args:
            prompts: prompt of each image.
            negatives: negative prompt of each image. For None or "", the model's unconditional prediction is used.
            seeds: seed of each image.
            inputs: further inputs, one sequence for each argument of `_task_arguments`.

        Raises:
            UserError: a negative prompt would have no effect with this gamma or this pipeline.
            OutOfMemory: one image does not fit into memory, or one batch of 16 images if `strict` is true.
            ValueError: the arguments differ in length.
        """
        if not len(prompts) == len(negatives) == len(seeds):
            raise ValueError(
                f"{len(prompts)} prompts, {len(negatives)} negatives and {len(seeds)} seeds, but each image needs one"
            )
        if any(len(values) != len(seeds) for values in inputs):
            raise ValueError(f"inputs of {[len(values) for values in inputs]} images for {len(seeds)} seeds")
        self.load()
        guidance.check_negatives(self.config.gamma, negatives, self._takes_negatives)
        finished: list[Samples] = []
        start = 0
        while start < len(prompts):
            stop = min(start + self.batch_size, len(prompts))
            samples = self._sample_or_halve(
                [list(values[start:stop]) for values in (prompts, negatives, seeds, *inputs)]
            )
            if samples is None:
                continue
            finished.append(samples)
            self.images_drawn += stop - start
            start = stop
        if not finished:
            return Samples(torch.empty(0, 3, self.side, self.side, dtype=torch.uint8), [])
        flags = list(chain.from_iterable(samples.flags for samples in finished))
        return Samples(torch.cat([samples.images for samples in finished]), flags)

    def _sample_or_halve(self, columns: list[list[Any]]) -> Samples | None:
        """Generates one device batch. If memory runs out, halves the batch size and returns None."""
        assert self._batch_size is not None
        return compute_or_halve(
            lambda: self._sample_batch(columns),
            len(columns[0]),
            self._batch_size,
            strict=self.strict,
            path=self.config.path,
            where=f"of {self.config.size} pixels",
            remedy="Use --model.offload sequential, a smaller --model.size"
            + (", or --strict false" if self.strict else ""),
        )

    @torch.no_grad()
    def _sample_batch(self, columns: list[list[Any]]) -> Samples:
        """Generates one device batch from the arguments of `_sample`."""
        count = len(columns[0])
        if self.strict:
            columns = [pad(column, STRICT_BATCH) for column in columns]
        prompts, negatives, seeds, *inputs = columns
        with fixed_conditions(self.strict), quiet_warnings():
            if self._family is None:
                self._note_truncated([*prompts, *(negative for negative in negatives if negative)])
                arguments = guidance.native_arguments(self._pipeline, self.config.gamma, prompts, negatives)
            else:
                arguments = self._encoded_arguments(self._family, prompts, negatives)
            output = self._pipeline(
                **arguments,
                **self._task_arguments(*inputs),
                num_inference_steps=self.config.steps,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="pt",
            )
        unsafe = getattr(output, "nsfw_content_detected", None) or [False] * len(prompts)
        return _check(output.images[:count], unsafe[:count])

    def _task_arguments(self, *inputs: list[Any]) -> dict[str, Any]:
        """Returns the arguments of the pipeline for the size of the image and for the further inputs of a batch."""
        accepted = inspect.signature(self._pipeline.__call__).parameters
        return {name: self.side for name in ("height", "width") if name in accepted}

    def _encoded_arguments(self, family: Family, prompts: list[str], negatives: list[str | None]) -> dict[str, Any]:
        guided = self.config.gamma > 0
        zeros = family.zeros_without_negative and self._pipeline.config.get(family.zeros_without_negative)
        negative_texts = [text or "" for text in negatives if guided and (text or not zeros)]
        encoded = self._encode(family, [*prompts, *negative_texts])
        device = self._pipeline._execution_device
        positive = [encoded[prompt] for prompt in prompts]
        negative_batch = None
        if guided:
            blank = tuple(torch.zeros_like(tensor) for tensor in positive[0])
            negative = [encoded[text or ""] if text or not zeros else blank for text in negatives]
            negative_batch = _batch(negative, device, family.ragged)
        arguments = family.arguments(_batch(positive, device, family.ragged), negative_batch)
        return {family.argument: family.scale(self.config.gamma), **arguments}

    def _encode(self, family: Family, texts: Sequence[str]) -> dict[str, Encoded]:
        """Returns the embeddings of each distinct text, on the CPU. Texts in the cache are not encoded again."""
        distinct = list(dict.fromkeys(texts))
        missing = [text for text in distinct if text not in self._texts]
        self._note_truncated(missing)
        for start in range(0, len(missing), ENCODE_BATCH):
            chunk = missing[start : start + ENCODE_BATCH]
            tensors = family.encode(self._pipeline, pad(chunk, ENCODE_BATCH) if self.strict else list(chunk))
            self.texts_encoded += len(chunk)
            for row, text in enumerate(chunk):
                self._texts[text] = tuple(tensor[row].cpu().clone() for tensor in tensors)
                self._texts_bytes += _size(self._texts[text])
        for text in distinct:
            self._texts.move_to_end(text)
        encoded = {text: self._texts[text] for text in distinct}
        while self._texts_bytes > CACHE_BYTES and self._texts:
            _, removed = self._texts.popitem(last=False)
            self._texts_bytes -= _size(removed)
        return encoded

    def _note_truncated(self, texts: Sequence[str]) -> None:
        """Logs each text that is too long for all text encoders. Each text is logged only once."""
        new = dict.fromkeys(text for text in texts if text not in self._measured)
        self._measured.update(new)
        components = self._pipeline.components.values()
        tokenizers = [component for component in components if isinstance(component, PreTrainedTokenizerBase)]
        for text in new:
            excess = [len(tokenizer(text).input_ids) - tokenizer.model_max_length for tokenizer in tokenizers]
            if excess and min(excess) > 0:
                logger.info("the text encoder ignores the last %d tokens of %r", min(excess), text)


class TextToImage(Diffusion):
    """A text-to-image pipeline."""

    task = "text_to_image"

    def sample(self, prompts: Sequence[str], negatives: Sequence[str | None], seeds: Sequence[int]) -> Samples:
        """Generates images, each from one prompt, one negative prompt and one seed; see `_sample`."""
        return self._sample(prompts, negatives, seeds)


def _batch(rows: list[Encoded], device: torch.device, ragged: bool) -> EncodedBatch:
    """Stacks the rows into one tensor for each keyword of the family. Ragged rows become one list for each keyword."""
    columns = zip(*rows, strict=True)
    if ragged:
        return tuple([tensor.to(device) for tensor in tensors] for tensors in columns)
    return tuple(torch.stack(tensors).to(device) for tensors in columns)


def _size(encoded: Encoded) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in encoded)


def _check(images: Tensor, unsafe: Sequence[bool]) -> Samples:
    """Rounds images in [0, 1] to uint8 and flags those that cannot be used."""
    images = images.float()
    finite = torch.isfinite(images).flatten(1).all(1)
    pixels = (images.nan_to_num(0.0) * 255).round().clamp(0, 255).to(torch.uint8)
    invalid = [
        one_colour or not is_finite
        for one_colour, is_finite in zip(single_colour(pixels), finite.tolist(), strict=True)
    ]
    return Samples(pixels, [_flag(*pair) for pair in zip(unsafe, invalid, strict=True)])


def _flag(unsafe: bool, invalid: bool) -> str | None:
    if unsafe:
        return "unsafe"
    return "invalid" if invalid else None


def _guess_batch_size(device: torch.device, side: int, dtype: str) -> int:
    """Estimates how many images of this side fit into memory."""
    if device.type != "cuda":
        if side <= 128:
            return 16
        return 4 if side <= 256 else 1
    image_bytes = BYTES_AT_512 * (side / 512) ** 2 * (2 if dtype == "float32" else 1)
    fitting = int(0.8 * torch.cuda.mem_get_info(device)[0] / image_bytes)
    power_of_two = 1 << max(0, fitting.bit_length() - 1)
    return max(1, min(64 if side <= 128 else 16, power_of_two))
