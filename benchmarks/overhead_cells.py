"""Measures one cell of the overhead of mixing: one arm with one network and one batch size, against the plain arm.

Owns the settings of a cell, the interleaved steps, and the files of the results. The parts of a mixer are in
overhead_parts.py, the clock is in overhead_device.py, and the table is in overhead_page.py. Every cell has a process of
its own (`python -m benchmarks.overhead_cells SETTINGS`), so that its peak memory is known and a lack of memory stops
only this cell.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.overhead_device import clock_of, device_name, peak_bytes
from benchmarks.overhead_parts import PARTS, PartTimer, timed_parts
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import canonical_json, write_atomic

ROOT = Path(__file__).parents[1]
PLAIN = "plain"
EXTRA_ARMS: dict[str, dict[str, Any]] = {
    "mix": {"mix": {"kind": "both", "mode": "replace", "probability": 1.0}},
    "guidedmixup_ap_greedy": {
        "mix": {"mode": "off"},
        "mixer": {"name": "guidedmixup_ap", "options": {"pairing": "greedy"}},
    },
    "attentive_cutmix_row": {
        "mix": {"mode": "off"},
        "mixer": {"name": "attentive_cutmix", "options": {"maps": "row"}},
    },
}
"""Arms of the table that a training recipe does not have, or has with other options. Arm `mix` mixes every image, which
is the worst case. The maps of `attentive_cutmix_row` are computed before the first step, which is not timed."""
_SERIES = ("plain", "arm", "plain_load", "arm_load")
_PACKAGES = ("torch", "torchvision", "timm")


@dataclass(frozen=True)
class CellSettings:
    """Everything that a measurement depends on."""

    arm: str
    network: str
    batch: int
    size: int = 224
    device: str = "cpu"
    repeats: int = 3
    threads: int = 1
    workers: int = 0
    """Number of loader processes; 0: the training process loads the images between two steps."""
    mixer_only: bool = False
    """Measure the mixer without the training step."""
    data: str = ""
    """Folder with pairs of images (photos.py)."""

    @property
    def name(self) -> str:
        """Returns the path of the result below the folder of results, without its suffix."""
        return f"{self.device.replace(':', '-')}/{self.network}-{self.size}/{self.batch}/{self.arm}"


def result_path(folder: Path, cell: CellSettings) -> Path:
    """Returns the file of the result of a cell."""
    return folder / f"{cell.name}.json"


def is_measured(folder: Path, cell: CellSettings) -> bool:
    """Returns whether a cell has a result with enough repetitions. A cell that failed is measured again."""
    result = stored_result(folder, cell)
    if "seconds" not in result:
        return False
    if cell.mixer_only:
        return bool(result["seconds"]["arm"]) or len(result["parts"]["mixer"]) >= cell.repeats
    return result["peak"] is not None and len(result["seconds"]["arm"]) >= cell.repeats


def stored_result(folder: Path, cell: CellSettings) -> dict[str, Any]:
    """Returns the stored result of a cell; empty if there is none."""
    path = result_path(folder, cell)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def stored_results(folder: Path) -> list[dict[str, Any]]:
    """Returns all stored results."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/*/*/*.json"))]


