"""Recorded recipe: recomputes both digests from the recipe in diffcore.json, and compares the identities in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcore_hf.config.digests import digests_of_fields
from diffcore_hf.core.manifest import Manifest
from diffcore_hf.publishing.audit.findings import Findings


def audit_recipe(manifest: Manifest, findings: Findings) -> None:
    """Check the digests of a manifest and the identities of its source and models.

    A manifest of an earlier version does not contain the versions of the stages, so its digests are not recomputed.
    """
    recipe: Mapping[str, Any] = manifest["recipe"]
    resolved: Mapping[str, Any] = manifest["resolved"]
    for section in ("source", "model", "filter"):
        recorded = recipe.get(section, {}).get("identity")
        found = (resolved.get(section) or {}).get("identity")
        if recorded is not None and recorded != found:
            findings.add(f"diffcore.json: the identity of the {section} differs from that in the recipe", str(found))
    if "stages" not in manifest:
        return
    path = resolved["source"].get("path")
    expected = digests_of_fields(recipe, manifest["stages"], path)
    for name, digest in zip(("attempt_digest", "recipe_digest"), expected, strict=True):
        if manifest[name] != digest:  # type: ignore[literal-required]
            findings.add(f"diffcore.json: the {name} does not follow from the recipe", digest)
