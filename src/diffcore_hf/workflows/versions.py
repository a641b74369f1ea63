"""Lists the versions of a dataset on the Hub. This module prints nothing."""

from __future__ import annotations

from dataclasses import dataclass

from diffcore_hf.publishing.hub.client_errors import as_user_error
from diffcore_hf.publishing.hub.remote import open_remote
from diffcore_hf.publishing.hub.versions import versions_among


@dataclass(frozen=True)
class ListedVersion:
    """A version of a dataset on the Hub."""

    tag: str
    commit: str
    rows: int
    kept: int
    recipe_digest: str


def versions(repo_id: str) -> list[ListedVersion]:
    """List the versions of a dataset, lowest number first. Other tags are left out.

    Raises:
        UserError: the dataset does not exist, or the Hub failed.
    """
    remote = open_remote(repo_id)
    listed = []
    with as_user_error(repo_id):
        tags = remote.tags()
        for version in versions_among(tags):
            manifest = remote.manifest(tags[version.tag]) or {}
            counts, digest = manifest.get("counts"), manifest.get("recipe_digest")
            if isinstance(counts, dict) and {"rows", "kept"} <= counts.keys() and isinstance(digest, str):
                listed.append(ListedVersion(version.tag, tags[version.tag], counts["rows"], counts["kept"], digest))
    return listed
