"""Tests of the ledger, whose parts are files of facts named by a hash of their keys and a hash of their content."""

import errno
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from diffcore_hf.augmentation import image_spool as image_spools
from diffcore_hf.augmentation.facts import Facts
from diffcore_hf.augmentation.image_spool import image_spool
from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.part_files import (
    CLASSES,
    REFERENCES,
    DamagedPart,
    embedding_rows,
    facts_digest,
    read_facts,
    read_images,
)
from diffcore_hf.core import schema
from diffcore_hf.core.folder import write_atomic


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


def test_the_name_of_a_part_of_references_has_the_hash_of_their_row_ids(ledger):
    path = ledger.write(REFERENCES, references("b", "a"))
    assert path.stem.split("-")[0] == hashlib.sha256(b"a 0 0\nb 0 0").hexdigest()[:16]


def test_the_attempt_in_the_part_with_the_first_name_is_used(ledger):
    written = {ledger.write("r0", attempts(("a", 0, 0), image=image)): image for image in (b"1", b"2", b"3", b"4")}
    facts = Facts.read(ledger, ["r0"], wanted_inputs)
    first = min(written)
    assert len(facts) == 1
    assert list(facts.locations) == [(first, 0)]
    assert list(facts.sha256) == [hashlib.sha256(written[first]).hexdigest()]


@pytest.mark.parametrize("order", [("old", "i"), ("i", "old")])
def test_a_fact_with_the_wanted_inputs_is_used_for_every_name_of_its_part(ledger, order):
    """Seven parts have other inputs. Their names sort before and after the name of the part with the wanted inputs."""
    for number in range(6):
        ledger.write("r0", attempts(("a", 0, 0), image=f"old {number}".encode(), inputs=f"old {number}"))
    for inputs in order:
        ledger.write("r0", attempts(("a", 0, 0), image=inputs.encode(), inputs=inputs))
    facts = Facts.read(ledger, ["r0"], wanted_inputs)
    assert list(facts.sha256) == [hashlib.sha256(b"i").hexdigest()]
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
    assert (again.reasons, list(again.sha256), again.unread) == ([None], ["i"], set())


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


