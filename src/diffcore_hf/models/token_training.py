"""Token training: learns the embedding rows of new tokens from images (textual inversion, Gal et al. 2022).

Owns the loss, the loop and its checkpoints. The random draws of a step are in token_steps.py. The training learns the
new rows and, with `lora_rank`, a LoRA (token_lora.py). It does not change the weights of the model. An interrupted
training continues from its last checkpoint, with the same result.

Sources: Gal et al. 2022 (arXiv:2208.01618, one token); Trabucco et al. 2024 (DA-Fusion, arXiv:2302.07944, one class at
a time); Wang et al. 2024 (Diff-Mix, arXiv:2403.19600, all classes together).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.folder import write_atomic
from diffcore_hf.core.schema import SOURCE_IMAGE
from diffcore_hf.models.guidance import guidance_for
from diffcore_hf.models.image_to_image import square
from diffcore_hf.models.learned_tokens import LearnedTokens, TextPart, add_tokens, mean_rows, text_parts
from diffcore_hf.models.library_errors import OutOfMemory, is_out_of_memory
from diffcore_hf.models.runtime import fixed_conditions, quiet_warnings
from diffcore_hf.models.token_lora import add_lora, first_values, set_values
from diffcore_hf.models.token_steps import PREDICTIONS, TokenSettings, draw_step, noised, target

if TYPE_CHECKING:
    from diffcore_hf.models.diffusion import TextToImage
    from diffcore_hf.models.image_to_image import Fit

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_STEPS = 100
ENCODE_BATCH = 8
LOWEST_RATE, HIGHEST_RATE = 1e-6, 0.1
"""Bounds of the learning rate that an error proposes."""


@dataclass(frozen=True)
class TokenImages:
    """The encoded images from which tokens are learned. They are encoded once."""

    means: Tensor
    """(N, c, h, w) float16: means of the latents, before multiplication by the scaling factor of the VAE."""
    deviations: Tensor
    """(N, c, h, w) float16: standard deviations of the latents."""
    tokens: Tensor
    """(N,) int64: index of the token of each image."""


def encoded_images(pipeline: Any, images: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the means and standard deviations of the latents of images, each (N, c, h, w) float16 on the CPU.

    Args:
        pipeline: a pipeline with a VAE.
        images: N images (3, H, W) uint8.
    """
    means, deviations = [], []
    weights = next(pipeline.vae.parameters())
    remaining = iter(images)
    while chunk := list(islice(remaining, ENCODE_BATCH)):
        pixels = torch.stack(chunk).to(weights.device, weights.dtype) / 127.5 - 1
        with torch.no_grad():
            latents = pipeline.vae.encode(pixels).latent_dist
        means.append(latents.mean.half().cpu())
        deviations.append(latents.std.half().cpu())
    return torch.cat(means), torch.cat(deviations)


