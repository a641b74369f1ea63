"""Tests of a review, whose verdicts override the policy."""

import pytest
from run_folders import attempts_of, go, rows, write_review

from diffcore_hf.workflows.export import export


def test_a_review_overrides_the_policy(make, copy, tmp_path):
    reasons = attempts_of(copy)
    rejected = next(key for key, reason in reasons.items() if reason == "low_rank")
    kept = next(key for key, reason in reasons.items() if reason == "kept")
    review = write_review(tmp_path / "review.csv", (rejected, "accept"), (kept, " Reject"))
    outcome = export(copy, tmp_path / "exported", {"review": review})
    now = attempts_of(tmp_path / "exported")
    assert (now[rejected], now[kept]) == ("kept", "review")
    status = {row["row_id"]: row["status"] for row in rows(tmp_path / "exported")}
    assert (status[rejected[0]], status[kept[0]]) == ("kept", "pending")
    assert outcome.summary.reasons["review"] == 1
    assert go(make(copy, review=review)).new_attempts == 1  # one new attempt replaces the rejected image


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "which is not a file"),
        ("row_id,copy,attempt,note\n", "has no column verdict"),
        ("row_id,copy,attempt,verdict\ntrain/0,0,0,maybe\n", "line 2: verdict is 'maybe'"),
        ("row_id,copy,attempt,verdict\ntrain/0,0,0,accept\ntrain/0,x,0,accept\n", "line 3: copy and attempt must be"),
        ("row_id,copy,attempt,verdict\ntrain/0\n", "line 2"),
    ],
)
def test_an_invalid_review_raises_an_error_before_anything_is_written(make, tmp_path, text, message):
    path = tmp_path / "review.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match="review") as error:
        go(make(tmp_path / "out", review=str(path)))
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()
