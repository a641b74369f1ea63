"""Versions: parses and orders versions, and checks names of repositories.

Owns the form of versions, tags and names. Does not read the tags of a repository (remote.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from diffcore_hf.core.errors import UserError

# The form of https://semver.org without build metadata, because a tag cannot contain `+`.
_SEMANTIC_VERSION = re.compile(
    r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Version:
    """A semantic version, major.minor.patch[-prerelease]; its tag is `v1.2.3`."""

    major: int
    minor: int
    patch: int
    prerelease: str | None = None

    @property
    def tag(self) -> str:
        """The name of the version's tag."""
        numbers = f"v{self.major}.{self.minor}.{self.patch}"
        return f"{numbers}-{self.prerelease}" if self.prerelease else numbers

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """The sort key of semantic versions; a prerelease sorts before its release."""
        parts = [] if self.prerelease is None else self.prerelease.split(".")
        # Numeric parts sort before words, and by value.
        ranked = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)
        return (self.major, self.minor, self.patch, self.prerelease is None, ranked)


def parse_version(text: str) -> Version:
    """Parse `1.2.3` or `v1.2.3`, either with a prerelease.

    Raises:
        UserError: the text has another form.
    """
    match = _SEMANTIC_VERSION.fullmatch(text.strip())
    if match is None:
        raise UserError(f"version is {text!r}, which is not a semantic version. Use e.g. v1.0.0")
    major, minor, patch, prerelease = match.groups()
    return Version(int(major), int(minor), int(patch), prerelease)


def versions_among(tags: Iterable[str]) -> list[Version]:
    """Return the versions among the tags, in order; other tags are left out."""
    versions = [parse_version(tag) for tag in tags if tag.startswith("v") and _SEMANTIC_VERSION.fullmatch(tag)]
    return sorted(versions, key=lambda version: version.sort_key)


def next_version(existing: Iterable[Version]) -> Version:
    """Return the proposed version for new content: the highest existing version with the next minor number."""
    highest = max(existing, key=lambda version: version.sort_key, default=None)
    return Version(1, 0, 0) if highest is None else Version(highest.major, highest.minor + 1, 0)


def check_name(repo_id: str) -> None:
    """Check the name of a repository without a request.

    Raises:
        UserError: the Hub would refuse the name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # not in its __all__

    if repo_id.count("/") != 1:
        name = repo_id.strip("/").rpartition("/")[2]
        raise UserError(f"repository is {repo_id!r}, not `owner/name`. Use e.g. org/{name or 'name'}")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"repository is {repo_id!r}, a name that the Hub refuses: {reason}. Use another name") from None
