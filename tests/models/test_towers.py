"""Tests of image towers: embeddings of images and captions, resolution without weights, and errors for a user."""

from __future__ import annotations

import pytest
import timm
import tiny_models
import tiny_towers
import torch
from PIL import Image
from transformers import AutoImageProcessor

from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import tower_resolution
from diffcore_hf.models.tower_resolution import resolve_filter
from diffcore_hf.models.towers import ImageTower

SIZES = [(30, 40), (64, 64), (25, 24), (200, 31), (24, 24)]


def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES]


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("clip", 20),
        ("clip_vision", 20),
        ("siglip", 32),
        ("siglip2", 32),
        ("dinov2", 32),
        ("swin", 32),
        ("timm_cnn", 96),
        ("timm_vit", 64),
    ],
)
def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(name, width, towers):
    tower = ImageTower(FilterConfig(path=str(towers[name])))
    rows = tower.embed(images())
    assert rows.shape == (5, width)
    assert rows.dtype == torch.float32
    assert torch.allclose(rows.norm(dim=1), torch.ones(5), atol=1e-6)
    alone = torch.cat([tower.embed([image]) for image in images()])
    assert torch.allclose(rows, alone, atol=1e-6)
    assert not torch.allclose(rows[0], rows[1], atol=1e-3)


