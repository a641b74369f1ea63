"""Tests of the access to weights: identities, commits, downloads, and pickled weights, which are refused."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from safetensors.numpy import save

from diffcore_hf.models import weights_access as access

WEIGHTS = save({"weight": np.zeros(1)})
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def folder(path, **files):
    for name, content in files.items():
        target = path / name.replace("__", "/").replace("_DOT_", ".")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return path


def model_folder(path):
    return folder(path, config_DOT_json=b"{}", model_DOT_safetensors=WEIGHTS, README_DOT_md=b"---\nlicense: mit\n---\n")


def test_the_identity_depends_on_names_and_contents_of_the_model_files(tmp_path):
    first, second = model_folder(tmp_path / "a"), model_folder(tmp_path / "elsewhere" / "b")
    resolved = access.resolve_weights(str(first))
    assert resolved.identity == access.resolve_weights(str(second)).identity
    assert resolved.identity.startswith("sha256:")
    assert (resolved.revision, resolved.licence, resolved.location) == (None, "mit", str(first))
    (second / "README.md").write_text("other words")
    (second / ".cache").mkdir()
    (second / ".cache" / "note.json").write_text("{}")
    assert access.resolve_weights(str(second)).identity == resolved.identity
    for name, content in [
        ("model.safetensors", save({"weight": np.ones(1)})),
        ("config.json", b'{"a": 1}'),
        ("tokenizer.json", b"{}"),
    ]:
        before = access.resolve_weights(str(second)).identity
        (second / name).write_bytes(content)
        assert access.resolve_weights(str(second)).identity != before


def test_weights_in_a_single_file_are_resolved(tmp_path):
    file = folder(tmp_path, lora_DOT_safetensors=WEIGHTS) / "lora.safetensors"
    sha256 = "9d9595c5d94fb65b824f56e9999527dba9542481580d69feb89056aabaa0aa87"
    assert len(sha256) == 64
    assert access.resolve_weights(str(file), kind="adapter").identity.startswith("sha256:")
    pickled = folder(tmp_path, lora_DOT_bin=b"weights") / "lora.bin"
    with pytest.raises(ValueError, match=r"lora.bin: not a .safetensors file"):
        access.resolve_weights(str(pickled))


def test_hashes_are_reused_while_size_and_modification_time_are_unchanged(tmp_path, monkeypatch):
    cache = {}
    path = model_folder(tmp_path / "model")
    identity = access.resolve_weights(str(path), hash_cache=cache).identity
    monkeypatch.setattr(access.hashlib, "file_digest", None)  # Hashing a file again would raise.
    assert access.resolve_weights(str(path), hash_cache=cache).identity == identity
    os.utime(path / "config.json", (1, 1))
    with pytest.raises(TypeError):
        access.resolve_weights(str(path), hash_cache=cache)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"config_DOT_json": b"{}", "pytorch_model_DOT_bin": b"x"}, "pytorch_model.bin"),
        ({"model_DOT_ckpt": b"x"}, "model.ckpt"),
        ({"model_DOT_pt": b"x"}, "model.pt"),
        (
            {
                "model_index_DOT_json": b"{}",
                "unet__config_DOT_json": b"{}",
                "unet__diffusion_DOT_bin": b"x",
                "vae__config_DOT_json": b"{}",
                "vae__model_DOT_safetensors": WEIGHTS,
            },
            "unet/diffusion.bin",
        ),
    ],
)
def test_a_model_with_only_pickled_weights_is_refused(files, named, tmp_path):
    path = folder(tmp_path / "model", **files)
    with pytest.raises(ValueError, match=rf"{path}: {named} is pickled.*save_pretrained writes safetensors") as error:
        access.resolve_weights(str(path))
    assert "\n" not in str(error.value)


def test_pickles_beside_safetensors_are_ignored(tmp_path):
    path = folder(model_folder(tmp_path), pytorch_model_DOT_bin=b"x", training_args_DOT_bin=b"x")
    assert access.resolve_weights(str(path)).identity


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("./no/such/folder", "this pipeline is neither an existing path nor a Hub id"),
        ("../nothing", "nor a Hub id"),
        ("package:no_such_package/x", "no package 'no_such"),
        ("package:diffcore_hf/nothing", "package diffcore_hf has no 'nothing'"),
        ("package:diffcore_hf/../diffcore_hf", "no package 'diffcore_hf'"),
        ("package:no_such_package.inner/x", "no package 'no_such"),
        ("package:/x", "no package ''"),
        ("package:antigravity/x", "no package 'antigravity'"),
    ],
)
def test_a_missing_path_is_refused(path, error):
    with pytest.raises(ValueError, match=error):
        access.resolve_weights(path)
    assert "antigravity" not in sys.modules


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no safetensors.*save_pretrained"):
        access.resolve_weights(str(tmp_path))


def test_weights_in_the_data_of_a_package_are_resolved(tmp_path, monkeypatch):
    package = tmp_path / "some_package" / "inner"
    model_folder(package / "models" / "sd")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    resolved = access.resolve_weights("package:some_package.inner/models/sd")
    assert resolved.local == package / "models" / "sd"


class Hub:
    """Replacement for HfApi that returns the contents of a repository or raises an error."""

    def __init__(self, *files, error=None, sha=COMMIT):
        self.files, self.error, self.sha = files, error, sha

    def model_info(self, repo, revision=None):
        if self.error:
            raise self.error
        siblings = [SimpleNamespace(rfilename=name) for name in self.files]
        return SimpleNamespace(sha=self.sha, siblings=siblings, card_data=SimpleNamespace(license="openrail"))


def test_weights_on_the_hub_are_resolved_to_a_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(access, "HfApi", lambda: Hub("config.json", "model.safetensors", "pytorch_model.bin"))
    assert access.resolve_weights("org/model", "v1") == access.PinnedWeights("org/model", COMMIT, COMMIT, "openrail")
    monkeypatch.setattr(access, "HfApi", lambda: Hub("config.json", "pytorch_model.bin"))
    with pytest.raises(ValueError, match=r"org/model: pytorch_model.bin is pickled"):
        access.resolve_weights("org/model")
    monkeypatch.setattr(access, "HfApi", lambda: Hub(error=AssertionError("the Hub must not be asked")))
    assert access.resolve_weights("org/model", COMMIT).revision == COMMIT


@pytest.fixture
def download(monkeypatch, tmp_path):
    """Replaces snapshot_download by a function that writes the files below snapshots/.

    The function writes a ref for a branch or tag, but not for a commit.
    """

    def snapshot_download(repo, revision, **options):
        root = tmp_path / repo_folder_name(repo_id=repo, repo_type="model")
        model_folder(root / "snapshots" / COMMIT)
        if revision != COMMIT:
            (root / "refs").mkdir(exist_ok=True)
            (root / "refs" / revision).write_text(COMMIT)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(access, "snapshot_download", snapshot_download)
    return tmp_path


@pytest.mark.parametrize("revision", [None, "v1", "feature/one", COMMIT])
def test_fetched_weights_are_resolved_offline(revision, download, monkeypatch):
    monkeypatch.setattr(access, "HfApi", lambda: Hub(error=ConnectionError("offline")))
    if revision != COMMIT:
        with pytest.raises(ValueError, match=r"org/model: .*cannot be reached.*not in the cache.*plan --fetch"):
            access.resolve_weights("org/model", revision)
    monkeypatch.setattr(access, "HfApi", lambda: Hub("model.safetensors"))
    access.fetch_weights("org/model", revision)
    monkeypatch.setattr(access, "HfApi", lambda: Hub(error=ConnectionError("offline")))
    assert access.resolve_weights("org/model", revision) == access.PinnedWeights("org/model", COMMIT, COMMIT, "mit")
    other = "v2" if revision is None else None
    assert access.cached_commit("org/model", other) is None
    assert not list(download.rglob("*.tmp"))


def test_fetching_again_follows_the_branch(download, monkeypatch):
    for sha in ("f" * 40, COMMIT):
        monkeypatch.setattr(access, "HfApi", lambda sha=sha: Hub("model.safetensors", sha=sha))
        access.fetch_weights("org/model")
        assert access.cached_commit("org/model") == sha


@pytest.mark.parametrize(
    ("revision", "repo_type", "commit"),
    [
        (COMMIT, "dataset", COMMIT),
        ("main", "dataset", "a" * 40),
        (None, "dataset", "a" * 40),
        (None, "model", None),
        ("v1", "dataset", None),
        ("incomplete", "dataset", None),
    ],
)
def test_the_cached_commit_of_a_branch_is_found_offline(revision, repo_type, commit, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "datasets--org--photos" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("a" * 40 + "\n")
    (refs / "incomplete").write_text("")
    assert access.cached_commit("org/photos", revision, repo_type) == commit


@pytest.mark.parametrize(
    ("path", "revision", "identity", "public"),
    [
        ("org/model", COMMIT, COMMIT, "org/model"),
        ("package:some/sd", None, "sha256:" + "ab" * 32, "package:some/sd"),
        ("/home/me/model", None, "sha256:" + "ab" * 32, "local:" + "ab" * 8),
        ("~/model", None, "", "local"),
    ],
)
def test_a_local_path_is_not_published(path, revision, identity, public):
    assert access.public_path(path, access.PinnedWeights("/home/me/model", revision, identity)) == public


def test_fetch_downloads_no_pickles(monkeypatch, tmp_path):
    request = {}
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(access, "HfApi", lambda: Hub("model.safetensors"))
    monkeypatch.setattr(access, "snapshot_download", lambda repo, **options: request.update(options, repo=repo))
    access.fetch_weights("org/model")
    assert (request["repo"], request["revision"]) == ("org/model", COMMIT)
    assert request["allow_patterns"][0] == "*.safetensors"
    assert not any(pattern.endswith(access.PICKLED) for pattern in request["allow_patterns"])
