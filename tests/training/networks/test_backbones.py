from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from safetensors.torch import load_file, save_file
from timm.models._hub import save_for_hf
from torch.nn import functional

from diffcore_hf.config.train import BackboneConfig
from diffcore_hf.training.networks import backbones

MINIATURE = "package:diffcore_hf.miniature/models/backbone"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["heron", "wren", "rook"]


def images(count=2, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def outputs(model, size=32):
    with torch.no_grad():
        return model.eval()(images(size=size))


def scratch(name="test_resnet", **fields):
    return BackboneConfig(name=name, pretrained=False, **fields)


def built(config=None, classes=3, size=32, seed=0):
    torch.manual_seed(seed)
    return backbones.create(config or scratch(), classes, size)


def kept(folder, model, size=32, **arguments):
    """The folder of a trained model."""
    labels = [f"bird {index}" for index in range(model.num_classes)]
    backbones.save(folder, model, labels, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), size=size, **arguments)
    return folder


def cached(repo_id, **files):
    """A repository in the cache, as a download leaves it; returns its snapshot's folder."""
    root = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        (snapshot / name.replace("_DOT_", ".")).write_bytes(content)
    return snapshot


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A hub cache of each test's own: what one leaves there is nothing to the next."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def backbone_of(model):
    """Weights but for the head's."""
    head = model.pretrained_cfg["classifier"]
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(head)}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def told(call, *arguments):
    """The one line with which a call is refused."""
    with pytest.raises(ValueError, match=".") as caught:
        call(*arguments)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 500, line
    return line


# PreActResNet


@pytest.mark.parametrize(
    "name, classes, parameters", [("preact_resnet18", 100, 11_217_316), ("preact_resnet34", 102, 21_326_502)]
)
def test_preact_has_as_many_parameters_as_the_literatures(name, classes, parameters):
    model = timm.create_model(name, num_classes=classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("stride", [1, 2])
def test_preact_is_the_formula(stride):
    """x1 = conv(x); each block: p = relu(bn(x)), x + F(p), with a projection of p for x where the shape changes."""
    model = timm.create_model("preact_resnet18", num_classes=5, stem_stride=stride).eval()
    weights = model.state_dict()

    def normed(x, name):
        of = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.relu(functional.batch_norm(x, *of))

    x = images()
    expected = functional.conv2d(x, weights["stem.conv.weight"], stride=stride, padding=1)
    for stage in range(4):
        for block in range(2):
            at = f"stages.{stage}.blocks.{block}"
            step = 2 if stage and not block else 1
            p = normed(expected, f"{at}.norm1")
            if step == 2:
                expected = functional.conv2d(p, weights[f"{at}.downsample.conv.weight"], stride=2)
            y = functional.conv2d(p, weights[f"{at}.conv1.weight"], stride=step, padding=1)
            y = functional.conv2d(normed(y, f"{at}.norm2"), weights[f"{at}.conv2.weight"], padding=1)
            expected = expected + y
    assert expected.shape[-1] == 4 // stride
    expected = expected.mean((2, 3)) @ weights["head.fc.weight"].flatten(1).T + weights["head.fc.bias"]
    torch.testing.assert_close(outputs(model), expected, rtol=1e-4, atol=1e-5)


def test_preact_fits_timms_tools():
    model = timm.create_model("preact_resnet18", num_classes=4, stem_stride=2)
    assert model.get_classifier() is model.get_submodule(model.pretrained_cfg["classifier"])
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).stride == (2, 2)
    assert model.pretrained_cfg["fixed_input_size"] is False
    features = timm.create_model("preact_resnet18", features_only=True)
    assert features.feature_info.reduction() == [1, 1, 2, 4, 8]
    assert [map.shape[-1] for map in features(images(1))] == [32, 32, 16, 8, 4]
    assert timm.create_model("preact_resnet18", in_chans=1)(torch.zeros(2, 1, 32, 32)).shape == (2, 100)


@pytest.mark.parametrize("stride", [1, 2])
def test_preact_is_saved_and_loaded_by_timm(tmp_path, stride):
    model = built(scratch("preact_resnet18", stem_stride=stride))
    save_for_hf(model, tmp_path / "timm", safe_serialization=True, model_args={"stem_stride": stride})
    kept(tmp_path / "ours", model)
    for folder in ("timm", "ours"):
        again = timm.create_model(f"local-dir:{tmp_path / folder}", pretrained=True)
        assert torch.equal(outputs(again), outputs(model))


# Every kind


