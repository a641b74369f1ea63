"""Tests of the sheet of training batches."""

import numpy as np
import pytest

from diffcore_hf.publishing.pictures.batch_sheet import BatchSection, BatchTile, batch_sheet, label_lines


@pytest.mark.parametrize(
    ("labels", "lines"),
    [
        ({"wren": 1.0}, [("wren", 1.0)]),
        ({"wren": 0.3, "rook": 0.7}, [("rook", 0.7), ("wren", 0.3)]),
        ({"a": 0.4, "b": 0.3, "c": 0.3}, [("a", 0.4), ("b", 0.3), ("c", 0.3)]),
        ({"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}, [("a", 0.4), ("b", 0.3), ("2 other classes: 30 %", None)]),
    ],
)
def test_the_largest_weights_have_a_line_each(labels, lines):
    assert label_lines(labels) == lines


def test_the_sheet_has_a_section_for_each_arm_and_equal_arguments_give_equal_pixels():
    tiles = [BatchTile(np.full((32, 32, 3), 10 * number, np.uint8), {"wren": 0.6, "rook": 0.4}) for number in range(7)]
    one, two = BatchSection("plain", "", tiles[:6]), BatchSection("cutmix", "alpha: 1.0", tiles)
    heights = []
    for sections in ([one], [one, one], [two]):
        sheet, again = (batch_sheet(sections, title="Title", legend="Legend") for _ in range(2))
        assert sheet.tobytes() == again.tobytes()
        assert sheet.width == 1200
        heights.append(sheet.height)
    assert heights[0] < heights[2] < heights[1] + 100  # seven images need two rows
