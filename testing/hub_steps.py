"""Steps of the publishing tests. The worker of the Hub double runs them with the real clients, pickled by name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BACKOFF = (0.01, 0.01, 0.01)


def push(out: str | Path, repo: str, version: str, timeout: float = 60, **options: Any) -> dict[str, Any]:
    """Push with a short backoff and a timeout in seconds, and return the result as plain values."""
    from diffcore_hf.publishing.hub import timeouts
    from diffcore_hf.workflows.push import push

    timeouts.HUB_TIMEOUT = timeout
    result = push(out, repo, version, **{"backoff": BACKOFF, **options})
    return {
        "commit": result.commit,
        "private": result.private,
        "created": result.created,
        "request": result.pull_request,
        "added": sorted(result.changes.add),
        "deleted": list(result.changes.delete),
        "version": result.version,
        "tagged": result.tagged,
    }


def rows(path: str, version: str | None = None, name: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every split as plain values, with the hash of each image."""
    from datasets import Image

    from diffcore_hf import load_augmented

    splits = load_augmented(path, version, name=name)
    return {split: [_plain(row) for row in _undecoded(part, Image)] for split, part in splits.items()}


def streamed(path: str, version: str) -> list[dict[str, Any]]:
    """Return the rows of split train as streaming yields them."""
    from datasets import Image, load_dataset

    part = load_dataset(path, revision=version, split="train", streaming=True)
    return [_plain(row) for row in _undecoded(part, Image)]


def _undecoded(part: Any, image_type: Any) -> Any:
    """Return a dataset whose columns of images are not decoded."""
    for name, feature in part.features.items():
        if isinstance(feature, image_type):
            part = part.cast_column(name, image_type(decode=False))
    return part


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the hash of each image in its place."""
    return {
        key: hashlib.sha256(value["bytes"]).hexdigest() if isinstance(value, dict) and value.get("bytes") else value
        for key, value in row.items()
    }


def joined(path: str, source: str, version: str) -> dict[str, list[str]]:
    """Return the hashes of the images that join_originals fills in, by split."""
    from datasets import Image

    from diffcore_hf import join_originals
    from diffcore_hf.core.image_roots import files_below
    from diffcore_hf.core.images import read_bytes

    files = files_below(source if Path(source).is_dir() else None)
    splits = join_originals(path, source, version).cast_column("image", Image(decode=False))
    return {
        split: [hashlib.sha256(read_bytes(cell, files)).hexdigest() for cell in part["image"]]
        for split, part in splits.items()
    }


def call(name: str, *args: Any, **options: Any) -> Any:
    """Call the workflow of that name, and return its result as plain values."""
    from dataclasses import asdict, is_dataclass
    from importlib import import_module

    result = getattr(import_module(f"diffcore_hf.workflows.{name}"), name)(*args, **options)
    if isinstance(result, list):
        return [asdict(entry) if is_dataclass(entry) else entry for entry in result]
    return asdict(result) if is_dataclass(result) else result


def hub(method: str, *args: Any, **options: Any) -> str:
    """Call a method of the client, and return the commit of its result, or the result as text."""
    from huggingface_hub import HfApi

    result = getattr(HfApi(), method)(*args, **options)
    return getattr(result, "sha", None) or getattr(result, "oid", None) or str(result)


def text(repo: str, path: str, revision: str) -> str:
    """Return the text of a file in a repository."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo, path, repo_type="dataset", revision=revision)).read_text(encoding="utf-8")


def snippet(card: str) -> int:
    """Run the first Python block of a card, and return the number of rows of its `dataset`."""
    scope: dict[str, Any] = {}
    exec(card.split("```python\n")[1].split("\n```")[0], scope)
    return len(scope["dataset"])


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """Return the seconds that one of these functions takes."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def load(repo: str, version: str) -> None:
    """Load all splits of the configuration `default`."""
    from diffcore_hf import load_augmented

    load_augmented(repo, version)


def upload_folder(out: str, repo: str) -> None:
    """Upload the same files with the client's own `upload_folder` to a new repository."""
    from huggingface_hub import HfApi

    HfApi().create_repo(repo, repo_type="dataset", private=True)
    HfApi().upload_folder(repo_id=repo, folder_path=out, repo_type="dataset", ignore_patterns=[".diffcore/**"])


def offline_push(out: str | Path, repo: str) -> None:
    """Push while HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
    try:
        push(out, repo, "v1.0.0", backoff=(60, 60))
    finally:
        constants.HF_HUB_OFFLINE = False
