"""Tests of random numbers from hashes. Existing datasets depend on these values, so they must not change."""

import hashlib
import json

import pytest

from diffcore_hf.core import seeding


def test_a_digest_is_the_sha256_of_compact_json():
    assert seeding.digest("order", 0, "train/0") == hashlib.sha256(b'["order",0,"train/0"]').digest()
    assert seeding.digest("é", None, 1.5) == hashlib.sha256(b'["\\u00e9",null,1.5]').digest()
    values = ("", '"\\\n\x7f\u2028', "\U0001f426", "\ud800", 0, -1, 2**70, 0.1, 1e300, float("inf"), True, None)
    text = json.dumps(values, separators=(",", ":"))
    assert seeding.digest(*values) == hashlib.sha256(text.encode()).digest()
    assert seeding.digest() == hashlib.sha256(b"[]").digest()


@pytest.mark.parametrize(
    "parts, other",
    [(("a", "bc"), ("ab", "c")), (("a", 1), ("a", "1")), ((0, "x"), (1, "x")), (("a",), ("a", None))],
)
def test_different_values_have_different_digests(parts, other):
    assert seeding.digest(*parts) != seeding.digest(*other)


@pytest.mark.parametrize(
    "key, seed",
    [
        ((0, "train/0", 0, 0), 6777589268712833731),
        ((0, "train/0", 0, 1), 8552290462994504117),
        ((0, "train/0", 1, 0), 2825594181688841008),
        ((0, "train/1", 0, 0), 3014212958139333627),
        ((1, "train/0", 0, 0), 6067117827347554942),
    ],
)
def test_the_seed_of_an_attempt_does_not_change(key, seed):
    assert seeding.attempt_seed(*key) == seed


def test_seeds_have_63_bits_and_differ():
    seeds = [seeding.attempt_seed(0, f"train/{row}", copy, attempt)
             for row in range(50) for copy in range(2) for attempt in range(3)]  # fmt: skip
    assert len(set(seeds)) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # some seeds use the highest of the 63 bits


def test_uniform_numbers_are_uniform():
    numbers = [seeding.uniform("test", number) for number in range(2000)]
    assert all(0 <= number < 1 for number in numbers)
    assert sum(numbers) / 2000 == pytest.approx(0.5, abs=0.02)  # three standard errors: 3 * sqrt(1 / 12 / 2000)
    assert seeding.uniform("test", 7) == seeding.uniform("test", 7)


def test_the_id_of_a_hub_row_is_its_index():
    assert seeding.hub_row_ids("train", 3) == ["train/0", "train/1", "train/2"]


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def test_content_ids_of_equal_rows_have_different_numbers():
    rows = [(sha(b"crow"), "bird"), (sha(b"cod"), "fish"), (sha(b"crow"), "bird"), (sha(b"crow"), "bird")]
    first = "train/" + hashlib.sha256(sha(b"crow") + b"bird").hexdigest()[:16]
    ids = seeding.content_row_ids("train", rows)
    assert ids == [first, ids[1], f"{first}~1", f"{first}~2"]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    "row, other",
    [((b"crow", "bird"), (b"crow", "fish")), ((b"crow", "bird"), (b"cod", "bird"))],
    ids=["another label", "another image"],
)
def test_a_content_id_depends_on_image_and_label(row, other):
    ids = seeding.content_row_ids("train", [(sha(row[0]), row[1]), (sha(other[0]), other[1])])
    assert len(set(ids)) == 2


def test_content_ids_do_not_depend_on_the_order():
    rows = [(sha(bytes([number % 7])), "x") for number in range(10)]
    assert sorted(seeding.content_row_ids("train", rows)) == sorted(seeding.content_row_ids("train", rows[::-1]))
