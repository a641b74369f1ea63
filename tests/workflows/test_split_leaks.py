"""Tests of `plan --leaks`: real images of different splits that show the same picture, their report and their sheet."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from diffcore_hf.augmentation.print_groups import RealRow
from diffcore_hf.augmentation.split_leaks import SplitPair
from diffcore_hf.commands.main import main
from diffcore_hf.core.errors import UserError
from diffcore_hf.workflows.leaks import check_sheet_file, sheet_path, shown_pairs

MODELS = "package:diffcore_hf.miniature/models"


def smooth(seed):
    """Returns a random picture with smooth changes of colour."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((128, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path):
    """Returns a folder with two splits. One test image is a crop of a training image, and one is a mirrored copy."""
    root = tmp_path / "photos"
    test = [smooth(10), smooth(1).crop((16, 12, 112, 84)), ImageOps.mirror(smooth(2)), smooth(11)]
    for split, images in (("train", map(smooth, range(4))), ("test", test)):
        for number, image in enumerate(images):
            path = root / split / ("robin", "wren")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return root


def plan(source, tmp_path, *flags):
    paths = ["--output", str(tmp_path / "out"), "--filter.path", f"{MODELS}/clip", "--model.path", f"{MODELS}/sd"]
    return main(["plan", str(source), *paths, "--leaks", *flags])


def test_pairs_are_listed_and_drawn_and_the_status_is_1(photos, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert plan(photos, tmp_path, "--report", str(report)) == 1
    output = capsys.readouterr().out
    assert "leaks: 2 pairs of images of different splits show the same picture (train 4, test 4 images" in output
    leaks = json.loads(report.read_text())["leaks"]
    same = [pair for pair in leaks["pairs"] if pair["same_picture"]]
    assert {frozenset(pair["names"]) for pair in same} == {
        frozenset({"train/wren/1.png", "test/wren/1.png"}),
        frozenset({"train/robin/2.png", "test/robin/2.png"}),
    }
    assert {tuple(pair["classes"]) for pair in same} == {("wren", "wren"), ("robin", "robin")}
    assert all(pair["score"] < leaks["bound"] for pair in leaks["pairs"] if not pair["same_picture"])
    for pair in same:
        assert f"score {pair['score']:.3f}" in output
    with Image.open(sheet_path(str(report))) as sheet:
        assert sheet.width == 1200
    assert not (tmp_path / "out").exists()


def test_a_source_with_one_split_is_one_line_and_the_status_is_0(photos, tmp_path, capsys):
    assert plan(photos / "train", tmp_path) == 0
    assert "leaks: not searched, because the dataset has one split only" in capsys.readouterr().out


def test_held_out_rows_are_compared_with_the_rest_of_their_split(photos, tmp_path, capsys):
    for number in range(4):
        smooth(number).resize((64, 48)).save(photos / "train" / "wren" / f"again{number}.png")
    assert plan(photos / "train", tmp_path, "--source.holdout", "0.5") == 1
    assert "held out" in capsys.readouterr().out


def test_a_picture_of_the_user_is_not_replaced(tmp_path):
    path = tmp_path / "report.leaks.png"
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match="report.leaks.png, which exists. Give --report another name"):
        check_sheet_file(str(tmp_path / "report.json"))
    check_sheet_file(str(tmp_path / "other.json"))


@pytest.mark.parametrize(
    ("same", "below", "shown"), [(0, 3, (0, 3)), (2, 9, (2, 8)), (20, 9, (5, 5)), (20, 1, (9, 1)), (20, 0, (10, 0))]
)
def test_the_sheet_shows_the_doubtful_pairs(same, below, shown):
    row = RealRow("train", 0, "train/0", "")
    pairs = [SplitPair(row, row, score) for score in (*np.linspace(1, 0.9, same), *np.linspace(0.8, 0.1, below))]
    chosen = shown_pairs(pairs, 10)
    assert (sum(pair.is_same for pair in chosen), sum(not pair.is_same for pair in chosen)) == shown
    assert chosen == sorted(chosen, key=lambda pair: -pair.score)
    assert not shown[0] or min(pair.score for pair in chosen if pair.is_same) == 0.9
