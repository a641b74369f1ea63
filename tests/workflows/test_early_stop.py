"""Tests of the early stop of a run with many faulty attempts, and of the remedies in its message."""

import re
import shlex

import numpy as np
import pytest
import torch
from run_folders import attempts_of, published, rows, write_review
from small_photos import photos, write_photos

from diffcore_hf import augment
from diffcore_hf.augmentation import early_stop, rounds
from diffcore_hf.augmentation import summary as summaries
from diffcore_hf.augmentation.executors.local import LocalExecutor
from diffcore_hf.commands.main import main
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.layers import keywords_layer
from diffcore_hf.core.errors import UserError
from diffcore_hf.generation.base import Samples, Strategy
from diffcore_hf.method.checks import recorded_reason
from diffcore_hf.workflows.augment import run as augment_run
from diffcore_hf.workflows.export import export

STOP = 12
"""Number of attempts before the early stop in these tests; the package uses 50."""
BLURRY = recorded_reason("blurry", "the image is blurred", "blurred")


class Noise(Strategy):
    """Returns noise that depends on the seed."""

    uses_model = False
    reads = ("seed", "attempt", "prompt", "label", "row_id")
    flag = None
    """The flag that the strategy gives to a faulty image."""

    def sample(self, batch):
        seeds = [np.random.default_rng(seed) for seed in batch["seed"]]
        pixels = np.stack([draw.integers(0, 256, (3, 16, 16), dtype=np.uint8) for draw in seeds])
        units = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        faulty = [self.is_faulty(unit) for unit in units]
        if self.flag == "crashed" and any(faulty):
            raise RuntimeError("the disk of the model is full")
        if self.flag == "invalid":
            pixels[faulty] = 0
            return Samples(torch.from_numpy(pixels), [None] * len(units))
        return Samples(torch.from_numpy(pixels), [self.flag if bad else None for bad in faulty])

    def is_faulty(self, unit):
        """Return whether an image is faulty. One in `every` images is faulty; `every` is an option of the recipe."""
        return self.flag is not None and int(unit["row_id"].split("/")[1], 16) % int(self.options.get("every", 1)) == 0


class Black(Noise):
    flag = "invalid"


class Unsafe(Noise):
    """Flags every image whose prompt contains the name of the first class."""

    flag = "unsafe"

    def is_faulty(self, unit):
        return "red fox" in unit["prompt"]


class Crashing(Noise):
    """Raises for the second half of the classes."""

    flag = "crashed"

    def is_faulty(self, unit):
        return unit["label"] >= 1


class Blurry(Noise):
    flag = "blurry: radius 3"


@pytest.fixture(autouse=True)
def stop_after_few_attempts(monkeypatch):
    """Apply the rule of the early stop after a few attempts."""
    monkeypatch.setattr(early_stop, "STOP_AFTER", STOP)
    monkeypatch.setattr(rounds, "STOP_AFTER", STOP)


@pytest.fixture
def run(keys, tmp_path):
    """Returns a function that runs a strategy on 2 x 15 photos in memory, with recipe keys, and returns the result."""

    def run(strategy, executor=LocalExecutor, **more):
        without_model = {key: value for key, value in keys.items() if key != "model"}
        own = {"source": {"path": "in-memory"}, "max_attempts": 1, "strategy.name": f"{__name__}:{strategy}"}
        policy = {"filter": keys["filter"] | {"policy": "all", "checks": [f"{__name__}:BLURRY"]}}
        output = {"output": str(tmp_path / "out"), "batch_size": 4}
        layer = keywords_layer(**(own | policy | output | more))
        return augment_run(build_recipe(without_model, layer), photos([15, 15]), progress=False, executor=executor)

    return run


