"""Runs with structure on photos: plan, augment, digests of the weights, and errors before weights are loaded."""

import json
import shutil

import pytest
import tiny_adapters
import tiny_models
from datasets import Dataset, Image, load_dataset
from run_folders import go, manifest, published
from safetensors.torch import load_file, save_file

from diffcore_hf.core.errors import UserError
from diffcore_hf.publishing.card import reproduction
from diffcore_hf.workflows import augment
from diffcore_hf.workflows import plan as plan_workflow

KEEP_ALL = {"filter.policy": {"name": "all"}, "max_attempts": 1, "limit": 4}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Returns a folder with a ControlNet and an IP-Adapter for tiny models of Stable Diffusion and SDXL."""
    root = tmp_path_factory.mktemp("weights")
    for family in ("SD", "SDXL"):
        tiny_models.seeded(tiny_adapters.save_controlnet, family, root / f"control-{family}")
        tiny_models.seeded(tiny_adapters.save_ip_adapter, family, root / f"adapter-{family}")
    return root


@pytest.fixture(scope="module")
def options(weights):
    return {"controlnet": str(weights / "control-SD"), "ip_adapter": str(weights / "adapter-SD")}


def structure(options, **more):
    return {"name": "structure", "options": options | more}


@pytest.fixture(scope="module")
def out(make, options, tmp_path_factory):
    """Returns the folder of a finished run whose parts have four attempts."""
    folder = tmp_path_factory.mktemp("structure") / "out"
    go(make(folder, strategy=structure(options), part_size=4, **KEEP_ALL))
    return folder


def test_parts_do_not_change_an_image(out, options, make, tmp_path):
    go(make(tmp_path / "out", strategy=structure(options), part_size=1, **KEEP_ALL))
    attempts = [
        {name: content for name, content in published(folder).items() if name.startswith("attempts/")}
        for folder in (out, tmp_path / "out")
    ]
    assert attempts[0] == attempts[1]


def test_the_weights_are_recorded_by_their_hash_and_no_local_path_is_published(out, weights):
    run = json.loads((out / ".diffcore" / "run.json").read_text())
    identities = run["identities"]["weights"]
    assert set(identities) == {"controlnet", "ip_adapter"}
    assert all(len(identity) == len("sha256:") + 64 for identity in identities.values())
    options = run["attempt"]["strategy"]["options"]
    assert {name: options[name] for name in identities} == identities
    assert "controlnet_revision" not in options
    card = (out / "README.md").read_text()
    for identity in identities.values():
        assert identity in card
    assert "2302.05543" in card
    for published_text in (card, json.dumps(manifest(out))):
        assert str(weights) not in published_text
    text, placeholders = reproduction.recipe_file(manifest(out))
    assert {"YOUR/CONTROLNET", "YOUR/IP-ADAPTER"} <= set(placeholders)
    assert f"controlnet: YOUR/CONTROLNET  # local:{identities['controlnet'][7:23]}" in text


def test_other_weights_in_the_same_folder_are_refused(out, weights, options, make, tmp_path, no_weights):
    other = tmp_path / "control"
    shutil.copytree(weights / "control-SD", other)
    recipe = make(out, strategy=structure(options, controlnet=str(other)), **KEEP_ALL)
    augment.prepare(recipe)  # the same content in another folder
    [file] = other.glob("*.safetensors")
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    with pytest.raises(UserError, match=r"settings that give other images \(strategy\.options\.controlnet: \"sha256:"):
        augment.prepare(recipe)


def test_plan_names_the_weights_and_loads_none(options, make, tmp_path, no_weights):
    recipe = make(tmp_path / "out", strategy=structure(options))
    lines = plan_workflow.text(augment.prepare(recipe)).splitlines()
    assert any(line.startswith(f"weights     controlnet {options['controlnet']} (sha256:") for line in lines)
    assert any(line.startswith(f"weights     ip_adapter {options['ip_adapter']} (sha256:") for line in lines)
    assert "cost        4 evaluations of the denoising network for an image, 1.00 times those of text_to_image" in lines


def test_control_images_come_from_a_column(options, folder_of_photos, make, tmp_path):
    rows = load_dataset("imagefolder", data_dir=str(folder_of_photos), split="train")
    rows = rows.cast_column("image", Image(decode=False))
    depth = [rows[0]["image"] if row % 2 else rows[1]["image"] for row in range(len(rows))]
    depth[2] = None
    data = rows.add_column("depth", Dataset.from_dict({"depth": depth}).data["depth"].to_pylist())
    data = data.cast_column("depth", Image())
    strategy = structure({"controlnet": options["controlnet"]}, control_column="depth")
    keys = KEEP_ALL | {"limit": None, "source": "in-memory", "source.root": str(folder_of_photos)}
    prepared = augment.prepare(make(tmp_path / "out", strategy=strategy, **keys), data)
    assert prepared.resolution.strategy.reads == ("prompt", "negative_prompt", "seed", "control_image")
    hashes = {prepared.plan.rows[unit]: prepared.inputs.images.sha256("control_image", unit) for unit in range(10)}
    assert hashes[2] is None
    assert len({hashes[row] for row in range(3, 10)}) == 2
    changed = data.select(range(10)).remove_columns("depth")
    changed = changed.add_column("depth", [depth[0]] * 10).cast_column("depth", Image())
    again = augment.prepare(make(tmp_path / "out", strategy=strategy, **keys), changed)
    before, after = ([run.inputs.of_unit(unit) for unit in range(10)] for run in (prepared, again))
    # Half of the rows keep their control image, so the inputs of their attempts do not change.
    assert {prepared.plan.rows[unit] % 2 for unit in range(10) if before[unit] == after[unit]} == {0}
    wrong = structure({"controlnet": options["controlnet"]}, control_column="label")
    recipe = make(tmp_path / "out", strategy=wrong, **keys)
    with pytest.raises(
        UserError, match=r"control_column is 'label', which is not an image column of in-memory\. Use one"
    ):
        augment.prepare(recipe, data)


WRONG = [
    ({"controlnet": None}, r"strategy\.options\.controlnet is missing: .* lllyasviel/sd-controlnet-canny$"),
    ({"controlnet": 3}, r"strategy\.options\.controlnet is 3, not a text"),
    ({"controlnet": "no/such-model"}, r"^no/such-model: there is no such folder, the Hub cannot be reached"),
    ({"controlnet": "{clip}"}, r"is not a ControlNet \(None\)\. Give a ControlNet"),
    ({"controlnet": "{weights}/control-SDXL"}, r"another model than .*: its cross_attention_dim is 64, and .* is 32"),
    ({"controlnet_revision": 7}, r"strategy\.options\.controlnet_revision is 7, not a branch, tag or commit"),
    ({"ip_adapter": "{weights}/adapter-SDXL"}, r"is an IP-Adapter of another model than .* width of 64, .* is 32"),
    ({"ip_adapter": "{weights}/control-SD"}, r"has no image encoder in image_encoder"),
    (
        {"ip_adapter": "{weights}/adapter-SD/ip_adapter.safetensors"},
        r"is a file, and an IP-Adapter also needs its image",
    ),
    ({"ip_adapter_file": "none.safetensors"}, r"has no file none\.safetensors of safetensors\. Name it with"),
    ({"ip_adapter_file": "../x.safetensors"}, r"ip_adapter_file is '\.\./x\.safetensors', which is not inside"),
    ({"ip_adapter_file": "image_encoder/model.safetensors"}, r"is no IP-Adapter of a supported kind"),
    ({"ip_adapter_encoder": "/etc"}, r"ip_adapter_encoder is '/etc', which is not inside"),
    ({"low": 300}, r"low is 300 and high is 200, but low is at most high"),
    ({"high": 5000}, r"high at most 2040"),
    ({"scale": -1}, r"strategy\.options\.scale is -1, not a number of at least 0"),
    ({"column": "depth"}, r"strategy\.options has 'column', which this strategy does not have"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options_are_refused_before_weights_are_loaded(
    changed, message, options, weights, tiny, make, tmp_path, no_weights
):
    filled = {
        name: value.format(weights=weights, clip=tiny["clip"]) if isinstance(value, str) else value
        for name, value in changed.items()
    }
    with pytest.raises(UserError, match=message) as error:
        augment.prepare(make(tmp_path / "out", strategy=structure(options, **filled)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_pickled_controlnet_is_refused(options, weights, make, tmp_path, no_weights):
    shutil.copytree(weights / "control-SD", tmp_path / "control")
    [file] = (tmp_path / "control").glob("*.safetensors")
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(UserError, match="is pickled, and there is no safetensors file"):
        augment.prepare(make(tmp_path / "out", strategy=structure(options, controlnet=str(tmp_path / "control"))))


def test_models_without_a_controlnet_pipeline_are_refused(options, make, tmp_path, no_weights):
    folder = tmp_path / "editor"
    tiny_models.seeded(tiny_models.instruct_pix2pix).save_pretrained(folder)
    with pytest.raises(UserError, match="structure has no ControlNet pipeline for StableDiffusionInstructPix2PixPipe"):
        augment.prepare(make(tmp_path / "out", strategy=structure(options), **{"model.path": str(folder)}))
    with pytest.raises(UserError, match="model.attention is 'slicing', with which no IP-Adapter works"):
        augment.prepare(make(tmp_path / "out", strategy=structure(options), **{"model.attention": "slicing"}))
