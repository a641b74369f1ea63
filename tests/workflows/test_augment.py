"""The main job on real loading code with tiny models: the same facts give the same dataset, however they came about."""

import csv
import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    concatenate_datasets,
    get_dataset_config_names,
    load_dataset,
)
from PIL import Image as Pillow
from small_photos import CLASSES, photos, picture, write_photos

from diffcore_hf import Generate, Score, augment, plan
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.schema import ADDED_COLUMNS, CONFIGS, attempts_features, classes_features, reference_facts
from diffcore_hf.method import policies
from diffcore_hf.workflows import augment as jobs
from diffcore_hf.workflows import export as export_workflow
from diffcore_hf.workflows import pictures as exhibits
from diffcore_hf.workflows import preview as preview_workflow

PARTIAL = {"name": "rank", "by": "class_mean", "floor": "off"}
"""The policy of these tests: with the tiny models it keeps about half of the attempts."""


def tree(folder, private=True):
    """Relative name -> bytes of every file; without `private` of the published ones."""
    files = (file for file in Path(folder).rglob("*") if file.is_file())
    named = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: file.read_bytes() for name, file in named.items() if private or not name.startswith(".diffcore")}


def published(folder):
    return tree(folder, private=False)


def rows(folder, config="default", split="train"):
    """A split of a config, images undecoded, from the files that the manifest lists."""
    ds = Dataset.from_parquet([str(folder / name) for name in manifest(folder)["configs"][config][split]])
    for name, feature in ds.features.items():
        if isinstance(feature, Image):
            ds = ds.cast_column(name, Image(decode=False))
    return ds.with_format("numpy", columns=["embedding"], output_all_columns=True) if "embedding" in ds.features else ds


def contents(ds, column="image"):
    """The bytes of a column of images as they are stored."""
    return [cell["bytes"] for cell in ds.cast_column(column, Image(decode=False))[column]]


def attempts_of(folder):
    """(row id, copy, attempt) -> reason."""
    ds = rows(folder, "attempts")
    return dict(zip(zip(ds["row_id"][:], ds["copy"][:], ds["attempt"][:], strict=True), ds["reason"][:], strict=True))


def manifest(folder):
    return json.loads((Path(folder) / "diffcore.json").read_text())


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def make(recipe, folder_of_photos):
    """A function: an output folder and keys -> the recipe over the photos, strict, two attempts."""

    def make(output, **more):
        more = {"source": str(folder_of_photos), "strict": True, "filter.policy": PARTIAL, "output": str(output)} | more
        return recipe(**more)

    return make


@pytest.fixture(scope="module", autouse=True)
def few_tiles():
    """Drawing pictures is half of the time of a run this small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exhibits, "SHEET_TILES", 2)
        yield


def go(recipe, data=None):
    return jobs.run(recipe, data, progress=False)


@pytest.fixture(scope="module")
def done(make, tmp_path_factory):
    """A finished run over the photos; to be copied by whoever changes it."""
    return go(make(tmp_path_factory.mktemp("done") / "out"))


@pytest.fixture
def copy(done, tmp_path):
    """A copy of the finished run's folder."""
    shutil.copytree(done.folder.path, tmp_path / "out")
    return tmp_path / "out"


# What is published


def test_the_folder_is_laid_out_as_a_repository(done):
    names = published(done.folder.path)
    shards = {name for name in names if name.endswith(".parquet")}
    assert {Path(name).parts[0] for name in shards} == {"data", "generated", "attempts", "references", "classes"}
    assert all(Path(name).name.startswith("train-00000-of-00001") for name in shards)
    assert set(names) - shards == {"README.md", "diffcore.json", "assets/contact_sheet.png", "assets/similarity.png"}
    listed = {entry["path"] for entry in manifest(done.folder.path)["files"]}
    assert listed == set(names) - {"README.md", "diffcore.json"}
    assert done.folder.faults() == []
    private = {Path(name).parts[1] for name in tree(done.folder.path) if name.startswith(".diffcore")}
    assert private - {"hashes.json"} == {"run.json", "run.log.jsonl", "parts", "rows"}


def test_the_columns_are_those_of_the_design(done, tmp_path):
    configs = {
        config: load_dataset(str(done.folder.path), config, split="train", cache_dir=tmp_path) for config in CONFIGS
    }
    assert configs["default"].column_names == ["image", "label", *ADDED_COLUMNS]
    assert configs["generated"].column_names == ["image", "label", "row_id", "copy", "context", "similarity"]
    for config, features in (("attempts", attempts_features()), ("references", reference_facts()),
                             ("classes", classes_features())):  # fmt: skip
        assert configs[config].column_names == list(features)
    default = configs["default"]
    assert default.features["image"] == default.features["generated"] == Image()
    assert default.features["label"].names == sorted(CLASSES[:3])


def test_real_and_generated_can_be_put_together(done):
    both = [rows(done.folder.path, config).select_columns(["image", "label"]) for config in ("default", "generated")]
    assert len(concatenate_datasets(both)) == 10 + done.summary.counts["kept"]


def test_the_bytes_of_the_originals_are_the_sources(done, folder_of_photos):
    files = sorted(folder_of_photos.rglob("*.*"))
    default, references = rows(done.folder.path), rows(done.folder.path, "references")
    expected = [sha256(file.read_bytes()) for file in files]
    assert [sha256(cell["bytes"]) for cell in default["image"]] == expected
    assert [cell["path"] for cell in default["image"]] == [file.name for file in files]
    assert references["source_sha256"][:] == expected
    assert references["row_id"][:] == default["row_id"][:]