@pytest.mark.parametrize(
    "name, size, drop_path",
    [
        ("resnet18", 32, 0.1),
        ("preact_resnet18", 32, 0.1),
        ("densenet121", 32, 0.0),
        ("mobilevit_xxs", 64, 0.1),
        ("fastvit_t8", 64, 0.1),
        ("efficientvit_m0", 64, 0.0),
        ("convnextv2_atto", 32, 0.1),
        ("vit_tiny_patch16_224", 32, 0.1),
        ("swin_tiny_patch4_window7_224", 56, 0.1),
    ],
)
def test_every_kind_builds_and_learns_at_a_small_size(name, size, drop_path, tmp_path):
    model = built(scratch(name, drop_path=drop_path), classes=5, size=size)
    assert model.training
    logits = model(images(size=size))
    functional.cross_entropy(logits, torch.tensor([0, 4])).backward()
    assert logits.shape == (2, 5)
    head = next(model.get_classifier().parameters())
    assert head.grad.abs().sum() > 0
    kept(tmp_path / "kept", model, size=size)
    again = timm.create_model(f"local-dir:{tmp_path / 'kept'}", pretrained=True)
    assert torch.equal(outputs(again, size), outputs(model, size))


def drop_rates(model):
    return [part.drop_prob for part in model.modules() if type(part).__name__ == "DropPath" and part.drop_prob]


def test_drop_path_is_what_the_recipe_says():
    assert max(drop_rates(built(scratch("test_resnet", drop_path=0.3)))) == pytest.approx(0.3)
    swin = "swin_tiny_patch4_window7_224"
    assert drop_rates(timm.create_model(swin, img_size=56))  # by default 0.1
    assert not drop_rates(built(scratch(swin), size=56))


def test_a_fixed_size_is_the_trainings(tmp_path):
    model = built(scratch("test_vit"), size=48)
    assert model.patch_embed.img_size == (48, 48)
    again = backbones.load(kept(tmp_path, model, size=48), 3)
    assert again.patch_embed.img_size == (48, 48)
    assert torch.equal(outputs(again, 48), outputs(model, 48))


# Pretrained weights


@pytest.mark.parametrize("classes", [20, 7])
def test_the_head_is_always_fresh_and_that_is_logged(classes, caplog):
    config = BackboneConfig(name="resnet10t", pretrained=MINIATURE)
    with caplog.at_level(logging.INFO, logger="diffcore_hf"):
        first, second = built(config, classes, 64, seed=0), built(config, classes, 64, seed=1)
    weights = load_file(backbones.resolve(config).local / "model.safetensors")
    assert first.fc.weight.shape == (classes, 512)
    assert not torch.equal(first.fc.weight, second.fc.weight)
    assert same(backbone_of(first), backbone_of(second))
    assert torch.equal(first.state_dict()["conv1.0.weight"], weights["conv1.0.weight"].float())
    if classes == 20:
        assert not torch.allclose(first.fc.weight, weights["fc.weight"].float(), atol=1e-3)
    assert f"its head of 20 classes is replaced by one of {classes}" in caplog.text
    assert "label_names" not in first.pretrained_cfg and "file" not in first.pretrained_cfg


def test_weights_come_from_a_folder_a_file_or_the_hub(tmp_path):
    model = built(seed=3)
    folder = kept(tmp_path / "kept", model)
    repo = "birds/test_resnet.wild"
    cached(repo, **{f.name.replace(".", "_DOT_"): f.read_bytes() for f in folder.iterdir()})
    bare = tmp_path / "bare.safetensors"  # no config.json: taken for the name's
    bare.write_bytes((folder / "model.safetensors").read_bytes())
    ours, timms = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for path, mean_and_std in [
        (str(folder), ours),
        (str(bare), timms),
        (str(folder / "model.safetensors"), timms),
        (repo, ours),
        (f"{repo}@{COMMIT}", ours),
    ]:
        config = BackboneConfig(name="test_resnet", pretrained=path)
        loaded = built(config, classes=5)
        assert same(backbone_of(loaded), backbone_of(model)), path
        assert loaded(images()).shape == (2, 5)
        assert backbones.normalisation(config, loaded) == mean_and_std
    assert backbones.resolve(BackboneConfig(name="test_resnet", pretrained=repo)).revision == COMMIT
    assert torch.equal(outputs(backbones.load(repo, 3)), outputs(model))
    assert backbones.resolve(BackboneConfig(name="test_resnet", pretrained=str(folder))).identity.startswith("sha256:")


