from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

from diffcore_hf.models import door

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def folder(path, **files):
    for name, content in files.items():
        target = path / name.replace("__", "/").replace("_DOT_", ".")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return path


def model_folder(path):
    return folder(
        path, config_DOT_json=b"{}", model_DOT_safetensors=b"weights", README_DOT_md=b"---\nlicense: mit\n---\n"
    )


def test_identity_is_names_and_contents(tmp_path):
    first, second = model_folder(tmp_path / "a"), model_folder(tmp_path / "elsewhere" / "b")
    resolved = door.resolve(str(first))
    assert resolved.identity == door.resolve(str(second)).identity
    assert resolved.identity.startswith("sha256:")
    assert (resolved.revision, resolved.licence, resolved.location) == (None, "mit", str(first))
    (second / "README.md").write_text("other words")
    (second / ".cache").mkdir()
    (second / ".cache" / "note.json").write_text("{}")
    assert door.resolve(str(second)).identity == resolved.identity
    for name, content in [("model.safetensors", b"other"), ("config.json", b"[]"), ("tokenizer.json", b"{}")]:
        before = door.resolve(str(second)).identity
        (second / name).write_bytes(content)
        assert door.resolve(str(second)).identity != before


def test_single_file(tmp_path):
    file = folder(tmp_path, lora_DOT_safetensors=b"weights") / "lora.safetensors"
    sha256 = "9d9595c5d94fb65b824f56e9999527dba9542481580d69feb89056aabaa0aa87"
    assert len(sha256) == 64
    assert door.resolve(str(file), kind="adapter").identity.startswith("sha256:")
    pickled = folder(tmp_path, lora_DOT_bin=b"weights") / "lora.bin"
    with pytest.raises(ValueError, match=r"lora.bin: not a .safetensors file"):
        door.resolve(str(pickled))


@pytest.mark.parametrize("kind", [dict, "file"])
def test_hashes_are_kept_by_size_and_time(kind, tmp_path, monkeypatch):
    cache = {} if kind is dict else tmp_path / "hints" / "hashes.json"
    path = model_folder(tmp_path / "model")
    identity = door.resolve(str(path), hash_cache=cache).identity
    monkeypatch.setattr(door.hashlib, "file_digest", None)  # a second hashing would raise
    assert door.resolve(str(path), hash_cache=cache).identity == identity
    os.utime(path / "config.json", (1, 1))
    with pytest.raises(TypeError):
        door.resolve(str(path), hash_cache=cache)


def test_unreadable_hash_cache_is_no_error(tmp_path):
    (tmp_path / "hashes.json").write_text('{"torn')
    path = model_folder(tmp_path / "model")
    assert door.resolve(str(path), hash_cache=tmp_path / "hashes.json").identity == door.resolve(str(path)).identity
    assert len(json.loads((tmp_path / "hashes.json").read_text())) == 2


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"config_DOT_json": b"{}", "pytorch_model_DOT_bin": b"x"}, "pytorch_model.bin"),
        ({"model_DOT_ckpt": b"x"}, "model.ckpt"),
        ({"model_DOT_pt": b"x"}, "model.pt"),
        (
            {"model_index_DOT_json": b"{}", "unet__config_DOT_json": b"{}", "unet__diffusion_DOT_bin": b"x",
             "vae__config_DOT_json": b"{}", "vae__model_DOT_safetensors": b"x"},
            "unet/diffusion.bin",
        ),
    ],
)  # fmt: skip
def test_pickled_only_is_refused(files, named, tmp_path):
    path = folder(tmp_path / "model", **files)
    with pytest.raises(ValueError, match=rf"{path}: {named} is pickled.*save_pretrained writes safetensors") as error:
        door.resolve(str(path))
    assert "\n" not in str(error.value)


def test_pickles_beside_safetensors_are_left_alone(tmp_path):
    path = folder(model_folder(tmp_path), pytorch_model_DOT_bin=b"x", training_args_DOT_bin=b"x")
    assert door.resolve(str(path)).identity


@pytest.mark.parametrize(
    ("path", "error"),
    [("./no/such/folder", "no such pipeline here, and no Hub id"), ("../nothing", "no Hub id"),
     ("package:no_such_package/x", "no package 'no_such"),
     ("package:diffcore_hf/nothing", "package diffcore_hf has no 'nothing'")],
)  # fmt: skip
def test_nothing_there(path, error):
    with pytest.raises(ValueError, match=error):
        door.resolve(path)


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r"holds no safetensors.*save_pretrained"):
        door.resolve(str(tmp_path))


def test_package_data(tmp_path, monkeypatch):
    package = tmp_path / "some_package" / "inner"
    model_folder(package / "models" / "sd")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    resolved = door.resolve("package:some_package.inner/models/sd")
    assert resolved.local == package / "models" / "sd"


class Hub:
    """What HfApi answers: repository contents, or an error."""

    def __init__(self, *files, error=None, sha=COMMIT):
        self.files, self.error, self.sha = files, error, sha

    def model_info(self, repo, revision=None):
        if self.error:
            raise self.error
        siblings = [SimpleNamespace(rfilename=name) for name in self.files]
        return SimpleNamespace(sha=self.sha, siblings=siblings, card_data=SimpleNamespace(license="openrail"))


def test_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(door, "HfApi", lambda: Hub("config.json", "model.safetensors", "pytorch_model.bin"))
    assert door.resolve("org/model", "v1") == door.Resolved("org/model", COMMIT, COMMIT, "openrail")
    monkeypatch.setattr(door, "HfApi", lambda: Hub("config.json", "pytorch_model.bin"))
    with pytest.raises(ValueError, match=r"org/model: pytorch_model.bin is pickled"):
        door.resolve("org/model")
    monkeypatch.setattr(door, "HfApi", lambda: Hub(error=AssertionError("not asked")))
    assert door.resolve("org/model", COMMIT).revision == COMMIT


def test_offline_takes_what_the_cache_recorded(monkeypatch, tmp_path):
    monkeypatch.setattr(door, "HfApi", lambda: Hub(error=ConnectionError("offline")))
    monkeypatch.setattr(door.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"org/model: .*cannot be reached.*not in the cache.*plan --fetch"):
        door.resolve("org/model")
    model_folder(tmp_path / "models--org--model" / "snapshots" / COMMIT)
    refs = tmp_path / "models--org--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    assert door.resolve("org/model") == door.Resolved("org/model", COMMIT, COMMIT, "mit")


def test_fetch_leaves_pickles_there(monkeypatch):
    asked = {}
    monkeypatch.setattr(door, "HfApi", lambda: Hub("model.safetensors"))
    monkeypatch.setattr(door, "snapshot_download", lambda repo, **options: asked.update(options, repo=repo))
    door.fetch("org/model")
    assert (asked["repo"], asked["revision"]) == ("org/model", COMMIT)
    assert asked["allow_patterns"][0] == "*.safetensors"
    assert not any(pattern.endswith(door.PICKLED) for pattern in asked["allow_patterns"])
