"""Tests of the ledger, whose parts are files of facts named by a hash of their keys and a hash of their content."""

import errno
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from diffcore_hf.augmentation.ledger import CLASSES, REFERENCES, Facts, Ledger, embedding_rows, read_images
from diffcore_hf.core import schema


def attempts(*keys, image=b"jpeg", embedding=(0.5, 0.25), reason=None, inputs="i"):
    """Returns the table of a part: one attempt for each (row id, copy, attempt)."""
    rows = [
        {
            "row_id": row_id, "copy": copy, "attempt": attempt, "class_name": "crow", "context": "", "prompt": "p",
            "negative_prompt": None, "seed": attempt, "inputs": inputs,
            "generated_image": image and {"bytes": image + row_id.encode(), "path": None},
            "image_sha256": hashlib.sha256(image).hexdigest() if image else None,
            "embedding": None if embedding is None else np.array(embedding, np.float16), "reason": reason,
        }
        for row_id, copy, attempt in keys
    ]  # fmt: skip
    return Dataset.from_list(rows, features=schema.attempt_facts()).data.table.combine_chunks()


def references(*row_ids, reason=None, sha256="s", inputs="i"):
    row = {"inputs": inputs, "source_sha256": sha256, "embedding": None, "reason": reason}
    rows = [{"row_id": name, **row} for name in row_ids]
    return Dataset.from_list(rows, features=schema.reference_facts()).data.table.combine_chunks()


def wanted_inputs(key):
    """Returns the digest of inputs that a fact must have to be used."""
    return "i"


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "parts")


def test_the_name_of_a_part_contains_the_hashes_of_its_keys_and_its_content(ledger):
    path = ledger.write("r0", attempts(("b", 0, 0), ("a", 1, 0)))
    listed, content = path.stem.split("-")
    assert listed == hashlib.sha256(b"a 1 0\nb 0 0").hexdigest()[:16]
    assert content == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert path.parent == ledger.directory / "r0" / listed[:2]


def test_writing_the_same_facts_twice_gives_one_file(ledger):
    paths = {ledger.write("r0", attempts(("a", 0, 0))) for _ in range(2)}
    assert ledger.parts("r0") == list(paths)
    assert len(paths) == 1


def test_parts_with_equal_keys_and_other_facts_have_the_same_first_half_of_the_name(ledger):
    one, other = (ledger.write("r0", attempts(("a", 0, 0), image=image)) for image in (b"one", b"other"))
    assert one != other
    assert one.stem.split("-")[0] == other.stem.split("-")[0]


def test_references_are_listed_by_their_row_ids(ledger):
    path = ledger.write(REFERENCES, references("b", "a"))
    assert path.stem.split("-")[0] == hashlib.sha256(b"a 0 0\nb 0 0").hexdigest()[:16]


def test_the_attempt_in_the_part_with_the_first_name_is_used(ledger):
    written = {ledger.write("r0", attempts(("a", 0, 0), image=image)): image for image in (b"1", b"2", b"3", b"4")}
    facts = Facts.read(ledger, ["r0"], wanted_inputs)
    first = min(written)
    assert len(facts) == 1
    assert facts.locations == [(first, 0)]
    assert facts.sha256 == [hashlib.sha256(written[first]).hexdigest()]


@pytest.mark.parametrize("order", [("old", "i"), ("i", "old")])
def test_a_fact_with_the_wanted_inputs_is_used_for_every_name_of_its_part(ledger, order):
    """Other parts have other inputs. Their names sort before and after the name of the part with the wanted inputs."""
    for number in range(6):
        ledger.write("r0", attempts(("a", 0, 0), image=f"old {number}".encode(), inputs=f"old {number}"))
    for inputs in order:
        ledger.write("r0", attempts(("a", 0, 0), image=inputs.encode(), inputs=inputs))
    facts = Facts.read(ledger, ["r0"], wanted_inputs)
    assert facts.sha256 == [hashlib.sha256(b"i").hexdigest()]
    assert read_images(facts.locations) == [b"ia"]