def test_a_row_says_what_became_of_it(done):
    default = rows(done.folder.path)
    for row in default:
        kept = row["status"] == "kept"
        assert row["status"] in ("kept", "exhausted")
        assert [row[name] is not None for name in ("generated", "seed", "similarity")] == [kept] * 3
        assert row["prompt"].endswith(row["context"])
    counts = done.summary.counts
    assert counts | {"rows": 10, "planned": 10, "failed": 0, "pending": 0, "references": 10} == counts
    assert counts["kept"] == default["status"][:].count("kept") > 0
    assert counts["exhausted"] == default["status"][:].count("exhausted") > 0
    assert done.new_attempts == counts["attempts"] == len(attempts_of(done.folder.path))


def test_a_kept_attempt_is_the_counterpart_and_the_row_of_config_generated(done):
    default = {row["row_id"]: row for row in rows(done.folder.path) if row["status"] == "kept"}
    kept = {row["row_id"]: row for row in rows(done.folder.path, "attempts") if row["reason"] == "kept"}
    generated = {row["row_id"]: row for row in rows(done.folder.path, "generated")}
    assert default.keys() == kept.keys() == generated.keys()
    for row_id, row in default.items():
        content = row["generated"]["bytes"]
        assert sha256(content) == kept[row_id]["image_sha256"] == sha256(generated[row_id]["image"]["bytes"])
        assert Pillow.open(io.BytesIO(content)).format == "JPEG"
        assert (row["seed"], row["label"]) == (kept[row_id]["seed"], generated[row_id]["label"])
        assert kept[row_id]["label"] == row["label"]


def test_similarities_follow_from_the_published_embeddings(done):
    unit = {row["row_id"]: row["embedding"].astype(np.float64) for row in rows(done.folder.path, "references")}
    unit = {row_id: row / np.linalg.norm(row) for row_id, row in unit.items()}
    for row in rows(done.folder.path, "attempts"):
        mine = row["embedding"].astype(np.float64)
        assert row["similarity"] == pytest.approx(unit[row["row_id"]] @ mine / np.linalg.norm(mine), abs=1e-6)


def test_the_manifest_tells_no_clock_host_or_path(done, folder_of_photos, tiny):
    text = (done.folder.path / "diffcore.json").read_text()
    for secret in (str(done.folder.path), str(folder_of_photos), tiny["sd"], "batch_size", "part_size", "seconds"):
        assert secret not in text


def test_other_splits_keep_their_rows_and_get_ids(make, tmp_path):
    ds = DatasetDict({"train": photos([2, 2]), "test": photos([3, 1], size=(30, 20))})
    go(make(tmp_path / "out", source="in-memory", max_attempts=1), ds)
    test = rows(tmp_path / "out", split="test")
    assert contents(test) == contents(ds["test"])
    assert all(name.startswith("test/") for name in test["row_id"])
    assert all(row[name] is None for row in test for name in ADDED_COLUMNS if name != "row_id")
    references = rows(tmp_path / "out", "references")
    assert [row["embedding"] is not None for row in references] == [True] * 4 + [False] * 4


def test_a_holdout_is_published_as_validation(make, tmp_path):
    go(make(tmp_path / "out", source={"path": "in-memory", "holdout": 0.25}, max_attempts=1), photos([4, 4]))
    train, held = rows(tmp_path / "out"), rows(tmp_path / "out", split="validation")
    assert np.bincount(held["label"]).tolist() == [1, 1]
    assert np.bincount(train["label"]).tolist() == [3, 3]
    assert all(row[name] is None for row in held for name in ADDED_COLUMNS if name != "row_id")
    embedded = {row["row_id"] for row in rows(tmp_path / "out", "references") if row["embedding"] is not None}
    assert embedded == set(train["row_id"])


# The same facts, however they came about


def test_run_again_makes_nothing_and_gives_the_same_bytes(make, copy, monkeypatch):
    before = published(copy)
    monkeypatch.setattr("diffcore_hf.models.diffusion.load_pipeline", None)  # no model is loaded
    again = go(make(copy))
    assert again.new_attempts == 0
    assert published(copy) == before


