"""Learned tokens: new words of a text-to-image model, with one row in the embedding matrix of each text encoder.

Owns the file of learned tokens with their LoRA, and their addition to a pipeline. The rows are learned in
token_training.py. The file is safetensors with JSON in its header, so nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
"""Text-to-image pipelines for which tokens can be learned. All their text encoders are those of CLIP."""
WORDS = "words"
"""Key of the header for the list of tokens."""


class TextPart(NamedTuple):
    """A text encoder of a pipeline with its tokenizer."""

    name: str
    """Name of the text encoder in the pipeline."""
    tokenizer: Any
    encoder: Any


@dataclass(frozen=True)
class LearnedTokens:
    """C tokens with their rows of the embedding matrices."""

    words: tuple[str, ...]
    """The tokens as they are written in a prompt, such as `<c17>`."""
    rows: Mapping[str, Tensor]
    """Name of each text encoder -> (C, d) float32."""
    lora: Mapping[str, Tensor] = field(default_factory=dict)
    """Name of each tensor of the learned LoRA -> its values; {} if there is none."""

    def save(self, path: Path) -> None:
        """Write the tokens to a safetensors file, completely or not at all."""
        from safetensors.torch import save

        named = {**self.rows, **self.lora}
        tensors = {name: values.detach().cpu().float().contiguous() for name, values in named.items()}
        write_atomic(path, save(tensors, metadata={WORDS: json.dumps(list(self.words))}))

    @classmethod
    def read(cls, path: Path) -> LearnedTokens:
        """Return the tokens in a file that `save` wrote."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            words = json.loads(file.metadata()[WORDS])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        lora = {name: tensor for name, tensor in tensors.items() if name.startswith("unet.")}
        return cls(tuple(words), {name: tensors[name] for name in tensors.keys() - lora.keys()}, lora)


def text_parts(pipeline: Any) -> list[TextPart]:
    """Return the text encoders of a pipeline in PIPELINES, each with its tokenizer."""
    parts = []
    for ending in ("", "_2"):
        encoder = getattr(pipeline, f"text_encoder{ending}", None)
        if encoder is not None:
            parts.append(TextPart(f"text_encoder{ending}", getattr(pipeline, f"tokenizer{ending}"), encoder))
    return parts


def mean_rows(part: TextPart, texts: Iterable[str]) -> Tensor:
    """Return (C, d) float32: for each text the mean of the embedding rows of its tokens.

    Raises:
        UserError: a text has no tokens.
    """
    import torch

    matrix = part.encoder.get_input_embeddings().weight.detach()
    rows = []
    for text in texts:
        ids = part.tokenizer(text, add_special_tokens=False).input_ids
        if not ids:
            raise UserError(f"strategy.options.initial gives {text!r}, which has no tokens. Use another word")
        rows.append(matrix[ids].float().mean(0).cpu())
    return torch.stack(rows)


def add_tokens(pipeline: Any, tokens: LearnedTokens, scales: Sequence[float] = ()) -> None:
    """Add tokens to the tokenizers and text encoders of a pipeline, and the learned LoRA to its UNet.

    All other rows of the matrices keep their bits.

    Args:
        pipeline: the loaded pipeline.
        tokens: the tokens.
        scales: scale of each adapter that the recipe adds to the model.

    Raises:
        UserError: a tokenizer has one of the tokens already.
    """
    from diffcore_hf.models.runtime import quiet_warnings

    for part in text_parts(pipeline):
        known = part.tokenizer.get_vocab()
        if taken := [word for word in tokens.words if word in known]:
            raise UserError(collision(taken[0], part.name))
        with quiet_warnings():
            # A tensor is given and no path, so diffusers opens no file.
            pipeline.load_textual_inversion(
                tokens.rows[part.name].clone(),
                token=list(tokens.words),
                tokenizer=part.tokenizer,
                text_encoder=part.encoder,
            )
    if tokens.lora:
        from diffcore_hf.models.token_lora import add_lora, rank_of, set_values

        set_values(add_lora(pipeline, rank_of(tokens.lora), scales), tokens.lora)


def collision(word: str, where: str) -> str:
    """Return the message that a tokenizer already has a token. It names a remedy.

    Args:
        word: the token, such as `<c17>`.
        where: the model or the text encoder.
    """
    prefix = word.strip("<>").rstrip("0123456789")[:15]  # a prefix has at most 16 letters
    return (
        f"the tokenizer of {where} has the token {word!r} already, so it cannot be learned. Use "
        f"--strategy.options.token {prefix}x"
    )
