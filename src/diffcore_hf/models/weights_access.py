"""Access to weights: only pinned safetensors weights may be loaded, without code from a repository.

Owns the resolution of a recipe's path to a location and an identity, and all errors about weights that may not be
loaded. Does not load weights. The modules pipelines.py and towers.py load them, always with `use_safetensors=True` and
never with remote code or custom pipelines.

An identity describes the content of the weights, independent of their location. It is the commit of a Hub repository,
`sha256:<hex>` over the names and contents of a local folder's weights and configuration, or the sha256 of a file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from diffcore_hf.core.data_files import is_card
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.hub_cache import COMMIT, cache_folder, cached_commit, record_commit
from diffcore_hf.core.licences import licence_of_card
from diffcore_hf.models.file_contents import check_contents, check_weights, read_object
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.model_files import HANDED_NAME, IDENTIFYING, check_file, handed_files, list_files, walk

Kind = Literal["pipeline", "tower", "backbone", "adapter", "file", "ControlNet", "IP-Adapter", "captioner"]

HashCache = MutableMapping[str, list[Any]] | None
"""Hashes of local files: absolute path -> [size, modification time in ns, sha256]."""

PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

_STANDARD_WEIGHTS = re.compile(r"(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors")
"""Names of the weight files that transformers and diffusers load."""
_PICKLE_REMEDY = "Pickled weights can run code. If you trust them, convert them (save_pretrained writes safetensors)"


@dataclass(frozen=True)
class PinnedWeights:
    """Weights that may be loaded: their location and their identity."""

    location: str
    """Local path, or Hub repository id."""
    revision: str | None
    """Commit of a Hub repository; None for a local path."""
    identity: str
    """Commit or `sha256:<hex>`; empty if a local path was not hashed."""
    licence: str | None = None
    """Licence that the model card declares; None if it declares none."""

    @property
    def local(self) -> Path | None:
        """The local path; None for a Hub repository."""
        return Path(self.location) if self.revision is None else None


def resolve_weights(
    path: str,
    revision: str | None = None,
    kind: Kind = "pipeline",
    *,
    hash_cache: HashCache = None,
    identify: bool = True,
) -> PinnedWeights:
    """Resolves the path in a recipe to pinned weights. Local files are hashed, but no weights are loaded.

    Args:
        path: Hub id, local folder, `.safetensors` file, or `package:<module>/<folder>`.
        revision: branch, tag or commit of a Hub id. No request is sent for a full commit.
        kind: use of the weights, for error messages.
        hash_cache: hashes from earlier calls. A file whose size and modification time are unchanged is not read again.
        identify: whether local files are hashed. If not, the identity of a local path is empty.

    Raises:
        UserError: the path does not exist, or has only pickled weights.
    """
    if path.startswith("package:"):
        return _pin_local(package_path(path), kind, hash_cache, identify)
    local = Path(path).expanduser()
    if local.exists():
        return _pin_local(local, kind, hash_cache, identify)
    if not REPO_ID.fullmatch(path) or path.endswith(PICKLED):
        raise UserError(
            f"{path}: this {kind} is neither an existing path nor a Hub id. Give an existing folder or owner/name"
        )
    return _pin_repository(path, revision, kind)


def package_path(path: str) -> Path:
    """Returns the folder that `package:<module>/<folder>` names."""
    module, _, inside = path.removeprefix("package:").partition("/")
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        found = None
    # The package itself is not imported, because the path may come from another person.
    folders = list((found and found.submodule_search_locations) or ())
    if not folders or ".." in inside.split("/"):
        raise UserError(f"{path}: no package {module!r} is installed. Use package:<module>/<folder>")
    folder = Path(folders[0], inside.lstrip("/"))
    if not folder.exists():
        raise UserError(f"{path}: package {module} has no {inside!r}. Reinstall it, or give another path")
    return folder


def public_path(path: str, weights: PinnedWeights) -> str:
    """Returns a path in the form that may be published, without names of local folders.

    A Hub id and `package:...` are returned unchanged. Another path becomes `local:` with the first 16 hex digits of the
    identity, or `local` if the identity is empty.
    """
    if weights.revision is not None or path.startswith("package:"):
        return path
    digest = weights.identity.removeprefix("sha256:")[:16]
    return f"local:{digest}" if digest else "local"


def fetch_weights(
    path: str, revision: str | None = None, kind: Kind = "tower", files: Sequence[str] = ()
) -> PinnedWeights:
    """Downloads the pinned snapshot of a tower, backbone or adapter, so that a later run needs no network.

    Only safetensors, configuration and text files are downloaded. Use `pipelines.fetch_model` for pipelines: their
    repositories also contain files that no run loads.

    Args:
        path: see `resolve_weights`.
        revision: see `resolve_weights`.
        kind: see `resolve_weights`.
        files: patterns of the safetensors, configuration and text files that are needed; () for all of them.
    """
    weights = resolve_weights(path, revision, kind)
    if weights.revision is not None:
        patterns = [*files, "README.md"] if files else [*(f"*{ending}" for ending in IDENTIFYING), "README.md"]
        with downloading(path):
            snapshot_download(weights.location, revision=weights.revision, allow_patterns=patterns)
        record_commit(weights.location, revision, weights.revision)
    return weights


def check_local(path: object) -> None:
    """Checks the weights at a local path, without an import of torch. A value that is not such a path is accepted.

    Raises:
        UserError: there is something at the path that may not be loaded.
    """
    if isinstance(path, str) and os.path.lexists(Path(path).expanduser()):
        resolve_weights(path, kind="backbone", identify=False)


def check_folder(folder: Path, shown: str) -> None:
    """Checks all files of a folder that a library may read.

    Raises:
        UserError: a file is refused; see `list_files` and `check_contents`.
    """
    check_contents(handed_files(list_files(folder, shown)), shown)


def local_folder(weights: PinnedWeights, patterns: Sequence[str] = ()) -> Path:
    """Returns the folder with the files of a tower or another single network.

    The files of a repository that are missing in the cache are downloaded.

    Args:
        weights: the resolved weights.
        patterns: patterns of the files that are needed; (): the files of one network in the main folder.

    Raises:
        UserError: the files cannot be downloaded.
    """
    if weights.local is not None:
        return weights.local
    snapshot = cached_snapshot(weights.location, weights.revision or "main")
    is_complete = snapshot is not None and (snapshot / "config.json").is_file() and any(snapshot.glob("*.safetensors"))
    if snapshot is not None and is_complete and not patterns:
        return snapshot
    if not patterns:
        names = [name for name in file_names(weights) if "/" not in name and HANDED_NAME.fullmatch(name)]
        standard = [name for name in names if _STANDARD_WEIGHTS.fullmatch(name)]
        patterns = [name for name in names if not name.endswith(".safetensors") or not standard or name in standard]
    with downloading(weights.location):
        return Path(
            snapshot_download(weights.location, revision=weights.revision, allow_patterns=[*patterns, "README.md"])
        )


def download_file(weights: PinnedWeights, name: str) -> Path:
    """Returns a file of a repository, which is downloaded if it is not in the cache."""
    return Path(hf_hub_download(weights.location, name, revision=weights.revision))


def downloading(path: str) -> AbstractContextManager[None]:
    """Turns every exception of a download into a `UserError` that names the path and the innermost cause."""
    return library_errors(f"{path} cannot be downloaded", "Run again when the Hub can be reached")


def file_names(weights: PinnedWeights) -> list[str]:
    """Returns the paths of the files in a folder or repository. Without a network, returns only cached files."""
    if weights.local is not None:
        return _files_below(weights.local) if weights.local.is_dir() else []
    try:
        return sorted(HfApi().list_repo_files(weights.location, revision=weights.revision))
    except Exception:  # No network: only cached files can be loaded.
        snapshot = cached_snapshot(weights.location, weights.revision or "main")
        return _files_below(snapshot) if snapshot else []


def read_json(weights: PinnedWeights, name: str) -> dict[str, Any]:
    """Returns the content of a JSON file of a folder or repository.

    Raises:
        ValueError: the file is not JSON, or not a JSON object.
        Exception: the file does not exist or cannot be downloaded.
    """
    return read_object(download_file(weights, name) if weights.local is None else weights.local / name)


def cached_snapshot(repo_id: str, commit: str) -> Path | None:
    """Returns the cache folder of a commit, which may be incomplete; None if nothing of the commit is cached."""
    folder = cache_folder(repo_id, "model") / "snapshots" / commit
    return folder if folder.is_dir() else None


def cached_file(repo_id: str, revision: str | None, name: str) -> Path | None:
    """Returns a file of a repository (default: branch main) from the cache; None if it is not cached."""
    commit = cached_commit(repo_id, revision)
    path = cached_snapshot(repo_id, commit) if commit else None
    return path / name if path is not None and (path / name).is_file() else None


def _pin_repository(repo_id: str, revision: str | None, kind: Kind) -> PinnedWeights:
    """Returns a Hub repository pinned to the commit of the revision.

    Without a network, the commit is read from the cache.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return _pin_snapshot(repo_id, revision)
    try:
        info = HfApi().model_info(repo_id, revision=revision)
    except GatedRepoError:
        raise UserError(f"{repo_id} is gated. Accept its licence on the Hub, then log in with: hf auth login") from None
    except RevisionNotFoundError:
        raise UserError(
            f"{repo_id} has no revision {revision!r} on the Hub. Leave the revision out, or give a commit"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{repo_id}: there is no such folder, and no {kind} on the Hub that you may read. "
            "Correct the id, or log in with: hf auth login"
        ) from None
    except HfHubHTTPError as error:
        raise UserError(
            f"{repo_id}: the Hub returned HTTP {error.response.status_code}. Run again later, or give a commit"
        ) from None
    except Exception:  # No network, or HF_HUB_OFFLINE. The cache has the commit of the last download.
        return _pin_cached(repo_id, revision, kind)
    if info.sha is None:
        raise UserError(f"{repo_id}: the Hub does not name the commit of {revision or 'main'}. Give a commit")
    _refuse_pickles(repo_id, [sibling.rfilename for sibling in info.siblings or []])
    about = {key: getattr(info.card_data, key, None) for key in ("license", "license_name")}
    return PinnedWeights(repo_id, info.sha, info.sha, licence_of_card(about))


