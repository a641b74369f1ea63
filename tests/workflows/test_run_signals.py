"""Tests of runs that receive signals: the attempts are saved, the folder is exported, and the next run continues it."""

import os
import signal
import time
from itertools import chain

import numpy as np
import pytest
import torch
from run_folders import PARTIAL, attempts_of, go, manifest, published

from diffcore_hf import augment
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.commands.main import main
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.layers import keywords_layer
from diffcore_hf.core import signals
from diffcore_hf.core.export_swap import exporting
from diffcore_hf.core.folder import Folder
from diffcore_hf.generation.base import Samples, Strategy
from diffcore_hf.workflows import augment as workflow
from diffcore_hf.workflows import pictures

BATCH = 3


class Noise(Strategy):
    """Returns noise that depends on the seed, and calls a function of the test in each batch."""

    uses_model = False
    reads = ("seed",)
    calls = 0
    react = None

    def sample(self, batch):
        Noise.calls += 1
        if Noise.react is not None:
            Noise.react(Noise.calls)
        draws = [np.random.default_rng(seed) for seed in batch["seed"]]
        pixels = np.stack([draw.integers(0, 256, (3, 16, 16), dtype=np.uint8) for draw in draws])
        return Samples(torch.from_numpy(pixels), [None] * len(draws))


def send(number, times=1):
    """Send signals to this process, with pauses, so that each of them is counted."""
    for _ in range(times):
        time.sleep(signals.SAME_SIGNAL)
        os.kill(os.getpid(), number)


@pytest.fixture(scope="module")
def noise(keys, folder_of_photos):
    """Returns a function that builds a recipe with the strategy `Noise`: one part, batches of three, one attempt."""

    without_model = {key: value for key, value in keys.items() if key != "model"}

    def noise(output, **more):
        more = {"strategy": f"{__name__}:Noise", "batch_size": BATCH, "part_size": 10, "max_attempts": 1} | more
        more |= {"filter.policy": PARTIAL, "source": str(folder_of_photos), "output": str(output)}
        return build_recipe(without_model, keywords_layer(**more))

    return noise


@pytest.fixture(scope="module")
def whole(noise, tmp_path_factory):
    """Returns the published files of a run without a signal."""
    return published(go(noise(tmp_path_factory.mktemp("whole") / "out")).folder.path)


@pytest.fixture(autouse=True)
def react(monkeypatch):
    """Returns a function that sets what happens in each batch of the strategy."""
    monkeypatch.setattr(Noise, "calls", 0)
    return lambda function: monkeypatch.setattr(Noise, "react", staticmethod(function))


def attempts_in(folder):
    return Ledger(Folder(folder).parts).count()


