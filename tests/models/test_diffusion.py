from __future__ import annotations

import json
import logging
import shutil
from types import SimpleNamespace

import diffusers
import pytest
import tiny_models
import torch
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from diffcore_hf.config.augment import AdapterConfig, ModelConfig, SchedulerConfig
from diffcore_hf.models import cosxl
from diffcore_hf.models import pipelines as loading
from diffcore_hf.models.diffusion import TextToImage, resolve_model

PROMPTS = ["a red bird", "a blue bird", "a red bird", "a car", "a red bird", "a blue bird"]
NEGATIVES = ["blurry", "blurry", "blurry", "dark", None, ""]
SEEDS = [11, 12, 13, 14, 2**63 - 1, 16]


def config(folder, **options):
    return ModelConfig(**({"path": str(folder), "steps": 2, "size": 16} | options))


def close(a, b):
    return (a.int() - b.int()).abs().max() <= 1


@pytest.mark.parametrize("name", list(tiny_models.PIPELINES))
def test_batch_size_and_order_do_not_matter(name, pipelines):
    whole = TextToImage(config(pipelines[name]), batch_size=6).sample(PROMPTS, NEGATIVES, SEEDS).images
    assert whole.shape == (6, 3, 16, 16)
    assert whole.dtype == torch.uint8
    single = TextToImage(config(pipelines[name]), batch_size=1).sample(PROMPTS, NEGATIVES, SEEDS).images
    assert close(whole, single)
    backwards = [column[::-1] for column in (PROMPTS, NEGATIVES, SEEDS)]
    assert close(whole, TextToImage(config(pipelines[name]), batch_size=4).sample(*backwards).images.flip(0))
    assert not close(whole[0], whole[2])  # another seed, another image


def test_strict_is_equal_to_the_bit(pipelines):
    threads = torch.get_num_threads()
    folder = pipelines["SD"]
    whole = TextToImage(config(folder), strict=True).sample(PROMPTS, NEGATIVES, SEEDS).images
    for cut in ([[5, 4, 3, 2, 1, 0]], [[0], [1, 2], [3, 4, 5]], [[2], [0], [5], [1], [4], [3]]):
        model = TextToImage(config(folder), strict=True, batch_size=3)
        for rows in cut:
            part = model.sample(*([column[row] for row in rows] for column in (PROMPTS, NEGATIVES, SEEDS))).images
            assert torch.equal(part, whole[rows])
    assert torch.get_num_threads() == threads
    with pytest.raises(ValueError, match=r"strict: Z-Image pads each prompt to the longest"):
        TextToImage(config(pipelines["Z-Image"]), strict=True).load()


def test_each_distinct_prompt_is_encoded_once(pipelines):
    model = TextToImage(config(pipelines["SDXL"]), batch_size=2)
    model.sample(PROMPTS, NEGATIVES, SEEDS)
    distinct = {"a red bird", "a blue bird", "a car", "blurry", "dark"}  # SDXL's missing negative is zeros, not a text
    assert model.texts_encoded == len(distinct)
    model.sample(PROMPTS, NEGATIVES, SEEDS)
    assert model.texts_encoded == len(distinct)
    assert model.images_drawn == 12


def test_encoded_prompts_are_kept_within_bounds(pipelines, monkeypatch):
    monkeypatch.setattr("diffcore_hf.models.diffusion.CACHE_BYTES", 0)
    model = TextToImage(config(pipelines["SD"]), batch_size=3)
    bounded = model.sample(PROMPTS, NEGATIVES, SEEDS).images
    assert model._texts_bytes == 0
    assert close(bounded, TextToImage(config(pipelines["SD"])).sample(PROMPTS, NEGATIVES, SEEDS).images)


def test_no_negatives_at_gamma_0(pipelines):
    samples = TextToImage(config(pipelines["SD"], gamma=0.0)).sample(["a bird"], [None], [1])
    assert samples.flags == [None]
    assert TextToImage(config(pipelines["SD"])).sample([], [], []).images.shape == (0, 3, 16, 16)


