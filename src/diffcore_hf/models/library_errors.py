"""Converts exceptions of the model libraries whose cause is the user's model, adapter or network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause


@contextlib.contextmanager
def library_errors(problem: str, remedy: str) -> Iterator[None]:
    """Turns every exception of a library call into a `UserError` with the problem, the innermost cause and the remedy.

    Use it around the library call only, so that a bug in this package keeps its traceback. It covers all exception
    types, because the libraries raise many different ones for an unreadable file. A fault of the machine, such as a
    full disk or too little memory, is raised unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or environment_fault(error):
            raise
        raise UserError(f"{problem}: {innermost_cause(error).rstrip('.')}. {remedy}") from error


class OutOfMemory(UserError):
    """Raised when even the smallest batch does not fit into memory. The run then stops and records no attempt."""


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception means that memory ran out, on a GPU or a CPU."""
    if isinstance(error, RuntimeError):  # torch.OutOfMemoryError on cuda is a subclass; a CPU and mps raise the class.
        return "out of memory" in str(error) or "not enough memory" in str(error)
    return isinstance(error, (MemoryError, OutOfMemory))
