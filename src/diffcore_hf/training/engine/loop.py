"""The loop: one training, from a recipe and loaded data to scored models in a folder.

Owns the order of a step, when is evaluated and written, and how a training goes on after an interruption. A folder:

    result.json                there when the training is finished: scores of the best and the last model
    best/, last/               models that timm loads: config.json, model.safetensors
    resume.safetensors         all that it takes to go on; gone when it is finished
    log.jsonl                  every figure that was logged
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import canonical_json, write_whole
from diffcore_hf.training.data import framing, loader
from diffcore_hf.training.data.samples import train_samples
from diffcore_hf.training.data.split import Split
from diffcore_hf.training.data.training_data import TrainingData
from diffcore_hf.training.engine import checkpoints, optimisers
from diffcore_hf.training.engine.devices import workers
from diffcore_hf.training.engine.evaluation import score_split
from diffcore_hf.training.engine.forward import BatchLoss
from diffcore_hf.training.engine.interruption import stop_flag
from diffcore_hf.training.engine.length import Length, length
from diffcore_hf.training.engine.metrics import Scores
from diffcore_hf.training.engine.mixer_parameters import add_to_optimiser, average_gradients
from diffcore_hf.training.engine.randomness import seed_step
from diffcore_hf.training.engine.training_log import Window
from diffcore_hf.training.mixers.registry import make_mixer
from diffcore_hf.training.networks import backbones

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints at least, unless the training stops: those of large models take a while to write."""

Report = Callable[[Mapping[str, Any]], None]
"""Hears every line of the log: the bar, the trackers."""


class Interrupted(Exception):
    """Stopped by the user between two steps; a checkpoint was written."""


class NotFinite(UserError):
    """The loss is no number any more."""