@pytest.mark.parametrize(
    ("strategy", "faulty", "cause"),
    [
        ("Black", "12 invalid", "invalid: strategy {name} returned images of one colour"),
        ("Unsafe", "{n} unsafe", "unsafe: strategy {name} flagged them, most of them in class red fox"),
        ("Crashing", "{n} crashed", "crashed: the first error was: .*the disk of the model is full"),
        ("Blurry", "12 blurry", "blurry: the image is blurred: strategy {name} recorded it"),
    ],
)
def test_a_run_with_many_faulty_attempts_stops_and_keeps_its_facts(run, tmp_path, strategy, faulty, cause, monkeypatch):
    outcome = run(strategy)
    assert outcome.new_attempts == STOP == len(attempts_of(tmp_path / "out"))
    count = outcome.summary.counts["attempts"] - outcome.summary.reasons.get("kept", 0)
    name = f"{__name__}:{strategy}"
    line = f"stopped early: {count} of 12 attempts are faulty \\({faulty}\\). {cause}.* --output \\S+out-2.*null"
    assert re.match(line.format(n=count, name=name), outcome.stopped), outcome.stopped
    assert outcome.summary.counts["pending"] == 18
    assert rows(tmp_path / "out")["status"][:].count("pending") == 18
    before = published(tmp_path / "out")
    monkeypatch.setattr(rounds, "LARGE", 1)  # a part can be generated before the attempts are tested
    again = run(strategy)
    assert (again.new_attempts, again.stopped) == (0, outcome.stopped)
    assert published(tmp_path / "out") == before
    everything = run(strategy, max_faulty=None)
    assert (everything.new_attempts, everything.stopped) == (18, None)
    assert everything.summary.counts["pending"] == 0


@pytest.mark.parametrize(
    ("share", "stops"), [(0.2, True), (None, False), (1.0, False)], ids=["reached", "never", "not reached"]
)
def test_the_limit_of_faulty_attempts_changes_no_result(run, tmp_path, share, stops):
    outcome = run("Unsafe", max_faulty=share)
    assert bool(outcome.stopped) == stops
    assert run("Unsafe", max_faulty=None, output=str(tmp_path / "other")).stopped is None
    if not stops:
        assert published(tmp_path / "out") == published(tmp_path / "other")


def test_a_run_with_few_faulty_attempts_continues(run):
    outcome = run("Black", **{"strategy.options": {"every": 8}})
    assert 0 < outcome.summary.reasons["invalid"] < 6
    assert (outcome.stopped, outcome.new_attempts) == (None, 30)


def test_a_finished_run_does_not_stop_early(run):
    outcome = run("Black", fraction=0.2)
    assert (outcome.stopped, outcome.new_attempts) == (None, 6)
    outcome = run("Black", part_size=30)
    assert (outcome.stopped, outcome.summary.counts["pending"]) == (None, 0)


def test_a_higher_limit_of_faulty_attempts_continues_the_folder(run, tmp_path):
    assert run("Unsafe").stopped
    assert run("Unsafe", max_faulty=0.9).stopped is None
    run("Unsafe", max_faulty=None, output=str(tmp_path / "other"))
    assert published(tmp_path / "out") == published(tmp_path / "other")


def new_output(message):
    """Return the folder that a message advises."""
    return shlex.split(re.search(r"--output (\S+?)[,.]?(?=\s)", message)[1])[0]


@pytest.mark.parametrize("strategy", [Black, Crashing, Blurry])
def test_the_advice_for_a_strategy_is_to_correct_it_and_to_use_a_new_folder(run, monkeypatch, strategy):
    message = run(strategy.__name__).stopped
    monkeypatch.setattr(strategy, "is_faulty", lambda self, unit: False)
    outcome = run(strategy.__name__, output=new_output(message))
    assert (outcome.stopped, outcome.summary.counts["kept"]) == (None, 30)


def test_the_advice_for_unsafe_images_is_to_use_other_prompts(run):
    message = run("Unsafe").stopped
    assert "most of them in class red fox" in message
    words = {"label_descriptions": {"red_fox": "a small animal"}}
    outcome = run("Unsafe", prompts={"contexts": ["in snow"]} | words, output=new_output(message))
    assert (outcome.stopped, outcome.summary.counts["kept"]) == (None, 30)


@pytest.fixture
def in_low_precision(keys, tmp_path, monkeypatch):
    """Returns the arguments of a command on 2 x 8 photos. Unless the precision is float32, all images are invalid."""
    from diffcore_hf.models.diffusion import TextToImage

    real = TextToImage.sample

    def sample(self, prompts, negatives, seeds, **options):
        samples = real(self, prompts, negatives, seeds, **options)
        flags = samples.flags if self.config.dtype == "float32" else ["invalid"] * len(prompts)
        return Samples(samples.images, flags)

    monkeypatch.setattr(TextToImage, "sample", sample)
    photos_folder = write_photos(tmp_path / "photos", [8, 8])
    model, filter_path = keys["model"]["path"], keys["filter"]["path"]
    words = ["augment", str(photos_folder), "--model.path", model, "--model.steps", "2", "--filter.path", filter_path]
    return [*words, "--filter.policy", "all", "--max_attempts", "1", "--batch_size", "4"]


