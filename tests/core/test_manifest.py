"""Tests of the check of a manifest: an invalid diffcore.json gives a one-line error that names the key."""

import copy
from typing import Any

import pytest
from card_facts import example_manifest

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.manifest import checked_manifest


def complete() -> dict[str, Any]:
    manifest = example_manifest()
    manifest["counts"] |= {"unlabelled": 0, "references": 240}
    return manifest


def test_the_manifest_of_a_run_is_valid():
    assert checked_manifest(complete(), "x")["counts"]["kept"] == 221


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("recipe",), None, "recipe"),
        (("recipe", "filter", "policy", "name"), 3, "recipe.filter.policy.name"),
        (("recipe", "filter"), [], "recipe.filter"),
        (("counts", "unlabelled"), "0", "counts.unlabelled"),
        (("resolved", "source"), "org/name", "resolved.source"),
        (("files",), {}, "files"),
        (("recipe_digest",), None, "recipe_digest"),
        (("recipe", "strategy"), "edit", "recipe.strategy"),
        (("recipe", "copies"), "x", "recipe.copies"),
        (("recipe", "prompts"), [], "recipe.prompts"),
        (("resolved", "model"), [], "resolved.model"),
        (("layout",), ["columns"], "layout"),
        (("originals",), [1], "originals"),
    ],
)
def test_the_error_names_an_invalid_value(path, value, key):
    manifest = copy.deepcopy(complete())
    parent = manifest
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = value
    with pytest.raises(UserError, match=f"^org/name v1.0.0: diffcore.json has no valid '{key}'"):
        checked_manifest(manifest, "org/name v1.0.0")


def test_invalid_shards_and_files_are_reported():
    with pytest.raises(UserError, match="config 'default' in diffcore.json is not valid"):
        checked_manifest(complete() | {"configs": {"default": {"train": "x.parquet"}}}, "x")
    with pytest.raises(UserError, match="entry 1 of 'files' in diffcore.json is not valid"):
        checked_manifest(complete() | {"files": [complete()["files"][0], {"path": "y"}]}, "x")


@pytest.mark.parametrize("path", ["a\0b", "a" * 256, "a/" * 2100, 5])
def test_a_path_that_no_file_can_have_is_reported(path):
    with pytest.raises(UserError, match="config 'default' in diffcore.json is not valid"):
        checked_manifest(complete() | {"configs": {"default": {"train": [path]}}}, "x")
    with pytest.raises(UserError, match="entry 0 of 'files' in diffcore.json is not valid"):
        checked_manifest(complete() | {"files": [{**complete()["files"][0], "path": path}]}, "x")


@pytest.mark.parametrize("key", ["configs", "files", "version"])
def test_a_text_that_is_not_unicode_is_reported_before_its_key(key):
    path = "\ud800"
    values = {"configs": {"default": {"train": [path]}}, "files": [{"path": path}], "version": path}
    with pytest.raises(UserError, match="^x: diffcore.json has a text that is not valid Unicode"):
        checked_manifest(complete() | {key: values[key]}, "x")


def test_a_missing_manifest_gives_a_one_line_error():
    with pytest.raises(UserError, match="^x has no readable diffcore.json"):
        checked_manifest(None, "x")
