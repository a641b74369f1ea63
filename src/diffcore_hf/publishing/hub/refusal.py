"""Refusal: what we say no to, in one line with what is to be done. Everything else that is raised is the Hub's."""

from __future__ import annotations

from diffcore_hf.core.errors import UserError


class Refused(UserError):
    """Final: trying again cannot help."""
