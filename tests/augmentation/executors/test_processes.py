"""Tests of worker processes: the option --workers is a number of processes."""

import pytest

from diffcore_hf.augmentation.executors.processes import MAX_PROCESSES, number_of_processes
from diffcore_hf.core.errors import UserError


@pytest.mark.parametrize("text", ["1", "2", str(MAX_PROCESSES)])
def test_a_number_of_processes_is_read(text):
    assert number_of_processes(text) == int(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "", "two", str(MAX_PROCESSES + 1), "9999", "1" * 400])
def test_another_value_gives_a_one_line_error_whose_remedy_works(text):
    with pytest.raises(UserError, match=r"^--workers is .*such as 2, or auto, or ray$"):
        number_of_processes(text)
    assert number_of_processes("2") == 2
