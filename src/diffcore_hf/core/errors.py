"""Errors that a user can mend.

Every other exception is a fault of this package or of a library and keeps its traceback (commands/errors.py).
"""

from __future__ import annotations


class UserError(ValueError):
    """Raised for what a user can mend; the message is one line with the value and a remedy that works.

    An exception of a library that stems from the user's input is wrapped in this class where the library is called,
    with its innermost cause in the message.
    """