@pytest.mark.parametrize(
    "number, sent, saved",
    [(signal.SIGTERM, 1, 2 * BATCH), (signal.SIGINT, 2, BATCH),
     pytest.param(signal.SIGUSR1, 1, 2 * BATCH, marks=pytest.mark.slow),
     pytest.param(signal.SIGHUP, 1, 2 * BATCH, marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_signal_saves_the_finished_batches_and_exports_them(noise, whole, tmp_path, react, number, sent, saved):
    react(lambda call: send(number, sent) if call == 2 else None)
    first = go(noise(tmp_path / "out"))
    assert (first.signal, first.interrupted, first.new_attempts) == (number, True, saved)
    assert len(attempts_of(tmp_path / "out")) == saved == 10 - first.summary.counts["pending"]
    assert Folder(tmp_path / "out").faults() == []
    react(None)
    second = go(noise(tmp_path / "out"))
    assert (second.signal, second.new_attempts) == (None, 10 - saved)
    assert published(tmp_path / "out") == whole


def test_a_signal_in_the_final_export_finishes_it(noise, whole, tmp_path, monkeypatch):
    real = pictures.histogram
    monkeypatch.setattr(pictures, "histogram", lambda material: (send(signal.SIGTERM, 2), real(material))[1])
    result = go(noise(tmp_path / "out"))
    assert (result.signal, result.interrupted) == (signal.SIGTERM, False)
    assert published(tmp_path / "out") == whole


def test_a_signal_at_the_references_saves_no_attempt(noise, whole, tmp_path, monkeypatch):
    from diffcore_hf.models.towers import ImageTower

    real = ImageTower.embed_prepared
    with monkeypatch.context() as patch:
        patch.setattr(ImageTower, "embed_prepared", lambda self, x: (send(signal.SIGTERM), real(self, x))[1])
        first = go(noise(tmp_path / "out"))
    assert (first.signal, first.new_attempts, Noise.calls) == (signal.SIGTERM, 0, 0)
    assert len(list(Folder(tmp_path / "out").parts.glob("ref/??/*.parquet"))) == 1
    go(noise(tmp_path / "out"))
    assert published(tmp_path / "out") == whole


def test_the_end_of_the_grace_drops_a_long_batch_and_the_export(noise, tmp_path, react):
    react(lambda call: (send(signal.SIGTERM), time.sleep(60)) if call == 2 else None)
    started = time.monotonic()
    with pytest.raises(signals.Stopped, match=rf"^{BATCH} new attempts are saved in .*, but not exported. Run the"):
        workflow.run(noise(tmp_path / "out"), progress=False, grace=0.5)
    assert time.monotonic() - started < 55
    assert attempts_in(tmp_path / "out") == BATCH
    assert not (tmp_path / "out" / "diffcore.json").exists()


def test_a_third_signal_keeps_the_old_export(noise, whole, tmp_path, monkeypatch):
    go(noise(tmp_path / "out"))
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "histogram", lambda material: send(signal.SIGTERM, 3))
        with pytest.raises(signals.Stopped, match="not exported"):
            go(noise(tmp_path / "out", fraction=0.5))
    assert published(tmp_path / "out") == whole


def test_a_stopped_worker_does_not_wait_for_another_export(noise, tmp_path, react):
    go(noise(tmp_path / "out", limit=1))
    react(lambda call: send(signal.SIGTERM))
    with exporting(Folder(tmp_path / "out")), pytest.raises(signals.Stopped, match="Another process exports them"):
        go(noise(tmp_path / "out"))
    assert attempts_in(tmp_path / "out") == 1 + BATCH


def test_a_signal_in_the_preparation_writes_nothing(noise, tmp_path, monkeypatch):
    real = workflow.make_plan
    monkeypatch.setattr(workflow, "make_plan", lambda *arguments: (send(signal.SIGTERM), real(*arguments))[1])
    with pytest.raises(signals.Stopped, match="no attempt was started. The same command starts the run"):
        go(noise(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_128_plus_the_number_and_a_line(noise, tmp_path, react, capsys):
    config = noise(tmp_path / "out")
    react(lambda call: send(signal.SIGTERM))
    flags = {"kind": "general", "output": config.output, "filter.path": config.filter.path, "max_attempts": "1"}
    flags |= {"strategy.name": f"{__name__}:Noise", "batch_size": "3"}
    command = ["augment", config.source.path, *chain.from_iterable((f"--{key}", flags[key]) for key in flags)]
    assert main(command) == 128 + signal.SIGTERM
    assert capsys.readouterr().out.splitlines()[-1] == (
        "SIGTERM: 3 new attempts are saved and exported; 7 units are pending. Run the same command again to resume"
    )
    assert manifest(tmp_path / "out")["counts"]["pending"] == 7
    assert main([*command, "--grace", "0"]) == 2
    assert "grace is 0, not a number of seconds in (0, 86,400]. Use e.g. 30" in capsys.readouterr().err


def test_augment_in_python_delivers_the_signal_again(noise, tmp_path, react):
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    react(lambda call: send(signal.SIGUSR1))
    try:
        with pytest.raises(signals.Stopped):
            augment(recipe=noise(tmp_path / "out"), progress=False)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]
    assert len(attempts_of(tmp_path / "out")) == BATCH