def test_a_fact_that_does_not_fit_the_plan_is_not_used(ledger):
    ledger.write("r0", attempts(("a", 0, 0), ("gone", 0, 0)))
    ledger.write(REFERENCES, references("a", "gone", reason="unreadable", sha256=None))
    assert set(Facts.read(ledger, ["r0"], lambda key: "i" if key[0] == "a" else None).keys) == {("a", 0, 0)}
    assert len(Facts.read(ledger, ["r0"], lambda key: "other")) == 0
    assert len(Facts.read(ledger, [REFERENCES], lambda key: None)) == 0


def test_an_image_that_could_not_be_read_keeps_its_reason_until_it_is_read(ledger):
    ledger.write(REFERENCES, references("a", reason="unreadable: no file", sha256=None, inputs="end of the path"))
    facts = Facts.read(ledger, [REFERENCES], wanted_inputs)
    assert (facts.reasons, facts.unread) == (["unreadable: no file"], {("a", 0, 0)})
    ledger.write(REFERENCES, references("a", sha256="i"))
    again = Facts.read(ledger, [REFERENCES], wanted_inputs)
    assert (again.reasons, again.sha256, again.unread) == ([None], ["i"], set())


def test_facts_do_not_depend_on_the_division_into_parts(tmp_path):
    keys = [(f"row{n}", 0, 0) for n in range(10)]
    cuts = ([10], [3, 3, 4], [1] * 10)
    seen = []
    for number, sizes in enumerate(cuts):
        ledger, start = Ledger(tmp_path / str(number)), 0
        for size in sizes:
            ledger.write("r0", attempts(*keys[start : start + size]))
            start += size
        facts = Facts.read(ledger, ["r0"], wanted_inputs)
        images = read_images([facts.locations[facts.keys[key]] for key in keys])
        seen.append((set(facts.keys), images))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][1][3] == b"jpegrow3"


def test_images_are_read_in_the_requested_order(ledger):
    path = ledger.write("r0", attempts(*((f"{n}", 0, 0) for n in range(9))))
    assert read_images([(path, 8), (path, 0), (path, 5)]) == [b"jpeg8", b"jpeg0", b"jpeg5"]
    crashed = ledger.write("r1", attempts(("a", 0, 1), image=None, embedding=None, reason="crashed: E: x"))
    assert read_images([(crashed, 0), (path, 1)]) == [None, b"jpeg1"]
    assert read_images([]) == []


def test_rounds_are_the_folders_with_numbers(ledger):
    for kind in ("r10", "r2", "ref", "r0"):
        ledger.write(kind, references("a") if kind == "ref" else attempts(("a", 0, 0)))
    assert ledger.rounds() == ["r0", "r2", "r10"]


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(path.read_bytes()[:-40]), lambda path: path.write_bytes(b""),
     lambda path: path.write_bytes(b"PAR1 and nonsense PAR1")],
    ids=["cut short", "empty", "nonsense"],
)  # fmt: skip
def test_a_damaged_part_gives_a_one_line_error_that_names_the_file(ledger, damage):
    path = ledger.write("r0", attempts(("a", 0, 0)))
    damage(path)
    with pytest.raises(ValueError, match="cannot be read") as error:
        Facts.read(ledger, ["r0"], wanted_inputs)
    assert str(path) in str(error.value)
    assert "Delete it and run again" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_error_for_a_part_with_damaged_images_names_the_file(ledger):
    path = ledger.write("r0", attempts(*((f"{n}", 0, 0) for n in range(4)), image=b"jpeg" * 500))
    with pq.ParquetFile(path) as file:
        columns = [file.metadata.row_group(0).column(index) for index in range(file.metadata.num_columns)]
    [images] = [column for column in columns if column.path_in_schema == "generated_image.bytes"]
    content = bytearray(path.read_bytes())
    start = images.dictionary_page_offset or images.data_page_offset
    content[start : start + images.total_compressed_size] = bytes(images.total_compressed_size)
    path.write_bytes(content)
    facts = Facts.read(ledger, ["r0"], wanted_inputs)  # the other columns can be read
    with pytest.raises(ValueError, match=r"cannot be read .*Delete it and run again") as error:
        read_images(facts.locations)
    assert str(path) in str(error.value)