@pytest.mark.parametrize("part_size", [1, 3])
def test_parts_of_any_size_give_the_same_bytes(make, done, tmp_path, part_size):
    go(make(tmp_path / "out", part_size=part_size))
    assert len(list((tmp_path / "out/.diffcore/parts/r0").rglob("*.parquet"))) == -(-10 // part_size)
    assert published(tmp_path / "out") == published(done.folder.path)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_of_any_size_decide_the_same(make, done, tmp_path, batch_size):
    go(make(tmp_path / "out", strict=False, batch_size=batch_size))
    assert attempts_of(tmp_path / "out") == attempts_of(done.folder.path)


@pytest.mark.parametrize(
    "place, calls",
    [("towers.ImageTower.embed_prepared", 1), ("diffusion.TextToImage.sample", 1), ("diffusion.TextToImage.sample", 2),
     ("diffusion.TextToImage.sample", 5)],
    ids=["at the references", "before any attempt", "in round 0", "in round 1"],
)  # fmt: skip
def test_interrupted_is_uninterrupted(make, done, tmp_path, monkeypatch, place, calls):
    with monkeypatch.context() as patch:
        interrupt_at(patch, f"diffcore_hf.models.{place}", calls)
        first = go(make(tmp_path / "out", part_size=3))
    assert first.interrupted
    assert first.summary.counts["pending"] > 0
    assert first.folder.faults() == []
    assert len(rows(tmp_path / "out")) == 10
    second = go(make(tmp_path / "out", part_size=4))
    assert not second.interrupted
    assert first.new_attempts + second.new_attempts == done.new_attempts
    assert published(tmp_path / "out") == published(done.folder.path)


def interrupt_at(patch, place, calls):
    """Raise KeyboardInterrupt at the given call of a method, as a user's Ctrl-C would."""
    import importlib

    module, cls, name = place.rsplit(".", 2)
    cls = getattr(importlib.import_module(module), cls)
    real, seen = getattr(cls, name), []

    def method(self, *arguments, **keywords):
        seen.append(1)
        if len(seen) == calls:
            raise KeyboardInterrupt
        return real(self, *arguments, **keywords)

    patch.setattr(cls, name, method)


def test_a_limit_is_a_first_look_from_which_the_run_goes_on(make, done, tmp_path):
    first = go(make(tmp_path / "out", limit=4))
    assert first.summary.counts | {"planned": 10, "pending": 6} == first.summary.counts
    go(make(tmp_path / "out"))
    assert published(tmp_path / "out") == published(done.folder.path)


def test_a_part_that_was_lost_is_made_again(make, done, copy):
    before = published(copy)
    [part] = (copy / ".diffcore/parts/r1").rglob("*.parquet")
    part.unlink()
    assert 0 < go(make(copy)).new_attempts < done.new_attempts
    assert published(copy) == before


def test_a_damaged_part_stops_in_one_line_and_nothing_is_touched(make, copy):
    [part] = (copy / ".diffcore/parts/r0").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    before = published(copy)
    with pytest.raises(ValueError, match="Delete it and run again"):
        go(make(copy))
    assert published(copy) == before


def test_what_is_loaded_is_what_lies_there_now(make, tmp_path):
    """The cache of `datasets` must not take a continued folder for the one that it was."""
    for limit, pending in ((2, 8), (6, 4)):
        go(make(tmp_path / "looked-at", limit=limit, max_attempts=1))
        loaded = load_dataset(str(tmp_path / "looked-at"), split="train", cache_dir=tmp_path / "cache")
        assert loaded["status"][:].count("pending") == pending


def test_weights_are_hashed_once_for_a_folder(make, copy, monkeypatch):
    from diffcore_hf.models import weights_access

    real, read = hashlib.file_digest, []
    monkeypatch.setattr(
        weights_access.hashlib, "file_digest", lambda file, name: (read.append(file.name), real(file, name))[1]
    )
    jobs.prepare(make(copy))
    assert read == []


# Continued under another recipe


def test_everything_is_read_once_and_the_policy_fitted_once(make, copy, tmp_path, monkeypatch):
    review = write_review(tmp_path / "review.csv", (next(iter(attempts_of(copy))), "accept"))
    counted = {"run.json": 0, "review.csv": 0, "fit": 0}
    read_text, read_bytes, fit = Path.read_text, Path.read_bytes, policies.fit

    def counting(read):
        def wrapped(path, *arguments, **options):
            if path.name in counted:
                counted[path.name] += 1
            return read(path, *arguments, **options)

        return wrapped

    def fit_and_count(*arguments):
        counted["fit"] += 1
        return fit(*arguments)

    monkeypatch.setattr(Path, "read_text", counting(read_text))
    monkeypatch.setattr(Path, "read_bytes", counting(read_bytes))
    monkeypatch.setattr(policies, "fit", fit_and_count)
    assert go(make(copy, review=review, max_attempts=3)).new_attempts > 0
    assert counted == {"run.json": 1, "review.csv": 1, "fit": 1}
    monkeypatch.undo()
    assert manifest(copy)["recipe"]["review"]["identity"] == sha256(Path(review).read_bytes())


def test_a_larger_fraction_reuses_every_attempt(make, done, tmp_path):
    half = go(make(tmp_path / "out", fraction=0.5))
    assert half.summary.counts | {"planned": 5} == half.summary.counts
    assert rows(tmp_path / "out")["status"][:].count("not_planned") == 5
    early = attempts_of(tmp_path / "out")
    whole = go(make(tmp_path / "out", fraction=1.0))
    assert half.new_attempts + whole.new_attempts == done.new_attempts
    assert early.items() <= attempts_of(tmp_path / "out").items()
    assert published(tmp_path / "out") == published(done.folder.path)


def test_more_attempts_make_only_what_is_newly_due(make, done, copy):
    exhausted = done.summary.counts["exhausted"]
    before = attempts_of(copy)
    more = go(make(copy, max_attempts=3))
    assert more.new_attempts == exhausted
    assert before.items() <= attempts_of(copy).items()
    fewer = go(make(copy, max_attempts=1))
    assert fewer.new_attempts == 0
    assert {attempt for _, _, attempt in attempts_of(copy)} == {0}


def test_places_do_not_matter_only_what_lies_there(make, done, copy, tmp_path, tiny, folder_of_photos):
    for name, place in (("sd", tiny["sd"]), ("clip", tiny["clip"]), ("photos", folder_of_photos)):
        shutil.copytree(place, tmp_path / "moved" / name)
    moved = {"source": "photos", "model.path": "sd", "filter.path": "clip"}
    again = go(make(copy, **{key: str(tmp_path / "moved" / name) for key, name in moved.items()}))
    assert again.new_attempts == 0
    assert published(copy) == published(done.folder.path)


def test_more_copies_keep_the_first(make, copy):
    before = attempts_of(copy)
    again = go(make(copy, copies=2))
    assert again.new_attempts >= 10
    now = attempts_of(copy)
    assert before.items() <= now.items()
    assert {key[1] for key in now} == {0, 1}


def test_another_policy_makes_only_what_is_newly_due(make, done, copy):
    exhausted = {key[0] for key, reason in attempts_of(copy).items() if key[2] == 1 and reason != "kept"}
    lenient = go(make(copy, **{"filter.policy": {"name": "all"}}))
    assert (lenient.new_attempts, lenient.summary.counts["kept"]) == (0, 10)
    first = sum(1 for key in attempts_of(copy) if key[2] == 0)
    assert (first, len(attempts_of(copy))) == (10, done.new_attempts)
    hard = go(make(copy, **{"filter.policy": {"name": "fixed", "t": 1.0}}))
    assert hard.new_attempts == 10 - len(exhausted)  # attempt 1 of those that were kept at once
    assert hard.summary.counts["exhausted"] == 10
    back = go(make(copy))
    assert back.new_attempts == 0
    # What the hard policy made beside is there, superseded; the counterparts are the same.
    assert rows(copy)["seed"][:] == rows(done.folder.path)["seed"][:]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"model.gamma": 3.0}, "model.gamma: 2.0 -> 3.0"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"model.steps": 3}, "model.steps: 2 -> 3"),
        ({"model.size": 32}, "model.size: 16 -> 32"),
        ({"kind": "bird"}, 'kind: "general" -> "bird"'),
        ({"strict": False}, "strict: true -> false"),
        ({"image_format": "png"}, 'image_format: "jpeg" -> "png"'),
        ({"store_size": None}, "store_size: 512 -> null"),
        ({"model.scheduler": "PNDMScheduler"}, "model.scheduler.name"),
        ({"prompts.negatives": ["ugly"]}, "prompts.negatives"),
        ({"source.holdout": 0.25}, "source.holdout: 0.0 -> 0.25"),
    ],
)
def test_another_attempt_digest_is_refused_by_the_key(make, done, change, said):
    before = tree(done.folder.path)
    with pytest.raises(ValueError, match="was started with other attempts") as error:
        go(make(done.folder.path, **change))
    assert said in str(error.value)
    assert "--output" in str(error.value)
    assert "\n" not in str(error.value)
    assert tree(done.folder.path) == before