@contextmanager
def replaced_rows(parts: Sequence[TextPart], first: Sequence[int], rows: Sequence[Tensor]) -> Iterator[None]:
    """Let the text encoders read the new rows from `rows` inside the block, so that the rows can be learned.

    Args:
        parts: the text encoders.
        first: id of the first new token of each text encoder.
        rows: (C, d) float32 for each text encoder, in place of the rows of its embedding table.
    """

    def hook_of(start: int, own: Tensor) -> Any:
        def replace(module: Any, arguments: Any, output: Tensor) -> Tensor:
            new = arguments[0] - start
            learned = own[new.clamp(min=0)].to(output.dtype)
            return torch.where((new >= 0).unsqueeze(-1), learned, output)

        return replace

    handles = [
        part.encoder.get_input_embeddings().register_forward_hook(hook_of(start, own))
        for part, start, own in zip(parts, first, rows, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class TokenTraining:
    """A training of tokens, which can be interrupted and continued.

    Args:
        pipeline: the loaded pipeline; its class is one of `learned_tokens.PIPELINES`. It is changed.
        initial: the tokens and their embedding rows before the first step.
        prompts: the prompt of each token.
        images: the encoded images.
        settings: how the tokens are learned.
        folder: folder of the checkpoints.
        scales: scale of each adapter that the recipe adds to the model.
    """

    def __init__(
        self,
        pipeline: Any,
        initial: LearnedTokens,
        prompts: Sequence[str],
        images: TokenImages,
        settings: TokenSettings,
        folder: Path,
        scales: Sequence[float] = (),
    ):
        self.pipeline, self.prompts, self.images, self.settings, self.folder = (
            pipeline,
            prompts,
            images,
            settings,
            folder,
        )
        self.words = initial.words
        self.parts = text_parts(pipeline)
        family = guidance_for(type(pipeline).__name__)
        if family is None:  # guidance.py has a family for every class in learned_tokens.PIPELINES
            raise TypeError(f"{type(pipeline).__name__} has no family")
        self.family = family
        self.prediction = pipeline.scheduler.config.prediction_type
        if self.prediction not in PREDICTIONS:
            raise UserError(
                f"the scheduler of the model predicts {self.prediction!r}, for which no tokens can be learned. Use "
                "another model, such as Stable Diffusion 1.5"
            )
        for module in pipeline.components.values():
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False)
        self.device = next(pipeline.unet.parameters()).device
        self.alphas = pipeline.scheduler.alphas_cumprod.to(self.device, torch.float32)
        add_tokens(pipeline, initial)
        self.first = [part.tokenizer.convert_tokens_to_ids(initial.words[0]) for part in self.parts]
        self.rows = [initial.rows[part.name].float().to(self.device) for part in self.parts]
        self.lora = add_lora(pipeline, settings.lora_rank, scales) if settings.lora_rank else {}
        first_values(self.lora, settings.seed)
        for parameter in self.lora.values():
            parameter.requires_grad_(True)

    def run(self) -> LearnedTokens:
        """Learn the tokens and return them. A checkpoint of an earlier call in the same folder is continued.

        Raises:
            UserError: the loss or a token became NaN or infinite, or the checkpoint is damaged.
        """
        groups = self._groups()
        training, step, moments = self._resumed()
        while training < len(groups):
            self._train(training, groups[training], step, moments)
            training, step, moments = training + 1, 0, None
        rows = {part.name: rows for part, rows in zip(self.parts, self.rows, strict=True)}
        return LearnedTokens(self.words, rows, {name: each.detach().clone() for name, each in self.lora.items()})

    def _groups(self) -> list[list[int]]:
        """Return the tokens of each training. A token without an image is not trained, so it keeps its first row."""
        present = sorted(set(self.images.tokens.tolist()))
        return [[token] for token in present] if self.settings.alone else [present]

    def _train(self, training: int, group: Sequence[int], step: int, moments: Any) -> None:
        learned = [rows[list(group)].clone().requires_grad_() for rows in self.rows]
        lora: list[Tensor] = list(self.lora.values())
        groups: list[dict[str, Any]] = [{"params": learned}]
        if lora:
            groups.append({"params": lora, "lr": self.settings.lora_rate})
        optimizer = torch.optim.AdamW(groups, lr=self.settings.rate)
        trained = [*learned, *lora]
        if moments is not None:
            for own, (first, second) in zip(trained, moments, strict=True):
                count = torch.tensor(float(step))
                optimizer.state[own] = {"step": count, "exp_avg": first.clone(), "exp_avg_sq": second.clone()}
        members = torch.nonzero(torch.isin(self.images.tokens, torch.tensor(list(group))))[:, 0]
        while step < self.settings.steps:
            loss = self._loss(training, step, members, group, learned)
            if not torch.isfinite(loss):
                raise UserError(self._diverged(f"the loss of the learned tokens became {loss.item()}", step))
            gradients = torch.autograd.grad(loss, trained)
            for own, gradient in zip(trained, gradients, strict=True):
                own.grad = gradient
            optimizer.step()
            # The loss of the next step would be NaN, but a checkpoint is saved before it, or this step is the last one.
            if not all(own.isfinite().all() for own in trained):
                raise UserError(self._diverged("the learned tokens became NaN or infinite", step))
            step += 1
            for rows, own in zip(self.rows, learned, strict=True):
                rows[list(group)] = own.detach()
            if step % CHECKPOINT_STEPS == 0 or step == self.settings.steps:
                self._save(training, step, [optimizer.state[own] for own in trained])
                done = f"training {training + 1} of {len(self._groups())}, " if self.settings.alone else ""
                logger.info("learned tokens: %s%d of %d steps, loss %.4f", done, step, self.settings.steps, loss.item())

    def _diverged(self, problem: str, step: int) -> str:
        rate = max(min(self.settings.rate / 10, HIGHEST_RATE), LOWEST_RATE)
        return f"{problem} in step {step}. Use --strategy.options.rate {rate:g}"

    def _loss(
        self, training: int, step: int, members: Tensor, group: Sequence[int], learned: Sequence[Tensor]
    ) -> Tensor:
        images, settings = self.images, self.settings
        draw = draw_step(settings, training, step, members, images.means.shape[1:], len(self.alphas))
        means, deviations = (each[draw.images].float() for each in (images.means, images.deviations))
        latents = ((means + deviations * draw.latent_noise) * self.pipeline.vae.config.scaling_factor).to(self.device)
        noise, times = draw.noise.to(self.device), draw.times.to(self.device)
        alphas = self.alphas[times]
        rows = [
            all_rows.index_copy(0, torch.tensor(list(group), device=self.device), own)
            for all_rows, own in zip(self.rows, learned, strict=True)
        ]
        with replaced_rows(self.parts, self.first, rows):
            embeddings = self.family.encode(
                self.pipeline, [self.prompts[int(images.tokens[row])] for row in draw.images]
            )
        dtype = next(self.pipeline.unet.parameters()).dtype
        predicted = self.pipeline.unet(
            noised(latents, noise, alphas).to(dtype), times, embeddings[0], **self._conditions(embeddings, latents)
        ).sample
        return torch.nn.functional.mse_loss(predicted.float(), target(latents, noise, alphas, self.prediction))

    def _conditions(self, embeddings: tuple[Tensor, ...], latents: Tensor) -> dict[str, Any]:
        """Return the further arguments of the UNet: for SDXL the pooled embedding and the size of the image."""
        if len(embeddings) < 2:
            return {}
        side = latents.shape[-1] * self.pipeline.vae_scale_factor
        sizes = torch.tensor([side, side, 0, 0, side, side], device=self.device, dtype=embeddings[1].dtype)
        return {"added_cond_kwargs": {"text_embeds": embeddings[1], "time_ids": sizes.repeat(len(latents), 1)}}

    def _save(self, training: int, step: int, states: Sequence[dict[str, Any]]) -> None:
        """Write a checkpoint with the learned tensors and the moments of the optimiser."""
        from safetensors.torch import save

        tensors = {"progress": torch.tensor([training, step])}
        for (part, values), state in zip(self._trained().items(), states, strict=True):
            named = {"rows": values, "first": state["exp_avg"], "second": state["exp_avg_sq"]}
            tensors |= {f"{part}.{name}": tensor.detach().cpu().contiguous() for name, tensor in named.items()}
        write_atomic(self.folder / CHECKPOINT, save(tensors))

    def _trained(self) -> dict[str, Tensor]:
        """Return name -> learned tensor, for the rows of each text encoder and for the tensors of the LoRA."""
        return {part.name: rows for part, rows in zip(self.parts, self.rows, strict=True)} | dict(self.lora)

    def _resumed(self) -> tuple[int, int, list[tuple[Tensor, Tensor]] | None]:
        """Read the checkpoint, if there is one. Return the number of the training, its step, and the moments.

        Raises:
            UserError: the checkpoint is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / CHECKPOINT
        if not path.is_file():
            return 0, 0, None
        try:
            tensors = load_file(path)
            rows = [tensors[f"{part.name}.rows"].to(self.device) for part in self.parts]
            moments = [
                (tensors[f"{name}.first"].to(self.device), tensors[f"{name}.second"].to(self.device))
                for name in self._trained()
            ]
            lora = {name: tensors[f"{name}.rows"] for name in self.lora}
            training, step = tensors["progress"].tolist()
            if [each.shape for each in rows] != [each.shape for each in self.rows]:
                raise ValueError("the tokens have another shape")
            set_values(self.lora, lora)
        except (SafetensorError, KeyError, ValueError) as error:
            raise UserError(
                f"{path} is damaged ({innermost_cause(error)}). Delete it to learn the tokens from the start"
            ) from error
        self.rows = rows
        logger.info("learned tokens: continuing after %d steps of training %d", step, training + 1)
        return training, step, moments


def learn_tokens(
    model: TextToImage,
    references: Iterable[Mapping[str, Any]],
    settings: TokenSettings,
    *,
    caption: str,
    initial: str,
    fit: Fit,
    folder: Path,
) -> LearnedTokens:
    """Learn the tokens of classes from their references.

    Args:
        model: the model; its pipeline is changed.
        references: real images, see `Strategy.prepare`.
        settings: how the tokens are learned.
        caption: prompt of a reference. {label} is replaced by the token.
        initial: text whose embedding is the first value of a token. {label} is replaced by the name of the class.
        fit: how a real image becomes square.
        folder: folder of the checkpoints.

    Raises:
        UserError: no reference can be read, the loss became NaN or infinite, or memory ran out.
    """
    try:
        with fixed_conditions(model.strict):
            training = _training(model, references, settings, caption, initial, fit, folder)
            learned = training.run()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"{model.config.path}: out of memory while tokens were learned with {settings.batch} images in a step. Use "
            "--strategy.options.batch 1, or a smaller --model.size"
        ) from error
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return learned


def _training(
    model: TextToImage,
    references: Iterable[Mapping[str, Any]],
    settings: TokenSettings,
    caption: str,
    initial: str,
    fit: Fit,
    folder: Path,
) -> TokenTraining:
    """Return a training for `learn_tokens`. The references are encoded, and they are not kept in memory."""
    pipeline = model.load()
    with quiet_warnings():
        pipeline.vae.to(torch.float32)  # some VAEs of SDXL give NaN in 16 bits
    names: dict[int, tuple[str, str]] = {}
    labels: list[int] = []

    def pixels() -> Iterator[Tensor]:
        for reference in references:
            label = int(reference["label"])
            names[label] = reference["class_name"], reference["word"]
            labels.append(label)
            picture = square(reference[SOURCE_IMAGE], model.side, fit)
            yield torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    means, deviations = encoded_images(pipeline, pixels())
    present = sorted(names)
    words = tuple(names[label][1] for label in present)
    texts = [initial.replace("{label}", names[label][0]) for label in present]
    rows = {part.name: mean_rows(part, texts) for part in text_parts(pipeline)}
    prompts = [caption.replace("{label}", word) for word in words]
    tokens = torch.tensor([present.index(label) for label in labels])
    images = TokenImages(means, deviations, tokens)
    scales = [adapter.scale for adapter in model.config.adapters]
    return TokenTraining(pipeline, LearnedTokens(words, rows), prompts, images, settings, folder, scales)
