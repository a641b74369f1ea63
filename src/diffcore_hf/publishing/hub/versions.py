"""Versions: semantic version numbers as tags, and the next one.

Owns the words alone; which tags a repository has is remote.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from diffcore_hf.publishing.hub.refusal import Refused

# https://semver.org without build metadata, which a tag cannot carry (`+`).
_FORM = re.compile(
    r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Version:
    """major.minor.patch[-prerelease]; its tag is `v1.2.3`."""

    major: int
    minor: int
    patch: int
    prerelease: str | None = None

    @property
    def tag(self) -> str:
        """The name of the tag."""
        numbers = f"v{self.major}.{self.minor}.{self.patch}"
        return f"{numbers}-{self.prerelease}" if self.prerelease else numbers

    @property
    def rank(self) -> tuple:
        """What versions are ordered by: semver's precedence, a prerelease before its release."""
        parts = [] if self.prerelease is None else self.prerelease.split(".")
        # Numbers sort below words, and as numbers.
        ranked = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)
        return (self.major, self.minor, self.patch, self.prerelease is None, ranked)


def parse_version(text: str) -> Version:
    """`1.2.3` or `v1.2.3`, either with a prerelease.

    Raises:
        UserError: anything else.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise Refused(f"version is {text!r}, which is no semantic version. Use e.g. v1.0.0")
    return Version(*map(int, found.groups()[:3]), found.group(4))


def versions_among(tags: Iterable[str]) -> list[Version]:
    """The versions that there are, in order; tags that are none are left out."""
    found = [parse_version(tag) for tag in tags if tag.startswith("v") and _FORM.fullmatch(tag)]
    return sorted(found, key=lambda version: version.rank)


def next_version(there: Iterable[Version]) -> Version:
    """What to call a version with other content: the highest release with the next minor number."""
    highest = max(there, key=lambda version: version.rank, default=None)
    return Version(1, 0, 0) if highest is None else Version(highest.major, highest.minor + 1, 0)
