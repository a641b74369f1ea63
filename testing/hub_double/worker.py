"""Worker: the process that runs client code. It reads functions from a pipe and sends back values or exceptions."""

from __future__ import annotations

import pickle
import sys
import traceback
from multiprocessing.connection import Connection


def run(message: bytes) -> tuple[bool, object]:
    """Runs a pickled function; returns whether it raised, and its value or exception."""
    try:
        function, args, kwargs = pickle.loads(message)
        return False, function(*args, **kwargs)
    except (Exception, SystemExit) as error:  # A command may exit, but the worker continues.
        error.add_note(f"in the worker:\n{traceback.format_exc()}")
        return True, error


def packed(raised: bool, outcome: object) -> bytes:
    """Pickles an outcome. If it cannot be pickled, a RuntimeError that describes it is pickled."""
    try:
        message = pickle.dumps((raised, outcome))
        pickle.loads(message)  # Some exceptions can be pickled but not unpickled.
        return message
    except Exception as error:
        text = f"cannot be sent back: {outcome!r} ({error!r})"
        return pickle.dumps((True, RuntimeError("\n".join([text, *getattr(outcome, "__notes__", [])]))))


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
