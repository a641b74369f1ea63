"""Tests of the output and the exit status of a command for each kind of exception."""

import errno
import subprocess
import sys

import pytest

from diffcore_hf.commands import main as diffcore
from diffcore_hf.commands import train
from diffcore_hf.commands.errors import issue_tracker, run_program
from diffcore_hf.core.errors import UserError


def bug(*arguments, **keywords):
    """Raise the error of `zip` for lists of different lengths, as a bug in the package does."""
    list(zip([1], [1, 2], strict=True))


def raising(error):
    def action():
        raise error

    return action


def with_cause(outer, inner):
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    "error, status, line",
    [
        (UserError("fraction is 2.\n  Use 0.5"), 2, "prog: fraction is 2. Use 0.5\n"),
        (KeyboardInterrupt(), 130, "prog: interrupted\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "prog: [Errno 28] No space left on device, resume\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "x"),
            1,
            "prog: [Errno 13] Permission denied: 'x', resume\n",
        ),
        (
            with_cause(RuntimeError("failed"), OSError(errno.EDQUOT, "Disk quota exceeded")),
            1,
            f"prog: [Errno {errno.EDQUOT}] Disk quota exceeded, resume\n",
        ),
    ],
    ids=["user", "interrupt", "disk full", "permission", "quota as cause"],
)
def test_an_expected_error_is_printed_as_one_line(capsys, error, status, line):
    assert run_program("prog", raising(error), resume_hint=lambda: ", resume") == status
    assert capsys.readouterr() == ("", line)
    assert run_program("prog", raising(error), prints=False) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("prints", [True, False])
@pytest.mark.parametrize("error", [ValueError("shapes"), TypeError("x"), FileNotFoundError(errno.ENOENT, "gone")])
def test_every_other_exception_shows_its_traceback_and_where_to_report_it(capsys, error, prints):
    assert run_program("prog", raising(error), prints=prints) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2] == f"{type(error).__name__}: {error}"
    assert lines[-1] == (
        f"prog: unexpected {type(error).__name__}. Please report it, with the lines above, to {issue_tracker()}"
    )


def test_a_closed_pipe_is_not_an_error():
    code = (
        "import sys; from diffcore_hf.commands.errors import run_program\n"
        "def action():\n    raise BrokenPipeError\n"
        "sys.exit(run_program('prog', action))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_bug_inside_a_command_shows_its_traceback(capsys, monkeypatch):
    monkeypatch.setitem(diffcore.VERBS, "plan", bug)
    assert diffcore.main(["plan", "cub"]) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed and "zip() argument 2 is longer" in printed
    assert printed.splitlines()[-1].startswith("diffcore-hf: unexpected ValueError. Please report it")


def test_a_bug_inside_a_training_shows_its_traceback(capsys, monkeypatch):
    from diffcore_hf.training.comparison import trials

    monkeypatch.setattr(trials, "run", bug)
    assert train.main(["--data.path", "out/photos"]) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed and "zip() argument 2 is longer" in printed
    assert printed.splitlines()[-1].startswith("train: unexpected ValueError. Please report it")


@pytest.mark.parametrize(
    "declared, address",
    [(["Homepage, h://x", "Issues, h://x/issues"], "h://x/issues"), (None, "the issue tracker of the project")],
)
def test_the_address_for_reports_is_the_address_of_the_package(monkeypatch, declared, address):
    class Metadata:
        def get_all(self, name):
            return declared if name == "Project-URL" else None

    monkeypatch.setattr("importlib.metadata.metadata", lambda name: Metadata())
    assert issue_tracker() == address
