"""Draws of a unit: its context, the class that its image has to show, the strength of the change, and a real image.

They depend only on the seed of the recipe, the row id and the copy, so other rows and the order of the rows have no
effect. Does not choose the rows (augmentation/plan.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.core import seeding
from diffcore_hf.method.arrays import Floats, Ints
from diffcore_hf.method.thresholds import chunks

Words64 = NDArray[np.uint64]


def unit_contexts(row_ids: Sequence[str], copies: Ints, count: int, seed: int) -> Ints:
    """Returns (U,) int64: the context of each unit, (hash(seed, row id) + copy) modulo the number of contexts.

    A context depends on no other row, so a unit keeps its prompts when the source or the plan grows. The contexts of a
    class are balanced in expectation. The copies of a row have consecutive contexts.

    Args:
        row_ids: U row ids.
        copies: (U,) int64, number of each unit's counterpart.
        count: number of contexts, at least 1.
        seed: seed of the recipe.
    """
    hashes = [int.from_bytes(seeding.digest("context", seed, row_id)[:8], "big") % count for row_id in row_ids]
    return (np.array(hashes, np.int64) + copies) % count


def target_classes(
    labels: Ints, keys: Sequence[tuple[str, int]], names: Sequence[str], eligible: Ints, seed: int, *, own: bool
) -> Ints:
    """Returns the drawn target class of each unit, uniform over the eligible classes.

    The draw is rendezvous hashing over the names of the classes: each pair of unit and class has a hash, and the class
    with the largest one is drawn. So a new class changes the target of only those units that get the new class.

    Args:
        labels: (U,) int64, class of each unit's row.
        keys: U pairs of row id and copy.
        names: the K class names.
        eligible: (E,) int64, the classes that can be drawn.
        seed: seed of the recipe.
        own: true if the class of the row can be drawn too.

    Returns:
        (U,) int64.

    Raises:
        ValueError: there is no eligible class, or only one and the class of the row must not be drawn.
    """
    if len(eligible) < (1 if own else 2):
        raise ValueError(f"{len(eligible)} eligible classes are too few to draw a target class")
    by_class = _words(("target", names[index]) for index in eligible.tolist())
    by_unit = _words(("target", seed, *key) for key in keys)
    targets = np.empty(len(labels), np.int64)
    for rows in chunks(len(labels), len(eligible)):
        weights = _mixed_bits(by_unit[rows, None] ^ by_class)
        if not own:
            weights[labels[rows, None] == eligible] = 0
        targets[rows] = eligible[weights.argmax(1)]
    return targets


def drawn_strengths(keys: Sequence[tuple[str, int]], strengths: Sequence[float], seed: int) -> Floats:
    """Returns (U,) float64: the strength of each unit, drawn uniformly from `strengths`.

    Args:
        keys: U pairs of row id and copy.
        strengths: one or more strengths.
        seed: seed of the recipe.
    """
    if len(strengths) == 1:
        return np.full(len(keys), strengths[0], np.float64)
    shares = [seeding.uniform("strength", seed, *key) for key in keys]
    return np.array([strengths[int(share * len(strengths))] for share in shares], np.float64)


def class_rows(
    shown: Ints,
    rows: Ints,
    keys: Sequence[tuple[str, int]],
    candidates: Ints,
    labels: Ints,
    ids: Sequence[str],
    seed: int,
) -> Ints:
    """Returns for each unit a drawn row of the class that its image has to show, uniform over the candidates.

    The draw is rendezvous hashing over the ids of rows, as in `target_classes`. The row of the unit itself is drawn
    only if the class has no other candidate.

    Args:
        shown: (U,) int64, class that the image of each unit has to show.
        rows: (U,) int64, row of each unit.
        keys: U pairs of row id and copy.
        candidates: (R,) int64, the rows that can be drawn.
        labels: (R,) int64, their classes.
        ids: R ids of these rows.
        seed: seed of the recipe.

    Returns:
        (U,) int64.
    """
    by_row = _words(("class image", row_id) for row_id in ids)
    by_unit = _words(("class image", seed, *key) for key in keys)
    drawn = rows.copy()
    for label in np.unique(shown).tolist():
        units, members = np.flatnonzero(shown == label), np.flatnonzero(labels == label)
        if not members.size:
            continue
        for part in chunks(len(units), len(members)):
            chosen = units[part]
            weights = _mixed_bits(by_unit[chosen, None] ^ by_row[members])
            weights[rows[chosen, None] == candidates[members]] = 0
            drawn[chosen] = candidates[members[weights.argmax(1)]]
    return drawn


def _words(values: Iterable[tuple[str | int, ...]]) -> Words64:
    """Returns (n,) uint64: the first 64 bits of the hash of each tuple."""
    return np.frombuffer(b"".join(seeding.digest(*each)[:8] for each in values), ">u8").astype(np.uint64)


def _mixed_bits(words: Words64) -> Words64:
    """Returns uint64 words whose bits are mixed (the finaliser of SplitMix64), so that similar words become unrelated.

    A sha256 of each pair of unit and class would be slow, because there can be more than a million pairs.
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
