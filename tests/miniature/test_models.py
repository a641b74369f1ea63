"""Tests of the models in the package: they are small, contain no pickles, and are accurate enough for tests."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffcore_hf.config.policy import PolicyConfig
from diffcore_hf.method.policies import fit
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.miniature.oracle import MODELS, Oracle
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import DATASET_SPECIES, SPECIES
from diffcore_hf.miniature.world import PROMPTED_CONTEXTS, World

PROMPT = "a photo of a {}, a bird, {}"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle.load()


@pytest.fixture(scope="module")
def pipeline():
    import torch
    from diffusers import StableDiffusionPipeline

    torch.set_num_threads(min(2, torch.get_num_threads()))
    loaded = StableDiffusionPipeline.from_pretrained(MODELS / "sd", use_safetensors=True, dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_all_weights_are_safetensors_and_small():
    assert sum(path.stat().st_size for path in files(MODELS)) <= 32 * 2**20
    assert {path.suffix for path in files(MODELS)} <= {".safetensors", ".json", ".txt", ".jinja", ".md"}
    assert not [path for path in MODELS.rglob(".*")]


@pytest.mark.parametrize("name", ["sd", "clip", "backbone", "oracle"])
def test_every_model_records_its_training(name):
    record = json.loads((MODELS / name / "training.json").read_text())
    assert {"data", "seed", "steps", "seconds", "threads", "device", "versions", "final_loss"} <= set(record)


def test_the_oracle_recognises_species_and_context_of_new_pictures(oracle):
    rng = np.random.default_rng(987)
    truth = [(int(rng.integers(40)), int(rng.integers(10))) for _ in range(400)]
    species, contexts = oracle.classify([render(SPECIES[s], CONTEXTS[c], rng) for s, c in truth])
    assert np.mean(species == [s for s, _ in truth]) >= 0.98
    assert np.mean(contexts == [c for _, c in truth]) >= 0.98


def test_oracle_accepts_an_empty_list_and_large_images(oracle):
    assert [len(ids) for ids in oracle.classify([])] == [0, 0]
    picture = render(SPECIES[7], "at night", np.random.default_rng(0), size=128)
    assert [int(ids[0]) for ids in oracle.classify([picture])] == [7, CONTEXTS.index("at night")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a photo of a Crimson Crestwing, a bird, in heavy snow",
        "zażółć 日本 🐦 \x00\ud7ff",
        "blurry, deformed, low quality",
        "word " * 500,
    ],
)
def test_tokenizers_accept_any_text(text):
    from transformers import AutoTokenizer, CLIPTokenizer

    for tokenizer in (
        CLIPTokenizer.from_pretrained(MODELS / "sd" / "tokenizer"),
        AutoTokenizer.from_pretrained(MODELS / "clip"),
    ):
        ids = tokenizer(text, padding="max_length", truncation=True)["input_ids"]
        assert len(ids) == tokenizer.model_max_length == 77
        assert ids[0] == tokenizer.bos_token_id and tokenizer.eos_token_id in ids
        middle = ids[1 : ids.index(tokenizer.eos_token_id)]
        assert len(middle) > 0 or text == ""


def test_the_pipeline_has_the_standard_class_and_draws_what_the_prompt_says(pipeline, oracle):
    import torch

    assert pipeline.safety_checker is None and pipeline.scheduler.config.prediction_type == "v_prediction"
    prompted = [(s, PROMPTED_CONTEXTS[s.id % 6]) for s in DATASET_SPECIES[:16]]
    noise = [torch.Generator().manual_seed(i) for i in range(len(prompted))]
    images = pipeline(
        [PROMPT.format(s.name, c) for s, c in prompted],
        guidance_scale=3.0,
        num_inference_steps=12,
        negative_prompt=["blurry, deformed, low quality"] * len(prompted),
        generator=noise,
    ).images
    species, contexts = oracle.classify(images)
    assert images[0].size == (64, 64)
    # About 80 % of many images are right. The share varies more for sixteen images.
    assert np.mean(species == [s.id for s, _ in prompted]) >= 0.6
    assert np.mean(contexts == [CONTEXTS.index(c) for _, c in prompted]) >= 0.6


def test_clip_is_loaded_by_auto_classes_and_separates_unseen_species():
    import torch
    from transformers import AutoImageProcessor, AutoModel

    model = AutoModel.from_pretrained(MODELS / "clip", use_safetensors=True, dtype=torch.float32).eval()
    processor, rng = AutoImageProcessor.from_pretrained(MODELS / "clip"), np.random.default_rng(5)
    labels = np.repeat(np.arange(20), 16)
    images = [render(DATASET_SPECIES[k], CONTEXTS[rng.integers(10)], rng) for k in labels]
    with torch.inference_mode():
        vectors = model.vision_model(**processor(images, return_tensors="pt")).pooler_output
        vectors = torch.nn.functional.normalize(model.visual_projection(vectors), dim=1).numpy()
    fit = np.arange(len(labels)) % 2 == 0
    means = np.stack([vectors[fit & (labels == k)].mean(axis=0) for k in range(20)])
    assert np.mean((vectors[~fit] @ means.T).argmax(1) == labels[~fit]) >= 0.5


@pytest.mark.parametrize("policy", ["rank", "quantile", "mean"])
def test_no_policy_is_weak_on_the_training_images_of_the_demo(training_embeddings, policy):
    separation = fit(PolicyConfig(policy), training_embeddings, 0).separation()
    assert not separation.weak.any()
    assert separation.accuracy > 0.9


@pytest.fixture(scope="module")
def training_embeddings() -> ReferenceEmbeddings:
    """Returns the embeddings of the 240 real images that the demo augments."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    rows = World().split("train")
    model = AutoModel.from_pretrained(MODELS / "clip", use_safetensors=True, dtype=torch.float32).eval()
    processor = AutoImageProcessor.from_pretrained(MODELS / "clip")
    with torch.inference_mode():
        vectors = model.vision_model(**processor(rows["image"][:], return_tensors="pt")).pooler_output
        vectors = model.visual_projection(vectors).numpy().astype(np.float16)
    labels = np.array(rows["label"][:], np.int64)
    return ReferenceEmbeddings([f"train/{row}" for row in range(len(labels))], labels, vectors, 20)


def test_backbone_loads_by_timm_with_any_number_of_classes():
    import timm
    import torch

    model = timm.create_model(f"local-dir:{MODELS / 'backbone'}", pretrained=True, num_classes=20).eval()
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 20) and model.pretrained_cfg["mean"] == [0.5] * 3