class Training:
    """One arm, one seed."""

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
        report: Report = lambda line: None,
    ):
        """Build everything and pick up a checkpoint where there is one.

        Args:
            recipe: of the arm.
            data: loaded for the arm's mix.
            seed: of weights, order, draws and layers.
            folder: of the training; made where it is not there.
            accelerator: devices and precision.
            like: the length of the arm that it is compared with; None: as the recipe says.
            digest: of all that decides this training; a checkpoint of another one is refused.
            report: hears every line of the log.

        Raises:
            UserError: see backbones.create and optimisers; a checkpoint of another recipe.
        """
        self.recipe, self.data, self.seed, self.folder = recipe, data, seed, Path(folder)
        self.accelerator, self.digest, self.report = accelerator, digest, report
        world = accelerator.num_processes
        if recipe.batch_size % (world * recipe.accumulate):
            raise UserError(
                f"batch_size is {recipe.batch_size}, which {world} processes with accumulate {recipe.accumulate} "
                "cannot share equally. Use a multiple, e.g. "
                f"--batch_size {-(-recipe.batch_size // (world * recipe.accumulate)) * world * recipe.accumulate}"
            )
        if recipe.mixer.name and recipe.batch_size == world * recipe.accumulate:
            raise UserError(
                f"batch_size is {recipe.batch_size}, of which each of {world} processes takes 1 image at a time, but "
                f"{recipe.mixer.name} mixes the images of a batch. Use e.g. --batch_size {8 * recipe.batch_size}"
            )
        self.protocol = framing.protocol_of(recipe.transform)
        torch.manual_seed(int(seeding.generator("weights", seed).integers(2**62)))
        model = backbones.create(recipe.model, len(data.classes), self.protocol.size)
        self.mixer = make_mixer(recipe.mixer, len(data.classes))
        if self.mixer is not None:
            self.mixer.prepare(model, (3, self.protocol.size, self.protocol.size))
            self.mixer.to(accelerator.device).train()
        self.normalisation = backbones.normalisation(recipe.model, model) or self.protocol.normalisation
        self.samples = train_samples(recipe, data, seed)
        self.length = length(recipe, len(self.samples), like)
        self.channels_last = recipe.model.channels_last and backbones.takes_channels_last(model, accelerator.device)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        optimizer = optimisers.optimiser(model, recipe.optimizer)
        self._network_groups = len(optimizer.param_groups)
        add_to_optimiser(self.mixer, optimizer)
        self.schedule = optimisers.scheduler(optimizer, recipe.schedule, recipe.epochs, self.length.steps)
        # Averaged weights begin as the network does, and on its device.
        self.averaged = _averaged(model, recipe.ema, accelerator.device)
        self.plain = model
        run = torch.compile(model) if recipe.model.compile else model
        self.model, self.optimizer = accelerator.prepare(run, optimizer)
        self._batch_loss = BatchLoss(
            recipe, self.model, self.plain, self.mixer, accelerator, seed=seed, normalisation=self.normalisation,
            channels_last=self.channels_last,
        )  # fmt: skip
        self.step = 0
        self.best: dict[str, Any] = {}
        self._pick_up()

    @property
    def scored_model(self) -> nn.Module:
        """The averaged weights where there are any, else the network."""
        return self.plain if self.averaged is None else self.averaged.module

    def run(self) -> dict[str, Any]:
        """Train to the end, score the best and the last model, and write result.json.

        Raises:
            Interrupted: between two steps, by a signal; the checkpoint of the last step is written.
            NotFinite: the loss is no number; the step and the last good checkpoint are named.
        """
        due = self._evaluations()
        batches = iter(self.batches())
        window = Window(self.accelerator.device)
        written = time.monotonic()
        with stop_flag(self.accelerator.num_processes == 1) as stopped:
            while self.step < self.length.steps:
                self.train_step(batches, window)
                self.step += 1
                if self.step in due:
                    self._check_finite(window)
                    self._log(window)
                    self._choose()
                    if time.monotonic() - written > CHECKPOINT_SECONDS:
                        self._checkpoint()
                        written = time.monotonic()
                    window.restart()  # throughput is that of training
                elif self.step % self._log_every == 0:
                    self._check_finite(window)
                    self._log(window)
                    if time.monotonic() - written > CHECKPOINT_SECONDS:
                        self._checkpoint()
                        written = time.monotonic()
                if stopped.is_set():
                    self._check_finite(window)
                    self._checkpoint()
                    raise Interrupted(f"interrupted after step {self.step} of {self.length.steps}")
        return self._finish()

    @property
    def _log_every(self) -> int:
        return max(1, min(50, round(self.length.per_epoch)))

    def train_step(self, batches: Iterator[loader.Batch], window: Window) -> None:
        """Read, mix, forward, backward, step."""
        recipe, accelerator = self.recipe, self.accelerator
        self.model.train()
        self.schedule.step_update(self.step)
        for part in range(recipe.accumulate):
            began = time.monotonic()
            batch = _next(batches)
            window.read(batch, time.monotonic() - began)
            seed_step(self.seed, self.step, part, accelerator.process_index)
            last = part == recipe.accumulate - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                loss = self._batch_loss(batch, self.step, part)
                accelerator.backward(loss / recipe.accumulate)
            window.lost(loss.detach(), self.step)
        if recipe.clip is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), recipe.clip)
        average_gradients(self.mixer, accelerator.num_processes)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None:
            self.averaged.update(self.plain)
        if self.mixer is not None:
            self.mixer.after_step(self.plain, (self.step + 1) / self.length.steps)

    def batches(self) -> Any:
        """What this process reads from the next step on to the last."""
        recipe, accelerator = self.recipe, self.accelerator
        sampler = loader.StepBatches(
            len(self.samples), recipe.batch_size, self.seed, self.step, self.length.steps,
            accumulate=recipe.accumulate, rank=accelerator.process_index, world=accelerator.num_processes,
        )  # fmt: skip
        return loader.batches(
            self.samples, sampler, workers=workers(recipe), pin=self.accelerator.device.type == "cuda"
        )

    def score(self, split: Split) -> Scores:
        """The scores of the present weights on a split."""
        if self.accelerator.num_processes > 1:
            # Running statistics of norms are each process's own until the next forward pass; the first one's count.
            for buffer in self.scored_model.buffers():
                torch.distributed.broadcast(buffer, 0)
        return score_split(
            self.scored_model, split, self.data, self.recipe, self.protocol, self.normalisation, self.accelerator
        )

    def _evaluations(self) -> set[int]:
        """Steps after which the best model may change, the last one among them."""
        every = max(1.0, self.length.evaluate_every)
        count = int(self.length.steps / every)
        return {max(1, round(every * number)) for number in range(1, count + 1)} | {self.length.steps}

    def _choose(self) -> None:
        """Score on validation and keep the model where none before was better.

        Of equals the later one: a small validation split is soon full, and then only tells that nothing got worse.
        """
        if self.data.validation is None:
            return
        scores = self.score(self.data.validation)
        self._say(validation_top1=scores.top1, validation_top5=scores.top5)
        if scores.top1 >= self.best.get("top1", 0.0):
            self.best = {"top1": scores.top1, "step": self.step}
            self._save("best")

    def _finish(self) -> dict[str, Any]:
        last = self.score(self.data.test)
        self._save("last")
        result: dict[str, Any] = {
            "digest": self.digest,
            "seed": self.seed,
            "steps": self.length.steps,
            "epochs": round(self.length.epochs, 2),
            "samples_per_epoch": len(self.samples),
            "samples_seen": self.length.steps * self.recipe.batch_size,
            "parameters": sum(p.numel() for p in self.plain.parameters()),
            "split": self.data.test.name,
            "last": last.plain(),
        }
        if self.best.get("step") == self.step:
            result |= {"best": last.plain(), "best_step": self.step, "validation_top1": self.best["top1"]}
        elif self.best:
            # Loaded anew, so that what was kept is what is scored.
            self.accelerator.wait_for_everyone()
            best = backbones.load(self.folder / "best", len(self.data.classes)).to(self.accelerator.device)
            scores = score_split(
                best, self.data.test, self.data, self.recipe, self.protocol, self.normalisation, self.accelerator
            )
            result |= {"best": scores.plain(), "best_step": self.best["step"], "validation_top1": self.best["top1"]}
        if self.accelerator.is_main_process:
            write_whole(self.folder / "result.json", canonical_json(result))
            (self.folder / "resume.safetensors").unlink(missing_ok=True)
        self._say(**{f"test_top1_{kind}": result[kind]["top1"] for kind in ("last", "best") if kind in result})
        return result

    def _save(self, name: str) -> None:
        if not self.accelerator.is_main_process:
            return
        mean, std = self.normalisation
        size, side = self.protocol.size, self.protocol.evaluation or self.protocol.resize or self.protocol.size
        backbones.save(
            self.folder / name,
            self.scored_model,
            self.data.classes,
            mean=mean,
            std=std,
            size=size,
            crop_pct=size / side,
        )

    def _checkpoint(self) -> None:
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        values = {"best": self.best, "scaler": scaler.state_dict() if scaler is not None else None}
        checkpoints.write(
            self.folder / "resume.safetensors", self.step, self.digest, values, self.plain, _bare(self.optimizer),
            self.averaged, self.mixer,
        )  # fmt: skip

    def _pick_up(self) -> None:
        path = self.folder / "resume.safetensors"
        found = checkpoints.read(path)
        if found is None:
            return
        if found.digest != self.digest:
            raise UserError(f"{path} belongs to another recipe. Go on with that one, or choose another --output")
        found.restore(self.plain, _bare(self.optimizer), self.averaged, self.mixer)
        if self.accelerator.scaler is not None and found.values.get("scaler"):
            self.accelerator.scaler.load_state_dict(found.values["scaler"])
        self.step, self.best = found.step, dict(found.values["best"])
        log.info("%s: going on after step %d of %d", self.folder, self.step, self.length.steps)

    def _check_finite(self, window: Window) -> None:
        bad = window.first_bad
        if bad < 0:
            return
        kept = self.folder / "resume.safetensors"
        good = checkpoints.read(kept) if kept.is_file() else None
        where = f"the last good checkpoint is {kept} (step {good.step})" if good else "there is no checkpoint yet"
        raise NotFinite(
            f"the loss is not finite at step {bad + 1}; {where}. Use a smaller --optimizer.lr, or --clip 1.0, with "
            "another --output"
        )

    def _log(self, window: Window) -> None:
        self._say(
            epoch=round(self.step / self.length.per_epoch, 3),
            lr=max(group["lr"] for group in _bare(self.optimizer).param_groups[: self._network_groups]),
            **window.figures(self.accelerator.num_processes),
        )

    def _say(self, **figures: Any) -> None:
        if not self.accelerator.is_main_process:
            return
        line = {"step": self.step, **figures}
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.report(line)


def _next(batches: Iterator[loader.Batch]) -> loader.Batch:
    """The next batch; a loader process that was killed is told in one line.

    Raises:
        UserError: a worker died, for want of memory as a rule.
    """
    try:
        return next(batches)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a loader process was killed, for want of memory as a rule. Use fewer, e.g. --workers 1; the same command "
            "goes on from the last checkpoint"
        ) from error


def _averaged(model: nn.Module, decay: float | None, device: torch.device) -> nn.Module | None:
    """A copy whose weights will be the exponential average."""
    if decay is None:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay, device=device)


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    """What accelerate wraps."""
    return getattr(optimizer, "optimizer", optimizer)