def test_true_means_the_weights_that_timm_names():
    config = BackboneConfig(name="test_resnet.r160_in1k")
    model = timm.create_model("test_resnet", num_classes=1000)
    snapshot = cached("timm/test_resnet.r160_in1k", pytorch_model_DOT_bin=b"a pickle that nobody opens")
    save_file(model.state_dict(), snapshot / "model.safetensors")
    loaded = built(config)
    assert same(backbone_of(loaded), backbone_of(model))
    assert backbones.normalisation(config, loaded) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert backbones.normalisation(scratch(), built()) is None
    assert backbones.resolve(config).location == "timm/test_resnet.r160_in1k"
    assert backbones.resolve(scratch()) is None


def test_position_embeddings_are_resized_to_the_trainings_size(tmp_path):
    folder = kept(tmp_path, built(scratch("test_vit"), size=64), size=64)
    loaded = built(BackboneConfig(name="test_vit", pretrained=str(folder)), size=32)
    assert loaded.pos_embed.shape[1] == 1 + 4
    assert loaded(images()).shape == (2, 3)


def test_the_stem_of_the_weights_is_kept_where_the_recipe_names_none(tmp_path):
    folder = kept(tmp_path, built(scratch("preact_resnet18", stem_stride=2)))
    for stride, expected in [(None, 2), (1, 1), (2, 2)]:
        loaded = built(BackboneConfig(name="preact_resnet18", pretrained=str(folder), stem_stride=stride))
        assert loaded.stem.conv.stride == (expected, expected)


