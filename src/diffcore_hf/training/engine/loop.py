"""The training loop: trains one arm with one seed, and writes scored models to a folder.

Owns the order within a step, when evaluations and checkpoints are due, and the resuming of a training. The folder has:

    result.json                scores of the best and the last model; it exists when the training is finished
    best/, last/               models that timm loads: config.json, model.safetensors
    resume.safetensors         the last checkpoint; removed when the training is finished
    log.jsonl                  every record of the log
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import canonical_json, write_atomic
from diffcore_hf.training.data import framing, loader
from diffcore_hf.training.data.row_images import RowImages, rows_read, why_not_whole
from diffcore_hf.training.data.samples import train_samples
from diffcore_hf.training.data.split import Split
from diffcore_hf.training.data.training_data import TrainingData
from diffcore_hf.training.engine import checkpoints
from diffcore_hf.training.engine.checks import check_batch_size
from diffcore_hf.training.engine.devices import workers
from diffcore_hf.training.engine.evaluation import score_split
from diffcore_hf.training.engine.interruption import stop_signal
from diffcore_hf.training.engine.length import Length, training_length
from diffcore_hf.training.engine.metrics import Scores
from diffcore_hf.training.engine.mixer_parameters import average_gradients, broadcast_buffers
from diffcore_hf.training.engine.parts import build_parts
from diffcore_hf.training.engine.randomness import seed_step
from diffcore_hf.training.engine.result import TrainingResult
from diffcore_hf.training.engine.training_log import Report, TrainingLog, Window
from diffcore_hf.training.mixers.base import Mixer
from diffcore_hf.training.mixers.registry import make_mixer
from diffcore_hf.training.networks.trained_model import load_model, save_model

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
"""Shortest time between two checkpoints, because writing the checkpoint of a large model takes long."""


class Interrupted(Exception):
    """Raised when a signal stops a training between two steps, after a checkpoint is written."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


class NotFinite(UserError):
    """Raised when the loss becomes NaN or infinite."""


