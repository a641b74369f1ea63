"""The error of a mixer that cannot be used with a network or an image size."""

from __future__ import annotations

from diffcore_hf.core.errors import UserError


class Unsupported(UserError):
    """Raised by `Mixer.prepare`. A comparison reports the reasons of all its arms in one line."""

    def __init__(self, mixer: str, reason: str, remedy: str):
        """Build the message of a training with this mixer.

        Args:
            mixer: name of the mixer.
            reason: why it does not work, as a clause that follows `but`.
            remedy: a sentence without a final period, with an option that works.
        """
        super().__init__(f"mixer.name is {mixer}, but {reason}. {remedy}")
        self.reason = reason