class Suspicious(torch.nn.Module):
    """A safety checker that flags the first image of a batch and blackens it, as the real one does."""

    def forward(self, images, clip_input):
        images = images.clone()
        images[0] = 0
        return images, [True] + [False] * (len(images) - 1)

    dtype = torch.float32
    device = torch.device("cpu")


def test_flags(pipelines, monkeypatch):
    model = TextToImage(config(pipelines["SD"]), batch_size=3)
    pipe = model.load()
    pipe.safety_checker, pipe.feature_extractor = Suspicious(), tiny_models.image_processor()
    decode = pipe.vae.decode

    def broken(latents, **options):
        image = decode(latents, **options)[0]
        image[1] = float("nan")
        return (image,)

    pipe.vae.decode = broken
    assert model.sample(PROMPTS[:3], NEGATIVES[:3], SEEDS[:3]).flags == ["unsafe", "invalid", None]
    pipe.safety_checker = None
    pipe.vae.decode = lambda latents, **options: (torch.zeros(len(latents), 3, 16, 16),)
    assert model.sample(PROMPTS[:2], NEGATIVES[:2], SEEDS[:2]).flags == ["invalid", "invalid"]


def test_out_of_memory_halves_the_batch(pipelines, caplog):
    model = TextToImage(config(pipelines["SD"]), batch_size=5)
    pipe = model.load()
    forward = pipe.unet.forward

    def small_card(sample, *arguments, **options):
        if len(sample) > 4:  # two images with guidance
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(sample, *arguments, **options)

    pipe.unet.forward = small_card
    images = model.sample(PROMPTS, NEGATIVES, SEEDS).images
    assert model.batch_size == 2
    assert close(images, TextToImage(config(pipelines["SD"])).sample(PROMPTS, NEGATIVES, SEEDS).images)

    def no_card(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    pipe.unet.forward = no_card
    with pytest.raises(ValueError, match=r"out of memory for one image of 16 pixels. Use --model.offload"):
        model.sample(PROMPTS, NEGATIVES, SEEDS)


@pytest.mark.parametrize(
    ("name", "size", "scheduler"),
    [("SD", 16, "DDIMScheduler"), ("SDXL", 16, "DDIMScheduler"), ("SD3", 16, "FlowMatchEulerDiscreteScheduler"),
     ("Flux", 256, "FlowMatchEulerDiscreteScheduler")],
)  # fmt: skip
def test_resolving_needs_no_weights(name, size, scheduler, pipelines, monkeypatch):
    monkeypatch.setattr(loading, "load_pipeline", None)
    model, info = resolve_model(ModelConfig(path=str(pipelines[name])))
    assert (model.size, model.scheduler.name) == (size, scheduler)
    assert (model.dtype, model.variant, model.attention, model.revision) == ("float32", None, "native", None)
    assert info["family"] == name
    assert info["identity"].startswith("sha256:")
    assert info["path"] == f"local:{info['identity'][7:23]}"
    assert info["takes_negatives"] is True
    assert info["guidance"]["value"] == (2.0 if name == "Z-Image" else 3.0)
    assert resolve_model(model) == (model, info)


def test_resolved_size_is_what_the_pipeline_draws(pipelines):
    for name in ("SD", "SDXL", "SD3"):
        pipe = TextToImage(ModelConfig(path=str(pipelines[name]), steps=1)).load()
        side = pipe.unet.config.sample_size if name != "SD3" else pipe.default_sample_size
        assert resolve_model(ModelConfig(path=str(pipelines[name])))[0].size == side * pipe.vae_scale_factor


@pytest.mark.parametrize(
    ("files", "dtype", "variant"),
    [(["a"], "float32", None), (["a", "fp16"], "float32", None), (["a", "fp16"], "float16", "fp16"),
     (["fp16"], "float32", "fp16"), (["a"], "float16", None)],
)  # fmt: skip
def test_variant(files, dtype, variant, tmp_path):
    (tmp_path / "unet").mkdir()
    for name in files:
        (tmp_path / "unet" / f"model.{name}.safetensors").touch()
    weights = loading.weights_access.PinnedWeights(str(tmp_path), None, "")
    assert loading._pick_variant("auto", dtype, weights) == variant


def test_scheduler_by_name_and_options(pipelines):
    options = {"algorithm_type": "dpmsolver++", "solver_order": 2}
    other = config(pipelines["SD"], scheduler=SchedulerConfig("DPMSolverMultistepScheduler", options))
    pipe = TextToImage(other).load()
    assert type(pipe.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert pipe.scheduler.config.solver_order == 2
    assert pipe.scheduler.config.beta_end == 0.012  # the rest is the model's own
    for wrong, error in [
        (SchedulerConfig("NoScheduler"), "'NoScheduler', which diffusers"),
        (SchedulerConfig("UNet2DModel"), "'UNet2DModel', which diffusers"),
        (SchedulerConfig("DDIMScheduler", {"sovler": 2}), "has no 'sovler'"),
    ]:
        with pytest.raises(ValueError, match=error):
            TextToImage(config(pipelines["SD"], scheduler=wrong)).load()


def test_lora_adapter(pipelines, tmp_path):
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = diffusers.StableDiffusionPipeline.from_pretrained(pipelines["SD"])
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(pipe.unet)
    pipe.save_lora_weights(tmp_path, unet_lora_layers=layers)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    row = ([PROMPTS[0]], [NEGATIVES[0]], [SEEDS[0]])
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


def test_cosxl_preset(tmp_path, monkeypatch):
    (tmp_path / "cosxl.safetensors").write_bytes(b"weights")
    preset = ModelConfig(path=str(tmp_path), family_preset="cosxl", size=512)
    model, info = resolve_model(preset)
    assert info["family"] == "SDXL"
    assert model.scheduler.name == "EDMEulerScheduler"
    assert resolve_model(ModelConfig(path=str(tmp_path / "cosxl.safetensors"), family_preset="cosxl"))[1] == info
    called = {}

    def from_single_file(file, **options):
        called.update(options, file=file)
        pipe = tiny_models.sdxl()
        pipe.register_modules(scheduler=options["scheduler"])
        return pipe

    monkeypatch.setattr(cosxl, "configuration", lambda: tmp_path / "config")
    monkeypatch.setattr(diffusers.StableDiffusionXLPipeline, "from_single_file", from_single_file)
    pipe = loading.load_pipeline(model)
    assert called["file"].endswith("cosxl.safetensors")
    assert called["add_watermarker"] is False
    pipe.scheduler.set_timesteps(5)
    ratios = pipe.scheduler.sigmas[1:5] / pipe.scheduler.sigmas[:4]
    assert torch.allclose(ratios, ratios[:1].expand(4), rtol=1e-4)  # exponential, not Karras
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert pipe.scheduler.sigmas[0] == pytest.approx(120.0)


def test_cosxl_without_its_configuration_says_what_is_needed(monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(cosxl, "snapshot_download", offline)
    with pytest.raises(ValueError, match=r"stable-diffusion-xl-base-1.0 .*plan --fetch"):
        cosxl.configuration()


def test_fetch_takes_what_will_be_loaded(pipelines, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    asked = []
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", lambda repo, **options: asked.append((repo, options)))
    monkeypatch.setattr(loading, "hf_hub_download", lambda repo, name, **options: str(pipelines["SD"] / name))
    monkeypatch.setattr(loading.weights_access, "file_names", lambda place: [])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    [place] = loading.fetch_model(ModelConfig(path="org/model", revision=commit))
    assert place.identity == commit
    assert asked == [("org/model", {"revision": commit, "variant": None, "use_safetensors": True})]
    assert not list(tmp_path.rglob("refs"))
    [place] = loading.fetch_model(ModelConfig(path=str(pipelines["SD"])))
    assert place.local == pipelines["SD"]
    (tmp_path / "cosxl.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(cosxl, "configuration", lambda: asked.append("configuration"))
    loading.fetch_model(ModelConfig(path=str(tmp_path), family_preset="cosxl"))
    assert asked[1:] == ["configuration"]


def test_what_cannot_be_a_model_says_so(pipelines, tmp_path):
    (tmp_path / "one.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="a single file does not say what it is"):
        resolve_model(ModelConfig(path=str(tmp_path / "one.safetensors")))
    with pytest.raises(ValueError, match=r"no readable model_index.json"):
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
    with pytest.raises(ValueError, match="code in its own repository"):
        resolve_model(ModelConfig(path=str(distilled)))
    shutil.rmtree(distilled / "vae")
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "StableDiffusionPipeline"}))
    unet.write_text((pipelines["SD"] / "unet" / "config.json").read_text())
    with pytest.raises(ValueError, match="cannot be loaded as a text-to-image pipeline"):
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


def test_what_was_fetched_is_found_offline(pipelines, tmp_path, monkeypatch):
    commits = {"org/model": "0" * 40, "org/lora": "1" * 40}
    access = loading.weights_access
    online = SimpleNamespace(
        model_info=lambda repo, revision: SimpleNamespace(sha=commits[repo], siblings=[], card_data=None),
        list_repo_files=lambda repo, revision: ["lora.safetensors"],
    )

    def download(repo, revision, **options):
        assert revision == commits[repo]
        snapshot = tmp_path / repo_folder_name(repo_id=repo, repo_type="model") / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (snapshot / "lora.safetensors").touch()

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(access, "HfApi", lambda: online)
    monkeypatch.setattr(access, "snapshot_download", download)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    monkeypatch.setattr(loading, "hf_hub_download", lambda repo, name, **options: str(pipelines["SD"] / name))
    asked = ModelConfig(path="org/model", adapters=(AdapterConfig("org/lora", revision="v2"),))
    loading.fetch_model(asked)
    monkeypatch.setattr(access, "HfApi", None)  # raises when it is called
    model, info = resolve_model(asked)
    assert (model.revision, model.adapters[0].revision) == ("0" * 40, "1" * 40)
    assert (info["path"], info["adapter_paths"]) == ("org/model", ["org/lora"])
    loaded = []
    pipe = SimpleNamespace(load_lora_weights=lambda *a, **k: loaded.append((a, k)), set_adapters=lambda *a: None)
    loading._add_adapters(pipe, model)  # without a weight_name diffusers would ask the Hub
    [((where,), options)] = loaded
    assert (where, options["revision"], options["weight_name"]) == ("org/lora", "1" * 40, "lora.safetensors")


@pytest.mark.parametrize(
    ("files", "picked"),
    [(["a.safetensors"], "a.safetensors"), ([], None), (["a.safetensors", "b.safetensors"], None),
     (["a.safetensors", "pytorch_lora_weights.safetensors"], "pytorch_lora_weights.safetensors")],
)  # fmt: skip
def test_adapter_file(files, picked, monkeypatch):
    monkeypatch.setattr(loading.weights_access, "file_names", lambda place: [*files, "README.md"])
    assert loading._adapter_file(loading.weights_access.PinnedWeights("org/lora", "1" * 40, "")) == picked
    assert loading._adapter_file(loading.weights_access.PinnedWeights("/here", None, "")) is None


class Lines(logging.Handler):
    """What a library would print."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.mark.parametrize("guidance", ["eq4", "native"])
def test_a_truncated_text_is_told_once_and_by_us_alone(guidance, pipelines, caplog):
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    before = [library.get_verbosity() for library in libraries]
    seen = Lines()
    for library in libraries:
        library.set_verbosity_warning()
        library.add_handler(seen)
    try:
        with caplog.at_level(logging.INFO, "diffcore_hf"):
            model = TextToImage(config(pipelines["SD"], steps=1, guidance=guidance), batch_size=2)
            model.load()
            seen.lines.clear()
            for _ in range(2):
                model.sample(["a bird", "a bird " * 9, "a bird " * 9], ["blurry"] * 3, [0, 1, 2])
        assert seen.lines == []
        assert [library.get_verbosity() for library in libraries] == [logging.WARNING] * 2
    finally:
        for library, level in zip(libraries, before, strict=True):
            library.remove_handler(seen)
            library.set_verbosity(level)
    [told] = [record.getMessage() for record in caplog.records if "drops the last" in record.getMessage()]
    assert told.startswith("the text encoder drops the last 31 tokens of 'a bird a bird")  # 9 x 5 letters + 2 - 16