DAMAGES = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "nonsense": lambda path: path.write_bytes(b"PAR1 and nonsense PAR1"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_part_gives_a_one_line_error_that_names_the_file(ledger, damage):
    path = ledger.write("r0", attempts(("a", 0, 0)))
    damage(path)
    for read in (lambda: Facts.read(ledger, ["r0"], wanted_inputs), ledger.count):
        with pytest.raises(DamagedPart, match=r"is damaged .*Run augment again") as error:
            read()
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert os.path.lexists(path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_run_renames_a_damaged_part_and_reads_the_others(ledger, damage, caplog):
    path = ledger.write("r0", attempts(("a", 0, 0)))
    ledger.write("r0", attempts(("b", 0, 0)))
    damage(path)
    ledger.repairs = True
    assert ledger.count() == 1
    assert set(Facts.read(ledger, ["r0"], wanted_inputs).keys) == {("b", 0, 0)}
    assert not os.path.lexists(path)
    assert os.path.lexists(path.with_name(f"{path.name}.bad"))
    assert f"part {path} is damaged" in caplog.text and ".parquet.bad" in caplog.text


def flipped(content, bit):
    """Returns bytes in which one bit has the other value."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def outcome(ledger, path):
    """Returns all that an export takes from the parts: facts and images; None if a part was found to be damaged."""
    try:
        facts = Facts.read(ledger, ["r0", REFERENCES], wanted_inputs)
        with image_spool(ledger.all_parts(), dict(enumerate(facts.locations[:4])), 4, path.parent) as spool:
            images = [spool.read(attempt) for attempt in range(4)]
        captions = {text: row.tobytes() for text, row in ledger.captions().items()}
    except DamagedPart:
        return None
    rows = [(facts.embeddings[index].tobytes(), facts.reasons[index], facts.sha256[index]) for index in range(6)]
    return facts.keys, rows, images, captions, ledger.logit_scale()


def test_no_flipped_bit_reaches_an_export(ledger):
    """86 bits of the three kinds of parts are flipped, one at a time, at places that are spread over the whole file."""
    rows = {"prompt": ["a crow"], "text_embedding": [np.array([1, 0], np.float16)], "logit_scale": [14.25]}
    paths = [
        ledger.write("r0", attempts(*((str(n), 0, 0) for n in range(4)), image=b"jpeg" * 50)),
        ledger.write(REFERENCES, references("a", "b", reason="unreadable")),
        ledger.write(CLASSES, Dataset.from_dict(rows, features=schema.class_facts()).data.table.combine_chunks()),
    ]
    before = outcome(ledger, paths[0])
    assert before is not None
    for path, bits in zip(paths, (40, 23, 23), strict=True):
        content = path.read_bytes()
        for number in range(bits):
            path.write_bytes(flipped(content, (number * 8 * len(content)) // bits + number % 8))
            assert [damaged.path for damaged in ledger.damaged()] == [path]
            after = outcome(ledger, path)
            assert after is None
        path.write_bytes(content)
    assert outcome(ledger, paths[0]) == before


def test_a_part_that_an_earlier_release_wrote_is_checked_by_the_hash_in_its_name(ledger):
    table = attempts(("a", 0, 0))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=4)
    content = buffer.getvalue()
    path = ledger.directory / "r0" / "ab" / f"{'ab' * 8}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    write_atomic(path, content)
    facts = Facts.read(ledger, ["r0"], wanted_inputs)
    assert read_images(facts.locations) == [b"jpega"]
    path.write_bytes(flipped(content, 8 * content.index(b"jpega")))
    with pytest.raises(DamagedPart):
        Facts.read(ledger, ["r0"], wanted_inputs)


def test_each_part_is_opened_once_for_an_export_whatever_the_order_of_the_rows(ledger, monkeypatch):
    for name in "abc":
        ledger.write("r0", attempts(*((f"{name}{n}", 0, 0) for n in range(70))))
    facts = Facts.read(ledger, ["r0"], wanted_inputs)
    order = {(37 * attempt) % 210: facts.locations[attempt] for attempt in range(210)}
    opened = []
    real = image_spools.check_file
    monkeypatch.setattr(image_spools, "check_file", lambda path, file: (opened.append(path), real(path, file)))
    with image_spool(ledger.all_parts(), order, 210, ledger.directory) as spool:
        images = [spool.read(attempt) for attempt in range(210)]
    assert opened == ledger.parts("r0")
    assert images == read_images([order[attempt] for attempt in range(210)])


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
    assert read_facts(path, "r0")["embedding"].type == pa.list_(pa.float16())


def test_hashes_are_sliced_like_a_list_and_exist_tells_which_indices_have_an_embedding():
    facts = Facts.empty(wanted_inputs)
    table = pa.concat_tables([attempts((f"a{i}", 0, 0), image=None if i % 3 else b"%d" % i) for i in range(6)])
    missing = attempts(("b", 0, 0), embedding=None)
    assert facts.embeddings.exist(np.array([-1])).tolist() == [False]
    facts.add(Path("x"), pa.concat_tables([table, missing]), is_reference=False)
    each = [facts.sha256[index] for index in range(7)]
    assert [sha256 is None for sha256 in each] == [False, True, True, False, True, True, False]
    for part in (slice(None), slice(2, None), slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(5, 2)):
        assert facts.sha256[part] == each[part]
    assert facts.embeddings.exist(np.array([0, -1, 6, 5])).tolist() == [True, False, False, True]


def test_null_rows_of_an_embedding_column_are_empty_arrays():
    values = [[1.0, 2.0], None, [3.0, 4.0]]
    column = pa.chunked_array([pa.array([None if v is None else np.array(v, np.float16) for v in part],
                                        pa.list_(pa.float16())) for part in (values, values[1:])])  # fmt: skip
    rows, has = embedding_rows(column)
    assert [row.tolist() for row in rows] == [[1, 2], [], [3, 4], [], [3, 4]]
    assert has == [True, False, True, False, True]
    rows, has = embedding_rows(column.slice(2))
    assert [row.tolist() for row in rows] == [[3, 4], [], [3, 4]]
    assert has == [True, False, True]


def test_the_hash_of_facts_does_not_depend_on_their_storage():
    """Chunks, offsets and the stored values of null cells are different, but the rows are the same."""
    table = pa.concat_tables([attempts(("a", 0, 0)), attempts(("b", 1, 2), image=None, embedding=None, reason="é")])
    table = table.drop_columns(["generated_image"])
    longer = pa.concat_tables([attempts(("x", 9, 9)).drop_columns(["generated_image"]), table, table])
    for other in (table.combine_chunks(), longer.slice(1, 2), longer.combine_chunks().slice(3, 2)):
        assert facts_digest(other) == facts_digest(table)
    changes = [table.slice(0, 1), table.drop_columns(["reason"]), pa.concat_tables([table.slice(1), table.slice(0, 1)])]
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.type != pa.list_(pa.float16()):
            moved = column.take(pa.array([1, 0]))
            changes += [] if moved == column else [table.set_column(table.column_names.index(name), name, moved)]
    digests = {facts_digest(changed) for changed in [table, *changes]}
    assert len(digests) == 1 + len(changes)


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
    """Versions of the package that did not have the policy text_softmax wrote parts of captions without a scale."""
    table = pa.table({"prompt": ["a crow"], "text_embedding": pa.array([[1, 0]], pa.list_(pa.float16()))})
    ledger.write(CLASSES, table)
    assert list(ledger.captions()) == ["a crow"]
    assert ledger.logit_scale() is None


def test_a_fault_of_the_machine_is_not_reported_as_a_damaged_part(ledger, monkeypatch):
    path = ledger.write("r0", attempts(("a", 0, 0)))

    def denied(*arguments, **keywords):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    ledger.repairs = True
    for name in ("read_metadata", "ParquetFile"):
        monkeypatch.setattr(pq, name, denied)
    for read in (lambda: ledger.facts("r0", path), ledger.count, lambda: read_images([(path, 0)])):
        with pytest.raises(PermissionError):
            read()


def test_attempts_are_counted_in_some_parts_and_renamed_parts_are_listed(ledger):
    first, second = (ledger.write("r0", attempts((name, 0, 0), ("x", 0, 0))) for name in "ab")
    assert (ledger.count(), ledger.count([first]), ledger.count([])) == (4, 2, 0)
    first.write_bytes(b"damaged")
    ledger.repairs = True
    Facts.read(ledger, ["r0"], wanted_inputs)
    assert ledger.renamed == {first}
    assert ledger.attempt_parts() == [second]
    assert ledger.count([first, second]) == 2
