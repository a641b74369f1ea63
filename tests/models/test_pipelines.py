"""Tests of pipelines: resolution without weights, loading, adapters, downloads, and errors for a user."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import diffusers
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from safetensors.torch import save_file

from diffcore_hf.config.augment import AdapterConfig, ModelConfig, SchedulerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import adapters, cosxl, weights_access
from diffcore_hf.models.adapters import adapter_file, add_adapters
from diffcore_hf.models.diffusion import TextToImage
from diffcore_hf.models.model_resolution import _pick_variant, resolve_model
from diffcore_hf.models.pipelines import fetch_model, load_pipeline

PROMPT, NEGATIVE, SEED = "a red bird", "blurry", 11


def config(folder, **options):
    return ModelConfig(**({"path": str(folder), "steps": 2, "size": 16} | options))


def close(a, b):
    return (a.int() - b.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("name", "size", "scheduler"),
    [
        ("SD", 16, "DDIMScheduler"),
        ("SDXL", 16, "DDIMScheduler"),
        ("SD3", 16, "FlowMatchEulerDiscreteScheduler"),
        ("Flux", 256, "FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_resolving_needs_no_weights(name, size, scheduler, pipelines, monkeypatch):
    monkeypatch.setattr("diffcore_hf.models.pipelines.load_pipeline", None)
    model, info = resolve_model(ModelConfig(path=str(pipelines[name])))
    assert (model.size, model.scheduler.name) == (size, scheduler)
    assert (model.dtype, model.variant, model.attention, model.revision) == ("float32", None, "native", None)
    assert info["family"] == name
    assert info["identity"].startswith("sha256:")
    assert info["path"] == f"local:{info['identity'][7:23]}"
    assert info["takes_negatives"] is True
    assert info["guidance"]["value"] == (2.0 if name == "Z-Image" else 3.0)
    assert resolve_model(model) == (model, info)


@pytest.mark.parametrize(
    ("files", "dtype", "variant"),
    [
        (["a"], "float32", None),
        (["a", "fp16"], "float32", None),
        (["a", "fp16"], "float16", "fp16"),
        (["fp16"], "float32", "fp16"),
        (["a"], "float16", None),
    ],
)
def test_the_variant_of_the_weights_fits_the_precision(files, dtype, variant, tmp_path):
    (tmp_path / "unet").mkdir()
    for name in files:
        (tmp_path / "unet" / f"model.{name}.safetensors").touch()
    weights = weights_access.PinnedWeights(str(tmp_path), None, "")
    assert _pick_variant("auto", dtype, weights) == variant


def test_scheduler_by_name_and_options(pipelines):
    options = {"algorithm_type": "dpmsolver++", "solver_order": 2}
    other = config(pipelines["SD"], scheduler=SchedulerConfig("DPMSolverMultistepScheduler", options))
    pipe = TextToImage(other).load()
    assert type(pipe.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert pipe.scheduler.config.solver_order == 2
    assert pipe.scheduler.config.beta_end == 0.012  # Other options keep the values of the model.
    for wrong, error in [
        (SchedulerConfig("NoScheduler"), "'NoScheduler', which diffusers"),
        (SchedulerConfig("UNet2DModel"), "'UNet2DModel', which diffusers"),
        (SchedulerConfig("DDIMScheduler", {"sovler": 2}), "has no option 'sovler'"),
    ]:
        with pytest.raises(ValueError, match=error):
            TextToImage(config(pipelines["SD"], scheduler=wrong)).load()


def test_a_lora_adapter_changes_the_image(pipelines, tmp_path):
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = diffusers.StableDiffusionPipeline.from_pretrained(pipelines["SD"])
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(pipe.unet)
    pipe.save_lora_weights(tmp_path, unet_lora_layers=layers)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    row = ([PROMPT], [NEGATIVE], [SEED])
    plain = TextToImage(config(pipelines["SD"])).sample(*row).images
    for path in (file, tmp_path):
        with_adapter = TextToImage(config(pipelines["SD"], adapters=(AdapterConfig(str(path)),))).sample(*row).images
        assert not close(plain, with_adapter)
    off = TextToImage(config(pipelines["SD"], adapters=(AdapterConfig(str(file), scale=0.0),))).sample(*row).images
    assert close(plain, off)
    info = resolve_model(config(pipelines["SD"], adapters=(AdapterConfig(str(file)),)))[1]
    [identity], [path] = info["adapters"], info["adapter_paths"]
    assert identity.startswith("sha256:")
    assert path == f"local:{identity[7:23]}"


def test_fetch_downloads_only_the_files_that_are_loaded(pipelines, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    requests = []
    monkeypatch.setattr(
        diffusers.DiffusionPipeline, "download", lambda repo, **options: requests.append((repo, options))
    )
    for module in ("pipelines", "weights_access"):
        monkeypatch.setattr(
            f"diffcore_hf.models.{module}.hf_hub_download", lambda repo, name, **options: str(pipelines["SD"] / name)
        )
    monkeypatch.setattr(weights_access, "file_names", lambda weights: [])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    [weights] = fetch_model(ModelConfig(path="org/model", revision=commit))
    assert weights.identity == commit
    assert requests == [("org/model", {"revision": commit, "variant": None, "use_safetensors": True})]
    assert not list(tmp_path.rglob("refs"))
    [weights] = fetch_model(ModelConfig(path=str(pipelines["SD"])))
    assert weights.local == pipelines["SD"]
    save_file({"weight": torch.zeros(1)}, tmp_path / "cosxl.safetensors")
    monkeypatch.setattr(cosxl, "configuration", lambda: requests.append("configuration"))
    fetch_model(ModelConfig(path=str(tmp_path), family_preset="cosxl"))
    assert requests[1:] == ["configuration"]


def test_a_folder_that_is_not_a_model_is_refused(pipelines, tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match="the family of a single file is unknown"):
        resolve_model(ModelConfig(path=str(tmp_path / "one.safetensors")))
    with pytest.raises(ValueError, match=r"model_index.json cannot be read"):
        resolve_model(ModelConfig(path=str(tmp_path)))
    with pytest.raises(ValueError, match=r"float16, which .* on a CPU. Use --model.dtype float32"):
        resolve_model(ModelConfig(path=str(pipelines["SD"]), dtype="float16", device="cpu"))
    distilled = tmp_path / "lcm"
    shutil.copytree(pipelines["SD"], distilled)
    unet = distilled / "unet" / "config.json"
    unet.write_text(json.dumps(json.loads(unet.read_text()) | {"time_cond_proj_dim": 32}))
    with pytest.raises(ValueError, match="guidance is distilled into its UNet"):
        resolve_model(ModelConfig(path=str(distilled)))
    index = distilled / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": ["pipeline", "Mine"]}))
    with pytest.raises(ValueError, match="code in the repository"):
        resolve_model(ModelConfig(path=str(distilled)))
    shutil.rmtree(distilled / "vae")
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "StableDiffusionPipeline"}))
    unet.write_text((pipelines["SD"] / "unet" / "config.json").read_text())
    with pytest.raises(ValueError, match="lcm: the folder of its component vae is missing"):
        TextToImage(config(distilled)).load()


def test_loading_is_silent_and_changes_nothing_global(pipelines, capfd):
    import diffusers.utils.logging as bars
    from huggingface_hub.utils import are_progress_bars_disabled

    before = (bars.is_progress_bar_enabled(), bars.get_verbosity(), are_progress_bars_disabled())
    TextToImage(config(pipelines["SDXL"])).sample(["a bird"], ["blurry"], [0])
    assert (bars.is_progress_bar_enabled(), bars.get_verbosity(), are_progress_bars_disabled()) == before
    out, err = capfd.readouterr()
    assert out == ""
    assert "it/s" not in err
    assert "Loading" not in err


def test_a_fetched_model_loads_offline(pipelines, tmp_path, monkeypatch):
    commits = {"org/model": "0" * 40, "org/lora": "1" * 40}
    online = SimpleNamespace(
        model_info=lambda repo, revision: SimpleNamespace(sha=commits[repo], siblings=[], card_data=None),
        list_repo_files=lambda repo, revision: ["lora.safetensors"],
    )

    def download(repo, revision, **options):
        assert revision == commits[repo]
        snapshot = tmp_path / repo_folder_name(repo_id=repo, repo_type="model") / "snapshots" / revision
        snapshot.mkdir(parents=True)
        save_file({"unet.layer.lora_A.weight": torch.zeros(1, 1)}, snapshot / "lora.safetensors")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weights_access, "HfApi", lambda: online)
    monkeypatch.setattr(weights_access, "snapshot_download", download)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    for module in ("pipelines", "weights_access"):
        monkeypatch.setattr(
            f"diffcore_hf.models.{module}.hf_hub_download", lambda repo, name, **options: str(pipelines["SD"] / name)
        )
    config = ModelConfig(path="org/model", adapters=(AdapterConfig("org/lora", revision="v2"),))
    fetch_model(config)
    # A request to the Hub would raise, because None cannot be called.
    monkeypatch.setattr(weights_access, "HfApi", None)
    model, info = resolve_model(config)
    assert (model.revision, model.adapters[0].revision) == ("0" * 40, "1" * 40)
    assert (info["path"], info["adapter_paths"]) == ("org/model", ["org/lora"])
    loaded = []
    monkeypatch.setattr(adapters, "check_adapter", lambda *arguments: {})
    monkeypatch.setattr(adapters, "_require_all_loaded", lambda *arguments: None)
    pipe = SimpleNamespace(
        load_lora_weights=lambda folder, **k: loaded.append((os.listdir(folder), k)), set_adapters=lambda *a: None
    )
    add_adapters(pipe, model)  # diffusers would send a request to the Hub if no weight_name were given
    [(location, options)] = loaded
    assert (location, options["weight_name"]) == (["lora.safetensors"], "lora.safetensors")


@pytest.mark.parametrize(
    ("files", "picked"),
    [
        (["a.safetensors"], "a.safetensors"),
        ([], None),
        (["a.safetensors", "b.safetensors"], None),
        (["a.safetensors", "pytorch_lora_weights.safetensors"], "pytorch_lora_weights.safetensors"),
    ],
)
def test_the_file_of_an_adapter_is_picked(files, picked, monkeypatch):
    monkeypatch.setattr(weights_access, "file_names", lambda weights: [*files, "README.md"])
    assert adapter_file(weights_access.PinnedWeights("org/lora", "1" * 40, "")) == picked
    assert adapter_file(weights_access.PinnedWeights("/here", None, "")) is None


def break_weights(file):
    file.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")


def test_unreadable_weights_give_a_one_line_error(pipelines, tmp_path):
    folder = tmp_path / "sd"
    shutil.copytree(pipelines["SD"], folder)
    break_weights(folder / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(
        UserError,
        match=r"sd: unet/diffusion_.* cannot be read as safetensors: the header of the file is damaged\. Download",
    ) as error:
        resolve_model(config(folder))
    assert "\n" not in str(error.value)


def test_an_unreadable_adapter_gives_a_one_line_error(pipelines, tmp_path):
    file = tmp_path / "lora.safetensors"
    break_weights(file)
    model = config(pipelines["SD"], adapters=(AdapterConfig(str(file)),))
    with pytest.raises(UserError, match=r"lora.safetensors cannot be read as safetensors: the header .*") as error:
        resolve_model(model, identify=False)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"lora.safetensors cannot be read as safetensors: the header .*") as error:
        add_adapters(load_pipeline(resolve_model(config(pipelines["SD"]))[0]), model)
    assert "\n" not in str(error.value)


def test_an_invalid_scheduler_option_gives_a_one_line_error(pipelines):
    scheduler = SchedulerConfig("DPMSolverMultistepScheduler", {"algorithm_type": "nothing"})
    with pytest.raises(UserError, match=r"model.scheduler DPMSolverMultistepScheduler cannot be built: .*options"):
        TextToImage(config(pipelines["SD"], scheduler=scheduler)).load()


def test_a_bug_in_this_package_keeps_its_type(pipelines, monkeypatch):
    monkeypatch.setattr("diffcore_hf.models.pipelines._move", lambda pipeline, model, device: [].pop())
    with pytest.raises(IndexError):
        TextToImage(config(pipelines["SD"])).load()
