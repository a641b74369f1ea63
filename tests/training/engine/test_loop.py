"""Tests of the training loop: exact resuming, errors for NaN and damaged checkpoints, and atomic files."""

from __future__ import annotations

import json
import os
import signal

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch.nn import functional

from diffcore_hf.config.train import OptimizerConfig
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.data.training_data import load_data
from diffcore_hf.training.engine import checkpoints, forward, loop, optimisers
from diffcore_hf.training.engine.devices import make_accelerator
from diffcore_hf.training.engine.losses import classification_loss


@pytest.fixture
def training(train_recipe, tmp_path):
    """Return a function that builds a Training from the name of a folder and keys of the recipe."""

    def make(name="one", report=lambda record: None, seed=0, like=None, **keys):
        recipe = train_recipe(**keys)
        data = load_data(recipe.data, recipe.mix)
        accelerator = make_accelerator(recipe, tmp_path)
        return loop.Training(recipe, data, seed, tmp_path / name, accelerator, like=like, digest="d", report=report)

    return make


def weights(folder, kind="last"):
    return load_file(folder / kind / "model.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_writes_a_result_two_models_and_a_log(training, tmp_path):
    result = training().run()
    folder = tmp_path / "one"
    assert sorted(path.name for path in folder.iterdir()) == ["best", "last", "log.jsonl", "result.json"]
    assert result == json.loads((folder / "result.json").read_text())
    assert result["steps"] == 6 and result["samples_seen"] == 24 and result["samples_per_epoch"] == 27
    assert result["last"]["count"] == 9 and len(result["last"]["by_class"]) == 3
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    figures = next(line for line in lines if "loss" in line)
    assert {"step", "epoch", "lr", "loss", "images_per_second", "data_wait", "mixing", "mixed"} <= set(figures)
    model = timm.create_model(f"local-dir:{folder / 'last'}", pretrained=True)
    assert model.num_classes == 3 and list(model.pretrained_cfg["input_size"]) == [3, 32, 32]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"optimizer": {"name": "adamw", "lr": 0.01}, "ema": 0.9, "schedule": {"name": "cosine", "warmup": 1}},
        {"accumulate": 2, "clip": 0.5, "mixer": "mixup", "mix": {"mode": "off"}},
        {"model": {"name": "test_convnext", "drop_path": 0.3}, "transform": {"randaugment": 5}, "workers": 2},
    ],
    ids=["sgd", "adamw and averaged weights", "accumulated mixup", "drop-path and randaugment"],
)
def test_a_resumed_training_has_the_same_weights_as_an_uninterrupted_one(training, tmp_path, monkeypatch, keys):
    keys = {"max_steps": 9, "evaluate_every": 0.5, **keys}
    whole = training("whole", **keys).run()
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)

    class Killed(Exception):
        pass

    def kill(line):
        if line["step"] >= 7:
            raise Killed

    with pytest.raises(Killed):
        training("cut", kill, **keys).run()
    checkpoint_step = checkpoints.read(tmp_path / "cut" / "resume.safetensors").step
    assert 0 < checkpoint_step < 9
    resumed = training("cut", **keys)
    # The checkpoint is in the middle of an epoch.
    assert resumed.step == checkpoint_step and checkpoint_step % resumed.length.per_epoch
    assert resumed.run() == whole
    for kind in ("last", "best"):
        assert equal(weights(tmp_path / "whole", kind), weights(tmp_path / "cut", kind))


def send_once(number=signal.SIGINT):
    """Return a callback that sends a signal to this process when it receives the first log record."""
    received = []

    def report(line):
        if not received:
            received.append(line)
            os.kill(os.getpid(), number)

    return report


def test_ctrl_c_finishes_the_step_and_writes_a_checkpoint_that_resumes(training, tmp_path):
    whole = training("whole").run()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(loop.Interrupted, match="interrupted after step .*, and a checkpoint was written") as stopped:
        training("cut", send_once(), evaluate_every=0.3).run()
    assert stopped.value.number == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
    training("cut", evaluate_every=0.3).run()
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert whole["last"]["count"] == 9


def test_a_checkpoint_of_another_recipe_raises_an_error(training, tmp_path):
    with pytest.raises(loop.Interrupted) as stopped:
        training("cut", send_once(signal.SIGHUP), evaluate_every=0.3).run()
    assert stopped.value.number == signal.SIGHUP
    other = training("other")
    other.folder, other.digest = tmp_path / "cut", "e"
    with pytest.raises(ValueError, match="belongs to another recipe. Resume with that recipe"):
        other._resume()


