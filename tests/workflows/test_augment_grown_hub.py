"""Tests of a Hub source: a run keeps its commit, and another revision keeps the facts of unchanged rows."""

import pytest
from run_folders import attempts_of, published
from small_photos import photos

from testing.hub_double.fixtures import client, hub  # noqa: F401 (fixtures)


def push(repo, counts, order=None):
    """Push photos as one commit, in the given order of rows, and return the commit."""
    from datasets import DatasetDict

    ds = photos(counts)
    return DatasetDict(train=ds.select(order) if order else ds).push_to_hub(repo).oid


def augment(output, repo, keys):
    """Augment a dataset on the Hub; return its commit, the new and the reused attempts, and the changed rows."""
    from diffcore_hf.config.augment_schema import build_recipe
    from diffcore_hf.config.layers import keywords_layer
    from diffcore_hf.workflows.augment import run

    recipe = build_recipe({"source": {"path": repo}, "output": output}, keywords_layer(**keys))
    result = run(recipe, progress=False)
    changed = (result.changes.added, result.changes.removed) if result.changes else None
    return result.recipe.source.revision, result.new_attempts, result.reused_attempts, changed


@pytest.fixture
def recipe_keys(tiny):
    return {
        "strategy": "drawn_images:OfImage",
        "strict": True,
        "filter": {"path": tiny["clip"], "references": 3, "policy": "all"},
        "max_attempts": 2,
    }


def test_another_revision_keeps_the_facts_of_unchanged_rows(hub, client, recipe_keys, tmp_path):  # noqa: F811
    repo = hub.repo_id()
    first = client(push, repo, [4, 3])
    assert client(augment, str(tmp_path / "out"), repo, recipe_keys) == (first, 7, 0, None)
    # Row 4 has another image, and rows 7 and 8 are new.
    second = client(push, repo, [4, 5], [0, 1, 2, 3, 8, 5, 6, 7, 4])
    assert client(augment, str(tmp_path / "out"), repo, recipe_keys) == (first, 0, 7, None)
    with_revision = recipe_keys | {"source": {"revision": second}}
    # Rows 0 to 3, 5 and 6 did not change.
    assert client(augment, str(tmp_path / "out"), repo, with_revision) == (second, 3, 6, (3, 1))
    client(augment, str(tmp_path / "new"), repo, with_revision)
    assert published(tmp_path / "out") == published(tmp_path / "new")
    assert {row_id for row_id, _, _ in attempts_of(tmp_path / "out")} == {f"train/{row}" for row in range(9)}
