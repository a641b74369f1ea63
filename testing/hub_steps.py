"""What the tests of publishing let the real clients do, in the worker of the double. Importable there by name."""

from __future__ import annotations

import hashlib
import time
from typing import Any

BACKOFF = (0.01, 0.01, 0.01)


def push(out: Any, repo: str, version: str, timeout: float = 60, **keys: Any) -> dict[str, Any]:
    """Push with a short backoff and a timeout in seconds; returns the result as plain values."""
    from diffcore_hf.publishing.hub import timeouts
    from diffcore_hf.workflows.push import push

    timeouts.HUB_TIMEOUT = timeout
    done = push(out, repo, version, **{"backoff": BACKOFF, **keys})
    return {
        "commit": done.commit, "private": done.private, "created": done.created, "request": done.pull_request,
        "added": sorted(done.changes.add), "deleted": list(done.changes.delete), "version": done.version,
        "tagged": done.tagged,
    }  # fmt: skip


def rows(path: str, version: str | None = None, name: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Every row of every split as plain values, images by the hash of their bytes."""
    from datasets import Image

    from diffcore_hf import load_augmented

    whole = load_augmented(path, version, name=name)
    return {split: [_plain(row) for row in _undecoded(part, Image)] for split, part in whole.items()}


def streamed(path: str, version: str) -> list[dict[str, Any]]:
    """The rows of split train as a stream gives them."""
    from datasets import Image, load_dataset

    part = load_dataset(path, revision=version, split="train", streaming=True)
    return [_plain(row) for row in _undecoded(part, Image)]


def _undecoded(part: Any, kind: type) -> Any:
    for name, feature in part.features.items():
        if isinstance(feature, kind):
            part = part.cast_column(name, kind(decode=False))
    return part


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: hashlib.sha256(value["bytes"]).hexdigest() if isinstance(value, dict) and value.get("bytes") else value
        for key, value in row.items()
    }


def joined(path: str, source: str, version: str) -> dict[str, list[str]]:
    """Hashes of the images that join_originals put back."""
    from datasets import Image

    from diffcore_hf import join_originals
    from diffcore_hf.core.images import read_bytes

    whole = join_originals(path, source, version).cast_column("image", Image(decode=False))
    return {
        split: [hashlib.sha256(read_bytes(cell)).hexdigest() for cell in part["image"]] for split, part in whole.items()
    }


def call(name: str, *args: Any, **keys: Any) -> Any:
    """Call the workflow of that name; returns its result as plain values."""
    from dataclasses import asdict, is_dataclass
    from importlib import import_module

    result = getattr(import_module(f"diffcore_hf.workflows.{name}"), name)(*args, **keys)
    if isinstance(result, list):
        return [asdict(entry) if is_dataclass(entry) else entry for entry in result]
    return asdict(result) if is_dataclass(result) else result


def hub(name: str, *args: Any, **keys: Any) -> Any:
    """A method of the client itself."""
    from huggingface_hub import HfApi

    answer = getattr(HfApi(), name)(*args, **keys)
    return getattr(answer, "sha", None) or getattr(answer, "oid", None) or str(answer)


def text(repo: str, path: str, revision: str) -> str:
    """A file of a repository."""
    from pathlib import Path

    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo, path, repo_type="dataset", revision=revision)).read_text(encoding="utf-8")


def snippet(card: str) -> int:
    """Run the first block of code of a card; the rows of its `dataset`."""
    scope: dict[str, Any] = {}
    exec(card.split("```python\n")[1].split("\n```")[0], scope)
    return len(scope["dataset"])


def seconds(function: Any, *args: Any) -> float:
    """How long one of these takes."""
    began = time.perf_counter()
    function(*args)
    return time.perf_counter() - began


def load(repo: str, version: str) -> None:
    """All splits of config default."""
    from diffcore_hf import load_augmented

    load_augmented(repo, version)


def upload_folder(out: str, repo: str) -> None:
    """The same files by the client's own means, to a repository that is made for it."""
    from huggingface_hub import HfApi

    HfApi().create_repo(repo, repo_type="dataset", private=True)
    HfApi().upload_folder(repo_id=repo, folder_path=out, repo_type="dataset", ignore_patterns=[".diffcore/**"])


def offline_push(out: Any, repo: str) -> None:
    """A push while HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
    try:
        push(out, repo, "v1.0.0", backoff=(60, 60))
    finally:
        constants.HF_HUB_OFFLINE = False
