"""Tests of digests: each field changes the digests of its scope, `attempt`, `decision` or none."""

import dataclasses

import pytest

from diffcore_hf.config.augment import Recipe
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.digests import (
    NO_MODEL,
    attempt_digest,
    canonical,
    differences,
    fields_with_identities,
    recipe_digest,
    scopes,
)
from diffcore_hf.config.mappings import to_mapping

IDENTITIES = {"source": "s1", "model": "m1", "filter": "f1", "adapters": "a1", "review": "r1", "rows": "l1"}
IDENTITIES |= {"weights": {"captioner": "c1", "controlnet": "n1"}}
VERSIONS = {"generate": "1", "score": "1"}
BASE = {"source": {"path": "a"}, "filter": {"policy": {"name": "rank"}}}
# A valid value of each field that is not its default. Some fields are parameters of a policy: see POLICIES.
CHANGED = {
    "source.path": "b", "source.name": "x", "source.data_files": "*.parquet", "source.revision": "v1",
    "source.split": "test", "source.image": "img", "source.label": "species", "source.label_names": "raw",
    "source.holdout": 0.1, "source.follow_links": "outside", "source.root": "images", "source.grey_range": "data",
    "source.layout": "files",
    "source.table": "train.csv", "preset": "paper", "kind": "bird",
    "select.classes": ["robin"], "select.rows": "rows.txt", "select.per_class": 5, "select.hardest": "loss",
    "prompts.template": "{label}", "prompts.contexts": ["in fog"],
    "prompts.contexts_from": "own_contexts:own_contexts", "prompts.captioner": {"path": "org/blip", "images": 7},
    "prompts.negatives": ["blurry"], "prompts.label_descriptions": {"a": "b"}, "model.path": "org/m",
    "model.revision": "v1", "model.variant": "fp16", "model.family_preset": "cosxl", "model.dtype": "float16",
    "model.scheduler": "DDIMScheduler", "model.adapters": ["org/lora"], "model.steps": 31, "model.gamma": 3.0,
    "model.guidance": "native", "model.size": 512, "model.attention": "slicing", "model.offload": "model",
    "model.vae_slicing": "on", "model.device": "cpu", "strategy.name": "my_module:Mine",
    "strategy.options": {"strength": 0.5}, "strategy.targets": "other",
    "strategy.gamma_label": 0.5, "filter.path": "org/clip", "filter.revision": "v1",
    "filter.policy.name": "all", "filter.policy.by": "text", "filter.policy.alpha": 0.2, "filter.policy.t": 0.6,
    "filter.policy.p": 0.6, "filter.policy.pairs": 10, "filter.policy.floor": "off", "filter.references": 100,
    "filter.checks": ["my_package.checks:BLANK"], "filter.compare": ["leak"],
    "fraction": 0.5, "copies": 2, "max_attempts": 4, "review": "review.csv", "seed": 1, "image_format": "png",
    "store_size": 256, "strict": True, "include_originals": False, "include_rejected": True, "columns.prefix": "dc_",
    "output": "out/x", "limit": 5, "batch_size": 4, "part_size": 64, "max_faulty": 0.5,
    "accept_license": "cc-by-nc-4.0",
}  # fmt: skip
POLICIES = {
    "filter.policy.t": {"name": "fixed", "t": 0.5},
    "filter.policy.p": {"name": "random"},
    "filter.policy.pairs": {"name": "mean"},
}
CAPTIONS = {"prompts": {"contexts_from": "captions", "captioner": "org/blip"}}
# These keys set texts that every fact records. So a run compares the texts of each fact instead of a digest.
PER_FACT = {"source.label_names", "prompts.label_descriptions"}
# The digests contain IDENTITIES in place of the values of these keys.
REPLACED = {
    "source.data_files",
    "source.path",
    "source.revision",
    "model.path",
    "model.revision",
    "filter.path",
    "filter.revision",
}


def nested(key, value):
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def digests(recipe, identities=IDENTITIES, versions=VERSIONS):
    return attempt_digest(recipe, identities, versions), recipe_digest(recipe, identities, versions)