def test_the_advice_for_low_precision_is_a_command_that_works(in_low_precision, tmp_path, capsys):
    output = ["--output", str(tmp_path / "out")]
    assert main([*in_low_precision, *output, "--model.dtype", "bfloat16"]) == 2
    printed = capsys.readouterr()
    assert re.search(r"^rejected +12: 12 invalid$", printed.out, re.MULTILINE)
    assert re.search(r"^  12 invalid \(not an image\): with precision bfloat16 some models", printed.out, re.MULTILINE)
    [line] = printed.err.splitlines()[-1:]
    assert line.startswith(
        "diffcore-hf: stopped early: 12 of 12 attempts are faulty (12 invalid). invalid: with precis"
    )
    advice = shlex.split(re.search(r"Use (--model.dtype float32 --output \S+)\. ", line)[1])
    assert main([*in_low_precision, *advice]) == 0
    assert set(rows(tmp_path / "out-float32")["status"]) == {"kept"}
    assert main([*in_low_precision, *output, *shlex.split(re.search(r"add (--max_faulty null)", line)[1])]) == 0


def test_augment_in_python_raises_after_the_export(tmp_path, keys):
    without_model = {key: value for key, value in keys.items() if key != "model"}
    more = {"strategy": f"{__name__}:Black", "output": str(tmp_path / "out"), "batch_size": 4, "progress": False}
    with pytest.raises(UserError, match="^stopped early: 12 of 12 attempts are faulty"):
        augment(photos([15, 15]), **(without_model | more))
    assert rows(tmp_path / "out")["status"][:].count("pending") == 30


def test_an_image_accepted_in_a_review_is_not_faulty(run, tmp_path):
    assert run("Blurry").stopped
    keys = list(attempts_of(tmp_path / "out"))
    review = write_review(tmp_path / "review.csv", *((key, "accept") for key in keys[:10]))
    outcome = run("Blurry", review=review)
    assert outcome.new_attempts > 0
    assert outcome.summary.counts["kept"] == 10


def test_a_check_whose_reason_is_recorded_cannot_be_left_out(run, tmp_path):
    run("Blurry", max_faulty=None)
    with pytest.raises(
        UserError, match=r"recorded with the reason 'blurry', but filter.checks does not contain.*Use --filter\.checks"
    ) as caught:
        export(tmp_path / "out", tmp_path / "other", {"filter": {"checks": []}})
    check = str(caught.value).rpartition(" ")[2]
    assert export(tmp_path / "out", tmp_path / "other", {"filter": {"checks": [check]}}).summary.reasons == {
        "blurry": 30
    }


class Ahead(LocalExecutor):
    """Adds a part while an earlier part is read, like another process."""

    def run(self, tasks, on_progress):
        parts = super().run(tasks, on_progress)
        waiting = next(parts, None)
        while waiting is not None:
            following = next(parts, None)
            yield waiting
            waiting = following


def test_parts_that_other_processes_commit_are_counted_too(run, tmp_path):
    outcome = run("Black", executor=Ahead, part_size=4)
    assert outcome.stopped.startswith("stopped early: 16 of 16 attempts are faulty (16 invalid)")
    assert outcome.new_attempts == outcome.summary.counts["attempts"] == len(attempts_of(tmp_path / "out")) == 16
    again = run("Black")
    assert (again.new_attempts, again.stopped) == (0, outcome.stopped)


class Same(Noise):
    """Returns the same image for every seed."""

    def sample(self, batch):
        return super().sample({**batch, "seed": [1] * len(batch["seed"])})


def test_the_remedy_for_duplicates_saves_attempts(run):
    outcome = run("Same", max_attempts=2, limit=6)
    [found] = outcome.summary.rejections
    assert (found.reason, found.attempts, outcome.new_attempts) == ("duplicate", 10, 11)
    assert "--max_attempts 1" in found.remedy
    assert run("Same", limit=12).new_attempts == 6


def test_a_class_that_is_given_up_for_faulty_images_gets_no_advice_about_its_name(run, monkeypatch):
    monkeypatch.setattr("diffcore_hf.method.filtration.GIVEN_UP_AFTER", 4)
    black = summaries.text(run("Black", max_faulty=None).summary, seconds=1, images=30).splitlines()
    assert black[0].startswith("given up: ")
    assert black[1] == "  none of the first 20 images passed. Most of them are faulty, see the reasons below"
