"""Tests of the audit: a run is consistent under every policy and layout, and each kind of changed value is reported."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from small_photos import photos, picture

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core.folder import Folder
from diffcore_hf.publishing.audit.dataset import audit
from diffcore_hf.publishing.audit.shards import Shards
from diffcore_hf.workflows.augment import run as run_augment
from diffcore_hf.workflows.decided_again import fitted_again
from diffcore_hf.workflows.export import export

POLICIES = ("mean", "quantile", "rank", "random", "all")
OTHER = {"bytes": b"x", "path": None}
"""A cell with an image that is not in the run."""
ABOVE = object()
"""Stands for the value that the next row has in the same column."""
PARAMETERS = {"random": {"p": 0.5}}


@pytest.fixture(scope="module")
def run(tmp_path_factory, keys, folder_of_photos):
    out = tmp_path_factory.mktemp("audit") / "out"
    source = {"path": str(folder_of_photos)}
    run_augment(
        build_recipe({"source": source, "output": str(out), "copies": 2, "max_attempts": 2}, keys), progress=False
    )
    return out


@pytest.fixture(scope="module", params=POLICIES)
def exported(request, run):
    """Returns an export of the run for each policy."""
    out = run.parent / request.param
    policy = {"name": request.param, **PARAMETERS.get(request.param, {})}
    export(run, out, {"filter": {"policy": policy}, "max_attempts": 1 if request.param == "random" else 2})
    return out


def audited(folder, change=None, **of_manifest):
    """Return the faults of a folder if one value of its tables is changed. `change` is (config, column, row, value)."""
    manifest = Folder(folder).manifest() | of_manifest

    def read(path, columns):
        table = pq.read_table(folder / path, columns=list(columns))
        if change and path.startswith(change[0]) and change[1] in table.column_names:
            values = table[change[1]].to_pylist()
            place, new = change[2:]
            values[place] = values[place + 1] if new is ABOVE else new(values[place]) if callable(new) else new
            place = table.column_names.index(change[1])
            table = table.set_column(place, change[1], pa.array(values, table.schema.field(change[1]).type))
        return [table]

    return audit(Shards(manifest, read, lambda path: pq.read_schema(folder / path).names, True), fitted_again)


def test_a_run_is_consistent_under_every_policy(exported):
    assert audited(exported) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("attempts", "seed", 0, 7), "attempts: the seed does not follow from row, copy and attempt: .* attempt 0"),
        (("attempts", "similarity", 1, 0.5), "attempts: the similarity does not follow from the embeddings"),
        (("attempts", "similarity", 1, None), "attempts: the similarity does not follow from the embeddings"),
        (("attempts", "reason", 0, "low_similarity"), "attempts: the reason does not follow from score and bound"),
        (("attempts", "image_sha256", 0, "0" * 64), "attempts: the image does not have the recorded hash"),
        (("attempts", "copy", 2, lambda copy: 1 - copy), "attempts: the seed"),
        (("data", "status", 0, "exhausted"), "default: the status does not follow from the attempts"),
        (("data", "generated", 0, OTHER), "default: the counterpart does not have the recorded hash"),
        (("data", "image", 0, OTHER), "default: the original does not have the recorded hash"),
        (("data", "seed", 0, 7), "default: a row differs from its counterpart's attempt"),
        (("data", "prompt", 0, "x"), "default: a row differs from its counterpart's attempt"),
        (("data", "row_id", 0, "x"), "default: a row of configuration references is missing"),
        (("data", "row_id", 0, "x"), "default: a row is not in configuration references: x"),
        (("data", "row_id", 0, ABOVE), "default: a row occurs more than once"),
        (("data", "status", 0, "finished"), "default: the status does not follow from the attempts"),
        (("attempts", "image", 0, None), "attempts: the image of a kept attempt is missing"),
        (("generated", "copy", 0, ABOVE), "generated: a row occurs more than once"),
        (("classes", "planned", 0, 99), "diffcore.json counts .* planned units: the configuration `classes` has"),
        (("data", "generated", 0, None), "default: the counterpart is missing"),
        (("generated", "image", 0, None), "generated: the image is missing"),
        (("generated", "similarity", 0, 0.0), "generated: a row differs from its attempt"),
        (("generated", "row_id", 0, "x"), "generated: the row of a kept attempt is missing"),
        (("generated", "copy", 0, 9), "generated: a row has no kept attempt: .* copy 9"),
        (("generated", "image", 0, OTHER), "generated: the image does not have the recorded hash"),
        (("classes", "kept", 0, 99), "classes: the counts differ from those of configuration attempts"),
        (("classes", "rejected_generated", 0, 0.123), "classes: the rate of rejected images differs"),
        (("references", "row_id", 0, "x"), "references: the row id is not the hash of image and label: x"),
        (("references", "label", 0, lambda label: 1 - label), "references: the row id is not the hash"),
        (("references", "source_sha256", 0, "0" * 64), "references: the row id is not the hash"),
        (("references", "row_id", 0, ABOVE), "references: a row occurs more than once"),
        (("references", "label", 0, 9), "references: the label is not the index of a class"),
        (("references", "embedding", 0, ABOVE), "attempts: the similarity does not follow from the embeddings"),
        (("data", "label", 0, lambda label: 1 - label), "default: the label is not the class of the row"),
        (("generated", "label", 0, lambda label: 1 - label), "generated: the label is not the class of the row"),
        (("attempts", "label", 0, lambda label: 1 - label), "attempts: the label is not the class of the row"),
        (("attempts", "context", 0, "x"), "attempts: the context does not follow from row and copy"),
        (("attempts", "prompt", 0, "x"), "attempts: the prompt does not follow from class and context"),
        (("attempts", "negative_prompt", 0, "x"), "attempts: the negative prompt does not follow"),
        (("attempts", "score", 0, 0.5), "attempts: the score does not follow from the embeddings"),
        (("attempts", "bound", 0, 0.5), "attempts: the bound does not follow from the references"),
        (("attempts", "class_rank", 0, 9), "attempts: the rank of the class does not follow from the embeddings"),
        (("attempts", "attempt", 0, 5), "attempts: an earlier attempt of the unit is missing"),
        (("attempts", "row_id", 0, "x"), "attempts: the row is not in configuration references"),
        (("classes", "label", 0, ABOVE), "classes: the label is not the position of the row"),
        (("classes", "name", 0, "wren"), "references: the row id is not the hash of image and label"),
        (("classes", "prompt_name", 0, "wren"), "classes: the name in prompts does not follow from the recipe"),
        (("classes", "images", 0, 99), "classes: the number of images differs"),
        (("classes", "bound", 0, 0.5), "classes: the bound differs from that of configuration attempts"),
        (("classes", "rejected_real", 0, 0.5), "classes: the rate of rejected real images does not follow"),
        (("classes", "given_up", 0, True), "classes: a class is given up, but its first attempts were not all"),
    ],
)
def test_a_changed_value_is_reported(run, change, line):
    out = run.parent / "kept"
    if not out.exists():
        export(run, out, {"filter": {"policy": {"name": "fixed", "t": -1.0}}})
    assert audited(out) == []
    faults = audited(out, change)
    assert any(re.match(line, one) for one in faults), faults


@pytest.mark.parametrize(
    ("layout", "change", "line"),
    [
        ("rows", None, None),
        ("rows", ("data", "image", 0, None), "default: the original is missing"),
        (
            "rows",
            ("data", "image", -1, OTHER),
            "default: a generated image is not",
        ),
        ("rows", ("data", "is_generated", -1, False), "default: the number of generated images"),
        ("rows", ("data", "row_id", -1, "x"), "default: the number of generated images"),
        ("mixed", None, None),
        ("mixed", ("data", "image", 0, OTHER), "default: the original does not have the recorded hash"),
        ("mixed", ("data", "is_mixed", -1, False), "default: kind, lambda and real_share"),
        ("mixed", ("data", "lambda", -1, 1.5), "default: kind, lambda and real_share"),
        ("mixed", ("data", "row_id", -1, "x"), "default: the number of mixed images"),
    ],
)
def test_other_layouts_are_consistent_and_a_changed_value_is_reported(run, layout, change, line):
    out = run.parent / layout
    if not out.exists():
        export(run, out, {"filter": {"policy": {"name": "all"}}}, layout)
    faults = audited(out, change)
    assert any(re.match(line, one) for one in faults) if line else faults == [], faults


@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_a_dataset_without_originals_contains_no_original_image(run, layout):
    out = run.parent / f"bare-{layout}"
    export(run, out, {"include_originals": False}, layout)
    assert audited(out) == []
    faults = audited(out, ("data", "image", 0, OTHER))
    assert faults[0].startswith("default: a row has its original image, but the dataset is published without originals")


@pytest.fixture(scope="module")
def odd_rows(keys, tmp_path_factory):
    """Returns a run with the splits train and test. Split train has an unlabelled row and an unreadable row."""
    cells = [{"bytes": picture(0, number), "path": None} for number in range(5)]
    cells[1] = {"bytes": b"no image", "path": None}
    features = Features({"image": Image(), "label": ClassLabel(names=["red fox", "blue jay"])})
    train = Dataset.from_dict({"image": cells, "label": [0, 0, 0, 1, -1]}, features=features)
    out = tmp_path_factory.mktemp("odd") / "out"
    recipe = build_recipe({"source": {"path": "in-memory"}, "output": str(out), "max_attempts": 1}, keys)
    run_augment(recipe, DatasetDict({"train": train, "test": train}), progress=False)
    return out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (None, None),
        (("data/train", "status", 4, "failed"), "default: the status does not follow from the attempts: train/"),
        (("data/train", "status", 4, None), "default: the status does not follow from the attempts: train/"),
        (("data/train", "status", 3, "failed"), "default: the status does not follow from the attempts: train/"),
        (("data/test", "status", 0, None), "default: the status does not follow from the attempts: test/"),
        (("data/test", "status", 0, "failed"), "default: the status does not follow from the attempts: test/"),
        (("references", "reason", 4, None), "references: a row without a label has no reason: train/"),
        (("references", "label", 3, -1), "references: a row without a label has no reason: train/"),
    ],
)
def test_a_status_that_does_not_follow_from_the_attempts_is_reported(odd_rows, change, line):
    faults = audited(odd_rows, change)
    assert any(re.match(line, one) for one in faults) if line else faults == [], faults


def test_a_run_with_a_prefix_a_review_and_label_numbers_with_gaps_is_consistent(keys, tmp_path):
    rows = photos([3, 3])
    odd = [(5, 9)[label] for label in rows["label"]]
    rows = rows.remove_columns("label").add_column("label", odd)
    recipe = build_recipe(
        {
            "source": {"path": "in-memory", "label_names": {"5": "wren", "9": "robin"}},
            "output": str(tmp_path / "out"),
            "columns": {"prefix": "dc_"},
        },
        keys,
    )
    run_augment(recipe, rows, progress=False)
    assert audited(tmp_path / "out") == []
    [shard] = (tmp_path / "out" / "attempts").iterdir()
    first = pq.read_table(shard, columns=["row_id", "copy", "attempt"]).slice(0, 1).to_pylist()[0]
    review = tmp_path / "review.csv"
    review.write_text(f"row_id,copy,attempt,verdict,note\n{','.join(map(str, first.values()))},reject,\n")
    export(tmp_path / "out", tmp_path / "reviewed", {"review": str(review)})
    assert audited(tmp_path / "reviewed") == []


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("recipe_digest", "0" * 32, "diffcore.json: the recipe_digest does not follow from the recipe"),
        ("attempt_digest", "0" * 32, "diffcore.json: the attempt_digest does not follow from the recipe"),
        ("stages", {"attempt": "0"}, "diffcore.json: the attempt_digest does not follow from the recipe"),
        ("resolved", {"source": {}}, "references: the rows are not those of the source"),
        ("resolved", {"model": {}}, "diffcore.json: the identity of the model differs from that in the recipe"),
        ("counts", {"references": 99}, "diffcore.json counts 99 references"),
        ("counts", {"rows": 99}, "diffcore.json counts 99 rows"),
        ("counts", {"heldout": 1}, "diffcore.json: the number of held-out rows is wrong"),
        ("card", {"rejected_generated": 0.5}, "diffcore.json: the share of rejected images of the card"),
        ("card", {"rejected_real": 0.55}, "diffcore.json: the share of rejected real images of the card is wrong"),
        ("card", {"mean_similarity": 2.0}, "diffcore.json: the mean similarity of the card does not follow"),
        ("card", {"by_context": []}, "diffcore.json: the row of a context of the card does not follow"),
        ("card", {"by_class": []}, "diffcore.json: the row of a class of the card does not follow"),
        ("card", {"rejections": [["low_rank", 99, ""]]}, "diffcore.json: the number of rejections by reason of the"),
        ("card", {"given_up": ["wren"]}, "diffcore.json: the list of given-up classes of the card does not follow"),
        ("card", {"by_class": 1}, "diffcore.json: the facts of the card are not valid"),
    ],
)
def test_a_changed_value_of_the_manifest_is_reported(run, key, value, line):
    old = Folder(run).manifest()[key]
    faults = audited(run, **{key: old | value if isinstance(value, dict) else value})
    assert any(fault.startswith(line) for fault in faults), faults


def test_wrong_counts_in_the_manifest_are_reported(run):
    counts = Folder(run).manifest()["counts"]
    first, second, third = audited(run, counts=counts | {"kept": 99})
    assert first.startswith("diffcore.json counts 99 kept: the configuration `attempts` has ")
    assert second.startswith(f"diffcore.json counts {counts['planned']} planned units: the sum over its statuses is ")
    assert third.startswith("diffcore.json counts 99 kept units: the attempts give ")


def test_faults_of_one_kind_are_listed_in_one_line(run):
    faults = audited(run, recipe=Folder(run).manifest()["recipe"] | {"seed": 5})
    [line] = [fault for fault in faults if fault.startswith("attempts: the seed does not follow")]
    assert line.endswith(" more") and len(faults) == len({fault.partition(": ")[2] for fault in faults})