def test_the_temporary_file_of_a_killed_writer_is_ignored(ledger):
    path = ledger.write("r0", attempts(("a", 0, 0)))
    (path.parent / f".{path.name}.123.tmp").write_bytes(b"half")
    assert ledger.parts("r0") == [path]


EVERY_FLOAT16 = np.arange(2**16, dtype=np.uint16).view(np.float16)


def test_embeddings_are_read_bit_for_bit_as_they_were_written(ledger):
    finite = EVERY_FLOAT16[np.isfinite(EVERY_FLOAT16)]
    path = ledger.write("r0", attempts(("a", 0, 0), embedding=finite))
    facts = Facts.read(ledger, ["r0"], wanted_inputs)
    assert facts.embeddings[0].dtype == np.float16
    assert facts.embeddings[0].tobytes() == finite.tobytes()
    assert ledger.table(path)["embedding"].type == pa.list_(pa.float16())


def test_null_rows_of_an_embedding_column_are_empty_arrays():
    values = [[1.0, 2.0], None, [3.0, 4.0]]
    column = pa.chunked_array([pa.array([None if v is None else np.array(v, np.float16) for v in part],
                                        pa.list_(pa.float16())) for part in (values, values[1:])])  # fmt: skip
    assert [row.tolist() for row in embedding_rows(column)] == [[1, 2], [], [3, 4], [], [3, 4]]
    assert [row.tolist() for row in embedding_rows(column.slice(2))] == [[3, 4], [], [3, 4]]


def test_a_missing_embedding_is_a_row_of_nan_in_the_matrix(ledger):
    ledger.write("r0", attempts(("a", 0, 0)))
    ledger.write("r1", attempts(("a", 0, 1), embedding=None, reason="unsafe"))
    facts = Facts.read(ledger, ["r0", "r1"], wanted_inputs)
    matrix = facts.matrix([None, facts.keys["a", 0, 1], facts.keys["a", 0, 0]], facts.width())
    np.testing.assert_array_equal(matrix, np.array([[np.nan] * 2, [np.nan] * 2, [0.5, 0.25]], np.float16))


def test_captions_are_stored_in_separate_parts(ledger):
    rows = {"prompt": ["a photo of a crow"], "text_embedding": [np.array([1, 0], np.float16)], "logit_scale": [14.25]}
    path = ledger.write(CLASSES, Dataset.from_dict(rows, features=schema.class_facts()).data.table.combine_chunks())
    assert path.stem.split("-")[0] == hashlib.sha256(b"a photo of a crow").hexdigest()[:16]
    assert ledger.logit_scale() == 14.25


def test_a_part_of_captions_without_a_scale_is_read(ledger):
    """Versions before the policy text_softmax wrote such parts."""
    table = pa.table({"prompt": ["a crow"], "text_embedding": pa.array([[1, 0]], pa.list_(pa.float16()))})
    ledger.write(CLASSES, table)
    assert list(ledger.captions()) == ["a crow"]
    assert ledger.logit_scale() is None


def test_a_fault_of_the_machine_is_not_reported_as_a_damaged_part(ledger, monkeypatch):
    path = ledger.write("r0", attempts(("a", 0, 0)))

    def denied(*arguments, **keywords):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    for name in ("read_table", "read_metadata", "ParquetFile"):
        monkeypatch.setattr(pq, name, denied)
    for read in (lambda: ledger.table(path), ledger.count, lambda: read_images([(path, 0)])):
        with pytest.raises(PermissionError):
            read()
