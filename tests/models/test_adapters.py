"""Tests of adapters: a fitting adapter is loaded, and another one gives a one-line error that names the layers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from diffcore_hf.config.augment import AdapterConfig, ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.adapters import Fit, add_adapters, check_adapter_file, fit
from diffcore_hf.models.image_to_image import ImageToImage
from diffcore_hf.models.model_resolution import resolve_model
from diffcore_hf.models.pipelines import load_pipeline
from diffcore_hf.models.safetensors_headers import read_shapes
from diffcore_hf.models.weights_access import resolve_weights

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
TEXT = "text_model.encoder.layers.0.self_attn"
WIDTH = 16
TEXT_WIDTH = 32
RANK = 2


def pair(width, first, second):
    """Return two random low-rank factors of a square layer, by name."""
    generator = torch.Generator().manual_seed(0)
    return {
        first: torch.randn(RANK, width, generator=generator),
        second: torch.randn(width, RANK, generator=generator),
    }


def new_style(prefix="unet.", layers=("to_q", "to_v"), width=WIDTH, where=ATTENTION):
    tensors = {}
    for layer in layers:
        name = f"{prefix}{where}.{layer}"
        tensors |= pair(width, f"{name}.lora_A.weight", f"{name}.lora_B.weight")
    return tensors


def old_style():
    name = f"unet.{ATTENTION}.processor"
    return pair(WIDTH, f"{name}.to_q_lora.down.weight", f"{name}.to_q_lora.up.weight")


def linear_style():
    return pair(WIDTH, f"unet.{ATTENTION}.to_q.lora.down.weight", f"unet.{ATTENTION}.to_q.lora.up.weight")


def kohya(network="unet", where=ATTENTION, layer="to_q", width=WIDTH):
    name = f"lora_{network}_{where.replace('.', '_')}_{layer}"
    tensors = pair(width, f"{name}.lora_down.weight", f"{name}.lora_up.weight")
    return tensors | {f"{name}.alpha": torch.tensor(1.0)}


def text_encoder(where=TEXT):
    return pair(TEXT_WIDTH, f"text_encoder.{where}.q_proj.lora_A.weight", f"text_encoder.{where}.q_proj.lora_B.weight")


FITTING = {
    "peft names": new_style(),
    "old diffusers names": old_style(),
    "linear diffusers names": linear_style(),
    "kohya names": kohya(),
    "kohya text encoder": kohya("te", TEXT, "q_proj", TEXT_WIDTH) | kohya("te", TEXT, "out_proj", TEXT_WIDTH),
    "text encoder": text_encoder(),
    "both networks": text_encoder() | new_style(),
}
MISFITTING = {
    "another architecture": new_style("transformer.", where="transformer_blocks.0.attn"),
    "another depth": new_style(where=ATTENTION.replace("down_blocks.1", "down_blocks.7")),
    "another width": new_style(width=24),
    "partly": new_style() | new_style(layers=("to_nothing",)),
    "partly, kohya": kohya() | kohya(layer="to_nothing"),
    "kohya of another depth": kohya(where=ATTENTION.replace("down_blocks.1", "down_blocks.7")),
    "text encoder that is not there": new_style("text_encoder_9.") | new_style(),
    "text encoder of another depth": text_encoder("text_model.encoder.layers.9.self_attn"),
    "one factor of two": dict(list(new_style().items())[:1]),
    "a factor of an unknown kind": new_style() | {f"unet.{ATTENTION}.to_k.lora_C.weight": torch.zeros(2, WIDTH)},
    "a scale without factors": kohya() | {f"lora_unet_{ATTENTION.replace('.', '_')}_to_k.alpha": torch.tensor(1.0)},
    "plain peft names": new_style("base_model.model."),
    "names without a network": new_style(""),
    "whole weights": {"unet.conv_in.weight": torch.zeros(8, 4, 3, 3)},
}


def described(folder, tensors, tmp_path):
    file = tmp_path / "lora.safetensors"
    save_file(tensors, file)
    return file, ModelConfig(path=str(folder), steps=1, size=16, adapters=(AdapterConfig(str(file)),))


@pytest.fixture(scope="module")
def pipeline(pipelines):
    return load_pipeline(resolve_model(ModelConfig(path=str(pipelines["SD"])), identify=False)[0])


@pytest.fixture
def fresh(pipeline):
    yield pipeline
    pipeline.unload_lora_weights()


@pytest.mark.parametrize("style", FITTING)
def test_an_adapter_that_fits_is_loaded_in_every_key_style(style, fresh, pipelines, tmp_path):
    _, model = described(pipelines["SD"], FITTING[style], tmp_path)
    resolve_model(model, identify=False)
    add_adapters(fresh, model)
    stored = {name for network in (fresh.unet, fresh.text_encoder) for name, _ in network.named_parameters()}
    assert sum("lora_A.adapter_0" in name for name in stored) == sum(".weight" in key for key in FITTING[style]) / 2


@pytest.mark.parametrize("style", [name for name in MISFITTING if name != "a scale without factors"])
def test_an_adapter_that_does_not_fit_gives_a_one_line_error_with_its_layers(style, fresh, pipelines, tmp_path):
    file, model = described(pipelines["SD"], MISFITTING[style], tmp_path)
    with pytest.raises(UserError) as error:
        add_adapters(fresh, model)
    message = str(error.value)
    assert message.startswith(str(file)) and "\n" not in message
    assert "layers" in message and message.endswith("leave model.adapters out")
    without = ModelConfig(path=model.path, steps=1, size=16)
    add_adapters(fresh, without)


def test_the_error_names_the_layers_that_fit_and_the_layers_that_do_not(fresh, pipelines, tmp_path):
    tensors = new_style() | new_style(layers=("to_a", "to_b", "to_c"))
    file, model = described(pipelines["SD"], tensors, tmp_path)
    with pytest.raises(UserError) as error:
        add_adapters(fresh, model)
    assert str(error.value) == (
        f"{file} is an adapter of another model than {pipelines['SD']}. 2 of its 5 layers fit "
        f"(unet.{ATTENTION}.to_q, unet.{ATTENTION}.to_v), and 3 do not "
        f"(unet.{ATTENTION}.to_a, unet.{ATTENTION}.to_b and 1 more). "
        "Give an adapter that was trained for this model, or leave model.adapters out"
    )


def test_an_adapter_whose_layers_the_library_ignores_is_refused(fresh, pipelines, tmp_path, monkeypatch):
    _, model = described(pipelines["SD"], new_style() | text_encoder(), tmp_path)
    monkeypatch.setattr(type(fresh), "load_lora_into_text_encoder", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"2 of its 3 layers fit \(unet.*and 1 do not \(text_encoder"):
        add_adapters(fresh, model)


def test_a_scale_of_zero_gives_the_pixels_of_the_model_alone(pipelines, tmp_path):
    file, model = described(pipelines["SD"], {name: 20 * tensor for name, tensor in new_style().items()}, tmp_path)
    columns = ["a bird"], [None], [1], [0.5], [Image.new("RGB", (16, 16), "red")]

    def pixels(*scales):
        adapters = tuple(AdapterConfig(str(file), scale=scale) for scale in scales)
        return ImageToImage(replace(model, steps=2, adapters=adapters), strict=True).sample(*columns).images

    alone = pixels()
    assert torch.equal(pixels(0.0), alone)
    assert not torch.equal(pixels(1.0), alone)


def test_two_adapters_of_the_same_layers_are_loaded(fresh, pipelines, tmp_path):
    file, model = described(pipelines["SD"], new_style(), tmp_path)
    add_adapters(fresh, ModelConfig(path=model.path, adapters=(AdapterConfig(str(file)), AdapterConfig(str(file)))))
    assert fresh.get_active_adapters() == ["adapter_0", "adapter_1"]


HEADER_IS_ENOUGH = (
    *("one factor of two", "a scale without factors"),
    *("another depth", "another width", "partly", "partly, kohya", "kohya of another depth"),
)


@pytest.mark.parametrize("style", HEADER_IS_ENOUGH)
def test_the_headers_show_a_misfit_before_weights_are_loaded(style, pipelines, tmp_path, monkeypatch):
    _, model = described(pipelines["SD"], MISFITTING[style], tmp_path)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", None)
    with pytest.raises(UserError, match=r"is an adapter of another model than .* layers"):
        resolve_model(model, identify=False)


@pytest.mark.parametrize("style", [name for name in MISFITTING if name not in HEADER_IS_ENOUGH])
def test_an_adapter_is_not_refused_if_the_headers_do_not_prove_a_misfit(style, pipelines, tmp_path):
    _, model = described(pipelines["SD"], MISFITTING[style], tmp_path)
    if style != "whole weights":
        resolve_model(model, identify=False)


def damaged(tmp_path, change):
    file = tmp_path / "lora.safetensors"
    save_file(new_style(), file)
    file.write_bytes(change(file.read_bytes()))
    return file


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda content: b"", "has no header"),
        (lambda content: content[:4], "has no header"),
        (lambda content: b"<!DOCTYPE html>" + content, "has no header"),
        (lambda content: content[:-10], "is cut off: 10 of"),
        (lambda content: content[:40], "has no header"),
        (lambda content: content[:8] + b"[" + content[9:], "header of the file is damaged"),
        (lambda content: (2).to_bytes(8, "little") + b"{}", "holds no weights of a LoRA adapter"),
        (lambda content: (2).to_bytes(8, "little") + b"[]", "header of the file is damaged"),
    ],
)
def test_a_damaged_adapter_gives_a_one_line_error_before_weights_are_loaded(change, cause, pipelines, tmp_path):
    file = damaged(tmp_path, change)
    model = ModelConfig(path=str(pipelines["SD"]), adapters=(AdapterConfig(str(file)),))
    with pytest.raises(UserError, match=cause) as error:
        resolve_model(model, identify=False)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_a_header_with_wrong_entries_is_damaged(tmp_path):
    for entry in ({"shape": "x", "data_offsets": [0, 4]}, {"data_offsets": [0, 4]}, [1]):
        header = json.dumps({"name": entry}).encode()
        (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"0000")
        with pytest.raises(ValueError, match="damaged at 'name'"):
            read_shapes(tmp_path / "a.safetensors")


def test_the_shapes_of_a_file_equal_those_of_its_tensors(tmp_path):
    tensors = new_style() | kohya()
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    assert read_shapes(tmp_path / "a.safetensors") == {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("files", [["lora.safetensors"], ["pytorch_lora_weights.safetensors", "other.safetensors"]])
def test_the_file_of_a_folder_is_checked(files, pipelines, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in files:
        save_file(MISFITTING["partly"], folder / name)
    adapter = AdapterConfig(str(folder))
    weights, base = resolve_weights(str(folder), identify=False), resolve_weights(str(pipelines["SD"]), identify=False)
    with pytest.raises(UserError, match=rf"adapter \({files[0]}\) is an adapter of another model"):
        check_adapter_file(adapter, weights, ModelConfig(path="org/model"), base)


def test_a_model_with_missing_shards_is_not_compared_with_the_adapter(pipelines, tmp_path):
    base = tmp_path / "sd"
    shutil.copytree(pipelines["SD"], base)
    whole = base / "unet" / "diffusion_pytorch_model.safetensors"
    whole.rename(whole.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    _, model = described(base, MISFITTING["partly"], tmp_path)
    resolve_model(model, identify=False)


def test_the_tensors_of_a_layer_are_counted_as_one_layer():
    layers = {"a.weight": (4, 3), "b.weight": (4, 3), "norm.weight": (4,)}
    good = {"a.lora_A.weight": (2, 3), "a.lora_B.weight": (4, 2)}
    good |= {"norm.lora_A.weight": (2, 4), "norm.lora_B.weight": (4, 2)}
    assert fit(good, layers) == Fit(("a", "norm"), ())
    assert fit({"a.lora_A.weight": (2, 3)}, layers) == Fit((), ("a",))
    assert fit({"a.lora_A.weight": (2, 4), "a.lora_B.weight": (4, 2)}, layers) == Fit((), ("a",))
    assert fit({"something": (1,)}, layers) == Fit((), ("something",))
