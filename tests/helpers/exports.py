"""Small exports for tests of the output folder: files with a card, without a dataset."""

from __future__ import annotations

from pathlib import Path

from diffcore_hf.core.export_swap import new_staging, replace_export
from diffcore_hf.core.folder import Folder, file_sha256


def listing(path: Path) -> dict[str, bytes]:
    """Returns relative path -> bytes of every file below a folder."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def published(folder: Folder) -> set[str]:
    """Returns the relative paths of all files of a folder outside `.diffcore`."""
    return {name for name in listing(folder.path) if not name.startswith(".diffcore")}


def staged(folder: Folder, files: dict[str, bytes]) -> tuple[Path, dict[str, list[dict[str, object]]]]:
    """Returns a staging folder with `files` and a card, and its manifest."""
    staging = new_staging(folder)
    for name, content in {**files, "README.md": b"card"}.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    entries = [
        {"path": name, "size": len(files[name]), "sha256": file_sha256(staging / name)} for name in sorted(files)
    ]
    return staging, {"files": entries}


def publish(folder: Folder, **files: bytes) -> None:
    """Publishes an export of `data/<name>` files with a README.md."""
    replace_export(folder, *staged(folder, {f"data/{name}": content for name, content in files.items()}))
