"""Tests of the script that trains a text-to-image model on photographs and measures the effect of its images."""

import pytest
from small_photos import write_photos

from benchmarks import photos_t2i
from benchmarks.photos_t2i import Sizes, divided

TINY = Sizes(side=32, width=32, vae_steps=2, diffusion_steps=2, clip_steps=2, batch=4, pairs=8, train_steps=2,
             network="test_resnet", denoising_steps=2)  # fmt: skip


def test_the_classifier_and_the_text_to_image_model_have_no_photograph_in_common():
    labels = [0, 1] * 20
    own, others = divided(labels, 5)
    assert sorted(own + others) == list(range(40))
    assert [sum(labels[row] == label for row in own) for label in (0, 1)] == [5, 5]
    assert divided(labels, 5) == (own, others)


@pytest.mark.slow
def test_the_whole_script_runs_with_models_of_two_steps(tmp_path, capsys):
    source = write_photos(tmp_path / "photos", [30, 30])
    options = [str(source), "--each", "4", "--seeds", "0", "--output", str(tmp_path / "out")]
    assert photos_t2i.main(options, TINY) == 0
    printed = capsys.readouterr().out
    assert "4 real images of a class" in printed and all(words in printed for words in photos_t2i.WORDS.values())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model*.safetensors")}
    assert photos_t2i.main(options, TINY) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
