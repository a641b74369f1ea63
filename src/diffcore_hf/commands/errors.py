"""What both programs do about errors: one line for a user, an exit status, no traceback.

Owns this answer alone. cli.py and training/__main__.py are the programs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def answer(name: str, action: Callable[[], int], *, speaks: bool = True, more: Callable[[], str] = str) -> int:
    """Run a program's action; returns the exit status: what it returns, 1 disk trouble, 2 bad input, 130 interrupted.

    Args:
        name: of the program, in front of the line.
        action: what it does.
        speaks: whether this process may print; of several that train together only one does.
        more: what to add where a file could not be written.
    """
    try:
        return action()
    except ValueError as error:
        line, status = " ".join(str(error).split()), 2
    except KeyboardInterrupt:
        line, status = "interrupted", 130
    except BrokenPipeError:  # `diffcore-hf plan ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        line, status = f"{error}{more()}", 1
    if speaks:
        print(f"{name}: {line}", file=sys.stderr)
    return status