def test_a_nan_stops_the_training_and_names_step_and_checkpoint(training, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    compute_loss = forward.classification_loss
    calls = []

    def nan_at_the_fifth_call(*args, **kwargs):
        calls.append(1)
        return compute_loss(*args, **kwargs) * (float("nan") if len(calls) == 5 else 1.0)

    monkeypatch.setattr(forward, "classification_loss", nan_at_the_fifth_call)
    with pytest.raises(loop.NotFinite, match=r"not finite at step 5; the last good checkpoint is .*resume.safetensors "
                                             r"\(step 3\)"):  # fmt: skip
        training(evaluate_every=0.5).run()


def test_a_failed_write_leaves_the_earlier_checkpoint(training, tmp_path, monkeypatch):
    built = training()
    built._write_checkpoint()
    path = tmp_path / "one" / "resume.safetensors"
    before = path.read_bytes()
    built.step = 3

    def disk_full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(OSError, match="No space"):
        built._write_checkpoint()
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["resume.safetensors"]
    assert training().step == 0


def test_a_damaged_checkpoint_raises_an_error(training, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "resume.safetensors").write_bytes(b"12345678garbage")
    with pytest.raises(ValueError, match=r"resume.safetensors is damaged .*Delete it to train from the start"):
        training()


def test_the_learning_rate_falls_at_the_milestone_epochs(training):
    """The learning rate is divided by 10 after 2 and after 3 of 4 epochs."""
    lines = []
    keys = {"mix": {"mode": "off"}, "max_steps": None, "epochs": 4, "batch_size": 5, "evaluate_every": 1 / 3,
            "schedule": {"name": "multistep", "milestones": [2, 3]}}  # fmt: skip
    built = training(report=lines.append, **keys)
    assert built.length.steps == 12 and built.length.per_epoch == 3
    built.run()
    rates = {line["step"]: line["lr"] for line in lines if "lr" in line}
    expected = {step: 0.05 * 0.1 ** ((step > 6) + (step > 9)) for step in range(1, 13)}
    assert rates == pytest.approx(expected)


def test_the_latest_of_equally_good_models_is_the_best_model(training, tmp_path):
    lines = []
    result = training(report=lines.append, evaluate_every=0.15).run()
    scores = [(line["step"], line["validation_top1"]) for line in lines if "validation_top1" in line]
    best = max(score for _, score in scores)
    assert result["validation_top1"] == best
    assert result["best_step"] == max(step for step, score in scores if score == best)


def test_a_batch_size_that_accumulate_does_not_divide_raises_an_error(training, train_recipe):
    with pytest.raises(ValueError, match="batch_size is 5, which cannot be divided by accumulate"):
        train_recipe(batch_size=5, accumulate=2)


@pytest.mark.parametrize("kind", ["cross_entropy", "softmax_bce"])
def test_classes_and_one_hot_probabilities_have_the_same_loss(kind):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 3, 1, 2, 2])
    probabilities = functional.one_hot(classes, 4).float()
    for smoothing in (0.0, 0.1):
        losses = [classification_loss(logits, targets, kind, smoothing) for targets in (classes, probabilities)]
        assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-6)


def test_softmax_bce_accepts_labels_that_exceed_one_by_a_rounding_error():
    logits = torch.tensor([[2.0, -1.0]])
    rounded, exact = torch.tensor([[1 + 1.2e-7, 0.0]]), torch.tensor([[1.0, 0.0]])
    losses = [classification_loss(logits, targets, "softmax_bce", 0.0) for targets in (rounded, exact)]
    assert rounded.max() > 1 and losses[0] == losses[1]


def test_softmax_bce_is_the_mean_over_classes():
    logits = torch.tensor([[2.0, 0.0]])
    p = torch.sigmoid(torch.tensor(2.0)).item()
    expected = -(torch.tensor(p).log() + torch.tensor(1 - (1 - p)).log()) / 2
    loss = classification_loss(logits, torch.tensor([0]), "softmax_bce", 0.0)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_ignored_samples_do_not_change_the_loss():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with_ignored = classification_loss(logits, torch.tensor([1, -100, 2]), "cross_entropy", 0.0)
    assert with_ignored == classification_loss(logits[[0, 2]], torch.tensor([1, 2]), "cross_entropy", 0.0)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb", "adafactorbv", "lion", "rmsprop", "lookahead_adamw"])
def test_every_optimiser_is_restored_from_a_checkpoint(tmp_path, name):
    """Some optimisers have tensors or dtypes in their parameter groups."""

    def build():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=3)
        return model, optimisers.optimiser(model, OptimizerConfig(name, lr=0.01))

    def step(model, optimizer, number):
        torch.manual_seed(number)
        model(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    (whole, optimizer), (resumed, resumed_optimizer) = build(), build()
    step(whole, optimizer, 1)
    checkpoints.write(tmp_path / "c.safetensors", 1, "d", {}, whole, optimizer, None)
    checkpoints.read(tmp_path / "c.safetensors").restore(resumed, resumed_optimizer, None)
    step(whole, optimizer, 2)
    step(resumed, resumed_optimizer, 2)
    assert equal(whole.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("readable", [0, 1, 3])
def test_unreadable_images_do_not_stop_a_training(training, readable):
    built = training(mixer="mixup", mix={"mode": "off"})
    labels = torch.tensor([0, 1, 2, 0])
    labels[readable:] = -100
    keys = [SampleKey(f"row-{index}", 0, index) for index in range(4)]
    batch = {"images": torch.zeros(4, 3, 32, 32, dtype=torch.uint8), "labels": labels, "keys": keys}
    loss = built.parts.batch_loss(batch, 0, 0)
    assert torch.isfinite(loss)
    assert loss.requires_grad and (readable > 1 or loss.item() == 0)


def test_every_arm_has_the_same_number_of_evaluations(training):
    plain = training("plain", mix={"mode": "off"}, max_steps=30)
    mix = training("mix", max_steps=30, like=plain.length)
    assert plain.length.evaluations == mix.length.evaluations
    assert plain.length.per_epoch != mix.length.per_epoch
