"""What may be loaded: pinned, safetensors only, no code from a repository.

Owns how a path of a recipe becomes a place and an identity, and the refusals. Does not load anything: diffusion.py and
clip.py do, always with `use_safetensors=True` and never with remote code or custom pipelines.

An identity says what the weights are, wherever they lie: the commit of a Hub repository, `sha256:<hex>` over names and
contents of a local folder's weights and configuration, or the sha256 of a single file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.hub_cache import COMMIT, cache_folder, cached_commit, record_commit

Kind = Literal["pipeline", "tower", "backbone", "adapter", "file"]
HashCache = MutableMapping[str, list] | Path | None

IDENTIFYING = (".safetensors", ".json", ".txt", ".model", ".jinja")
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Resolved:
    """A model that may be loaded."""

    location: str
    """Local path, or Hub repository id."""
    revision: str | None
    """Commit of a Hub repository; None for what lies here."""
    identity: str
    """What the weights are."""
    licence: str | None = None
    """Licence according to the model card, where there is one."""

    @property
    def local(self) -> Path | None:
        """The path, where it lies here."""
        return Path(self.location) if self.revision is None else None


def resolve(
    path: str,
    revision: str | None = None,
    kind: Kind = "pipeline",
    *,
    hash_cache: HashCache = None,
    identify: bool = True,
) -> Resolved:
    """The place and identity of a model; weights are read for their hash at most, never loaded.

    Args:
        path: Hub id, local folder, `.safetensors` file, or `package:<module>/<folder>`.
        revision: branch, tag or commit of a Hub id; a full commit is taken as it is.
        kind: what it is needed as, for the message.
        hash_cache: where hashes of local files are kept by size and time: a mapping, or a small JSON file.
        identify: False leaves the identity of what lies here empty, and reads no file for it.

    Raises:
        UserError: nothing there, or pickled weights only.
    """
    if path.startswith("package:"):
        return _resolve_local(package_path(path), kind, hash_cache, identify)
    local = Path(path).expanduser()
    if local.exists():
        return _resolve_local(local, kind, hash_cache, identify)
    if not REPO_ID.fullmatch(path) or path.endswith(PICKLED):
        raise UserError(f"{path}: no such {kind} here, and no Hub id. Give an existing folder or owner/name")
    return _resolve_hub(path, revision, kind)


def package_path(path: str) -> Path:
    """The folder that `package:<module>/<folder>` names."""
    module, _, inside = path.removeprefix("package:").partition("/")
    try:
        folder = Path(str(files(module).joinpath(inside)))
    except (ModuleNotFoundError, TypeError, ValueError):
        raise UserError(f"{path}: no package {module!r} is installed. Use package:<module>/<folder>") from None
    if not folder.exists():
        raise UserError(f"{path}: package {module} has no {inside!r}. Reinstall it, or give another path")
    return folder


def public_path(path: str, resolved: Resolved) -> str:
    """What may be published of a recipe's path: a Hub id or `package:...` as given, else `local:<16 hex>`.

    The hex digits begin the identity; without them, where what lies here was not identified, `local`.
    """
    if resolved.revision is not None or path.startswith("package:"):
        return path
    digest = resolved.identity.removeprefix("sha256:")[:16]
    return f"local:{digest}" if digest else "local"


def fetch(path: str, revision: str | None = None, kind: Kind = "tower") -> Resolved:
    """Downloads the pinned snapshot of a tower or adapter, so that a run can be offline: safetensors, json, text alone.

    Repositories of pipelines hold more than is loaded: pipelines.fetch_model picks.
    """
    resolved = resolve(path, revision, kind)
    if resolved.revision is not None:
        patterns = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md"]
        snapshot_download(resolved.location, revision=resolved.revision, allow_patterns=patterns)
        record_commit(resolved.location, revision, resolved.revision)
    return resolved


def file_names(resolved: Resolved) -> list[str]:
    """Names of the files of a resolved folder or repository, relative to its root; of a snapshot what is cached."""
    if resolved.local is not None:
        root = resolved.local
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()) if root.is_dir() else []
    try:
        return sorted(HfApi().list_repo_files(resolved.location, revision=resolved.revision))
    except Exception:  # no network: what is cached is what can be loaded
        snapshot = cached_snapshot(resolved.location, resolved.revision or "main")
        return sorted(p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*")) if snapshot else []


def cached_snapshot(repo_id: str, commit: str) -> Path | None:
    """The cached folder of a commit, complete or not."""
    folder = cache_folder(repo_id, "model") / "snapshots" / commit
    return folder if folder.is_dir() else None


def _resolve_hub(repo_id: str, revision: str | None, kind: Kind) -> Resolved:
    if revision is not None and COMMIT.fullmatch(revision):
        snapshot = cached_snapshot(repo_id, revision)
        return Resolved(repo_id, revision, revision, _licence(snapshot) if snapshot else None)
    try:
        info = HfApi().model_info(repo_id, revision=revision)
    except GatedRepoError:
        raise UserError(f"{repo_id}: gated. Accept its licence on the Hub, then log in with: hf auth login") from None
    except RevisionNotFoundError:
        raise UserError(f"{repo_id}: no revision {revision!r} on the Hub. Leave it out, or give a commit") from None
    except RepositoryNotFoundError:
        raise UserError(f"{repo_id}: neither a folder here nor a {kind} on the Hub that you can see") from None
    except HfHubHTTPError as error:
        raise UserError(
            f"{repo_id}: the Hub answered {error.response.status_code}. Try again, or give a commit"
        ) from None
    except Exception:  # offline by choice or by accident: the cache's own record of the last answer
        return _resolve_cached(repo_id, revision, kind)
    _refuse_pickles(repo_id, [sibling.rfilename for sibling in info.siblings or []])
    licence = getattr(info.card_data, "license", None) if info.card_data else None
    return Resolved(repo_id, info.sha, info.sha, licence)


def _resolve_cached(repo_id: str, revision: str | None, kind: Kind) -> Resolved:
    commit = cached_commit(repo_id, revision)
    if commit is None:
        raise UserError(
            f"{repo_id}: no such folder, the Hub cannot be reached, and the {kind} is not in the cache. "
            "Run `diffcore-hf plan --fetch` once with a network"
        )
    snapshot = cached_snapshot(repo_id, commit)
    if snapshot:
        _refuse_pickles(repo_id, [p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*")])
    return Resolved(repo_id, commit, commit, _licence(snapshot) if snapshot else None)


def _resolve_local(path: Path, kind: Kind, hash_cache: HashCache, identify: bool) -> Resolved:
    if path.is_file():
        if path.suffix != ".safetensors":
            raise UserError(f"{path}: not a .safetensors file. {_REMEDY}")
        digest = _hashes(path.parent, [path], hash_cache)[0][1] if identify else ""
        return Resolved(str(path), None, f"sha256:{digest}" if digest else "")
    names = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
    _refuse_pickles(str(path), [p.relative_to(path).as_posix() for p in names])
    identifying = [p for p in names if p.suffix in IDENTIFYING]
    if not any(p.suffix == ".safetensors" for p in identifying):
        raise UserError(
            f"{path}: holds no safetensors weights, so no {kind}. Give the folder that save_pretrained wrote"
        )
    if not identify:
        return Resolved(str(path), None, "", _licence(path))
    total = hashlib.sha256()
    for name, digest in _hashes(path, identifying, hash_cache):
        total.update(f"{name}\0{digest}\n".encode())
    return Resolved(str(path), None, f"sha256:{total.hexdigest()}", _licence(path))


_REMEDY = "Pickled weights can run code: convert them where you trust them (save_pretrained writes safetensors)"


def _refuse_pickles(where: str, names: Iterable[str]) -> None:
    """One line for a folder, or a component of a pipeline, whose weights are pickled only."""
    names = [Path(name) for name in names]
    components = {name.parent for name in names if name.name in ("config.json", "model_index.json")} | {Path()}
    for folder in sorted(components):
        inside = [name for name in names if name.parent == folder]
        weights = [name for name in inside if name.suffix in PICKLED and name.name != "training_args.bin"]
        has_safetensors = any(name.suffix == ".safetensors" for name in (names if folder == Path() else inside))
        if weights and not has_safetensors:
            raise UserError(f"{where}: {weights[0]} is pickled and has no safetensors beside it. {_REMEDY}")


def _hashes(root: Path, paths: list[Path], hash_cache: HashCache) -> list[tuple[str, str]]:
    """(relative name, sha256) of each file; a file whose size and time are known is not read again."""
    known = _read_cache(hash_cache)
    result, changed = [], False
    for path in paths:
        stat = path.stat()
        key, stamp = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        entry = known.get(key)
        if not entry or list(entry[:2]) != stamp:
            with path.open("rb") as file:
                known[key] = entry = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
            changed = True
        result.append((path.relative_to(root).as_posix(), entry[2]))
    if changed and isinstance(hash_cache, Path):
        hash_cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = hash_cache.with_name(hash_cache.name + ".new")
        temporary.write_text(json.dumps(known))
        temporary.replace(hash_cache)
    return result


def _read_cache(hash_cache: HashCache) -> MutableMapping[str, list]:
    if not isinstance(hash_cache, Path):
        return {} if hash_cache is None else hash_cache
    try:
        return json.loads(hash_cache.read_text())
    except (OSError, ValueError):  # none yet, or torn: hash anew
        return {}


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _licence(folder: Path) -> str | None:
    """The licence that the folder's README declares."""
    from huggingface_hub import metadata_load

    try:
        licence = (metadata_load(folder / "README.md") or {}).get("license")
    except Exception:  # no card, or one that cannot be read
        return None
    return licence if isinstance(licence, str) else None