@pytest.mark.parametrize("content", [{"attempt_digest": "0" * 32}, {"attempt_digest": "0" * 32, "format": 3}])
def test_a_folder_of_another_version_is_refused_in_one_line(make, tmp_path, content):
    run_file = tmp_path / "out" / ".diffcore" / "run.json"
    run_file.parent.mkdir(parents=True)
    run_file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"was written by another version of diffcore-hf.*--output") as error:
        go(make(tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert tree(tmp_path / "out") == {".diffcore/run.json": json.dumps(content).encode()}


def test_another_source_is_refused(make, done):
    before = tree(done.folder.path)
    with pytest.raises(ValueError, match=r"source\.identity: .*local:"):
        go(make(done.folder.path, source="in-memory"), photos([4, 3, 3]))
    assert tree(done.folder.path) == before


# Export


@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_export_makes_another_dataset_without_a_model(done, tmp_path, layout):
    script = (
        "import sys\n"
        "from diffcore_hf.commands.main import main\n"
        f"status = main(['export', {str(done.folder.path)!r}, '--output', {str(tmp_path / 'out')!r}, "
        f"'--filter.policy.name', 'all', '--fraction', '0.5', '--layout', {layout!r}])\n"
        "print(status, sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    before = tree(done.folder.path)
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "0 []", told.stdout
    assert told.stderr == ""
    assert tree(done.folder.path) == before
    assert Folder(tmp_path / "out").faults() == []
    default = rows(tmp_path / "out")
    if layout == "columns":
        assert sorted(default["status"]) == ["kept"] * 5 + ["not_planned"] * 5
    else:
        assert default.column_names == ["image", "label", "row_id", "is_generated"]
        assert default["is_generated"][:] == [False] * 10 + [True] * 5


def test_an_export_under_the_same_recipe_is_the_same_dataset(done, tmp_path):
    export_workflow.export(done.folder.path, tmp_path / "out", {})
    assert published(tmp_path / "out") == published(done.folder.path)


def test_the_manifest_of_an_export_differs_only_where_it_must(done, tmp_path):
    export_workflow.export(done.folder.path, tmp_path / "out", {"filter": {"policy": {"name": "all"}}})
    old, new = manifest(done.folder.path), manifest(tmp_path / "out")
    differing = {key for key in old | new if old.get(key) != new.get(key)}
    assert differing - {"configs"} == {"counts", "files", "hash", "recipe", "recipe_digest"}
    assert {key for key in old["recipe"] if old["recipe"][key] != new["recipe"][key]} == {"filter"}


def test_an_export_is_what_the_run_itself_would_publish(make, done, copy, tmp_path):
    export_workflow.export(copy, tmp_path / "exported", {"filter": {"policy": {"name": "all"}}})
    go(make(copy, **{"filter.policy": {"name": "all"}}))
    assert published(tmp_path / "exported") == published(copy)


def test_an_export_may_be_made_again_under_another_policy(done, tmp_path):
    for policy in ({"name": "all"}, {"name": "fixed", "t": 1.0}):
        outcome = export_workflow.export(done.folder.path, tmp_path / "out", {"filter": {"policy": policy}})
    assert outcome.summary.counts["kept"] == 0
    assert outcome.folder.faults() == []


def test_a_check_of_ones_own_decides_and_stands_on_the_card(done, tmp_path, monkeypatch):
    (tmp_path / "own_checks.py").write_text(
        "from diffcore_hf.method.checks import Check\n"
        "EMPTY = Check('empty', 'shows an empty page', 'empty', lambda candidate: candidate.copy == 0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = {"filter": {"policy": {"name": "all"}, "checks": ["own_checks:EMPTY"]}}
    outcome = export_workflow.export(done.folder.path, tmp_path / "out", layer)
    assert set(outcome.summary.reasons) == {"empty"}
    assert outcome.folder.faults() == []
    assert "- `empty`: shows an empty page" in (outcome.folder.path / "README.md").read_text()
    assert manifest(outcome.folder.path)["recipe"]["filter"]["checks"] == ["own_checks:EMPTY"]


@pytest.mark.parametrize(
    "make_target, said",
    [
        (lambda out, tmp: out, "is the folder of a run"),
        (lambda out, tmp: (tmp / "thesis.tex").write_text("dear") and tmp, "holds files that no run"),
        (lambda out, tmp: (tmp / "file").write_text("x") and tmp / "file", "is a file"),
    ],
    ids=["the run itself", "foreign", "a file"],
)
def test_an_export_refuses_a_place_that_is_not_its_own(copy, tmp_path_factory, make_target, said):
    place = tmp_path_factory.mktemp("place")
    target = make_target(copy, place)
    before = tree(copy), tree(place)
    with pytest.raises(ValueError, match=said):
        export_workflow.export(copy, target, {})
    assert (tree(copy), tree(place)) == before


def test_an_export_is_not_continued(make, done, tmp_path):
    export_workflow.export(done.folder.path, tmp_path / "out", {})
    before = tree(tmp_path / "out")
    with pytest.raises(ValueError, match="is an export"):
        go(make(tmp_path / "out"))
    with pytest.raises(ValueError, match="is an export"):
        export_workflow.export(tmp_path / "out", tmp_path / "other", {})
    assert tree(tmp_path / "out") == before
    assert not (tmp_path / "other").exists()


def test_an_export_of_a_run_in_memory_takes_the_rows_from_what_was_published(make, tmp_path):
    ds = DatasetDict({"train": photos([3, 3]), "test": photos([1, 1])})
    go(make(tmp_path / "run", source="in-memory"), ds)
    export_workflow.export(tmp_path / "run", tmp_path / "out", {})
    assert published(tmp_path / "out") == published(tmp_path / "run")


def test_an_export_of_a_run_in_memory_puts_held_out_rows_back(make, tmp_path):
    go(make(tmp_path / "run", source={"path": "in-memory", "holdout": 0.25}), photos([4, 4]))
    export_workflow.export(tmp_path / "run", tmp_path / "out", {})
    for split in ("train", "validation"):
        assert rows(tmp_path / "out", split=split)[:] == rows(tmp_path / "run", split=split)[:]


@pytest.mark.parametrize(
    "layer, images",
    [({"columns": {"prefix": "dc_"}}, 6), ({"include_originals": False}, 0), ({"include_rejected": True}, 6)],
    ids=["a prefix", "without originals", "with rejected images"],
)
def test_an_export_of_a_run_in_memory_may_publish_otherwise(make, tmp_path, layer, images):
    go(make(tmp_path / "run", source="in-memory"), photos([3, 3]))
    export_workflow.export(tmp_path / "run", tmp_path / "out", layer)
    default = rows(tmp_path / "out")
    assert sum(cell is not None for cell in default["image"]) == images
    assert default.column_names[2:] == [layer.get("columns", {}).get("prefix", "") + name for name in ADDED_COLUMNS]


def test_a_run_in_memory_without_originals_cannot_be_exported_and_says_so(make, tmp_path):
    go(make(tmp_path / "run", source="in-memory", include_originals=False), photos([3, 3]))
    for layer in ({}, {"include_originals": True}):
        with pytest.raises(ValueError, match="holds no originals and its source was in memory"):
            export_workflow.export(tmp_path / "run", tmp_path / "out", layer)


@pytest.mark.parametrize("change", [{"fraction": 0.5}, {"max_attempts": 1}])
def test_what_is_taken_back_is_as_if_it_had_never_been(make, done, tmp_path, change):
    """An export under a smaller recipe is the run under the smaller recipe, whatever else the ledger holds."""
    export_workflow.export(done.folder.path, tmp_path / "exported", change)
    go(make(tmp_path / "run", **change))
    assert published(tmp_path / "exported") == published(tmp_path / "run")


def test_clean_then_export_is_one_line(make, copy, tmp_path):
    Folder(copy).clean()
    before = tree(copy)
    with pytest.raises(ValueError, match="was cleaned: its parts are gone"):
        export_workflow.export(copy, tmp_path / "other", {})
    assert tree(copy) == before
    assert not (tmp_path / "other").exists()


def test_a_source_that_changed_is_named_by_export(recipe, make, tmp_path):
    source = write_photos(tmp_path / "photos", [2, 2])
    go(make(tmp_path / "run", source=str(source), max_attempts=1))
    (source / "red_fox" / "00.jpg").write_bytes(picture(0, 50))
    with pytest.raises(ValueError, match=r"is local:.* now, but .* was made from local:"):
        export_workflow.export(tmp_path / "run", tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


# A person's word


def write_review(path, *verdicts):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row_id", "copy", "attempt", "verdict", "note"])
        writer.writerows([*key, word, "seen"] for key, word in verdicts)
    return str(path)


def test_a_review_overrides_the_policy(make, copy, tmp_path):
    reasons = attempts_of(copy)
    rejected = next(key for key, reason in reasons.items() if reason == "low_rank")
    kept = next(key for key, reason in reasons.items() if reason == "kept")
    review = write_review(tmp_path / "review.csv", (rejected, "accept"), (kept, " Reject"))
    outcome = export_workflow.export(copy, tmp_path / "exported", {"review": review})
    now = attempts_of(tmp_path / "exported")
    assert (now[rejected], now[kept]) == ("kept", "review")
    status = {row["row_id"]: row["status"] for row in rows(tmp_path / "exported")}
    assert (status[rejected[0]], status[kept[0]]) == ("kept", "pending")
    assert outcome.summary.reasons["review"] == 1
    assert go(make(copy, review=review)).new_attempts == 1  # the attempt that the rejected counterpart makes due


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "which is no file"),
        ("row_id,copy,attempt,note\n", "has no column verdict"),
        ("row_id,copy,attempt,verdict\ntrain/0,0,0,maybe\n", "line 2: verdict is 'maybe'"),
        ("row_id,copy,attempt,verdict\ntrain/0,0,0,accept\ntrain/0,x,0,accept\n", "line 3: copy and attempt must be"),
        ("row_id,copy,attempt,verdict\ntrain/0\n", "line 2"),
    ],
)
def test_a_faulty_review_stops_before_anything_is_written(make, tmp_path, text, said):
    path = tmp_path / "review.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match="review") as error:
        go(make(tmp_path / "out", review=str(path)))
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


# Choices of what is published


def test_originals_may_be_left_out(make, tmp_path):
    ds = DatasetDict({"train": photos([2, 2]), "test": photos([1, 1])})
    go(make(tmp_path / "out", source="in-memory", max_attempts=1, include_originals=False), ds)
    for split in ("train", "test"):
        assert rows(tmp_path / "out", split=split)["image"][:] == [None] * len(ds[split])
    assert rows(tmp_path / "out", "references")["source_sha256"][0] == sha256(picture(0, 0))


@pytest.mark.parametrize("include_originals", [False, True])
def test_other_columns_of_images_go_with_the_originals(make, tmp_path, include_originals):
    from datasets import Features, Image, List, Value

    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        file.write_bytes(picture(0, number + 10))
    more = {
        "whole": [str(file) for file in files],
        "views": [[str(file), None] for file in files],
        "part": [{"mask": str(file), "area": 3} for file in files],
    }
    kinds = Features({"whole": Image(), "views": List(Image()), "part": {"mask": Image(), "area": Value("int32")}})
    ds = concatenate_datasets([photos([2, 2]), Dataset.from_dict(more, features=kinds)], axis=1)
    recipe = make(tmp_path / "out", source="in-memory", max_attempts=1, include_originals=include_originals)
    go(recipe, DatasetDict({"train": ds}))
    [shard] = (tmp_path / "out" / "data").iterdir()
    for row, file in zip(pq.read_table(shard).to_pylist(), files, strict=True):
        cell = {"bytes": file.read_bytes(), "path": file.name}
        found = (row["whole"], row["views"], row["part"])
        assert found == ((cell, [cell, None], {"mask": cell, "area": 3}) if include_originals else (None, None, None))
    assert str(tmp_path).encode() not in shard.read_bytes()


@pytest.mark.parametrize("include_rejected", [False, True])
def test_rejected_images_are_published_only_when_asked_for(done, tmp_path, include_rejected):
    export_workflow.export(done.folder.path, tmp_path / "out", {"include_rejected": include_rejected})
    for row in rows(tmp_path / "out", "attempts"):
        shown = include_rejected or row["reason"] == "kept"
        assert (row["image"] is not None) == shown
        if shown:
            assert sha256(row["image"]["bytes"]) == row["image_sha256"]


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_generated_images_may_be_lossless(make, tmp_path, image_format):
    go(make(tmp_path / "out", image_format=image_format, max_attempts=1, limit=2, **{"filter.policy": {"name": "all"}}))
    [first, second] = rows(tmp_path / "out", "generated")["image"]
    assert Pillow.open(io.BytesIO(first["bytes"])).format == image_format.upper()
    assert Pillow.open(io.BytesIO(second["bytes"])).size == (16, 16)


def test_stored_images_may_be_smaller_than_what_was_scored(make, done, tmp_path):
    go(make(tmp_path / "out", store_size=8))
    assert Pillow.open(io.BytesIO(rows(tmp_path / "out", "generated")[0]["image"]["bytes"])).size == (8, 8)
    assert attempts_of(tmp_path / "out") == attempts_of(done.folder.path)


def test_a_prefix_stands_before_the_added_columns(make, tmp_path):
    ds = photos([2, 2]).add_column("seed", ["a", "b", "c", "d"])
    go(make(tmp_path / "out", source="in-memory", max_attempts=1, columns={"prefix": "dc_"}), ds)
    default = rows(tmp_path / "out")
    assert default.column_names == ["image", "label", "seed", *(f"dc_{name}" for name in ADDED_COLUMNS)]
    assert default["seed"][:] == ["a", "b", "c", "d"]


# Datasets of every kind


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: ds.with_format("torch"),
        lambda ds: ds.with_format("numpy"),
        lambda ds: ds.with_transform(lambda batch: {"pixel_values": [1] * len(batch["image"])}),
        lambda ds: ds.cast_column("image", Image(decode=False)),
        lambda ds: ds.shuffle(seed=3),
        lambda ds: concatenate_datasets([ds.select([0, 1]), ds.select([2, 3])]),
    ],
    ids=["torch", "numpy", "a transform", "undecoded", "shuffled", "concatenated"],
)
def test_a_dataset_in_memory_may_be_set_up_as_one_likes(make, tmp_path, change):
    ds = change(photos([2, 2]))
    go(make(tmp_path / "out", source="in-memory", max_attempts=1, **{"filter.policy": {"name": "all"}}), ds)
    made = {row["row_id"]: row for row in rows(tmp_path / "out")}
    assert len(made) == 4
    expected = {sha256(picture(label, number)) for label in range(2) for number in range(2)}
    assert {sha256(row["image"]["bytes"]) for row in made.values()} == expected
    assert all(row["status"] == "kept" for row in made.values())