def test_a_config_json_cannot_have_another_file_loaded(tmp_path):
    model = built(seed=3)
    folder = kept(tmp_path / "kept", model)
    evil = tmp_path / "evil.bin"
    evil.write_bytes(b"a pickle")
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= {"file": str(evil), "url": str(evil), "custom_load": True, "hf_hub_id": "no/where"}
    config["model_args"] = {"checkpoint_path": str(evil), "pretrained_cfg_overlay": {"file": str(evil)}}
    (folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(outputs(backbones.load(folder, 3)), outputs(model))
    assert same(backbone_of(built(BackboneConfig("test_resnet", str(folder)))), backbone_of(model))


# Refusals


@pytest.mark.parametrize(
    "config, size, parts",
    [
        (scratch("resnet5"), 32, ["model.name is 'resnet5'", "nearest: ", "--model.name resnet"]),
        (scratch("preact_resnet19"), 32, ["--model.name preact_resnet18"]),
        (scratch("ResNet50x"), 32, ["resnet50"]),
        (scratch("resnet50.a1_in1"), 32, ["'a1_in1'", "--model.name resnet50.a1_in1k"]),
        (scratch("preact_resnet18.best"), 32, ["'best'", "--model.name preact_resnet18"]),
        (scratch("vit_base_patch16_224_in21k"), 32, ["former name", "--model.name vit_base_patch16_224.augreg_in21k"]),
        (scratch("hf-hub:timm/resnet50.a1_in1k"), 32, ["place of weights", "--model.pretrained timm/resnet50.a1_in1k"]),
        (scratch("densenet121", drop_path=0.1), 32, ["model.drop_path is 0.1", "--model.drop_path 0"]),
        (scratch("test_resnet", stem_stride=2), 32, ["model.stem_stride is 2", "Leave it out"]),
        (scratch("test_vit"), 40, ["multiples of 16, not 40", "--transform.size 32"]),
        (scratch("test_vit"), 8, ["multiples of 16, not 8", "--transform.size 16"]),
        (scratch("densenet121"), 16, ["images of 16 pixels", "--transform.size 224"]),
        (BackboneConfig("preact_resnet18"), 32, ["timm names no weights", "--model.pretrained false"]),
        (BackboneConfig("legacy_seresnet18"), 32, ["timm names no weights", "--model.pretrained false"]),
        (BackboneConfig("resnet18"), 32, ["timm/resnet18.a1_in1k", "not in the cache", "--model.pretrained false"]),
        (BackboneConfig("resnet18", "no/where"), 32, ["no/where", "not in the cache", "--model.pretrained false"]),
        (BackboneConfig("resnet18", "no such folder"), 32, ["no such folder", "--model.pretrained false"]),
        (BackboneConfig("resnet18", "package:nothing/x"), 32, ["package:nothing/x", "--model.pretrained false"]),
        (BackboneConfig("resnet18", MINIATURE), 32, ["weights of resnet10t", "--model.name resnet10t"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(config, size, parts):
    line = told(backbones.create, config, 3, size)
    for part in parts:
        assert part in line
    assert "plan --fetch" not in line


def test_weights_that_do_not_fit_are_told_in_one_line(tmp_path):
    folder = kept(tmp_path / "kept", built())
    good = (folder / "model.safetensors").read_bytes()
    config = BackboneConfig("test_resnet", str(folder))
    weights = load_file(folder / "model.safetensors")
    first = "conv1.0.weight"
    for change, part in [
        ({first: None}, "Missing key"),
        ({first: torch.zeros(1)}, "size mismatch"),
        ({"more.weight": torch.zeros(1)}, "Unexpected key"),
    ]:
        changed = {name: tensor for name, tensor in (weights | change).items() if tensor is not None}
        save_file(changed, folder / "model.safetensors")
        for call in (lambda: backbones.create(config, 3, 32), lambda: backbones.load(folder, 3)):
            assert part in told(call)
        assert "--model.pretrained false" in told(backbones.create, config, 3, 32)
    (folder / "model.safetensors").write_bytes(good[:-100])
    assert "do not fit" in told(backbones.create, config, 3, 32)
    for torn in ("{", "[]", '{"architecture": 1}', '{"architecture": "test_resnet", "pretrained_cfg": 1}'):
        (folder / "config.json").write_text(torn)
        assert "config.json" in told(backbones.load, folder, 3)
    assert "config.json is damaged" in told(backbones.create, config, 3, 32)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickled" in told(backbones.create, config, 3, 32)


def test_pickles_on_the_hub_are_refused():
    cached("birds/pickled", pytorch_model_DOT_bin=b"a pickle", config_DOT_json=b"{}")
    line = told(backbones.create, BackboneConfig("resnet18", "birds/pickled"), 3, 32)
    assert "pickled" in line and "--model.pretrained false" in line


def test_a_snapshot_without_its_weights_is_told_in_one_line():
    cached("birds/torn", config_DOT_json=b"{}")
    assert "--model.pretrained false" in told(backbones.create, BackboneConfig("resnet18", "birds/torn"), 3, 32)


# The folder of a trained model


def test_what_is_saved_is_loaded_with_its_head(tmp_path):
    model = built(classes=3).to(memory_format=torch.channels_last)
    backbones.save(tmp_path / "best", model, NAMES, mean=(0.5,) * 3, std=(0.25,) * 3, size=32)
    again = backbones.load(tmp_path / "best", 3)
    assert not again.training
    torch.testing.assert_close(outputs(again), outputs(model))
    assert again.pretrained_cfg["label_names"] == NAMES
    by_timm = timm.create_model(f"local-dir:{tmp_path / 'best'}", pretrained=True)
    assert by_timm.pretrained_cfg["label_names"] == NAMES
    assert torch.equal(outputs(by_timm), outputs(again))
    assert timm.data.resolve_model_data_config(by_timm) == {
        "input_size": [3, 32, 32],
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "crop_pct": 1.0,
        "crop_mode": "center",
    }


def test_the_folder_says_nothing_of_this_machine_and_is_the_same_twice(tmp_path):
    folder = kept(tmp_path / "first", built())
    model = built(BackboneConfig("test_resnet", str(folder)))
    for name in ("second", "third"):
        kept(tmp_path / name, model)
    files = {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()}
    assert sorted(files) == ["config.json", "model.safetensors"]
    assert len({path.stat().st_mode for path in (tmp_path / "second").iterdir()}) == 1
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "third").iterdir()}
    assert str(tmp_path).encode() not in b"".join(files.values())
    config = json.loads(files["config.json"])
    assert (config["architecture"], config["num_classes"], len(config["label_names"])) == ("test_resnet", 3, 3)
    picture = config["pretrained_cfg"]
    assert picture["input_size"] == [3, 32, 32] and picture["mean"] == [0.1, 0.2, 0.3] and picture["crop_pct"] == 1.0
    assert (picture["num_classes"], picture["first_conv"], picture["classifier"]) == (3, "conv1.0", "fc")


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    model = built()
    folder = kept(tmp_path / "best", model)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        kept(folder, built(seed=1))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_of_other_classes_is_refused(tmp_path):
    folder = kept(tmp_path, built(classes=3))
    line = told(backbones.load, folder, 200)
    assert "a model of 3 classes, but the dataset has 200" in line
    (folder / "config.json").unlink()
    assert "no config.json" in told(backbones.load, folder, 3)
    assert "one of" not in told(backbones.load, tmp_path / "nowhere", 3)
    with pytest.raises(ValueError, match="2 label names for a model of 3 classes"):
        backbones.save(tmp_path, built(), NAMES[:2], mean=(0,) * 3, std=(1,) * 3, size=32)


def test_a_compiled_model_is_saved_as_itself(tmp_path):
    model = built()
    wrapped = torch.compile(model)  # nothing is compiled before the first call
    assert torch.equal(outputs(backbones.load(kept(tmp_path, wrapped), 3)), outputs(model))
