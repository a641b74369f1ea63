"""Tests of `explain`: the picture, the figures and the errors, on trainings of two steps."""

import json
import shutil

import numpy as np
import pytest
from masked_photos import mask_cell, masked_folder, small_recipe
from PIL import Image
from safetensors.torch import load_file, save_file

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.comparison import trials
from diffcore_hf.training.saliency.explanation import chosen_rows
from diffcore_hf.workflows.explain import explain_trainings


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Returns the output folder of a finished comparison of two arms and two seeds."""
    folder = tmp_path_factory.mktemp("explain")
    masked_folder(folder / "photos")
    trials.run(
        small_recipe(folder / "photos", folder / "out", compare=["plain", "cutmix"], seeds=[0, 1]), progress=False
    )
    return folder / "out"


def explained(training, **options):
    lines = []
    content = explain_trainings(training, lines.append, progress=False, **options)
    return content, "\n".join(lines)


def test_with_masks_all_test_images_are_measured_for_every_arm_and_seed(training):
    content, text = explained(training, mask="mask", images=3)
    assert json.loads((training / "saliency.json").read_text()) == content
    assert (content["arms"], content["seeds"], content["images"]) == (["plain", "cutmix"], [0, 1], 9)
    assert content["left_out"] == {}
    for summary, arm in zip(content["figures"]["all"], ["plain", "cutmix"], strict=True):
        assert summary["arm"] == arm
        assert summary["images_by_seed"] == [9, 9]
        means = summary["by_seed"]
        assert summary["energy"]["mean"] == pytest.approx(np.mean([mean["energy"] for mean in means]))
        # The object is half of the image. The crop of a wider image keeps its centre.
        assert all(mean["area"] == pytest.approx(0.5, abs=0.02) for mean in means)
        assert all(mean["lift"] == pytest.approx(mean["energy"] / mean["area"]) for mean in means)
        # Student's t with one degree of freedom: half of the interval is 12.706 standard errors.
        values = [mean["energy"] for mean in means]
        expected = 12.706 * np.std(values, ddof=1) / np.sqrt(2)
        assert summary["energy"]["half_interval"] == pytest.approx(expected)
    assert content["figures"]["all"][0]["lift_difference"]["mean"] == 0
    assert "| arm " in text and "lift to plain, 95 %" in text
    assert f"{training}/saliency.png shows the maps of 3 images" in text


def test_the_picture_has_a_row_for_each_image_and_a_column_for_each_arm(training):
    heights = []
    for images in (1, 2):
        explained(training, images=images)
        heights.append(Image.open(training / "saliency.png").height)
    assert heights[1] > heights[0]
    first = (training / "saliency.png").read_bytes()
    explained(training, images=2)
    assert (training / "saliency.png").read_bytes() == first
    explained(training, images=2, seed=5)
    assert (training / "saliency.png").read_bytes() != first


def test_without_masks_there_are_no_figures(training):
    content, text = explained(training, arms=["cutmix"])
    assert content["figures"] is None
    assert content["arms"] == ["cutmix"]
    assert "energy" not in text


def test_the_images_are_chosen_by_the_seed_alone():
    assert chosen_rows(100, 0, 6) == chosen_rows(100, 0, 8)[:6]
    assert chosen_rows(100, 0, 6) != chosen_rows(100, 1, 6)
    assert sorted(chosen_rows(4, 0, 6)) == [0, 1, 2, 3]


def test_images_without_a_usable_mask_are_left_out_with_a_reason(training, tmp_path):
    cells = [mask_cell()] * 5 + [None, mask_cell(10, 12), mask_cell(value=0), {"bytes": b"no image", "path": None}]
    folder = masked_folder(tmp_path / "photos", cells)
    content, text = explained(training, mask="mask", arms=["plain"], changes={"data": {"path": str(folder)}})
    assert content["figures"]["all"][0]["images_by_seed"] == [5, 5]
    reasons = content["left_out"]
    assert sum(reasons.values()) == 4
    assert reasons["the row has no mask"] == 1
    assert reasons["the mask has 10 x 12 pixels and its image 24 x 20"] == 1
    assert reasons["the mask has no object in the frame of the image"] == 1
    assert "1 images are left out: the row has no mask." in text


def test_masks_of_zeros_and_ones_are_masks(training, tmp_path):
    folder = masked_folder(tmp_path / "photos", [mask_cell(value=1)] * 9)
    changed, _ = explained(training, mask="mask", changes={"data": {"path": str(folder)}})
    usual, _ = explained(training, mask="mask")
    assert changed["figures"] == usual["figures"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": ["mixup"]}, r"arms has 'mixup', which .* does not have. Its arms are plain, cutmix"),
        ({"mask": "segments"}, r"mask is 'segments', which split 'test' of .* does not have as a column"),
        ({"mask": "generated"}, "no image of the test split has a usable mask: the mask has 32 x 32 pixels"),
        ({"layer": "layer9"}, "layer is 'layer9', which is not a module of this network"),
    ],
)
def test_a_wrong_option_is_a_one_line_error(training, options, message):
    with pytest.raises(UserError, match=message) as error:
        explained(training, **options)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_finished_training_is_a_one_line_error_with_a_remedy(training, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(training, unfinished)
    (unfinished / "compare.json").unlink()
    damaged = tmp_path / "damaged"
    shutil.copytree(training, damaged)
    (damaged / "compare.json").write_text("{}")
    deleted = tmp_path / "deleted"
    shutil.copytree(training, deleted)
    shutil.rmtree(deleted / "plain/seed-0/last")
    shutil.rmtree(deleted / "plain/seed-0/best", ignore_errors=True)
    for folder, message in (
        (tmp_path, "is not the output of a training. Give the --output of"),
        (tmp_path / "nowhere", "is not the output of a training"),
        (training / "plain/seed-0", "is a part of the training .*, with --arms plain"),
        (unfinished, "has no compare.json, .* Run the same training again"),
        (damaged, "compare.json is damaged .* Run the same training again"),
        (deleted, "seed-0 has no model. Delete this folder, then run the same training again"),
    ):
        with pytest.raises(UserError, match=message) as error:
            explained(folder)
        assert "\n" not in str(error.value)


def test_the_output_of_a_single_training_is_explained(tmp_path):
    masked_folder(tmp_path / "photos")
    trials.run(small_recipe(tmp_path / "photos", tmp_path / "out", mix={"mode": "off"}), progress=False)
    content, text = explained(tmp_path / "out", mask="mask")
    assert content["arms"] == ["run"]
    assert content["figures"]["all"][0]["lift"]["half_interval"] is None
    assert "One seed." in text


def test_a_model_whose_outputs_are_not_finite_and_a_target_that_cannot_be_written_are_one_line_errors(
    training, tmp_path
):
    diverged = tmp_path / "diverged"
    shutil.copytree(training, diverged)
    for weights in (diverged / "plain/seed-0").glob("*/model.safetensors"):
        tensors = load_file(weights)
        save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, weights)
    blocked = tmp_path / "blocked"
    shutil.copytree(training, blocked)
    (blocked / "saliency.json").unlink(missing_ok=True)
    (blocked / "saliency.json").mkdir()
    for folder, message in (
        (diverged, r"plain/seed-0/\w+: the outputs of the model are NaN or infinite, .* smaller --optimizer\.lr"),
        (blocked, r"saliency\.json cannot be written, because it is a folder"),
    ):
        with pytest.raises(UserError, match=message) as error:
            explained(folder)
        assert "\n" not in str(error.value)