def test_columns_keep_their_names_and_labels_their_words(make, tmp_path):
    ds = photos([2, 2]).rename_column("image", "photo").remove_columns("label")
    ds = ds.add_column("größe", ["Fuchs", "Fuchs", "Straße_7", "Straße_7"])
    source = {"path": "in-memory", "image": "photo", "label": "größe"}
    go(make(tmp_path / "out", source=source, max_attempts=1, **{"filter.policy": {"name": "all"}}), ds)
    generated = rows(tmp_path / "out", "generated")
    assert generated.column_names[:2] == ["photo", "größe"]
    assert generated["größe"][:] == ["Fuchs", "Fuchs", "Straße_7", "Straße_7"]
    assert rows(tmp_path / "out", "classes")["prompt_name"][:] == ["Fuchs", "Straße 7"]


def test_the_same_photo_twice_is_two_rows(make, tmp_path):
    ds = concatenate_datasets([photos([2, 2]), photos([2, 2])])
    outcome = go(make(tmp_path / "out", source="in-memory", max_attempts=1, **{"filter.policy": {"name": "all"}}), ds)
    default = rows(tmp_path / "out")
    assert sorted(row_id.partition("~")[2] for row_id in default["row_id"]) == [""] * 4 + ["1"] * 4
    assert len(set(default["seed"])) == 8
    assert outcome.summary.counts["kept"] == 8


