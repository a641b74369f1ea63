"""Tests of the evidence on photographs: the choice of images, the order of measurements, and the text about them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import load_dataset
from small_photos import write_photos

from benchmarks import counterpart_distance, photo_gain, recompute
from benchmarks.evidence import advice, photo_filter, photo_page, photo_quality_page, photo_trainings
from benchmarks.evidence.__main__ import PAGE, README
from benchmarks.evidence.photo_quality import LEVELS, QUALITIES, degraded, distance, wrong_rows
from benchmarks.evidence.photo_series import PhotoResults
from benchmarks.evidence.photo_trainings import ARMS, RATES, PhotoTraining, chosen_rate, planned
from benchmarks.evidence.photographs import draw, photo_folder, scored_splits
from benchmarks.evidence.series import Results
from benchmarks.evidence.store import Store
from benchmarks.imagenet_weights import WEIGHTS, packaged_file
from diffcore_hf.core.dataset_columns import column_values, undecoded
from diffcore_hf.core.images import decode, encode


@pytest.mark.parametrize(
    "labels, each, per_class",
    [
        ([0] * 30 + [1] * 30, 10, [10, 10]),
        ([0] * 7 + [1] * 30, 10, [3, 10]),
        ([1, 0] * 4, 2, [2, 2]),
    ],
)
def test_counterparts_are_other_images_of_the_same_class(labels, each, per_class):
    drawn = draw(labels, 0, each)
    assert len(set(drawn.real + drawn.counterparts)) == 2 * sum(per_class)
    assert [labels[row] for row in drawn.real] == [labels[row] for row in drawn.counterparts]
    assert [sum(labels[row] == label for row in drawn.real) for label in (0, 1)] == per_class
    assert drawn == draw(labels, 0, each) != draw(labels, 1, each)


def test_the_splits_of_a_photograph_folder_have_unchanged_bytes_and_no_image_in_common(tmp_path):
    source = write_photos(tmp_path / "photos", [20, 20])
    folder = photo_folder(tmp_path / "work", source, 0, 3)
    rows = {name: undecoded(split, *(set(split.column_names) & {"image", "generated"}))
            for name, split in load_dataset(str(folder)).items()}  # fmt: skip
    used = [cell["bytes"] for split in rows.values() for cell in column_values(split, "image")]
    used += [cell["bytes"] for cell in column_values(rows["train"], "generated")]
    assert {name: len(split) for name, split in rows.items()} == {"train": 6, "validation": 6, "test": 8}
    assert len(used) == 26 and set(used) <= {path.read_bytes() for path in source.rglob("*.*")}
    assert photo_folder(tmp_path / "work", source, 0, 3) == folder
    assert len(load_dataset(str(photo_folder(tmp_path / "few", source, 0, 3, most=4)), split="test")) == 4


def test_data_without_the_columns_image_and_label_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="columns image and label"):
        scored_splits(load_dataset("json", data_files={"train": _json(tmp_path)}))


def _json(folder: Path) -> str:
    (folder / "rows.json").write_text('{"text": "no image"}\n')
    return str(folder / "rows.json")


@pytest.mark.parametrize("share, wrong", [(0.0, 0), (0.1, 2), (0.3, 6)])
def test_wrong_counterparts_show_another_class_and_are_not_training_images(share, wrong):
    labels = [0] * 40 + [1] * 40
    drawn = draw(labels, 3)
    rows = wrong_rows(labels, drawn.real, drawn.counterparts, share, 3)
    changed = [place for place, row in enumerate(rows) if row != drawn.counterparts[place]]
    assert len(changed) == wrong and len(set(rows)) == len(rows) and not set(rows) & set(drawn.real)
    assert all(labels[rows[place]] != labels[drawn.counterparts[place]] for place in changed)
    fewer = wrong_rows(labels, drawn.real, drawn.counterparts, share / 2, 3)
    assert all(rows[place] == row for place, row in enumerate(fewer) if row != drawn.counterparts[place])


def test_every_degradation_level_changes_a_photograph_more_than_the_level_before():
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8).repeat(3, 0).repeat(3, 1)
    far = []
    for level in LEVELS:
        worse = decode({"bytes": degraded(encode(image), level, np.random.default_rng(0)), "path": None})
        assert worse.size == (150, 120)
        far.append(float(np.abs(np.asarray(worse, float) - image).mean()))
    assert far == sorted(far) and far[0] < far[1] < far[2] < far[3]


def test_the_distance_is_zero_for_other_real_images_and_one_for_unrelated_images():
    """Each of three classes has embeddings on its own axis. Unrelated counterparts have embeddings on a fourth axis."""
    labels = np.arange(3).repeat(4)
    real = np.eye(4)[labels]
    assert distance(labels, real, real) == pytest.approx(0)
    assert distance(labels, real, np.eye(4)[np.full(12, 3)]) == pytest.approx(1)


def test_the_filter_accepts_more_right_photographs_than_wrong_photographs():
    """Classes 0 and 1 are similar and class 2 is not, so a wrong image of the similar class is harder to reject."""
    random = np.random.default_rng(0)
    centres = np.array([[1, 0.3, 0, 0], [1, -0.3, 0, 0], [0, 0, 1, 1]])
    labels = np.arange(3).repeat(20)
    references, others = (centres[labels] + random.normal(0, 0.15, (60, 4)) for _ in range(2))
    assert photo_filter.most_confused(labels, references) | {2: 0} == {0: 1, 1: 0, 2: 0}
    found = photo_filter.judged(labels, references.astype(np.float16), others.astype(np.float16), 0)
    default = found["policies"]["classifier"]
    assert found["images"] == 180 and set(found["policies"]) == set(photo_filter.POLICIES)
    assert default["accepted"]["right"] > 0.75 > 0.3 > default["accepted"]["random class"]
    assert default["auc"]["random class"] > 0.9


def result(top1: float, validation: float, steps: int = 100) -> dict:
    """Returns a result in the form that a cell stores."""
    scores = {"top1": top1, "top5": 0.9, "count": 10}
    made = {"date": "2026-01-01", "versions": {"torch": "2"}}
    return {"steps": steps, "validation_top1": validation, "best": scores, "last": scores, "made": made,
            "validation": [[67, validation - 0.002], [steps, validation]]}  # fmt: skip


def everything(better: dict[str, float]) -> Iterator[tuple[str, dict]]:
    """Yields results of all cells. `better` maps an arm to a change of top-1. Rate 0.001 has the best validation."""
    found: dict[str, dict] = {}
    for _ in range(2):  # the first pass measures the learning rates, and the second pass uses the chosen rates
        for cell in planned(found):
            top1 = 0.5 + 0.01 * cell.seed + better.get(cell.arm, 0) + 0.001 * (cell.seed % 2)
            found[cell.name] = result(top1, 0.5 + 100 * cell.rate, photo_trainings.STEPS[cell.length])
    yield from found.items()


def test_all_arms_of_a_seed_come_first_and_later_seeds_use_only_the_chosen_rate():
    first = list(planned({}))
    assert [cell.arm for cell in first[:5]] == list(ARMS)
    assert [(cell.rate, cell.seed) for cell in first[::5]] == [(rate, seed) for rate in RATES for seed in (0, 1)]
    found = {cell.name: result(0.5, 0.5 if cell.rate != 2e-4 else 0.6) for cell in first}
    assert chosen_rate(found, "plain") == 2e-4
    later = list(planned(found))[len(first) :]
    assert {cell.rate for cell in later} == {2e-4} and len(later) == 5 * (3 + 5)
    assert len({cell.name for cell in planned(found)}) == len(first) + len(later)
    del found[PhotoTraining("mix", "short", 1e-3, 1).name]
    assert chosen_rate(found, "mix") is None and len(list(planned(found))) == len(first)


def test_the_lowest_of_the_rates_with_equal_scores_is_chosen():
    found = {cell.name: result(0.5, 0.5) for cell in planned({})}
    assert chosen_rate(found, "plain") == 2e-4


@pytest.mark.parametrize(
    "better, said",
    [
        (
            {"genaug": 0.1, "mix": 0.2, "pixel": 0.1, "patch": 0.1},
            "top-1 with mixing is higher in 2 of 6 comparisons, where the 95 % interval excludes zero. In the "
            "4 others, it does not.",
        ),
        ({"genaug": 0.1}, "top-1 with mixing is lower in 6 of 6 comparisons, where the 95 % interval"),
        ({}, "without mixing, the 95 % interval of the difference in top-1 contains zero."),
        ({"mix": 0.1, "pixel": -0.1}, "is higher in 2 and lower in 2 of 6 comparisons, where the 95 % interval"),
    ],
)
def test_the_sentence_about_mixing_follows_from_the_intervals(better, said):
    photos = PhotoResults(dict(everything(better)))
    assert photos.rates_complete and photos.rate("plain") == 1e-3 and len(photos.measured) == photos.wanted
    assert said in photo_page.judgement(photos)


def test_the_section_states_the_largest_rate_and_the_effect_of_more_steps():
    full = dict(everything({}))
    section = " ".join(photo_page.section(replace(Results.read(Store()), photographs=full)))
    assert "All arms have the best score with the largest learning rate, 0.001." in section
    assert "between 300 steps and 100 steps: no difference seen (+0.0 ± 0.0)" in section
    some = {name: found for name, found in full.items() if "-long-" not in name}
    assert "between 300 steps" not in " ".join(photo_page.sentences(PhotoResults(some)))


def test_sections_and_readme_can_be_written_from_any_number_of_results():
    stored = Results.read(Store())
    full = dict(everything({"genaug": 0.1}))
    for count in (0, 1, 7, len(full)):
        results = replace(stored, photographs=dict(list(full.items())[:count]))
        parts = [*photo_page.section(results), *advice.section(results)]
        assert ("Not measured yet" in " ".join(parts)) == (count == 0)
        assert photo_page.figure(results).startswith(b"\x89PNG")
        text = advice.readme(results, f"before\n{advice.BEGIN}\nold\n{advice.END}\nafter\n")
        assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
        assert advice.readme(results, text) == text
        page = f"## What to do, by case\n\n{chr(10).join(advice.section(results))}\n## 1\n"
        readme = f"## Measured results\n{text}\n## Next"
        assert not recompute.faults(recompute.Stored(stored.trainings, results.photographs, stored.hard), readme, page)
    known = recompute.numbers_of_readme(recompute.Stored(stored.trainings, full))
    assert recompute.differing(text.replace("52.0 ±", "99.9 ±"), known) == {"99.9"}


def test_the_sections_on_quality_and_filter_can_be_written_from_any_number_of_results():
    stored = replace(Results.read(Store()), photographs=dict(everything({"genaug": 0.1})))
    cells = [training.name for training in photo_trainings.planned_counterparts(stored.photographs)]
    cells += [f"distance-{quality}-{seed}" for quality in QUALITIES for seed in (0, 1, 2)]
    results = {name: result(0.5, 0.5) | {"distance": 0.1, "rejected": 0.2} for name in cells}
    scores = {kind: 0.7 for kind in photo_filter.KINDS}
    judged = {"policies": {name: dict.fromkeys(("accepted", "balanced_accuracy", "auc"), scores)
                           for name in photo_filter.POLICIES}}  # fmt: skip
    for count in (0, 1, 20, len(results)):
        some = replace(stored, counterparts=dict(list(results.items())[:count]),
                       photo_filter={f"clothing-{seed}": judged for seed in range(min(count, 5))})  # fmt: skip
        text = " ".join([*photo_quality_page.quality(some), *photo_quality_page.judge(some)])
        assert ("Not measured yet" in text) == (count == 0)
        assert ("Fewer than 3 seeds are measured for these" in text) == (0 < count < len(results))
        assert photo_quality_page.figure(some).startswith(b"\x89PNG")
    assert photo_quality_page.filter_figure(some).startswith(b"\x89PNG")
    assert "10 % show another class | 0.100 | 20.0 | 3 | 50.0" in text and "not measured" not in text


@pytest.mark.parametrize(
    "top1, said", [(0.6, "gain over real images alone is seen"), (0.3, "loss is seen"), (0.512, "contains zero")]
)
def test_the_sentence_about_quality_follows_from_the_interval(top1, said):
    """Real images alone reach 50, 51.1 and 52 %."""
    stored = replace(Results.read(Store()), photographs=dict(everything({})))
    names = [training.name for training in photo_trainings.planned_counterparts(stored.photographs)]
    found = {name: result(top1 + 0.01 * (int(name[-1]) == 1), 0.5) for name in names}
    text = " ".join(photo_quality_page.quality(replace(stored, counterparts=found)))
    sentence = next(part for part in text.split(". ") if said in part)
    assert "10 % show another class" in sentence


def test_the_distance_of_a_run_uses_its_stored_embeddings(monkeypatch):
    """Two of three images have an embedding. Both equal the real images of the wrong class, and one of them is kept."""
    real, shown = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[1, 0, 0]].astype(float)
    shown[2] = np.nan
    material = SimpleNamespace(
        attempts=SimpleNamespace(units=np.array([0, 1, 2]), embeddings=shown),
        embeddings=SimpleNamespace(labels=np.array([0, 0, 1, 1]), embeddings=real),
        decisions=SimpleNamespace(decided=np.ones(3, bool), counterpart=np.array([0, -1, -1])),
        plan=SimpleNamespace(shown=np.array([0, 1, 1])),
    )
    monkeypatch.setattr(counterpart_distance.export_workflow, "read_decided", lambda folder: material)
    assert counterpart_distance.measured(Path("out")) == (1.0, 0.5, 2)


def test_a_readme_without_the_begin_and_end_lines_is_refused():
    with pytest.raises(ValueError, match="lacks the line"):
        advice.readme(Results.read(Store()), "no marks")


def test_the_numbers_in_readme_and_first_section_equal_the_recomputed_numbers():
    readme, page = README.read_text(encoding="utf-8"), PAGE.read_text(encoding="utf-8")
    assert not recompute.faults(recompute.Stored.read(), readme, page)
    changed = page.replace("+55.5", "+55.6", 1)
    assert changed != page and recompute.faults(recompute.Stored.read(), readme, changed)


def test_the_readme_is_written_from_the_packed_results():
    text = README.read_text(encoding="utf-8")
    assert advice.readme(Results.read(Store()), text) == text


def test_photo_gain_prints_a_table_for_a_folder_of_photographs(tmp_path, capsys):
    """Trains the real network for two steps on twelve photographs."""
    if packaged_file(WEIGHTS["lite0"]) is None:
        pytest.skip("the extra photos is not installed")
    source = write_photos(tmp_path / "photos", [12, 12])
    settings = ("--each", "2", "--seeds", "0", "--steps", "2", "--workers", "1", "--output", str(tmp_path / "out"))
    assert photo_gain.main([str(source), *settings]) == 0
    printed = capsys.readouterr().out
    assert all(words in printed for words in photo_gain.WORDS.values()) and "Seeds: 1." in printed
    assert photo_gain.main([str(source), *settings]) == 0
    with pytest.raises(SystemExit, match="is not a folder"):
        photo_gain.main([str(tmp_path / "none")])
