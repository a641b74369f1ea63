"""The error boundary of both programs: the output and exit status for each kind of exception.

UserError           one line with the value and the remedy, status 2
environment fault   one line (full disk, missing permission, ...), status 1
KeyboardInterrupt   one line, status 130; after another signal, 128 plus its number
everything else     the traceback and the address for reports, status 1
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError, environment_fault
from diffcore_hf.core.terminal_text import escaped_streams


def run_program(
    name: str, action: Callable[[], int], *, prints: bool = True, resume_hint: Callable[[], str] = lambda: ""
) -> int:
    """Run the action of a program and turn an exception into output on stderr and an exit status.

    Args:
        name: name of the program; it starts each line.
        action: the function to run; its return value is the exit status.
        prints: whether this process prints one-line errors. In a training with several processes, only one of them
            does. A traceback is always printed, because the fault may occur in this process only.
        resume_hint: function that returns the text after the line of an environment fault. The text can say that the
            same command continues.
    """
    with escaped_streams():
        return _run(name, action, prints, resume_hint)


def _run(name: str, action: Callable[[], int], prints: bool, resume_hint: Callable[[], str]) -> int:
    """Run the action and print its exception; see `run_program`."""
    try:
        return action()
    except UserError as error:
        line, status = " ".join(str(error).split()), 2
    except KeyboardInterrupt as error:
        name_of = signals.name_of(error.number) if isinstance(error, signals.Stopped) else "interrupted"
        line, status = f"{name_of}: {error}" if str(error) else name_of, signals.exit_status(error)
    except BrokenPipeError:  # the reading end of a pipe was closed: `diffcore-hf plan ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        fault = environment_fault(error)
        if fault is None:
            traceback.print_exc()
            report = f"unexpected {type(error).__name__}. Please report it, with the lines above, to {issue_tracker()}"
            print(f"{name}: {report}", file=sys.stderr)
            return 1
        line, status = f"{' '.join(str(fault).split())}{resume_hint()}", 1
    if prints:
        try:
            print(f"{name}: {line}", file=sys.stderr, flush=True)
        except OSError:  # the reader of the stream has ended, for example because the terminal was closed
            signals.silence(sys.stderr)
    return status


def issue_tracker() -> str:
    """Return the address for issues from the metadata of the installed package, or a general text if it has none."""
    from importlib import metadata

    try:
        urls = metadata.metadata("diffcore-hf").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        urls = []
    addresses = {label.strip().lower(): url.strip() for label, _, url in (entry.partition(",") for entry in urls)}
    return addresses.get("issues", "the issue tracker of the project")
