"""Tests of the text that `plan` prints, and of the estimate of the full run after a run with `--limit`."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_photos import write_photos

from diffcore_hf.augmentation import disk_space
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.generation.base import Strategy
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import plan as plan_workflow


class WithoutModel(Strategy):
    """A strategy that uses no model."""

    uses_model = False

    def sample(self, batch):
        raise NotImplementedError


@pytest.fixture(scope="module")
def prepare(recipe, folder_of_photos, tmp_path_factory):
    """Returns a function that prepares a run from keys. The tokenizer accepts 16 tokens; each letter is a token."""

    def prepare(**more):
        more = {"source": str(folder_of_photos), "output": str(tmp_path_factory.mktemp("out") / "out")} | more
        return augment.prepare(recipe(**more))

    return prepare


def lines_of(prepared):
    return [line.strip() for line in plan_workflow.text(prepared).splitlines()]


def with_guidance(prepared, **guidance):
    about = dict(prepared.resolution.model) | {"guidance": guidance}
    return replace(prepared, resolution=replace(prepared.resolution, model=about))


def test_floats_are_printed_as_floats(prepare):
    assert "guidance    gamma 2.0 = guidance_scale 3.0" in lines_of(prepare(**{"model.gamma": 2}))
    native = with_guidance(prepare(), argument=None, value=None)
    assert "guidance    gamma 2.0 is not used: the pipeline has no guidance scale" in lines_of(native)


def test_the_plan_names_a_strategy_that_is_not_the_default(prepare):
    assert not any(line.startswith("strategy") for line in lines_of(prepare()))
    named = prepare(strategy={"name": "tests.generation.test_base:Named", "options": {"strength": 0.5}})
    assert "strategy    tests.generation.test_base:Named (strength 0.5)" in lines_of(named)


def test_a_strategy_without_a_model_has_no_lines_about_a_model(prepare, tiny):
    model = {"path": "/not/read", "adapters": ["/not/read/either"]}
    without = prepare(strategy=f"{__name__}:WithoutModel", model=model)
    lines = lines_of(without)
    assert not any(line.startswith(("model", "guidance", "warning")) for line in lines)
    assert f"strategy    {__name__}:WithoutModel" in lines
    assert len(list(plan_workflow.fetch(without.recipe))) == 1  # only the model of the filter is downloaded


def test_plan_shows_a_limited_number_of_names_and_prompts(prepare, tmp_path, monkeypatch):
    lines = lines_of(prepare())
    assert [line for line in lines if "->" in line] == [
        "blue_jay -> blue jay", "green_frog -> green frog", "red_fox -> red fox"
    ]  # fmt: skip
    assert sum(line.startswith("a photo of a ") for line in lines) == 3
    monkeypatch.setattr(plan_workflow, "MAX_CLASSES", 2)
    lines = lines_of(prepare())
    assert sum("->" in line for line in lines) == 2
    assert sum(line.startswith("a photo of a ") for line in lines) == 2
    assert lines.count("... and 1 more") == 2


def test_all_of_forty_classes_are_shown(prepare, tmp_path):
    photos = write_photos(tmp_path / "photos", [1])
    for number in range(40):
        (photos / f"bird_{number}x").mkdir()
        (photos / f"bird_{number}x" / "0.jpg").write_bytes((photos / "red_fox" / "00.jpg").read_bytes())
    lines = lines_of(prepare(source=str(photos)))
    assert sum(line.startswith("a photo of a ") for line in lines) == 41
    assert sum("->" in line for line in lines) == 41


def test_prompts_and_negatives_are_linted_with_the_models_tokenizer(prepare):
    lines = lines_of(prepare(**{"prompts.contexts": ["", "in fog"], "prompts.negatives": ["blurry"]}))
    warnings = [line for line in lines if line.startswith("warning: ")]
    # The tokens are the start, 21 letters, the comma and the end. The text has fewer than 16 words.
    assert warnings[0] == (
        "warning: 24 tokens, but the text encoder uses only the first 16: 'a photo of a blue jay, in fog'"
    )
    assert len(warnings) == 3
    assert not any("'blurry'" in line for line in warnings)
    long = prepare(**{"prompts.template": "{label}", "prompts.negatives": ["very blurry pictures"]})
    assert any("'very blurry pictures'" in line for line in lines_of(long) if line.startswith("warning: "))


def test_without_a_tokenizer_words_are_counted(prepare, monkeypatch):
    monkeypatch.setattr(plan_workflow, "text_tokenizer", lambda model: None)
    assert not any(line.startswith("warning") for line in lines_of(prepare()))
    (warning,) = [
        line for line in lines_of(prepare(**{"prompts.negatives": ["word " * 80]})) if line.startswith("warning: ")
    ]
    assert warning.startswith("warning: at least 82 tokens, but the text encoder uses only the first 77")


def test_a_note_says_that_the_paper_states_no_gamma(prepare):
    assert any(
        "6.5 is an assumption of this project" in line
        for line in lines_of(prepare(preset="paper"))
        if line.startswith("note: ")
    )
    assert not any("assumption of this project" in line for line in lines_of(prepare()))


def test_the_estimated_disk_space_is_the_parts_plus_seven_copies_of_the_images(prepare):
    prepared = prepare(include_originals=False)
    image = 16 * 16 * disk_space.BYTES_A_PIXEL["jpeg"]
    assert disk_space.peak(prepared) == pytest.approx(10 * image * (1.5 + 6 + 1))


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    """Returns a function that builds a result from counts. The run has 4 attempts in a part of 1000 bytes."""
    part = tmp_path / "part"
    part.write_bytes(b"0" * 1000)
    monkeypatch.setattr(Ledger, "rounds", lambda self: ["r0"])
    monkeypatch.setattr(Ledger, "parts", lambda self, kind: [part])
    monkeypatch.setattr(Ledger, "count", lambda self: 4)

    def outcome(kept, pending, new_attempts=4):
        counts = {"kept": kept, "exhausted": 1, "failed": 0, "pending": pending, "attempts": 4}
        counts["planned"] = kept + 1 + pending
        summary = SimpleNamespace(counts=counts, by_class=[("crow", 2, 0.5, 0.1), ("owl", 2, 0.0, None)])
        folder = SimpleNamespace(parts=tmp_path, path="out/x")
        return SimpleNamespace(summary=summary, folder=folder, new_attempts=new_attempts, seconds=8.0)

    return outcome


def test_a_run_with_a_limit_gives_an_estimate_for_the_full_run(outcome):
    assert plan_workflow.projection(outcome(kept=1, pending=8)) == [
        "so far: 2 of 10 units. Estimate for the full run:",
        "  kept      about 50 % of the units, 2.00 attempts each",
        "  time      about 32 s more (an upper estimate, because it includes loading)",
        "  disk      about 22 kB at the peak, without the originals",
        "  most rejected: crow (50 %)",
        "  the same command without --limit continues in out/x",
    ]
    assert not any("time" in line for line in plan_workflow.projection(outcome(kept=1, pending=8, new_attempts=0)))


def test_a_run_without_pending_units_gives_no_estimate(outcome):
    assert plan_workflow.projection(outcome(kept=3, pending=0)) == []
