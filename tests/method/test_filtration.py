"""Tests of decide and due: the order of the decisions, the statuses, and the attempts that are due."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.method import checks
from diffcore_hf.method.filtration import AttemptFacts, Units, decide, due, rejected_share
from diffcore_hf.method.policies import fit
from diffcore_hf.method.references import ReferenceEmbeddings

# The similarities of these embeddings to the real image (1, 0) are 1, 0 and NaN.
GOOD, BAD, NO_IMAGE = (1.0, 0.0), (0.0, 1.0), (np.nan, np.nan)
CLASSES = 2
FIXED = fit(
    PolicyConfig("fixed", t=0.5),
    ReferenceEmbeddings(["train/a", "train/b"], np.array([0, 1]), np.array([GOOD, BAD], np.float16), CLASSES),
    0,
)


EMPTY = ReferenceEmbeddings([], np.zeros(0, np.int64), np.zeros((0, 2), np.float16), CLASSES)


def plan(count, labels=None, copies=None, readable=None):
    labels = np.zeros(count, np.int64) if labels is None else np.array(labels)
    copies = np.zeros(count, int) if copies is None else np.array(copies)
    return Units([f"train/{i}" for i in range(count)], copies, labels, readable)


def facts(*rows):
    """Returns facts from rows of unit, attempt, embedding, and optionally a recorded reason and a sha256.

    By default each image has a sha256 of its own.
    """
    rows = [(*row, None, f"{row[0]}-{row[1]}")[:5] if len(row) == 3 else row for row in rows]
    rows = [row if len(row) == 5 else (*row, f"{row[0]}-{row[1]}") for row in rows]
    return AttemptFacts(
        units=np.array([row[0] for row in rows], np.int64),
        attempts=np.array([row[1] for row in rows], int),
        embeddings=np.array([row[2] for row in rows], np.float16).reshape(len(rows), 2),
        parents=np.array([GOOD] * len(rows), np.float16).reshape(len(rows), 2),
        reasons=[row[3] for row in rows],
        image_sha256=[row[4] for row in rows],
    )


def decided(units, attempts, max_attempts=3, review=None):
    return decide(units, attempts, FIXED, max_attempts=max_attempts, review=review)


CRASH = ("crashed: out of memory", None)
NEVER = checks.Check("never", "no image is rejected", "never", lambda candidate: False)


@pytest.mark.parametrize(
    ("rows", "review", "reasons", "status"),
    [
        ([], {}, [], "pending"),
        ([(0, 0, GOOD)], {}, ["kept"], "kept"),
        ([(0, 0, BAD)], {}, ["low_similarity"], "pending"),
        ([(0, 0, BAD), (0, 1, GOOD)], {}, ["low_similarity", "kept"], "kept"),
        ([(0, 0, GOOD), (0, 1, GOOD), (0, 2, BAD)], {}, ["kept", "", ""], "kept"),
        ([(0, 0, BAD), (0, 1, BAD), (0, 2, BAD)], {}, ["low_similarity"] * 3, "exhausted"),
        ([(0, 0, BAD), (0, 2, BAD)], {}, ["low_similarity"] * 2, "pending"),  # attempt 1 is missing
        ([(0, 0, NO_IMAGE, *CRASH), (0, 1, NO_IMAGE, *CRASH), (0, 2, NO_IMAGE, *CRASH)], {}, ["crashed"] * 3, "failed"),
        ([(0, 0, NO_IMAGE, *CRASH), (0, 1, BAD), (0, 2, NO_IMAGE, *CRASH)], {},
         ["crashed", "low_similarity", "crashed"], "exhausted"),
        ([(0, 0, NO_IMAGE, *CRASH)], {}, ["crashed"], "pending"),
        ([(0, 0, GOOD, "unsafe")], {}, ["unsafe"], "pending"),
        ([(0, 0, GOOD, "invalid: not finite")], {}, ["invalid"], "pending"),
        # A reviewer's accept overrides the policy and recorded reasons, if there is an image.
        ([(0, 0, BAD)], {("train/0", 0, 0): True}, ["kept"], "kept"),
        ([(0, 0, GOOD)], {("train/0", 0, 0): False}, ["review"], "pending"),
        ([(0, 0, GOOD), (0, 1, GOOD)], {("train/0", 0, 0): False}, ["review", "kept"], "kept"),
        ([(0, 0, GOOD, "unsafe")], {("train/0", 0, 0): True}, ["kept"], "kept"),
        ([(0, 0, GOOD, "unsafe")], {("train/0", 0, 0): False}, ["unsafe"], "pending"),
        ([(0, 0, NO_IMAGE, *CRASH)], {("train/0", 0, 0): True}, ["crashed"], "pending"),
        ([(0, 0, NO_IMAGE, "invalid: not finite", None)], {("train/0", 0, 0): True}, ["invalid"], "pending"),
        ([(0, 0, GOOD), (0, 1, GOOD)], {("train/0", 0, 1): True}, ["kept", ""], "kept"),  # attempt 1 is not decided
        ([(0, 0, GOOD)], {("train/0", 1, 0): False}, ["kept"], "kept"),  # the verdict is about another unit
    ],
)  # fmt: skip
def test_the_facts_of_one_unit_give_its_reasons_and_its_status(rows, review, reasons, status):
    decisions = decided(plan(1), facts(*rows), review=review)
    assert decisions.reason.tolist() == reasons
    assert decisions.status.tolist() == [status]
    assert set(reasons) - {""} <= set(checks.reasons())
    kept = reasons.index("kept") if "kept" in reasons else -1
    assert decisions.counterpart.tolist() == [kept]


def test_an_added_check_rejects_in_its_position():
    # The check uses the embedding, because every attempt has one.
    blank = checks.Check(
        "blank", "looks like an empty page", "a blank image", lambda candidate: tuple(candidate.embedding) == BAD
    )
    rows = facts((0, 0, BAD), (0, 1, GOOD), (1, 0, BAD, "unsafe"))
    decisions = decide(plan(2), rows, FIXED, max_attempts=3, checks=(blank, *checks.CHECKS))
    assert decisions.reason.tolist() == ["blank", "kept", "blank"]
    last = decide(plan(2), rows, fit(PolicyConfig("all"), EMPTY, 0), max_attempts=3, checks=(*checks.CHECKS, blank))
    assert last.reason.tolist() == ["blank", "kept", "unsafe"]
    assert last.rejected_generated[0] == 2 / 3


def test_score_bound_and_rank_of_each_attempt_are_reported():
    decisions = decided(plan(1), facts((0, 0, BAD), (0, 1, NO_IMAGE, *CRASH), (0, 2, GOOD), (0, 3, GOOD)))
    np.testing.assert_array_equal(decisions.similarity, [0, np.nan, 1, np.nan])
    np.testing.assert_array_equal(decisions.score, [0, np.nan, 1, np.nan])
    np.testing.assert_array_equal(decisions.bound, [0.5, 0.5, 0.5, np.nan])
    assert decisions.class_rank.tolist() == [2, 0, 1, 0]
    assert decisions.class_bound.tolist() == [0.5, 0.5]


def test_the_later_attempt_of_two_equal_images_is_the_duplicate():
    rows = [(2, 0, GOOD, None, "same"), (0, 1, GOOD, None, "same"), (1, 0, GOOD, None, "same"), (0, 0, BAD, None, "x")]
    decisions = decided(plan(3), facts(*rows))
    assert decisions.reason.tolist() == ["duplicate", "duplicate", "kept", "low_similarity"]
    accepted = decided(plan(3), facts(*rows), review={("train/2", 0, 0): True})
    assert accepted.reason.tolist() == ["kept", "duplicate", "kept", "low_similarity"]


def test_an_undecided_attempt_makes_no_equal_image_a_duplicate():
    rows = [(0, 0, GOOD), (0, 1, GOOD, None, "same"), (1, 0, BAD), (1, 1, GOOD, None, "same")]
    assert decided(plan(2), facts(*rows)).reason.tolist() == ["kept", "", "low_similarity", "kept"]


def test_attempts_above_max_attempts_or_outside_the_plan_are_ignored():
    rows = facts((0, 0, BAD), (0, 1, BAD), (0, 2, GOOD), (-1, 0, GOOD))
    fewer, more = decided(plan(1), rows, max_attempts=2), decided(plan(1), rows, max_attempts=3)
    assert fewer.decided.tolist() == [True, True, False, False]
    assert fewer.reason.tolist() == ["low_similarity", "low_similarity", "", ""]
    assert fewer.status.tolist() == ["exhausted"]
    assert due(plan(1), rows, fewer, 2) is None
    assert more.reason.tolist() == ["low_similarity", "low_similarity", "kept", ""]
    raised = decided(plan(1), facts((0, 0, BAD), (0, 1, BAD)), max_attempts=4)
    assert raised.status.tolist() == ["pending"]
    assert due(plan(1), facts((0, 0, BAD), (0, 1, BAD)), raised, 4)[0] == 2


def test_a_repeated_attempt_or_an_unknown_reason_raises_an_error():
    with pytest.raises(ValueError, match="attempt 1 of train/0 copy 0 occurs twice"):
        decided(plan(1), facts((0, 1, GOOD), (0, 1, BAD)))
    with pytest.raises(ValueError, match="'leak'"):
        decided(plan(1), facts((0, 0, GOOD, "leak")))


@pytest.mark.parametrize(
    ("units", "bad", "given_up"),
    [
        (19, 19, False),  # a class with fewer than twenty planned units is not given up
        (20, 19, False),  # attempt 0 of the twentieth unit is missing
        (20, 20, True),
        (25, 20, True),  # only the first twenty units count
    ],
)
def test_a_class_is_given_up_if_its_first_twenty_units_are_rejected(units, bad, given_up):
    decisions = decided(plan(units), facts(*((i, 0, BAD) for i in range(bad))))
    assert decisions.given_up.tolist() == [given_up, False]
    assert decisions.status.tolist() == ["exhausted" if given_up else "pending"] * bad + ["pending"] * (units - bad)


def test_one_kept_image_prevents_giving_up_its_class():
    bad = [(i, 0, BAD) for i in range(19)]
    assert decided(plan(20), facts(*bad, (19, 0, GOOD))).given_up.tolist() == [False, False]
    review = {("train/5", 0, 0): True}
    assert decided(plan(20), facts(*bad, (19, 0, BAD)), review=review).given_up.tolist() == [False, False]
    # A kept image after the first twenty units stays kept, although the class is given up. Attempt 1 of unit 3 exists
    # because a smaller earlier plan did not give up the class. This attempt is ignored.
    late = decided(plan(21), facts(*bad, (19, 0, BAD), (20, 0, GOOD), (3, 1, GOOD)))
    assert late.given_up.tolist() == [True, False]
    assert [late.status[i] for i in (2, 3, 20)] == ["exhausted", "exhausted", "kept"]


def test_only_copy_0_of_readable_rows_counts_towards_giving_up():
    copies, readable = [0] * 20 + [1] * 5, np.ones(25, bool)
    bad = [(i, 0, BAD) for i in range(1, 20)]
    readable[0] = False
    unreadable_first = plan(25, copies=copies, readable=readable)
    assert not decided(unreadable_first, facts(*bad)).given_up.any()
    one_more = plan(25, copies=[0] * 21 + [1] * 4, readable=readable)
    decisions = decided(one_more, facts(*bad, (20, 0, BAD)))
    assert decisions.given_up.tolist() == [True, False]
    assert decisions.status[0] == "failed"


def test_units_without_a_kept_attempt_are_due_in_the_next_round():
    units, rows, rounds = plan(23, labels=[0] * 20 + [1] * 3), [], []
    # No attempt of class 0 is kept; attempt 0 of unit 20 and attempt 1 of unit 21 are kept.
    outcome = {(20, 0): GOOD, (21, 1): GOOD}
    while (step := due(units, facts(*rows), decided(units, facts(*rows)), 3)) is not None:
        r, missing = step
        if len(missing) > 3:  # after an interruption in the middle of a round, the other attempts are still due
            half = [(int(u), r, outcome.get((int(u), r), BAD)) for u in missing[1::2]]
            still_due = due(units, facts(*rows, *half), decided(units, facts(*rows, *half)), 3)
            assert still_due[0] == r
            assert still_due[1].tolist() == missing[::2].tolist()
        rows += [(int(u), r, outcome.get((int(u), r), BAD)) for u in missing]
        rounds.append((r, missing.tolist()))
    assert rounds == [(0, list(range(23))), (1, [21, 22]), (2, [22])]
    assert decided(units, facts(*rows)).status.tolist() == ["exhausted"] * 20 + ["kept", "kept", "exhausted"]


def test_unreadable_rows_are_never_due_and_a_lost_attempt_is_due_again():
    units = plan(3, readable=np.array([True, False, True]))
    nothing = facts()
    r, missing = due(units, nothing, decided(units, nothing), 3)
    assert (r, missing.tolist()) == (0, [0, 2])
    lost = facts((0, 1, GOOD), (2, 0, BAD))  # attempt 0 of unit 0 was lost with its part, so round 0 is unfinished
    r, missing = due(units, lost, decided(units, lost), 3)
    assert (r, missing.tolist()) == (0, [0])


def test_rejection_rates_leave_out_undecided_and_crashed_attempts():
    rows = [(0, 0, BAD), (0, 1, GOOD), (0, 2, BAD), (1, 0, NO_IMAGE, *CRASH), (1, 1, GOOD, "unsafe"), (1, 2, GOOD)]
    decisions = decided(plan(2), facts(*rows))
    assert decisions.rejected_generated[0] == 2 / 4  # two of four attempts are rejected: low_similarity and unsafe
    assert np.isnan(decisions.rejected_generated[1])
    contexts = ["snow", "rain", "rain", "fog", "snow", "rain"]
    assert rejected_share(decisions.reason, contexts) == {"snow": 1.0, "rain": 0.0}


cases = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=count, max_size=count),
        st.dictionaries(
            st.tuples(st.integers(0, count - 1), st.integers(0, 3)),
            st.tuples(
                st.sampled_from([GOOD, BAD]),
                st.sampled_from([None, None, "unsafe", "crashed: x"]),
                st.sampled_from([None, "same", "equal"]),
                st.sampled_from([None, None, True, False]),
            ),
        ),
        st.randoms(use_true_random=False),
    )
)


@settings(max_examples=150, deadline=None)
@given(cases)
def test_decisions_of_random_facts_are_consistent(case):
    kinds, attempts, random = case
    units = plan(len(kinds), [label for label, _ in kinds], [copy for _, copy in kinds])
    rows = []
    for (unit, number), (embedding, fact, sha256, _) in attempts.items():
        crashed = fact is not None and fact.startswith("crashed")
        own = f"{unit}-{number}"
        rows.append((unit, number, NO_IMAGE if crashed else embedding, fact, None if crashed else sha256 or own))
    review = {
        (f"train/{unit}", kinds[unit][1], number): word
        for (unit, number), (*_, word) in attempts.items()
        if word is not None
    }
    decisions = decided(units, facts(*rows), review=review)

    for unit in range(len(kinds)):
        own_attempts = sorted((number, i) for i, (u, number, *_) in enumerate(rows) if u == unit and number < 3)
        words = [decisions.reason[i] for _, i in own_attempts]
        kept = words.index("kept") if "kept" in words else len(words)
        assert words.count("kept") == (kept < len(words)) == (decisions.status[unit] == "kept")
        assert "" not in words[:kept]
        assert set(words[kept + 1 :]) <= {""}
        assert decisions.counterpart[unit] == (own_attempts[kept][1] if kept < len(words) else -1)
    assert [bool(word) for word in decisions.reason] == decisions.decided.tolist()

    # Built-in checks are tested once for each combination of facts. With another check, every attempt is tested.
    tested = (*checks.CHECKS, NEVER)
    each = decide(units, facts(*rows), FIXED, max_attempts=3, review=review, checks=tested)
    assert each.reason.tolist() == decisions.reason.tolist()

    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = decided(units, facts(*(rows[i] for i in order)), review=review)
    assert shuffled.reason.tolist() == [decisions.reason[i] for i in order]
    assert shuffled.status.tolist() == decisions.status.tolist()

    # Decisions about rounds <= r do not depend on later rounds.
    for r in range(3):
        early = [i for i, row in enumerate(rows) if row[1] <= r]
        before = decided(units, facts(*(rows[i] for i in early)), review=review)
        assert before.reason.tolist() == [decisions.reason[i] for i in early]
    # Decisions do not depend on units that are added at the end, except for duplicates.
    fewer = [i for i, row in enumerate(rows) if row[0] < len(kinds) - 1]
    before = decided(plan(len(kinds) - 1, units.labels[:-1], units.copies[:-1]), facts(*(rows[i] for i in fewer)),
                     review=review)  # fmt: skip
    if "duplicate" not in decisions.reason:
        assert before.reason.tolist() == [decisions.reason[i] for i in fewer]


def test_decisions_do_not_depend_on_the_order_of_facts():
    rng = np.random.default_rng(0)
    references = ReferenceEmbeddings([f"r/{i}" for i in range(60)], np.arange(60) % 2, rng.normal(size=(60, 4)), 2)
    units = plan(40, labels=np.arange(40) % 2)
    attempts = AttemptFacts(
        np.tile(np.arange(40), 2), np.repeat([0, 1], 40), rng.normal(size=(80, 4)), rng.normal(size=(80, 4)),
        [None] * 80, [str(i) for i in range(80)],
    )  # fmt: skip
    order = rng.permutation(80)
    other = AttemptFacts(**{
        field.name: np.array(getattr(attempts, field.name))[order]
        for field in dataclasses.fields(attempts)
        if field.name != "comparisons"
    })  # fmt: skip
    for policy in (
        PolicyConfig(),
        PolicyConfig("mean"),
        PolicyConfig("random"),
        PolicyConfig("quantile"),
        PolicyConfig("all"),
    ):
        fitted = fit(policy, references, 0)
        first, second = (decide(units, facts, fitted, max_attempts=2) for facts in (attempts, other))
        assert first.reason[order].tolist() == second.reason.tolist()
        np.testing.assert_array_equal(first.score[order], second.score)
        assert first.status.tolist() == second.status.tolist()