def test_the_model_is_in_no_digest_of_a_run_without_a_model():
    without = IDENTITIES | {"model": NO_MODEL}
    recipe, other = build_recipe(BASE), build_recipe(BASE, {"model": {"steps": 31, "adapters": ["org/lora"]}})
    assert digests(recipe, without) == digests(other, without)
    assert "model" not in fields_with_identities(other, without, ("attempt", "decision"))


def test_the_table_has_every_field():
    assert set(CHANGED) == set(scopes(Recipe))


@pytest.mark.parametrize("key", CHANGED)
def test_a_field_changes_only_the_digests_of_its_scope(key):
    base = {**BASE, "filter": {"policy": POLICIES.get(key, {"name": "rank"})}}
    before = build_recipe(base, CAPTIONS if key == "prompts.captioner" else {})
    if key == "preset":  # change only the field itself, not the keys that a preset sets
        after = dataclasses.replace(before, preset="paper")
    else:
        after = build_recipe(base, CAPTIONS if key == "prompts.captioner" else {}, nested(key, CHANGED[key]))
    assert after != before
    local = IDENTITIES | {"source": "local:s1"}
    (attempt_before, recipe_before), (attempt_after, recipe_after) = digests(before, local), digests(after, local)
    scope = scopes(Recipe)[key]
    assert (attempt_before != attempt_after) == (scope == "attempt" and key not in REPLACED | PER_FACT)
    assert (recipe_before != recipe_after) == (scope in ("attempt", "decision") and key not in REPLACED)


@pytest.mark.parametrize("name", ["model", "filter"])
def test_another_identity_changes_both_digests(name):
    recipe = build_recipe(BASE)
    changed = digests(recipe, {**IDENTITIES, name: "other"})
    assert all(a != b for a, b in zip(digests(recipe), changed, strict=True))


@pytest.mark.parametrize(("before", "after"), [("local:1", "local:2"), ("commit 1", "commit 2")])
def test_a_source_that_grows_changes_only_the_recipe_digest(before, after):
    recipe = build_recipe(BASE)
    (attempt, whole), (grown, grown_whole) = (digests(recipe, IDENTITIES | {"source": s}) for s in (before, after))
    assert attempt == grown
    assert whole != grown_whole


def test_another_model_repository_changes_the_attempt_digest_but_another_folder_does_not():
    one, other = build_recipe(BASE), build_recipe(BASE, {"source": {"path": "b"}})
    assert digests(one)[0] != digests(other)[0]
    assert fields_with_identities(one, IDENTITIES, ("attempt",))["source"]["repository"] == "a"
    assert "repository" not in fields_with_identities(one, IDENTITIES, ("attempt", "decision"))["source"]
    local = IDENTITIES | {"source": "local:1"}
    assert digests(one, local) == digests(other, local)


def test_digests_cover_identity_and_scale_of_adapters():
    with_path = build_recipe(BASE, {"model": {"adapters": ["a"]}})
    assert digests(with_path) == digests(build_recipe(BASE, {"model": {"adapters": ["b"]}}))
    assert digests(with_path) != digests(build_recipe(BASE, {"model": {"adapters": [{"path": "a", "scale": 0.5}]}}))
    assert digests(with_path)[0] != digests(with_path, {**IDENTITIES, "adapters": "a2"})[0]


def test_the_recipe_digest_covers_the_content_of_a_review():
    recipe = build_recipe(BASE, {"review": "review.csv"})
    assert digests(recipe) == digests(build_recipe(BASE, {"review": "elsewhere.csv"}))
    attempt, whole = digests(recipe, {**IDENTITIES, "review": "r2"})
    assert attempt == digests(recipe)[0]
    assert whole != digests(recipe)[1]


def test_an_explicit_default_changes_no_digest():
    explicit = build_recipe(BASE, {"filter": {"policy": {"alpha": 0.1, "by": "context_free"}}, "model": {"gamma": 2}})
    assert digests(explicit) == digests(build_recipe(BASE))


def test_the_default_strategy_is_in_no_digest():
    assert "strategy" not in fields_with_identities(build_recipe(BASE), IDENTITIES, ("attempt",))
    own_strategy = fields_with_identities(build_recipe(BASE, {"strategy": "my_module:Mine"}), IDENTITIES, ("attempt",))
    assert own_strategy["strategy"] == {"name": "my_module:Mine", "options": None}


