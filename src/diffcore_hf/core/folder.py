"""The output folder: what lies where, writing whole files, the swap, the check of a finished folder.

Owns paths below OUT, atomic writes, who the folder belongs to, and whether it is finished, torn or foreign. Does not
know what the tables mean (augmentation/export.py) nor what a part holds (augmentation/parts.py).

    OUT/                    the Hub repository: data/ generated/ attempts/ references/ classes/ README.md assets/
    OUT/diffcore.json       the manifest, written last; lists every published file with its hash
    OUT/.diffcore/          never published: run.json (made first), parts/, rows/, run.log.jsonl
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffcore_hf.core.errors import UserError

PUBLISHED = ("data", "generated", "attempts", "references", "classes", "assets", "README.md")
OUTSIDE_THE_LIST = ("README.md", "compare.json")

RUN_FORMAT = 2
"""Format number of run.json and the parts. A folder of another format is refused: 2 fixed the names of columns that
stages read (`source_image`, `generated_image`)."""


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all: temporary name beside it, fsync, rename."""
    write_with(path, lambda temporary: temporary.write_bytes(content))


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """`write_whole` for what is written by a function that takes the name of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def temporary_name(path: Path) -> Path:
    """Return a new hidden name beside `path`, for a file that is renamed to `path` when it is complete.

    Several machines can write to one shared disk, and process ids repeat between machines and containers. So the name
    carries the host, the process id and random bits.
    """
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32]
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def sync_directory(path: Path) -> None:
    """Make renames inside `path` durable, where the file system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # a platform that cannot open directories
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(content: Mapping[str, Any]) -> bytes:
    """Readable and canonical: sorted keys, two spaces, one newline at the end."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def seal(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of diffcore.json: canonical form with the hash of its own body under `hash`."""
    body = {key: value for key, value in manifest.items() if key != "hash"}
    return canonical_json(body | {"hash": hashlib.sha256(canonical_json(body)).hexdigest()})


def parse_manifest(content: bytes) -> dict[str, Any] | None:
    """diffcore.json as a mapping that lists files; None for anything else."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("files"), list) else None


class Folder:
    """OUT, ours or not (yet)."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.private = self.path / ".diffcore"
        self.parts = self.private / "parts"
        self.rows = self.private / "rows"
        self.run_file = self.private / "run.json"
        self.log_file = self.private / "run.log.jsonl"
        self.manifest_file = self.path / "diffcore.json"

    def refuse_foreign(self) -> None:
        """Raise UserError where the path holds something that no run of ours made. Writes nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"output {self.path} is a file, not a folder. Choose another with --output")
        if self.path.is_dir() and any(self.path.iterdir()) and not self.run_file.is_file():
            raise UserError(
                f"output {self.path} holds files that no run of diffcore-hf made; nothing was touched. "
                "Choose another folder with --output"
            )

    def run(self) -> dict[str, Any] | None:
        """Return what the first run resolved (run.json), or None if no run has started here.

        Raises:
            UserError: run.json is damaged, or a version of diffcore-hf with another folder format wrote it.
        """
        if not self.run_file.is_file():
            return None
        try:
            content = json.loads(self.run_file.read_text())
            if not isinstance(content, dict):
                raise ValueError("no JSON object")
        except ValueError as error:
            raise UserError(f"{self.run_file} is damaged ({error}). Restore it, or choose another --output") from error
        if (found := content.pop("format", 1)) != RUN_FORMAT:
            raise UserError(
                f"{self.path} was written by another version of diffcore-hf (folder format {found}, this version "
                f"uses {RUN_FORMAT}). Start a new folder with --output, or use that version"
            )
        return content

    def hashes(self) -> dict[str, Any]:
        """Hashes of local weights that an earlier run kept; {} where there are none, or none that can be read."""
        try:
            return json.loads((self.private / "hashes.json").read_text())
        except (OSError, ValueError):
            return {}

    def keep_hashes(self, hashes: Mapping[str, Any]) -> None:
        """Keep them, so that a restart need not read gigabytes again."""
        write_whole(self.private / "hashes.json", canonical_json(hashes))

    def begin(self, content: Mapping[str, Any]) -> None:
        """Mark the folder as an output folder: write run.json, before any other file."""
        write_whole(self.run_file, canonical_json({**content, "format": RUN_FORMAT}))

    def manifest(self) -> dict[str, Any] | None:
        """diffcore.json, or None where no export finished, or where it cannot be read."""
        return parse_manifest(self.manifest_file.read_bytes()) if self.manifest_file.is_file() else None

    def log(self, event: str, **values: Any) -> None:
        """Append one line to run.log.jsonl (a diary for people; nothing is read back from it)."""
        self.private.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "event": event} | values, ensure_ascii=False)
        with open(self.log_file, "a") as file:
            file.write(line + "\n")

    def staging(self) -> Path:
        """An empty place beside the published files in which a new export is written."""
        path = self.private / "export"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def swap_in(self, staging: Path, manifest: Mapping[str, Any]) -> None:
        """Put a finished export in place of the published files; the manifest goes first and comes last.

        Between the two a stop leaves a folder without a manifest, which `state` calls torn; exporting again mends it.
        """
        for file in sorted(staging.rglob("*")):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        self.manifest_file.unlink(missing_ok=True)
        sync_directory(self.path)
        old = self.private / "replaced"
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir()
        for name in PUBLISHED:
            # The card is replaced in one step: until then it holds what a person wrote into it.
            if (self.path / name).exists() and name != "README.md":
                os.replace(self.path / name, old / name)
            if (staging / name).exists():
                os.replace(staging / name, self.path / name)
        sync_directory(self.path)
        write_whole(self.manifest_file, seal(manifest))
        shutil.rmtree(old)
        shutil.rmtree(staging)

    def torn(self) -> bool:
        """Whether an export was stopped while it was swapped in: published files without their manifest."""
        return not self.manifest_file.is_file() and any((self.path / name).exists() for name in PUBLISHED)

    def faults(self) -> list[str]:
        """Why the folder is torn: one line for each thing that does not fit its diffcore.json; [] where all fits."""
        manifest = self.manifest()
        if manifest is None:
            return [f"{self.path} has no readable diffcore.json"]
        if seal(manifest) != self.manifest_file.read_bytes():
            return [f"{self.manifest_file} does not carry the hash of its own body"]
        faults = []
        for entry in manifest["files"]:
            file = self.path / entry["path"]
            if not file.is_file():
                faults.append(f"{entry['path']} is missing")
            elif file.stat().st_size != entry["size"] or file_sha256(file) != entry["sha256"]:
                faults.append(f"{entry['path']} is not the file that was exported")
        return faults

    def clean(self) -> int:
        """Drop the parts and row hashes of a finished folder; returns the bytes that were freed.

        Raises:
            UserError: the folder is not ours, or torn (then the parts are the only copy of its facts).
        """
        run = self.run()
        if run is None:
            raise UserError(f"{self.path} is no output folder of diffcore-hf. Name the folder of a finished run")
        if faults := self.faults():
            raise UserError(f"{self.path} is torn ({faults[0]}), its parts are needed. Run augment again to mend it")
        dropped = (self.parts, self.rows)
        freed = sum(_size(path) for path in dropped)
        self.begin({**run, "cleaned": True})
        for path in dropped:
            shutil.rmtree(path, ignore_errors=True)
        return freed


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 if it does not exist."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