def _pin_cached(repo_id: str, revision: str | None, kind: Kind) -> PinnedWeights:
    commit = cached_commit(repo_id, revision)
    if commit is None:
        raise UserError(
            f"{repo_id}: there is no such folder, the Hub cannot be reached, and the {kind} is not in the cache. "
            "Run `diffcore-hf plan --fetch` once with a network"
        )
    snapshot = cached_snapshot(repo_id, commit)
    if snapshot:
        _refuse_pickles(repo_id, [p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*")])
    return _pin_snapshot(repo_id, commit)


def _pin_snapshot(repo_id: str, commit: str) -> PinnedWeights:
    snapshot = cached_snapshot(repo_id, commit)
    return PinnedWeights(repo_id, commit, commit, _licence(snapshot) if snapshot else None)


def _pin_local(path: Path, kind: Kind, hash_cache: HashCache, identify: bool) -> PinnedWeights:
    if path.is_file():
        if path.suffix != ".safetensors":
            raise UserError(f"{path}: not a .safetensors file. {_PICKLE_REMEDY}")
        check_file(path, str(path))
        check_weights(path, str(path))
        digest = _hashes({path.name: path}, hash_cache)[0][1] if identify else ""
        return PinnedWeights(str(path), None, f"sha256:{digest}" if digest else "")
    if not path.is_dir():
        raise UserError(f"{path}: this {kind} is neither a file nor a folder. Give the folder of a model")
    _refuse_pickles(str(path), [name for name, _ in walk(path, str(path))])
    files = list_files(path, str(path))
    check_contents(handed_files(files), str(path))
    if not any(name.endswith(".safetensors") for name in files):
        raise UserError(
            f"{path} has no safetensors weights, so it cannot be used as {kind}. Give the folder that save_pretrained "
            "wrote"
        )
    if not identify:
        return PinnedWeights(str(path), None, "", _licence(path))
    total = hashlib.sha256()
    for name, digest in _hashes(files, hash_cache):
        total.update(f"{name}\0{digest}\n".encode())
    return PinnedWeights(str(path), None, f"sha256:{total.hexdigest()}", _licence(path))


def _refuse_pickles(path: str, names: Iterable[str]) -> None:
    """Raises a UserError if a folder, or a component of a pipeline, has pickled weights and no safetensors."""
    listed = [Path(name) for name in names]
    components = {name.parent for name in listed if name.name in ("config.json", "model_index.json")} | {Path()}
    for folder in sorted(components):
        inside = [name for name in listed if name.parent == folder]
        weights = [name for name in inside if name.suffix in PICKLED and name.name != "training_args.bin"]
        # For the root folder, safetensors of any component are enough, because a pipeline has weights in sub-folders.
        has_safetensors = any(name.suffix == ".safetensors" for name in (listed if folder == Path() else inside))
        if weights and not has_safetensors:
            raise UserError(
                f"{path}: {weights[0]} is pickled, and there is no safetensors file in its folder. {_PICKLE_REMEDY}"
            )


def _hashes(files: Mapping[str, Path], hash_cache: HashCache) -> list[tuple[str, str]]:
    """Returns the relative name and the sha256 of each file, in the order of the paths.

    A file is not read again if `hash_cache` has its hash and its size and modification time are unchanged.
    """
    known: MutableMapping[str, list[Any]] = {} if hash_cache is None else hash_cache
    hashes = []
    for name in sorted(files, key=Path):
        path = files[name]
        stat = path.stat()
        key, stamp = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        entry = known.get(key)
        if not entry or list(entry[:2]) != stamp:
            with path.open("rb") as file:
                known[key] = entry = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
        hashes.append((name, entry[2]))
    return hashes


def _files_below(root: Path) -> list[str]:
    return sorted(name for name, path in walk(root, str(root)) if path.is_file())


def _licence(folder: Path) -> str | None:
    """Returns the licence that the folder's README declares."""
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    try:
        return licence_of_card(metadata_load(card) or {}) if is_card(card) else None
    except Exception:  # No card, or a card that cannot be parsed.
        return None