def complete(cell: CellSettings, result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a result with the settings of its cell, the date and the versions."""
    settings = {name: value for name, value in asdict(cell).items() if name != "data"}
    return {**settings, "made": _made(), **result}


def store(folder: Path, cell: CellSettings, result: Mapping[str, Any]) -> None:
    """Writes the result of a cell, completely or not at all.

    Times and memory that only the stored result has are kept, because a mixer alone has no peak memory, and a
    measurement of the memory has no times.
    """
    path, old = result_path(folder, cell), stored_result(folder, cell)
    if "seconds" in result and "seconds" in old:
        times = old if not result["parts"]["mixer"] and not result["seconds"]["arm"] else result
        peak = old["peak"] if result["peak"] is None else result["peak"]
        result = {**result, "seconds": times["seconds"], "parts": times["parts"], "peak": peak}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, canonical_json(result))


def measured_in_a_process(cell: CellSettings) -> dict[str, Any]:
    """Measures a cell in a process of its own.

    Returns:
        The result, or {"reason": ...} if the cell cannot be measured.
    """
    cache = {"HF_DATASETS_CACHE": str(Path(cell.data).with_name("cache"))} if cell.data else {}
    environment = {**os.environ, **cache, "OMP_NUM_THREADS": str(cell.threads), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "benchmarks.overhead_cells", json.dumps(asdict(cell))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode < 0:
        return {"reason": f"signal {-done.returncode} ended the process, usually because memory ran out"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the process ended with status {done.returncode}"]
        return {"reason": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def measured(cell: CellSettings) -> dict[str, Any]:
    """Measures a cell in this process.

    Returns:
        The result, or {"reason": ...} if the device does not exist, the mixer does not work with the network, or
        memory ran out. `stored` is false if the result must not be stored.
    """
    import torch

    from diffcore_hf.models.runtime import pick_device

    try:
        exists = cell.device != "auto" and bool(pick_device(cell.device))
    except UserError:
        exists = False
    if not exists:
        reason = f"--device is {cell.device!r}, which is not a device of this machine. Use --device cpu"
        return {"reason": reason, "stored": False}
    try:
        return _measured(cell)
    except UserError as error:
        return {"reason": str(error)}
    except MemoryError:
        return {"reason": "out of memory"}
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            return {"reason": f"out of memory on {cell.device}"}
        raise


def _measured(cell: CellSettings) -> dict[str, Any]:
    import torch

    from diffcore_hf.config.merging import build
    from diffcore_hf.config.train_schema import TRAIN_SCHEMA
    from diffcore_hf.training.comparison.arms import arms_of
    from diffcore_hf.training.data.training_data import load_data
    from diffcore_hf.training.engine import loop
    from diffcore_hf.training.engine.devices import make_accelerator

    torch.set_num_threads(cell.threads)
    recipe = build(TRAIN_SCHEMA, {
        "data": cell.data, "preset": "paper", "model": cell.network, "batch_size": cell.batch, "device": cell.device,
        "transform": {"size": cell.size}, "max_steps": 10**6, "workers": cell.workers, "arms": EXTRA_ARMS,
        "compare": list(dict.fromkeys([PLAIN, cell.arm])),
    })  # fmt: skip
    arms = arms_of(recipe)
    arm = arms[cell.arm]
    # This folder stays empty, because nothing is written before the first evaluation.
    folder = Path(cell.data).with_name("training")
    accelerator = make_accelerator(arm, folder)
    training = loop.Training(arm, load_data(arm.data, arm.mix), 0, folder, accelerator)
    now = clock_of(accelerator.device, cell.threads, cell.workers)
    times = _mixer_times(cell, training, now) if cell.mixer_only else _step_times(cell, training, arms[PLAIN], now)
    return {
        **times,
        "peak": None if cell.mixer_only else peak_bytes(accelerator.device),
        "precision": accelerator.mixed_precision,
        "device_name": device_name(accelerator.device),
    }


def _mixer_times(cell: CellSettings, training: Any, now: Callable[[], float]) -> dict[str, Any]:
    """Returns the times of the parts of the mixer."""
    timer, spent, loads = PartTimer(now), [], []
    batches = iter(training.batches())
    with timed_parts(training.parts.mixer, timer):
        for step in range(cell.repeats + 1):
            start = now()
            batch = next(batches)
            loads.append(now() - start)
            training.parts.batch_loss.mixed(batch, step, 0)
            spent.append(timer.take())
    seconds: dict[str, list[float]] = {name: [] for name in _SERIES}
    # The first call prepares buffers.
    return {"seconds": {**seconds, "arm_load": loads[1:]}, "parts": _by_part(spent[1:])}


def _step_times(cell: CellSettings, training: Any, plain: Any, now: Callable[[], float]) -> dict[str, Any]:
    """Takes steps of the plain arm and of the arm in turn. Returns their times and those of the parts of the mixer.

    Both arms train the same network, so that a cell needs the memory of one training.

    Args:
        cell: settings of the cell.
        training: training of the arm.
        plain: recipe of the plain arm.
        now: the clock.
    """
    from diffcore_hf.training.data.samples import train_samples
    from diffcore_hf.training.data.training_data import load_data
    from diffcore_hf.training.engine.forward import BatchLoss

    parts, accelerator = training.parts, training.accelerator
    batch_loss = BatchLoss(
        plain, parts.model, parts.network, None, accelerator, seed=0, normalisation=parts.normalisation,
        channels_last=parts.channels_last,
    )  # fmt: skip
    arm_steps = _Steps(training, now)
    training.samples = train_samples(plain, load_data(plain.data, plain.mix), 0)
    training.parts = replace(parts, mixer=None, batch_loss=batch_loss)
    plain_steps = _Steps(training, now)
    seconds: dict[str, list[float]] = {name: [] for name in _SERIES}
    timer, spent = PartTimer(now), []
    on_cpu = accelerator.device.type == "cpu"
    arm_steps.take()  # the first step prepares kernels and buffers
    for _ in range(cell.repeats):
        for name, steps in (("plain", plain_steps), ("arm", arm_steps)):
            with timed_parts(parts.mixer if name == "arm" and on_cpu else None, timer):
                load, step = steps.take()
            seconds[name].append(step)
            seconds[f"{name}_load"].append(load)
        if on_cpu:
            spent.append(timer.take())
    if not on_cpu:  # on a GPU, the clock waits for the device, which would slow down the steps above
        for _ in range(cell.repeats):
            with timed_parts(parts.mixer, timer):
                arm_steps.take()
            spent.append(timer.take())
    return {"seconds": seconds, "parts": _by_part(spent)}


def _by_part(spent: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [each[name] for each in spent] for name in ("mixer", *PARTS)}


class _Steps:
    """The steps of one arm."""

    def __init__(self, training: Any, now: Callable[[], float]):
        self._training, self._parts, self._now = training, training.parts, now
        self._batches = iter(training.batches())

    def take(self) -> tuple[float, float]:
        """Loads a batch and takes one step. Returns the seconds of both."""
        from diffcore_hf.training.engine.training_log import Window

        training = self._training
        training.parts = self._parts
        window = Window(training.accelerator.device)
        times = [self._now()]
        batch = next(self._batches)
        times.append(self._now())
        training.train_step(iter([batch]), window)
        times.append(self._now())
        training.step += 1
        return times[1] - times[0], times[2] - times[1]


def overheads(plain: list[float], arm: list[float]) -> tuple[float, float, float]:
    """Returns A_O of Eq. 9 in percent: the ratio of the medians, and the lowest and highest ratio within a round."""
    ratios = [100 * (a / b - 1) for a, b in zip(arm, plain, strict=True)]
    return 100 * (statistics.median(arm) / statistics.median(plain) - 1), min(ratios), max(ratios)


def _made() -> dict[str, Any]:
    versions = {name: version(name) for name in _PACKAGES}
    return {"date": str(date.today()), "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def _be_stopped_first() -> None:
    """Marks this process as the first that Linux stops if memory runs out, so that no other process is stopped."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return


if __name__ == "__main__":
    _be_stopped_first()
    print(json.dumps(measured(CellSettings(**json.loads(sys.argv[1])))))
