"""Tests of a filter that does not separate the classes: the summary, `plan` and the card report it."""

import io
import re
import shlex

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from run_folders import attempts_of, go, write_review
from small_photos import photos

from diffcore_hf.augmentation import summary as summaries
from diffcore_hf.augmentation.weak_filter import weak_filter_before_the_run
from diffcore_hf.workflows.augment import prepare
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.plan import text as plan_text

RANK = {"name": "rank", "by": "class_mean", "floor": "off"}
FIRST = (
    r"weak filter: it does not separate the classes, because it accepts rank \d of 6\. Its balanced accuracy on "
    r"left-out real images is [\d.]+ %, and 16\.7 % would be chance\. Use another image tower \(--filter\.path, with "
    r"--output \S+-2\), or {more}, or your own verdicts \(--review FILE\)$"
)


def first_line(outcome):
    return summaries.text(outcome.summary, seconds=1, images=1).splitlines()[0]


@pytest.fixture
def noise():
    """Returns six classes of ten images of noise. No tower can separate them."""
    draw = np.random.default_rng(3)
    cells = []
    for _ in range(60):
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    names = ["fox", "frog", "jay", "lion", "owl", "wolf"]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": cells, "label": [number % 6 for number in range(60)]}, features=features)


@pytest.fixture
def settings(recipe, tmp_path):
    """Returns a function that builds a recipe from keys, for a dataset in memory and one generated image."""

    def settings(**more):
        keys = {"source": "in-memory", "output": str(tmp_path / "out"), "limit": 1, "max_attempts": 1}
        return recipe(**(keys | {"filter.policy": RANK, "filter.references": 10} | more))

    return settings


def test_the_summary_the_plan_and_the_card_begin_with_the_weak_filter(settings, noise, tmp_path):
    assert weak_filter_before_the_run(prepare(settings(), noise)) is None  # the real images have no embeddings yet
    outcome = go(settings(), noise)
    line = first_line(outcome)
    assert re.match(FIRST.format(more="more real images of these classes"), line), line
    card = re.sub(r"\\(?=[^\w\s])", "", (tmp_path / "out" / "README.md").read_text())
    assert f"**{line.partition(' Use ')[0]}**\n" in card
    assert str(tmp_path) not in card
    assert plan_text(prepare(settings(), noise)).splitlines()[0] == line
    exported = export(tmp_path / "out", tmp_path / "all", {"filter": {"policy": {"name": "all"}}})
    assert exported.summary.weak_filter is None


def test_a_filter_that_separates_the_classes_is_not_reported(settings, tmp_path):
    apart = photos([12] * 3)
    outcome = go(settings(), apart)
    assert outcome.summary.weak_filter is None
    assert first_line(outcome).startswith("rows ")
    assert "weak filter" not in (tmp_path / "out" / "README.md").read_text()
    assert plan_text(prepare(settings(), apart)).startswith("source ")


def test_more_references_are_advised_if_they_exist_and_make_the_filter_stronger(settings):
    apart = photos([12] * 3)
    line = first_line(go(settings(**{"filter.policy": RANK | {"alpha": 0.05}, "filter.references": 2}), apart))
    advice = re.search(r"more references \((--filter\.references \d+)\)", line)[1]
    references = int(shlex.split(advice)[1])
    while references < 5:  # every message gives the same remedy until there are enough references
        line = first_line(
            go(settings(**{"filter.policy": RANK | {"alpha": 0.05}, "filter.references": references}), apart)
        )
        references *= 2
    assert first_line(
        go(settings(**{"filter.policy": RANK | {"alpha": 0.05}, "filter.references": references}), apart)
    ).startswith("rows ")


def test_a_small_alpha_is_reported_as_the_cause(settings):
    apart = photos([12] * 3)
    line = first_line(go(settings(**{"filter.policy": RANK | {"alpha": 0.01}}), apart))
    assert "accepts rank 3 of 3" in line
    assert (
        ". 30 left-out real images are too few for alpha 0.01. Use more references (--filter.references 20), or another"
        in line
    )
    assert "--filter.policy.alpha 0.1, which accepts fewer images" in line
    assert first_line(go(settings(**{"filter.policy": RANK | {"alpha": 0.1}}), apart)).startswith("rows ")


@pytest.mark.parametrize(
    ("policy", "advice", "followed"),
    [
        ({"name": "fixed", "t": -1.0}, "policy rank (--filter.policy.name rank)", RANK),
        ({"name": "fixed", "t": -1.0}, "a higher bound (--filter.policy.t)", {"name": "fixed", "t": 0.9999}),
        (RANK | {"by": "text"}, "another ranking (--filter.policy.by context_free)", RANK | {"by": "context_free"}),
    ],
)
def test_another_policy_setting_is_advised_if_its_separation_is_better(settings, tmp_path, policy, advice, followed):
    apart = photos([12] * 3)
    line = first_line(go(settings(**{"filter.policy": policy}), apart))
    assert advice in line
    outcome = export(tmp_path / "out", tmp_path / "other", {"filter": {"policy": followed}})
    assert outcome.summary.weak_filter is None


def test_a_review_replaces_the_decisions_of_a_weak_filter(settings, noise, tmp_path):
    go(settings(), noise)
    [key] = attempts_of(tmp_path / "out")
    for verdict, kept in (("accept", 1), ("reject", 0)):
        review = write_review(tmp_path / f"{verdict}.csv", (key, verdict))
        assert go(settings(review=review), noise).summary.counts["kept"] == kept
