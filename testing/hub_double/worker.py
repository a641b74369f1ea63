"""The process in which client code runs (client.py): functions in, values or exceptions out, until the pipe closes."""

from __future__ import annotations

import pickle
import sys
import traceback
from multiprocessing.connection import Connection


def run(message: bytes) -> tuple[bool, object]:
    """(whether it raised, value or exception)"""
    try:
        function, args, kwargs = pickle.loads(message)
        return False, function(*args, **kwargs)
    except (Exception, SystemExit) as error:  # a command line exits; the worker stays
        error.add_note(f"in the worker:\n{traceback.format_exc()}")
        return True, error


def packed(raised: bool, outcome: object) -> bytes:
    try:
        message = pickle.dumps((raised, outcome))
        pickle.loads(message)  # an exception may pickle and not come back
        return message
    except Exception as error:
        what = f"cannot be sent back: {outcome!r} ({error!r})"
        return pickle.dumps((True, RuntimeError("\n".join([what, *getattr(outcome, "__notes__", [])]))))


def main() -> None:
    pipe = Connection(int(sys.argv[1]))
    while True:
        try:
            path, message = pipe.recv(), pipe.recv_bytes()
        except EOFError:
            return
        sys.path += [entry for entry in path if entry not in sys.path]
        pipe.send_bytes(packed(*run(message)))


if __name__ == "__main__":
    main()