class Training:
    """The training of one arm with one seed."""

    def __init__(
        self,
        recipe: TrainRecipe,
        data: TrainingData,
        seed: int,
        folder: Path,
        accelerator: Accelerator,
        *,
        like: Length | None = None,
        digest: str = "",
        report: Report = lambda record: None,
    ):
        """Build all parts, and load the checkpoint if one exists.

        Args:
            recipe: recipe of the arm.
            data: data that was loaded for the arm.
            seed: seed of all random numbers: weights, order of samples, draws and layers.
            folder: folder of the training; created with the first file.
            accelerator: devices and precision.
            like: length of the first arm, which this arm also uses; None: the length in the recipe.
            digest: digest of all settings that determine the result; a checkpoint must have the same digest.
            report: callback that receives each record of the log.

        Raises:
            UserError: a part cannot be built (see `build_parts`), processes cannot share the batch size, or the
                checkpoint belongs to another recipe.
        """
        self.recipe, self.data, self.seed, self.folder = recipe, data, seed, Path(folder)
        self.accelerator, self.digest = accelerator, digest
        self.protocol = framing.protocol_of(recipe.transform)
        mixer = make_mixer(recipe.mixer, len(data.classes), seed)
        check_batch_size(recipe, mixer, accelerator.num_processes)
        self.samples = train_samples(
            recipe,
            data,
            seed,
            with_pairs=mixer is not None and mixer.asks_for_pairs,
            loader_tensors=mixer.loader_tensors if mixer is not None and _has_loader_tensors(mixer) else None,
        )
        self.length = training_length(recipe, len(self.samples), like)
        self.parts = build_parts(recipe, mixer, len(data.classes), self.length.steps, seed, accelerator)
        if mixer is not None:
            mixer.read_rows(self._row_images())
        self._log = TrainingLog(self.folder / "log.jsonl", report, accelerator.is_main_process)
        self.step = 0
        self.best: dict[str, Any] = {}
        """`top1` on validation and `step` of the best model so far; empty before the first validation."""
        self._written = time.monotonic()
        self._resume()

    def run(self) -> TrainingResult:
        """Train to the end, score the best and the last model, and write result.json.

        Raises:
            Interrupted: a signal stopped the training between two steps; a checkpoint is written.
            NotFinite: the loss became NaN or infinite; the message names the step and the last good checkpoint.
        """
        batches = iter(self.batches())
        window = Window(self.accelerator.device)
        evaluations, log_every = self.length.evaluations, self.length.log_every
        self._written = time.monotonic()
        with stop_signal(self.accelerator.num_processes == 1) as received:
            while self.step < self.length.steps:
                self.train_step(batches, window)
                self.step += 1
                if self.step in evaluations:
                    self._log_figures(window)
                    self._validate()
                    self._write_checkpoint_if_due()
                    window.restart()  # the time of an evaluation is not counted
                elif self.step % log_every == 0:
                    self._log_figures(window)
                    self._write_checkpoint_if_due()
                if (number := received()) is not None:
                    self._check_finite(window)
                    with signals.protected():
                        self._write_checkpoint()
                    raise Interrupted(
                        number,
                        f"interrupted after step {self.step} of {self.length.steps}, and a checkpoint was written",
                    )
        return self._finish()

    def train_step(self, batches: Iterator[loader.Batch], window: Window) -> None:
        """Take one optimiser step: read, mix, forward and backward pass for each accumulated batch, then update."""
        recipe, parts, accelerator = self.recipe, self.parts, self.accelerator
        parts.model.train()
        parts.schedule.step_update(self.step)
        for micro_batch in range(recipe.accumulate):
            started = time.monotonic()
            batch = _next_batch(batches)
            window.add_batch(batch, time.monotonic() - started)
            seed_step(self.seed, self.step, micro_batch, accelerator.process_index)
            last = micro_batch == recipe.accumulate - 1
            with nullcontext() if last else accelerator.no_sync(parts.model):
                loss = parts.batch_loss(batch, self.step, micro_batch)
                accelerator.backward(loss / recipe.accumulate)
            window.add_loss(loss.detach(), self.step)
        if recipe.clip is not None:
            accelerator.clip_grad_norm_(parts.model.parameters(), recipe.clip)
        average_gradients(parts.mixer, accelerator.num_processes)
        parts.optimizer.step()
        parts.optimizer.zero_grad(set_to_none=True)
        if parts.averaged is not None:
            parts.averaged.update(parts.network)
        if parts.mixer is not None:
            parts.mixer.after_step(parts.network, (self.step + 1) / self.length.steps)
            broadcast_buffers(parts.mixer, accelerator.num_processes)

    def batches(self) -> DataLoader[loader.Batch]:
        """Return the batches of this process from the next step to the last."""
        recipe, accelerator = self.recipe, self.accelerator
        sampler = loader.StepBatches(
            len(self.samples),
            recipe.batch_size,
            self.seed,
            self.step,
            self.length.steps,
            accumulate=recipe.accumulate,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )
        pin = accelerator.device.type == "cuda"
        return loader.batches(self.samples, sampler, workers=workers(recipe), pin=pin)

    def _row_images(self) -> RowImages:
        """Return the rows that the steps read, and their whole images."""
        accelerator = self.accelerator
        return RowImages(
            self.data,
            rows_read(self.data, self.seed, self.length.steps, self.recipe.batch_size),
            accelerator.device,
            reason=why_not_whole(self.recipe, self.data),
            normalisation=self.parts.normalisation,
            workers=workers(self.recipe),
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            autocast=accelerator.autocast,
        )

    def score(self, split: Split) -> Scores:
        """Score the current weights on a split."""
        network = self.parts.scored_network
        if self.accelerator.num_processes > 1:
            # The running statistics differ between processes until the next forward pass. All processes use the
            # statistics of process 0.
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0)
        return self._score(network, split)

    def _score(self, network: torch.nn.Module, split: Split) -> Scores:
        return score_split(
            network, split, self.data, self.recipe, self.protocol, self.parts.normalisation, self.accelerator
        )

    def _validate(self) -> None:
        """Score on the validation split, and store the model if no earlier model was better.

        If two models have equal scores, the later model is stored. The score on a small validation split soon reaches
        its maximum, and then an equal score only shows that the model did not get worse.
        """
        if self.data.validation is None:
            return
        scores = self.score(self.data.validation)
        self._log.write(self.step, validation_top1=scores.top1, validation_top5=scores.top5)
        if scores.top1 >= self.best.get("top1", 0.0):
            self.best = {"top1": scores.top1, "step": self.step}
            self._save("best")

    def _finish(self) -> TrainingResult:
        """Score the last and the best model on the test split, and write result.json."""
        last = self.score(self.data.test)
        self._save("last")
        result: TrainingResult = {
            "digest": self.digest,
            "seed": self.seed,
            "steps": self.length.steps,
            "epochs": round(self.length.epochs, 2),
            "samples_per_epoch": len(self.samples),
            "samples_seen": self.length.steps * self.recipe.batch_size,
            "parameters": sum(parameter.numel() for parameter in self.parts.network.parameters()),
            "split": self.data.test.name,
            "last": last.plain(),
        }
        if self.best:
            best = last if self.best["step"] == self.step else self._score_best()
            result["best"] = best.plain()
            result["best_step"], result["validation_top1"] = self.best["step"], self.best["top1"]
        if self.accelerator.is_main_process:
            write_atomic(self.folder / "result.json", canonical_json(result))
            (self.folder / "resume.safetensors").unlink(missing_ok=True)
        test_scores = {"test_top1_last": result["last"]["top1"]}
        if "best" in result:
            test_scores["test_top1_best"] = result["best"]["top1"]
        self._log.write(self.step, **test_scores)
        return result

    def _score_best(self) -> Scores:
        """Score the model in best/; it is loaded from its files, so that exactly the stored model is scored."""
        self.accelerator.wait_for_everyone()
        best = load_model(self.folder / "best", len(self.data.classes)).to(self.accelerator.device)
        return self._score(best, self.data.test)

    def _save(self, name: str) -> None:
        if not self.accelerator.is_main_process:
            return
        mean, std = self.parts.normalisation
        size = self.protocol.size
        scored_side = self.protocol.evaluation or self.protocol.resize or size
        save_model(
            self.folder / name,
            self.parts.scored_network,
            self.data.classes,
            mean=mean,
            std=std,
            size=size,
            crop_pct=size / scored_side,
        )

    def _write_checkpoint_if_due(self) -> None:
        if time.monotonic() - self._written > CHECKPOINT_SECONDS:
            self._write_checkpoint()
            self._written = time.monotonic()

    def _write_checkpoint(self) -> None:
        if not self.accelerator.is_main_process:
            return
        scaler, parts = self.accelerator.scaler, self.parts
        values = {"best": self.best, "scaler": scaler.state_dict() if scaler is not None else None}
        checkpoints.write(
            self.folder / "resume.safetensors",
            self.step,
            self.digest,
            values,
            parts.network,
            parts.plain_optimizer,
            parts.averaged,
            parts.mixer,
        )

    def _resume(self) -> None:
        """Load the checkpoint of the folder, if one exists."""
        path = self.folder / "resume.safetensors"
        checkpoint = checkpoints.read(path)
        if checkpoint is None:
            return
        if checkpoint.digest != self.digest:
            raise UserError(f"{path} belongs to another recipe. Resume with that recipe, or choose another --output")
        parts = self.parts
        checkpoint.restore(parts.network, parts.plain_optimizer, parts.averaged, parts.mixer)
        if self.accelerator.scaler is not None and checkpoint.values.get("scaler"):
            self.accelerator.scaler.load_state_dict(checkpoint.values["scaler"])
        self.step, self.best = checkpoint.step, dict(checkpoint.values["best"])
        log.info("%s: resuming after step %d of %d", self.folder, self.step, self.length.steps)

    def _check_finite(self, window: Window) -> None:
        bad_step = window.bad_step
        if bad_step < 0:
            return
        path = self.folder / "resume.safetensors"
        checkpoint = checkpoints.read(path)
        where = f"the last good checkpoint is {path} (step {checkpoint.step})" if checkpoint else "no checkpoint exists"
        raise NotFinite(
            f"the loss is not finite at step {bad_step + 1}; {where}. Use a smaller --optimizer.lr, or --clip 1.0, "
            "with another --output"
        )

    def _log_figures(self, window: Window) -> None:
        self._check_finite(window)
        self._log.write(
            self.step,
            epoch=round(self.step / self.length.per_epoch, 3),
            lr=self.parts.learning_rate,
            **window.figures(self.accelerator.num_processes),
        )


def _has_loader_tensors(mixer: Mixer) -> bool:
    return type(mixer).loader_tensors is not Mixer.loader_tensors


def _next_batch(batches: Iterator[loader.Batch]) -> loader.Batch:
    """Return the next batch.

    Raises:
        UserError: a loader process was killed, usually because memory ran out.
    """
    try:
        return next(batches)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a loader process was killed, usually because memory ran out. Use fewer processes, e.g. --workers 1. The "
            "same command resumes from the last checkpoint"
        ) from error