def test_one_class_alone_goes_through(make, tmp_path):
    outcome = go(make(tmp_path / "out", source="in-memory", **{"filter.policy": {"name": "rank"}}), photos([5]))
    assert outcome.summary.counts["planned"] == 5


def test_where_no_image_can_be_read_every_row_is_accounted_for(make, tmp_path):
    features = Features({"image": Image(), "label": ClassLabel(names=["red fox", "blue jay"])})
    cells = [{"bytes": bytes([number]) * 9, "path": None} for number in range(4)]
    ds = Dataset.from_dict({"image": cells, "label": [0, 0, 1, 1]}, features=features)
    outcome = go(make(tmp_path / "out", source="in-memory"), ds)
    assert outcome.summary.counts["failed"] == 4
    assert rows(tmp_path / "out")["status"][:] == ["failed"] * 4


# Rows and classes that cannot be had


def test_bad_rows_are_rows_with_a_reason_and_the_run_goes_on(make, tmp_path):
    cells = [{"bytes": picture(0, number), "path": None} for number in range(6)]
    cells[1] = {"bytes": b"no image at all", "path": None}
    cells[2] = {"bytes": None, "path": str(tmp_path / "gone.jpg")}
    cells[3] = None
    features = Features({"image": Image(), "label": ClassLabel(names=["red fox", "blue jay", "sea lion"])})
    labels = [0, 0, 0, 0, -1, 1]  # row 5 is the only one of its class, sea lion has none
    ds = Dataset.from_dict({"image": cells, "label": labels}, features=features)
    outcome = go(make(tmp_path / "out", source="in-memory", **{"filter.policy": {"name": "all"}}), ds)
    assert rows(tmp_path / "out")["status"][:] == ["kept", "failed", "failed", "failed", "failed", "kept"]
    reasons = rows(tmp_path / "out", "references")["reason"][:]
    assert [reason and reason.split(":")[0] for reason in reasons] == [
        None, "unreadable", "unreadable", "unreadable", "unlabelled", None,
    ]  # fmt: skip
    assert outcome.summary.failed_rows == {"unlabelled": 1, "unreadable": 3}
    assert outcome.summary.counts | {"rows": 6, "unlabelled": 1, "kept": 2, "failed": 3} == outcome.summary.counts
    assert rows(tmp_path / "out", "classes")["images"][:] == [4, 1, 0]
    assert go(make(tmp_path / "out", source="in-memory", **{"filter.policy": {"name": "all"}}), ds).new_attempts == 0