def test_embeddings_equal_the_normalised_features_of_the_model(towers):
    tower = ImageTower(FilterConfig(path=str(towers["clip"])))
    model = tower.load()
    pixels = torch.cat([tower.prepare(image)["pixel_values"] for image in images()])
    with torch.no_grad():
        by_hand = model.visual_projection(model.vision_model(pixels).pooler_output)
    assert torch.allclose(tower.embed(images()), by_hand / by_hand.norm(dim=1, keepdim=True), atol=1e-6)
    dino = ImageTower(FilterConfig(path=str(towers["dinov2"])))
    with torch.no_grad():
        by_hand = dino.load()(torch.cat([dino.prepare(image)["pixel_values"] for image in images()])).pooler_output
    assert torch.allclose(dino.embed(images()), by_hand / by_hand.norm(dim=1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("name", list(tiny_towers.TOWERS))
def test_a_tensor_and_the_pil_image_of_its_pixels_have_equal_embeddings(name, towers):
    tower = ImageTower(FilterConfig(path=str(towers[name])))
    for image in images():
        pil = Image.fromarray(image.permute(1, 2, 0).numpy())
        inputs = AutoImageProcessor.from_pretrained(towers[name])(pil, return_tensors="pt")
        assert torch.equal(tower.embed([image]), tower.embed_prepared([dict(inputs)]))


@pytest.mark.parametrize("name", ["timm_cnn", "timm_vit"])
def test_a_timm_checkpoint_gives_the_features_of_timm(name, towers):
    tower = ImageTower(FilterConfig(path=str(towers[name])))
    model = timm.create_model(f"local-dir:{towers[name]}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    pixels = torch.stack([transform(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images()])
    with torch.no_grad():
        expected = model(pixels)
    assert torch.allclose(tower.embed(images()), expected / expected.norm(dim=1, keepdim=True), atol=1e-6)


def test_the_embedding_without_a_class_token_is_the_mean_of_the_patches(towers):
    tower = ImageTower(FilterConfig(path=str(towers["swin"])))
    with torch.no_grad():
        output = tower.load()(torch.cat([tower.prepare(image)["pixel_values"] for image in images()]))
    expected = output.last_hidden_state.mean(dim=1)
    assert torch.allclose(tower.embed(images()), expected / expected.norm(dim=1, keepdim=True), atol=1e-6)


def test_strict_embeddings_are_equal_bit_for_bit_in_any_batches(towers):
    tower = ImageTower(FilterConfig(path=str(towers["clip"])), strict=True)
    whole = tower.embed(images() * 8)
    parts = torch.cat([tower.embed(images() * 3), tower.embed(images()), tower.embed(images() * 4)])
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2"])
def test_captions_are_embedded_and_long_captions_are_truncated(name, towers):
    tower = ImageTower(FilterConfig(path=str(towers[name])))
    texts = ["a red bird", "a car", "a photo of a very long caption that does not fit at all into the text tower"]
    rows = tower.embed_text(texts)
    assert rows.shape == (3, tower.embed(images()).shape[1])
    assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-6)
    assert torch.allclose(rows[1:2], tower.embed_text(texts[1:2]), atol=1e-6)


@pytest.mark.parametrize("name", ["dinov2", "clip_vision"])
def test_a_tower_without_text_returns_no_text_embeddings(name, towers):
    assert ImageTower(FilterConfig(path=str(towers[name]))).embed_text(["a bird"]) is None


def test_a_tower_with_an_unreadable_tokenizer_returns_no_text_embeddings(tmp_path, caplog):
    path = tiny_models.seeded(tiny_towers.save_siglip, tmp_path)
    for file in path.glob("*token*"):
        file.unlink()
    tower = ImageTower(FilterConfig(path=str(path)))
    assert tower.embed_text(["a bird"]) is None
    assert tower.embed_text(["a bird"]) is None
    assert caplog.text.count("captions cannot be embedded") == 1


@pytest.mark.parametrize(
    ("name", "model", "has_text"),
    [
        ("clip", "CLIPModel", True),
        ("siglip", "SiglipModel", True),
        ("dinov2", "Dinov2Model", False),
        ("timm_vit", "TimmWrapperModel", False),
        ("clip_vision", "CLIPVisionModelWithProjection", False),
    ],
)
def test_resolving_needs_no_weights(name, model, has_text, towers, monkeypatch):
    monkeypatch.setattr(ImageTower, "load", None)
    config = FilterConfig(path=str(towers[name]))
    resolved, info = resolve_filter(config)
    assert resolved == config
    assert (info["model"], info["has_text"]) == (model, has_text)
    assert info["processor"].endswith("ImageProcessor")
    assert info["identity"].startswith("sha256:")
    assert info["path"] == f"local:{info['identity'][7:23]}"


def test_the_record_of_an_earlier_run_is_used_only_for_the_same_weights(towers, monkeypatch):
    config, other = FilterConfig(path=str(towers["clip"])), FilterConfig(path=str(towers["dinov2"]))
    record, of_other = resolve_filter(config)[1], resolve_filter(other)[1]
    described = resolve_filter(config, describe_only=True)[1]
    assert resolve_filter(other, recorded=record)[1] == of_other
    assert resolve_filter(config, recorded=described)[1] == record
    monkeypatch.setattr(tower_resolution, "_inspected", lambda *_: pytest.fail("transformers reads the files"))
    assert resolve_filter(config, recorded=record) == (config, record)


def test_the_loaded_processor_equals_the_processor_in_the_record(towers):
    for path in towers.values():
        config = FilterConfig(path=str(path))
        assert ImageTower(config).processor == resolve_filter(config)[1]["processor"]


def test_a_model_that_is_not_an_image_tower_is_refused(pipelines, tmp_path):
    with pytest.raises(ValueError, match="not an image tower of transformers"):
        resolve_filter(FilterConfig(path=str(pipelines["SD"])))
    path = tiny_models.seeded(tiny_towers.save_dinov2, tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(path / "model.safetensors")
    weights.pop("layernorm.weight")
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 tensor of the model .layernorm.weight."):
        ImageTower(FilterConfig(path=str(path))).load()


def test_unreadable_weights_give_a_one_line_error(tmp_path):
    path = tiny_models.seeded(tiny_towers.save_dinov2, tmp_path)
    (path / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")
    with pytest.raises(
        UserError, match=r"model.safetensors cannot be read as safetensors: .*header.* Download the model again"
    ) as error:
        ImageTower(FilterConfig(path=str(path))).load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sizes", [{"crop_size": {"height": 10**6, "width": 10**6}}, {"size": {"shortest_edge": 5000}}])
def test_a_processor_that_makes_huge_images_gives_a_one_line_error(sizes, tmp_path):
    tiny_models.seeded(tiny_towers.save_clip, tmp_path / "clip")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "clip")
    for name, size in sizes.items():
        setattr(processor, name, size)
    processor.save_pretrained(tmp_path / "clip")
    with pytest.raises(UserError, match=r"makes images of at most 2048 pixels a side"):
        ImageTower(FilterConfig(path=str(tmp_path / "clip"))).load()


def test_a_long_image_that_would_take_gigabytes_is_not_resized(tmp_path, monkeypatch):
    from diffcore_hf.models import towers

    tiny_models.seeded(tiny_towers.save_clip, tmp_path / "clip")
    tower = ImageTower(FilterConfig(path=str(tmp_path / "clip")))
    tower.prepare(torch.zeros(3, 4, 200, dtype=torch.uint8))
    monkeypatch.setattr(towers, "MOST_PREPARED", 1000)
    with pytest.raises(ValueError, match="200 x 4 is too long for an image tower of"):
        tower.prepare(torch.zeros(3, 4, 200, dtype=torch.uint8))


def test_out_of_memory_halves_the_batch_of_a_tower_and_strict_stops_with_advice(towers, monkeypatch):
    from diffcore_hf.models import towers as module

    path = str(towers["clip"])
    expected = ImageTower(FilterConfig(path=path)).embed(images())
    real, tried, capacity = module._pooled, [], 2

    def small_device(model, batch):
        count = len(next(iter(batch.values())))
        tried.append(count)
        if count > capacity:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, batch)

    monkeypatch.setattr(module, "_pooled", small_device)
    tower = ImageTower(FilterConfig(path=path))
    assert torch.allclose(tower.embed(images()), expected, atol=1e-5)
    assert tried == [5, 2, 2, 1]
    with pytest.raises(UserError, match=r"16 images at once \(strict\) in the image tower. Use --strict false, or a"):
        ImageTower(FilterConfig(path=path), strict=True).embed(images())
    capacity = 0
    with pytest.raises(UserError, match=r"out of memory for one image in the image tower. Use a smaller --filter.path"):
        tower.embed(images())
