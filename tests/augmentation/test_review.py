"""Tests of the review file: an invalid file gives a one-line error."""

import pytest

from diffcore_hf.augmentation.review import read_review
from diffcore_hf.core.errors import UserError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b'row_id,copy,attempt,verdict\n"' + b"a,0,0,accept\n" * 20_000, "is not a valid CSV file .field larger than"),
        (b"row_id,copy,attempt,verdict\na,x,0,accept\n", "line 2: copy and attempt must be whole numbers"),
        (b"row_id,copy,attempt,verdict\na,0,0,maybe\n", "line 2: verdict is 'maybe'"),
    ],
)
def test_a_file_that_cannot_be_read_gives_a_one_line_error(tmp_path, content, message):
    path = tmp_path / "review.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_review(str(path))
    assert "\n" not in str(error.value)