def test_default_targets_and_the_default_weight_of_labels_are_in_no_digest():
    explicit = build_recipe(BASE, {"strategy": {"targets": "own", "gamma_label": 1}})
    assert digests(explicit) == digests(build_recipe(BASE))


def test_a_stage_version_changes_both_digests():
    recipe = build_recipe(BASE)
    changed = digests(recipe, versions={**VERSIONS, "score": "2"})
    assert all(a != b for a, b in zip(digests(recipe), changed, strict=True))
    assert digests(recipe) == digests(recipe, versions=dict(reversed(VERSIONS.items())))


def test_digests_are_32_hex_digits():
    for digest in digests(build_recipe(BASE)):
        assert len(digest) == 32
        assert set(digest) <= set("0123456789abcdef")


def test_a_missing_identity_is_an_error():
    with pytest.raises(ValueError, match="no identity of 'model'"):
        attempt_digest(build_recipe(BASE), {"source": "s"}, VERSIONS)


def test_canonical_json_is_sorted_ascii_without_spaces():
    assert canonical({"b": [1, 2.0, None], "a": {"ü": True}}) == b'{"a":{"\\u00fc":true},"b":[1,2.0,null]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})


def test_differences_name_the_keys():
    old = to_mapping(build_recipe(BASE))
    new = to_mapping(build_recipe(BASE, {"model": {"gamma": 3}, "prompts": {"contexts": ["in fog"]}}))
    assert differences(old, old) == []
    assert differences(old, new) == ["model.gamma: 2.0 -> 3.0", 'prompts.contexts: null -> ["in fog"]']
    assert differences({"a": {"b": 1}}, {"c": 2}) == ["a.b: 1 -> (absent)", "c: (absent) -> 2"]


def test_a_selection_is_in_the_recipe_digest_alone_and_its_default_in_no_digest():
    plain = build_recipe({"source": "org/birds"})
    chosen = build_recipe({"source": "org/birds", "select": {"per_class": 5}})
    listed = build_recipe({"source": "org/birds", "select": {"rows": "rows.txt"}})
    names = {"source": "c1", "model": "c2", "filter": "c3"}
    assert "select" not in fields_with_identities(plain, names, ("attempt", "decision"))
    assert fields_with_identities(chosen, names, ("attempt", "decision"))["select"] == {"per_class": 5}
    of_rows = [
        fields_with_identities(listed, names | {"rows": digest}, ("attempt", "decision"))["select"]
        for digest in ("a", "b")
    ]
    assert of_rows == [{"rows": {"identity": "a"}}, {"rows": {"identity": "b"}}]
    assert attempt_digest(plain, names, {}) == attempt_digest(chosen, names, {}) == attempt_digest(listed, names, {})
    assert recipe_digest(plain, names, {}) != recipe_digest(chosen, names, {})


def test_digests_cover_the_identity_of_weights_in_options_and_not_their_path():
    def recipe(path, scale=0.5):
        options = {"controlnet": path, "controlnet_revision": "v1", "scale": scale}
        return build_recipe(BASE, {"strategy": {"name": "structure", "options": options}})

    assert digests(recipe("org/a")) == digests(recipe("./b"))
    assert digests(recipe("org/a"))[0] != digests(recipe("org/a", 0.7))[0]
    other = IDENTITIES | {"weights": {"controlnet": "n2"}}
    assert digests(recipe("org/a"))[0] != digests(recipe("org/a"), other)[0]
    fields = fields_with_identities(recipe("org/a"), IDENTITIES, ("attempt",))
    assert fields["strategy"]["options"] == {"controlnet": "n1", "scale": 0.5}


def test_digests_cover_the_captioner_and_not_the_contexts_that_it_gave():
    recipe, made = build_recipe(BASE, CAPTIONS), build_recipe(BASE, CAPTIONS, {"prompts": {"contexts": ["in snow"]}})
    assert digests(recipe) == digests(made)
    assert digests(recipe)[0] != digests(build_recipe(BASE))[0]
    other = IDENTITIES | {"weights": {"captioner": "c2"}}
    assert digests(recipe)[0] != digests(recipe, other)[0]
