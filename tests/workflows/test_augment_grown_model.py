"""Tests of a source that grows, with the miniature diffusion model and all pictures."""

from run_folders import go, interrupt_at, published
from small_photos import picture


def write(folder, count):
    for label, name in enumerate(("crow", "heron")):
        for number in range(count):
            path = folder / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(label, number))


def test_a_run_with_a_model_is_continued_over_a_grown_source(recipe, tmp_path, monkeypatch):
    keys = {
        "source": str(tmp_path / "photos"),
        "model": {"path": "package:diffcore_hf.miniature/models/sd", "steps": 1},
        "filter": {"path": "package:diffcore_hf.miniature/models/clip", "references": 3, "policy": "all"},
        "kind": "bird",
        "strict": True,
        "part_size": 3,
    }
    write(tmp_path / "photos", 3)
    with monkeypatch.context() as patch:
        interrupt_at(patch, "diffcore_hf.models.diffusion.TextToImage.sample", 2)
        first = go(recipe(output=str(tmp_path / "out"), **keys))
    assert first.interrupted
    write(tmp_path / "photos", 4)
    (tmp_path / "photos" / "crow" / "0.jpg").unlink()
    continued = go(recipe(output=str(tmp_path / "out"), **keys))
    new = go(recipe(output=str(tmp_path / "new"), **keys))
    assert published(tmp_path / "out") == published(tmp_path / "new")
    assert 0 < continued.reused_attempts <= first.new_attempts
    assert continued.new_attempts + continued.reused_attempts == new.new_attempts
