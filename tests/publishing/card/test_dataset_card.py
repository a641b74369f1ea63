"""Tests of the dataset card: its metadata, its sections, its licence, and texts that could change its layout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from card_facts import (
    example_facts,
    example_manifest,
    example_summary,
    hostile,
    printed_recipe,
    with_adapters,
    with_resolved,
)
from huggingface_hub import DatasetCard
from hypothesis import given, settings

from diffcore_hf.core.schema import STATUSES
from diffcore_hf.method.checks import reasons
from diffcore_hf.publishing.card.dataset_card import metadata, render_card, size_category
from diffcore_hf.publishing.card.licences import licences_of_result
from diffcore_hf.publishing.card.policy_words import describe
from diffcore_hf.publishing.card.reproduction import is_hub
from diffcore_hf.publishing.card.text import escape_md, free_sections, one_line

RENDERED = Path(__file__).with_name("rendered_card.md")
EXAMPLE = Path(__file__).parents[3] / "hub_cards" / "example_card.md"


def test_the_rendered_card_equals_the_stored_card():
    assert RENDERED.read_text(encoding="utf-8") == render_card(example_facts()), (
        f"{RENDERED} differs from render_card(example_facts()). If the new card is right, write it to this file"
    )


def test_the_example_card_has_the_sections_of_a_rendered_card():
    """Run `make showcase` after a change of the template."""
    example = EXAMPLE.read_text(encoding="utf-8")
    headings = re.findall(r"^## .*", render_card(example_facts()), re.MULTILINE)
    assert headings == re.findall(r"^## .*", example, re.MULTILINE)
    assert "package:diffcore_hf.miniature/models/sd" in example
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", example)
    assert len(pictures) == 2 and all((EXAMPLE.parent / path).is_file() for path in pictures)


def test_the_metadata_has_the_keys_that_the_hub_reads():
    data = DatasetCard(render_card(example_facts())).data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["task_categories"] == ["image-classification"]
    assert data["size_categories"] == ["1K<n<10K"]
    assert {"synthetic", "image", "diffcore"} <= set(data["tags"])
    assert "source_datasets" not in data


def test_configs_name_every_shard_and_no_pattern():
    manifest = example_manifest()
    configs = {
        one["config_name"]: one["data_files"] for one in DatasetCard(render_card(example_facts())).data["configs"]
    }
    assert configs == {
        name: [{"split": split, "path": files} for split, files in splits.items()]
        for name, splits in manifest["configs"].items()
    }
    assert next(iter(configs)) == "default"
    assert not re.search(r"[*?]", json.dumps(configs))


def test_a_config_without_shards_is_left_out():
    manifest = example_manifest(configs=example_manifest()["configs"] | {"default": {}})
    assert "default" not in [one["config_name"] for one in metadata(example_facts(manifest=manifest))["configs"]]


@pytest.mark.parametrize(
    ("path", "identity", "hub"),
    [
        ("org/cub-200", "f" * 40, True), ("org/cub-200", None, True), ("cifar10", "f" * 40, True),
        ("cifar10", None, False),
        ("local", "local:0123456789abcdef", False), ("local:0123456789abcdef", "sha256:00", False),
        ("in memory", None, False), (None, None, False),
        ("/home/photos", None, False), ("a/b/c", None, False), ("package:a.b/c", None, False),
    ],
)  # fmt: skip
def test_only_hub_sources_are_in_the_metadata(path, identity, hub):
    assert is_hub({"path": path, "identity": identity}) is hub
    data = metadata(example_facts(manifest=with_resolved(source={"path": path, "identity": identity})))
    assert data.get("source_datasets") == ([f"extended|{path}"] if hub else None)


@pytest.mark.parametrize(
    ("source", "model", "in_yaml", "words"),
    [
        ("mit", "mit", "mit", "mit, the licence of both"),
        (
            "cc-by-4.0",
            "creativeml-openrail-m",
            ["cc-by-4.0", "creativeml-openrail-m"],
            "cc-by-4.0 for the original images and creativeml-openrail-m for the generated images.",
        ),
        ("My own terms", "mit", "other", "My own terms for the original images and mit for the generated images."),
        (None, "mit", "unknown", "to be decided by the publisher"),
        ("mit", "unknown", "unknown", "to be decided by the publisher"),
        ("other", "mit", "unknown", "to be decided by the publisher"),
    ],
)
def test_the_licence_of_the_result_is_derived_or_unknown(source, model, in_yaml, words):
    facts = example_facts(manifest=with_resolved(source={"licence": source}, model={"licence": model}))
    assert metadata(facts)["license"] == in_yaml
    assert f"**Licence of the result:** {words}" in render_card(facts)


def test_the_licence_of_a_result_with_adapters_is_unknown():
    facts = example_facts(manifest=with_adapters())
    assert licences_of_result(facts.manifest) == []
    text = render_card(facts)
    assert f"| adapter | `org/lora` | `{'a' * 40}` | not recorded |" in text
    assert f"| adapter | `local:{'b' * 16}` | `sha256:{'b' * 64}` | not recorded |" in text


@pytest.mark.parametrize(
    ("rows", "word"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (60_000, "10K<n<100K"), (1_281_167, "1M<n<10M")]
)
def test_the_size_category_follows_from_the_number_of_rows(rows, word):
    assert size_category(rows) == word


@pytest.mark.parametrize(
    "policy",
    [
        "all", {"name": "random", "p": 0.25}, {"name": "mean", "pairs": 50}, {"name": "fixed", "t": 0.7},
        {"name": "quantile", "alpha": 0.05}, {"name": "rank"},
        {"name": "rank", "by": "text", "floor": "off", "alpha": None},
    ],
)  # fmt: skip
def test_every_policy_is_described(policy):
    rule, promise = describe(policy)
    assert rule.endswith(".")
    assert promise.endswith(".")
    assert ("At most about" in promise) == (not isinstance(policy, str) and policy["name"] in ("quantile", "rank"))


@pytest.mark.parametrize(
    ("policy", "share"), [({"name": "quantile", "alpha": 0.05}, "5 %"), ({"name": "rank"}, "10 %")]
)
def test_the_description_of_a_policy_names_the_share_of_rejected_real_images(policy, share):
    assert f"At most about {share} of new real images" in describe(policy)[1]


def test_given_up_classes_and_pending_rows_come_first_with_their_remedy():
    counts = example_manifest()["counts"] | {"pending": 1234}
    text = render_card(example_facts(manifest=example_manifest(counts=counts)))
    counts_section = text.split("## Counts")[1]
    assert counts_section.strip().startswith("**Given up: Azure Needlebill.**")
    assert "label_descriptions" in counts_section.split("|---")[0]
    assert "**Not finished: 1,234 planned rows have no decision yet.**" in counts_section.split("|---")[0]
    clean = render_card(example_facts(summary=example_summary(given_up=[])))
    assert "Given up" not in clean
    assert "Not finished" not in clean


def test_a_card_of_a_run_without_a_model_names_no_model():
    manifest = with_resolved(model={"family": "none", "path": None, "identity": "none", "licence": None})
    del manifest["recipe"]["model"]
    facts = example_facts(manifest=manifest, summary=example_summary(given_up=["a"]))
    card = render_card(facts)
    for text in ("text-to-image model |", "**Guidance:**", "**Steps:**", "model.adapters", "YOUR/MODEL", "The model"):
        assert text not in card
    assert "model" not in printed_recipe(card, source="a")
    assert licences_of_result(manifest) == []


def test_a_card_does_not_mention_absent_pictures_and_values():
    bare = example_manifest(files=[], originals=False)
    summary = {"rejected_generated": None, "rejected_real": float("nan"), "by_context": [], "by_class": [],
               "given_up": [], "mean_similarity": None, "notes": [], "rejections": [], "weak_filter": None,
               "source_findings": []}  # fmt: skip
    text = render_card(example_facts(manifest=bare, summary=summary, negative_prompts=(), example_prompts=()))
    assert "assets/" not in text
    assert "bytes" not in text.split("## How it was made")[0]
    assert "The original images are not published" in text
    assert "**Negative prompt:** none." in text
    assert "None" not in text.replace("None of the", "").replace("or None", "").replace("None:", "").replace(
        'folder", None', ""
    )


def test_the_card_states_which_other_images_had_an_effect():
    manifest = example_manifest()
    manifest["recipe"]["filter"]["compare"] = ["leak", "copy"]
    manifest["files"].append({"path": "assets/closest_pairs.png", "size": 1, "sha256": "0" * 64})
    card = render_card(example_facts(manifest=manifest))
    assert "](assets/closest_pairs.png)" in card
    assert "**Comparisons with other images:** `leak`, `copy`." in card
    assert "their real images decide only about the reason `leak`" in card


def test_guidance_is_given_in_the_terms_of_diffusers():
    assert "gamma = 2 in Eq. 4 of the paper; in diffusers this is `guidance_scale = 3.0`" in render_card(
        example_facts()
    )
    manifest = with_resolved(model={"guidance": {"argument": "guidance_scale", "value": 2.0}})
    manifest["recipe"]["model"]["guidance"] = "native"
    assert "this is the model family's own guidance, not Eq. 4" in render_card(example_facts(manifest=manifest))
    manifest["resolved"]["model"]["guidance"] = {"argument": None, "value": None}
    text = render_card(example_facts(manifest=manifest))
    assert "**Guidance:** the pipeline takes no guidance scale" in text
    assert "None =" not in text


def test_columns_statuses_and_reasons_are_documented_by_name():
    text = render_card(example_facts(columns_prefix="dc_"))
    for column in ("generated", "context", "prompt", "seed", "similarity", "status", "row_id"):
        assert f"`dc_{column}`" in text
    assert all(f"`{word}`" in text for word in (*reasons(), *STATUSES))
    assert 'dataset[0]["dc_generated"]' in text


def test_the_order_of_the_keys_in_the_manifest_does_not_change_the_card():
    stored = json.loads(json.dumps(example_manifest(), sort_keys=True))
    assert render_card(example_facts(manifest=stored)) == render_card(example_facts())


def hostile_facts(label: str):
    """Return facts that have the label in each field whose text comes from a user or a dataset."""
    manifest = with_resolved(
        source={"path": label, "licence": label}, model={"path": label, "licence": label, "family": label},
        filter={"processor": label, "identity": label},
    )  # fmt: skip
    manifest["resolved"]["model"] |= {"adapters": [label], "adapter_paths": [label]}
    recipe = manifest["recipe"]
    recipe["model"]["adapters"] = {"identity": [label], "each": [{"weight_name": label, "scale": 1.0}]}
    recipe["review"] = {"identity": label}
    recipe["prompts"] = {"template": label, "contexts": [label], "negatives": [label]}
    recipe["source"]["label_names"] = {label: label}
    summary = example_summary(
        by_context=[(label, 3, 0.5)], by_class=[(label, 3, 0.5, 0.1, 1, 0.1, 0.7, 2.0)], given_up=[label], notes=[label]
    )
    return example_facts(
        manifest=manifest,
        summary=summary,
        example_prompts=[(label, label)],
        negative_prompts=[label],
        columns_prefix=label,
    )


def is_plain_label(text: str) -> bool:
    """Return whether a text can be a label and is not a Hub id. For a Hub id the card shows other sections."""
    is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", text)
    return bool(one_line(text)) and not re.search("[\ud800-\udfff]", text) and not is_hub_id


@given(hostile.filter(is_plain_label))
@settings(max_examples=25, deadline=None)
def test_a_hostile_label_changes_no_heading_table_or_link(label):
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")

    def shape(text: str) -> list[str]:
        body = DatasetCard(text).text
        blocks = parser.parse(body)
        inner = [child for block in blocks for child in block.children or ()]
        tags = [one.content for one in (*blocks, *inner) if one.type in ("html_inline", "html_block")]
        links = [one.type for one in inner if one.type in ("link_open", "image")]
        return [block.type for block in blocks] + tags + links

    text = render_card(hostile_facts(label))
    assert shape(text) == shape(render_card(hostile_facts("a plain label")))
    assert set(free_sections(text)) == {"about", "use"}
    assert str(escape_md(label)) in text


@pytest.mark.parametrize(
    ("layout", "present", "absent"),
    [
        (
            "columns",
            ['dataset[0]["generated"]', "with their counterparts", ", and the order of the rows"],
            ["--layout", "is_mixed", "under both licences"],
        ),
        (
            "rows",
            ["column `is_generated` marks", "as plain rows", "--layout rows"],
            ["is_mixed", 'dataset[0]["generated"]', "order of the rows", "under both licences"],
        ),
        (
            "mixed",
            ["column `is_mixed` marks", 'input_columns="is_mixed"', "then one mixed row for each row",
             *(f"| `{name}` |" for name in ("row_id", "is_mixed", "kind", "lambda", "real_share")),
             "--output out/again-mixed --layout mixed", "; a mixed image is under both licences.",
             "nor on mixed images"],
            ["is_generated", 'dataset[0]["generated"]', "order of the rows"],
        ),
    ],
)  # fmt: skip
def test_the_card_describes_its_layout(layout, present, absent):
    manifest = with_resolved(source={"licence": "mit"}, model={"licence": "openrail"}) | {"layout": layout}
    text = render_card(example_facts(manifest=manifest))
    assert [words for words in present if words not in text] == []
    assert [words for words in absent if words in text] == []


def test_load_dataset_reads_the_shards_that_the_card_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    shards = {
        "default": {"train": ["data/train-0.parquet", "data/train-1.parquet"]},
        "classes": {"train": ["classes/train-0.parquet"]},
    }
    for number, path in enumerate(path for splits in shards.values() for paths in splits.values() for path in paths):
        datasets.Dataset.from_dict({"row": [number]}).to_parquet(tmp_path / path)
    # An old file that must not be loaded.
    datasets.Dataset.from_dict({"row": [99]}).to_parquet(tmp_path / "data/train-2.parquet")
    (tmp_path / "README.md").write_text(render_card(example_facts(manifest=example_manifest(configs=shards))), "utf-8")
    cache = str(tmp_path / "cache")
    assert datasets.load_dataset(str(tmp_path), split="train", cache_dir=cache)["row"][:] == [0, 1]
    assert datasets.load_dataset(str(tmp_path), "classes", split="train", cache_dir=cache)["row"][:] == [2]


def test_importing_the_card_imports_no_heavy_library():
    code = (
        "import sys; import diffcore_hf.publishing.card.dataset_card, diffcore_hf.publishing.pictures.histograms;"
        "sys.exit(bool({'torch', 'matplotlib', 'datasets', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("shares", "named"), [([0.1, 0.1, 0.31], ["c2"]), ([0.1, 0.1, 0.29], []), ([0.0, 0.0, 0.2], ["c2"]), ([], [])]
)
def test_classes_with_an_unusual_share_of_generated_images_are_reported(shares, named):
    by_class = [(f"c{place}", 3, 0.5, 0.1, 1, share, 0.7, 1.0) for place, share in enumerate(shares)]
    card = render_card(example_facts(summary=example_summary(by_class=by_class)))
    assert ("**Unbalanced: " + ", ".join(named) in card) if named else ("Unbalanced" not in card)


@pytest.mark.parametrize("policy, favoured", [("rank", True), ("all", False)])
def test_the_figures_of_the_kept_images_are_a_table_with_their_expected_values(policy, favoured):
    rows = [("CMMD x 1000", "1.33 ± 0.13", "0"), ("a | b", "-0.02 ± 0.10", "1")]
    recipe = example_manifest()["recipe"]
    recipe["filter"]["policy"] = {"name": policy}
    card = render_card(example_facts(manifest=example_manifest(recipe=recipe), description=rows))
    assert "| CMMD x 1000 | 1.33 ± 0.13 | 0 |" in card
    assert "| a &#124; b | -0.02 ± 0.10 | 1 |" in card
    assert ("The filter chose the images with this tower" in card) == favoured
    assert "CMMD" not in render_card(example_facts(description=()))
