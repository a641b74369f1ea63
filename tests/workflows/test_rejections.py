"""Tests of the summary of rejected attempts: the counts by reason, and the remedy for each reason."""

import re
import shlex

import pytest
from run_folders import attempts_of, write_review

from diffcore_hf.augmentation import summary as summaries
from diffcore_hf.augmentation.reasons import counts_text, progress_text, rejected_text
from diffcore_hf.augmentation.remedies import Situation, remedy_of
from diffcore_hf.commands.main import main
from diffcore_hf.method.checks import CHECKS, Check, reasons
from diffcore_hf.workflows.export import export

UNWANTED = Check("unwanted", "this check rejects every image", "unwanted", lambda candidate: True)


@pytest.fixture
def exported(done, tmp_path):
    """Returns a function that exports the finished run with some recipe keys and returns the summary."""

    def exported(number, **layer):
        return export(done.folder.path, tmp_path / str(number), layer).summary

    return exported


def rejection(summary, reason):
    [found] = [row for row in summary.rejections if row.reason == reason]
    return found


@pytest.mark.parametrize(
    ("reason", "layer", "advice", "followed"),
    [
        ("low_similarity", {"filter": {"policy": {"name": "fixed", "t": 0.9999}}}, "--filter.policy.name all",
         {"filter": {"policy": {"name": "all"}}}),
        ("low_rank", {}, "--filter.policy.name all", {"filter": {"policy": {"name": "all"}}}),
        ("not_drawn", {"filter": {"policy": {"name": "random", "p": 0.0}}}, "--filter.policy.p",
         {"filter": {"policy": {"name": "random", "p": 1.0}}}),
        ("unwanted", {"filter": {"checks": [f"{__name__}:UNWANTED"], "policy": {"name": "all"}}},
         "leave this check out of --filter.checks", {"filter": {"checks": [], "policy": {"name": "all"}}}),
    ],
)  # fmt: skip
def test_the_remedy_for_a_reason_removes_the_reason(exported, reason, layer, advice, followed):
    before = exported(1, **layer)
    assert advice in rejection(before, reason).remedy
    assert reason not in exported(2, **followed).reasons


def test_the_samples_that_the_advice_names_can_be_drawn(exported, done, capsys):
    text = rejection(exported(1), "low_rank").remedy
    command = re.search(r"diffcore-hf (preview \S+ --samples 20)\.", text)[1]
    assert main(shlex.split(command)) == 0
    assert str(done.folder.path) in capsys.readouterr().out


def test_an_attempt_rejected_in_a_review_is_counted(exported, done, tmp_path):
    keys = list(attempts_of(done.folder.path))
    review = write_review(tmp_path / "review.csv", *((key, "reject") for key in keys))
    found = rejection(exported(1, review=review), "review")
    assert found.label == "rejected by a reviewer"
    assert review in found.remedy


def test_the_summary_has_the_counts_the_labels_and_the_remedies(exported):
    summary = exported(1)
    lines = summaries.text(summary, seconds=1, images=0).splitlines()
    count = summary.reasons["low_rank"]
    assert any(re.fullmatch(rf"rejected +{count}: {count} low_rank", line) for line in lines)
    start = lines.index("why attempts were rejected")
    assert lines[start + 1].startswith(f"  {count} low_rank (looks like another class): look at them: diffcore-hf")
    assert sum(summary.reasons.values()) == summary.counts["attempts"]


@pytest.mark.parametrize(
    ("counts", "most", "text"),
    [
        ({"low_rank": 80, "duplicate": 40, "unsafe": 4}, None, "124: 80 low_rank, 40 duplicate, 4 unsafe"),
        ({"low_rank": 8000, "duplicate": 40, "unsafe": 4}, 1, "8,044: 8,000 low_rank, 44 for other reasons"),
        ({}, None, "0"),
    ],
)
def test_counts_of_rejected_attempts_are_written_as_a_short_text(counts, most, text):
    assert rejected_text(counts, most) == text
    assert rejected_text(counts, most).endswith(counts_text(counts, most))


def test_the_progress_bar_shows_the_three_most_frequent_reasons():
    counts = {"unsafe": 4, "kept": 1200, "low_rank": 80, "crashed": 1, "duplicate": 40, "invalid": 0}
    expected = "kept 1,200, rejected 125: 80 low_rank, 40 duplicate, 4 unsafe, 1 for other reasons"
    assert progress_text(counts) == expected
    assert progress_text({}) == "kept 0, rejected 0"


@pytest.mark.parametrize("model", ["org/model", None])
@pytest.mark.parametrize("reason", [name for name in reasons() if name != "kept"])
def test_every_reason_has_a_remedy_that_names_a_flag(reason, model):
    situation = Situation("out/x", model, "float32", "own:Strategy", True, "r.csv", "fox", "no disk")
    text = remedy_of(reason, situation, CHECKS)
    assert re.search(r"--[a-z]", text)
    assert len(text) < 400


@pytest.mark.parametrize(
    ("dtype", "flags"),
    [
        ("bfloat16", "--model.dtype float32 --output 'my out-float32'"),
        ("float16", "--model.dtype float32 --output 'my out-float32'"),
        ("float32", "Use another --model.path or leave out --model.adapters, and use --output 'my out-2'"),
    ],
)
def test_another_precision_is_advised_only_if_a_higher_precision_exists(dtype, flags):
    situation = Situation("my out", "org/model", dtype, "text_to_image", True, None, "fox", "")
    assert flags in remedy_of("invalid", situation, CHECKS)