@pytest.mark.parametrize("policy", ["mean", "quantile", "rank"])
def test_a_class_of_one_image_has_the_pooled_bound(make, tmp_path, policy):
    go(make(tmp_path / "out", source="in-memory", **{"filter.policy": {"name": policy}}), photos([5, 5, 1]))
    classes = rows(tmp_path / "out", "classes")
    assert all(bound is not None for bound in classes["bound"])
    assert classes["attempts"][2] >= 1


def test_images_of_every_mode_and_size_pass(make, tmp_path):
    cells = []
    for number, mode in enumerate(("L", "LA", "P", "RGBA", "CMYK", "1", "I;16")):
        buffer = io.BytesIO()
        image = Pillow.open(io.BytesIO(picture(0, number, size=(9 + 40 * number, 31))))
        deep = Pillow.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
        (deep if mode == "I;16" else image.convert(mode)).save(buffer, "TIFF")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    features = Features({"image": Image(), "label": ClassLabel(names=["red fox"])})
    ds = Dataset.from_dict({"image": cells, "label": [0] * len(cells)}, features=features)
    go(make(tmp_path / "out", source="in-memory", max_attempts=1), ds)
    assert rows(tmp_path / "out", "references")["reason"][:] == [None] * 7


def test_a_hopeless_class_is_given_up(make, tmp_path):
    nothing = {"filter.policy": {"name": "fixed", "t": 1.0}}
    outcome = go(make(tmp_path / "out", source="in-memory", max_attempts=3, **nothing), photos([21, 3]))
    # 24 first attempts; two more for the three rows of the small class only.
    assert outcome.new_attempts == 24 + 2 * 3
    assert outcome.summary.given_up == ["red fox"]
    assert outcome.summary.counts["exhausted"] == 24
    assert rows(tmp_path / "out", "classes")["given_up"][:] == [True, False]


def test_every_config_of_the_card_loads_where_nothing_was_kept(done, tmp_path):
    nothing = {"max_attempts": 1, "filter": {"policy": {"name": "fixed", "t": 1.0}}}
    export_workflow.export(done.folder.path, tmp_path / "out", nothing)
    configs = get_dataset_config_names(str(tmp_path / "out"))
    counts = {name: len(load_dataset(str(tmp_path / "out"), name, cache_dir=tmp_path)["train"]) for name in configs}
    counts.pop("generated", None)  # of no rows; datasets cannot load it, so a card need not name it
    assert counts == {"default": 10, "attempts": 10, "references": 10, "classes": 3}


def test_an_image_that_crashes_is_an_attempt_without_one(make, tmp_path, monkeypatch):
    from diffcore_hf.models.diffusion import TextToImage

    real = TextToImage.sample

    def sample(self, prompts, negatives, seeds, **options):
        if any("green frog" in prompt for prompt in prompts):
            raise RuntimeError("a frog in the works")
        return real(self, prompts, negatives, seeds, **options)

    monkeypatch.setattr(TextToImage, "sample", sample)
    outcome = go(make(tmp_path / "out", max_attempts=1, **{"filter.policy": {"name": "all"}}))
    assert outcome.summary.counts | {"kept": 7, "failed": 3} == outcome.summary.counts
    crashed = [row for row in rows(tmp_path / "out", "attempts") if row["reason"] == "crashed"]
    assert [row["image_sha256"] for row in crashed] == [None] * 3


def test_an_interrupted_export_leaves_the_old_one_and_the_next_is_whole(make, done, copy, monkeypatch):
    before = published(copy)
    with monkeypatch.context() as patch:
        patch.setattr(exhibits, "histogram", lambda material: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go(make(copy, fraction=0.5))
    assert published(copy) == before
    assert Folder(copy).faults() == []
    go(make(copy))
    assert published(copy) == published(done.folder.path)


def test_a_torn_folder_is_mended_by_running_again(make, done, copy):
    [shard] = (copy / "data").iterdir()
    shard.unlink()
    (copy / "diffcore.json").unlink()
    assert go(make(copy)).new_attempts == 0
    assert published(copy) == published(done.folder.path)


# Preview


def test_preview_draws_what_was_decided_and_what_came_before(copy):
    before = published(copy)
    names = {path.name for path in preview_workflow.preview(copy)}
    assert names == {"contact_sheet.png", "similarity.png", "similarity_by_class.png"}
    [sheet] = preview_workflow.preview(copy, 5)
    assert sheet == copy / ".diffcore/preview/samples-5.png"
    assert min(Pillow.open(sheet).size) > 100
    assert published(copy) == before


def test_preview_before_the_first_attempt_says_what_to_do(make, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, "diffcore_hf.models.diffusion.TextToImage.sample", 1)
    go(make(tmp_path / "out"))
    with pytest.raises(ValueError, match="has no attempt yet"):
        preview_workflow.preview(tmp_path / "out")


def test_a_mixed_preview_is_drawn_of_a_run_and_of_an_export(copy, tmp_path):
    export_workflow.export(copy, tmp_path / "all", {"filter": {"policy": {"name": "all"}}})
    for folder in (copy, tmp_path / "all"):
        before = published(folder)
        [sheet] = preview_workflow.preview(folder, mixed=True)
        assert sheet == folder / ".diffcore/preview/mixed.png"
        assert min(Pillow.open(sheet).size) > 100
        drawn = sheet.read_bytes()
        assert preview_workflow.preview(folder, mixed=True)[0].read_bytes() == drawn
        assert published(folder) == before


@pytest.mark.parametrize(
    "layer, layout, said",
    [
        ({"filter": {"policy": {"name": "fixed", "t": 1.0}}}, "columns", "no counterpart to mix with, none was kept"),
        ({}, "rows", "its layout is 'rows'. Name the run"),
        ({"include_originals": False}, "columns", "without its original images"),
    ],
    ids=["nothing kept", "plain rows", "no originals"],
)
def test_a_dataset_without_pairs_has_no_mixed_preview(done, tmp_path, layer, layout, said):
    export_workflow.export(done.folder.path, tmp_path / "out", layer, layout)
    with pytest.raises(ValueError, match=said) as error:
        preview_workflow.preview(tmp_path / "out", mixed=True)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out/.diffcore/preview").exists()


def test_a_mixed_preview_of_something_else_is_one_line(copy, folder_of_photos, tmp_path):
    for folder in (folder_of_photos, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="is no finished dataset of diffcore-hf"):
            preview_workflow.preview(folder, mixed=True)
    [shard] = (copy / "data").iterdir()
    shard.write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"cannot be read: data/.* is not the file that was exported\.") as error:
        preview_workflow.preview(copy, mixed=True)
    assert "\n" not in str(error.value)


# In Python


def test_augment_takes_a_dataset_in_memory(keys, tmp_path):
    ds = photos([3, 3])
    made = augment(
        ds, split="train", kind="bird", output=str(tmp_path / "out"), progress=False,
        **keys | {"filter": keys["filter"] | {"policy": "all"}},
    )  # fmt: skip
    assert isinstance(made, Dataset)
    assert made.column_names == ["image", "label", *ADDED_COLUMNS]
    assert isinstance(made[0]["generated"], Pillow.Image)
    assert made[0]["generated"].size == (16, 16)
    assert made[0]["row_id"].startswith("train/")
    assert "a bird" in made[0]["prompt"]
    assert contents(made) == contents(ds)


def test_augment_takes_a_recipe_under_keywords(make, done, tmp_path):
    made = augment(recipe=make(tmp_path / "other"), output=str(tmp_path / "out"), limit=2, progress=False)
    assert sorted(made["status"]) != sorted(rows(done.folder.path)["status"])
    assert made["status"][:].count("pending") == 8
    assert not (tmp_path / "other").exists()


def test_an_interrupted_augment_raises_after_it_has_exported(make, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, "diffcore_hf.models.diffusion.TextToImage.sample", 2)
    with pytest.raises(KeyboardInterrupt):
        augment(recipe=make(tmp_path / "out", part_size=3), progress=False)
    assert Folder(tmp_path / "out").faults() == []


def test_step_by_step_is_datasets_map(recipe):
    ds = photos([3, 2])
    steps = recipe(seed=5)
    made = plan(ds, steps)
    made = Generate(steps.model).map(made)
    made = Score(steps.filter).map(made)
    assert made.column_names[-2:] == ["generated_image", "similarity"]
    assert isinstance(made[0]["generated_image"], Pillow.Image)
    assert all(-1 <= value <= 1 for value in made["similarity"])
    assert contents(made, "source_image") == contents(ds)


def test_step_by_step_makes_the_attempts_of_the_main_job(recipe, tmp_path):
    ds, strict = photos([3, 2]), {"strict": True, "filter.policy": {"name": "all"}}
    steps = recipe(output=str(tmp_path / "out"), **strict)
    go(steps, ds)
    made = Score(steps.filter, strict=True).map(Generate(steps.model, strict=True).map(plan(ds, steps)))
    undecoded = made.cast_column("generated_image", Image(decode=False))
    published_rows = rows(tmp_path / "out")
    assert undecoded["generated_image"][:] == published_rows["generated"][:]
    assert made["seed"][:] == published_rows["seed"][:]
