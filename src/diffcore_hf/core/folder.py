"""The output folder: its paths, atomic writes, and the check of a finished folder.

Owns the checks that a folder belongs to a run and that its export is complete. An export that was stopped before its
end is incomplete. The replacement of an export is in export_swap.py, the content of the tables in
augmentation/export.py, and the content of a part in augmentation/ledger.py.

    OUT/                    the Hub repository: data/ generated/ attempts/ references/ classes/ README.md assets/
    OUT/diffcore.json       the manifest, written last; lists every published file with its hash
    OUT/.diffcore/          never published: run.json (written first), parts/, rows/, run.log.jsonl
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from diffcore_hf.core.errors import UserError, environment_fault, innermost_cause
from diffcore_hf.core.leftovers import is_leftover, remove, remove_leftovers, temporary_name
from diffcore_hf.core.own_files import parse_json, read_own_file, read_own_json
from diffcore_hf.core.run_record import RUN_FORMAT, OtherFormat, hashed_json, parse_run, run_bytes
from diffcore_hf.core.run_record import canonical_json as canonical_json

MANIFEST = "diffcore.json"
PUBLISHED = ("data", "generated", "attempts", "references", "classes", "assets", "README.md")
"""Entries of OUT that an export replaces."""
_GONE = "output {path} does not exist any more. Restore it, or mount its disk, and run the same command again"
_LONGEST_NAME = 180
"""Longest file name in bytes. The temporary name is at most 70 bytes longer, and 255 bytes are the usual limit."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: write a temporary file beside it, sync it, rename it."""
    write_with(path, lambda temporary: temporary.write_bytes(content))


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file completely or not at all with `write`, a function that takes the temporary path."""
    check_target(path)
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


def write_hint(path: Path, content: Any) -> None:
    """Write a small JSON file on which no result depends. It is not synced, and a fault of the disk is ignored.

    A reader finds the whole old or the whole new content, unless the machine fails.
    """
    temporary = temporary_name(path)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(canonical_json(content))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def create_atomic(path: Path, content: bytes) -> bool:
    """Write a new file completely or not at all. Of several processes, only the first one writes it.

    Returns:
        False if the file exists already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(content)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if path.exists():
                return False
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def check_target(path: Path) -> None:
    """Check that a file can be written at a path, before a long computation. Writes nothing.

    Raises:
        UserError: the path is a folder, its name is too long, or something that is not a folder is above it.
        PermissionError: the folder that exists above it is not writable.
    """
    try:
        above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        problem = ""
        if path.is_dir():
            problem = "is a folder"
        elif not above.is_dir():
            problem = f"is below {above}, which is not a folder"
        too_long = len(os.fsencode(path.name)) > _LONGEST_NAME
        if "\0" in str(path):
            raise ValueError("it contains a null character")
    except (OSError, ValueError) as error:  # a link to itself, a name that no file can have
        if environment_fault(error):
            raise
        raise UserError(f"{path} cannot be written ({innermost_cause(error)}). Use another path") from error
    if too_long:
        raise UserError(f"{path} has a name of more than {_LONGEST_NAME} bytes. Use a shorter name")
    if problem:
        raise UserError(f"{path} cannot be written, because it {problem}. Remove what is there, or use another path")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(above))


def sync_directory(path: Path) -> None:
    """Make renames inside a folder durable, if the file system supports it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # a platform that cannot open directories
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Return the hex sha256 of a file, read in chunks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the bytes of diffcore.json: canonical JSON with the hash of its own body under `hash`."""
    return hashed_json(manifest)


def parse_manifest(content: bytes) -> dict[str, Any] | None:
    """Return the content of diffcore.json; None if it is not a JSON object that lists files, with plain numbers."""
    try:
        manifest = parse_json(content)
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), list) else None


def is_entry_file(path: Path, entry: Mapping[str, Any], *, hashed: bool = True) -> bool:
    """Return whether a file has the size of an entry of the manifest and, if `hashed` is true, also its hash."""
    if not path.is_file() or path.stat().st_size != entry["size"]:
        return False
    return not hashed or file_sha256(path) == entry["sha256"]


def unlisted_files(root: Path, entries: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Return the files below the published folders of an output folder that no entry of its manifest lists."""
    listed = {root / entry["path"] for entry in entries}
    folders = [root / name for name in PUBLISHED if (root / name).is_dir()]
    found = chain.from_iterable(folder.rglob("*") for folder in folders)
    return sorted(path for path in found if path not in listed and (path.is_symlink() or not path.is_dir()))


def not_a_run(path: str | Path, remedy: str = "Give the --output of augment") -> UserError:
    """Return the error for a path in which no run has started."""
    return UserError(f"{path} is not the folder of a run of diffcore-hf. {remedy}")


class Folder:
    """An output folder, or a path at which a run may create one."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.private = self.path / ".diffcore"
        self.parts = self.private / "parts"
        self.rows = self.private / "rows"
        self.run_file = self.private / "run.json"
        self.log_file = self.private / "run.log.jsonl"
        self.manifest_file = self.path / MANIFEST

    def check_owned_or_empty(self) -> None:
        """Raise UserError if the path holds files that no run wrote. Writes nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"output {self.path} is a file, not a folder. Choose another with --output")
        # Another process can have created `.diffcore` and not yet written run.json.
        others = [path for path in self.path.iterdir() if path != self.private] if self.path.is_dir() else []
        if others and not os.path.lexists(self.run_file):
            raise UserError(
                f"output {self.path} holds files that no run of diffcore-hf wrote. Nothing was changed. "
                "Choose another folder with --output"
            )

    def read_run(self) -> dict[str, Any] | None:
        """Return the content of run.json, or None if no run has started in this folder.

        Raises:
            UserError: run.json is damaged, or a version of diffcore-hf with another folder format wrote it.
        """
        if not os.path.lexists(self.run_file):
            return None
        try:
            return parse_run(read_own_file(self.run_file))
        except OtherFormat as error:
            raise UserError(
                f"{self.path} was written by another version of diffcore-hf (folder format {error}, this version "
                f"uses {RUN_FORMAT}). Start a new folder with --output, or use that version"
            ) from error
        except (ValueError, RecursionError, OSError) as error:
            if environment_fault(error) is not None:
                raise
            raise UserError(
                f"{self.run_file} is damaged ({innermost_cause(error)}). Restore it, or choose another --output"
            ) from error

    def existing_run(self, *, with_parts: bool = True) -> dict[str, Any]:
        """Return the content of run.json of a folder in which a run has started.

        Args:
            with_parts: the folder must still have its parts.

        Raises:
            UserError: no run has started in this folder, it is an export, or its parts were deleted.
        """
        run = self.read_run()
        if run is None:
            raise not_a_run(self.path)
        if run.get("exported"):
            raise UserError(f"{self.path} is an export. Name the folder that it was exported from")
        if with_parts and run.get("cleaned"):
            raise UserError(f"{self.path} was cleaned: its parts were deleted. Run augment with another --output")
        return run

    def read_hashes(self) -> dict[str, Any]:
        """Return the hashes of local weights that an earlier run stored; {} if their file cannot be read."""
        try:
            hashes = read_own_json(self.private / "hashes.json")
        except (OSError, ValueError):
            return {}
        return {name: entry for name, entry in hashes.items() if isinstance(entry, list) and len(entry) == 3}

    def write_hashes(self, hashes: Mapping[str, Any]) -> None:
        """Store hashes of local weights, so that a restart does not read gigabytes again."""
        write_atomic(self.private / "hashes.json", canonical_json(hashes))

    def create_run(self, content: Mapping[str, Any]) -> bool:
        """Write the first run.json of the folder; return false if the folder already has this file."""
        return create_atomic(self.run_file, run_bytes(content))

    def write_run(self, content: Mapping[str, Any]) -> None:
        """Mark the folder as an output folder: write run.json, before any other file. Equal content is not written."""
        text = run_bytes(content)
        if not self.run_file.is_file() or self.run_file.read_bytes() != text:
            write_atomic(self.run_file, text)

    def check_present(self) -> None:
        """Raise UserError if the folder has vanished since its run started."""
        if not os.path.lexists(self.run_file):
            raise UserError(_GONE.format(path=self.path))

    @contextmanager
    def reported_if_gone(self) -> Iterator[None]:
        """Context in which an OSError becomes a UserError if the folder has vanished."""
        try:
            yield
        except OSError as error:
            if environment_fault(error) is None:
                self.check_present()
            raise

    def remove_leftovers(self) -> None:
        """Remove the temporary files in the folder whose writer has ended."""
        remove_leftovers(self.private)
        for path in self.path.glob(".*.tmp"):
            if is_leftover(path.name):
                remove(path)

    def manifest(self) -> dict[str, Any] | None:
        """Return the content of diffcore.json; None if no export finished or the file cannot be read."""
        if not self.manifest_file.is_file():
            return None
        try:
            return parse_manifest(read_own_file(self.manifest_file))
        except ValueError:  # not a regular file, or too large
            return None

    def log(self, event: str, **values: Any) -> None:
        """Append one line to run.log.jsonl. The log is for people; no code reads it."""
        check_target(self.log_file)
        if os.path.lexists(self.log_file) and not self.log_file.is_file():
            raise UserError(f"{self.log_file} cannot be written, because it is not a regular file. Remove it")
        self.private.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "event": event} | values, ensure_ascii=False)
        with open(self.log_file, "a") as file:
            file.write(line + "\n")

    def is_incomplete(self) -> bool:
        """Return whether an export was stopped before its end, so that published files have no manifest."""
        return not self.manifest_file.is_file() and any((self.path / name).exists() for name in PUBLISHED)

    def faults(self) -> list[str]:
        """Return one line for each file that does not match diffcore.json; [] if all match."""
        manifest = self.manifest()
        if manifest is None:
            return [f"{self.path} has no readable diffcore.json"]
        if manifest_bytes(manifest) != self.manifest_file.read_bytes():
            return [f"{self.manifest_file} does not contain the hash of its own body"]
        faults = []
        for entry in manifest["files"]:
            file = self.path / entry["path"]
            if not file.is_file():
                faults.append(f"{entry['path']} is missing")
            elif not is_entry_file(file, entry):
                faults.append(f"{entry['path']} is not the file that was exported")
        return faults

    def clean(self) -> int:
        """Delete the parts and row hashes of a finished folder; return the number of bytes that were freed.

        Raises:
            UserError: no run wrote the folder, or it is incomplete and its parts are the only copy of its facts.
        """
        run = self.read_run()
        if run is None:
            raise not_a_run(self.path)
        if faults := self.faults():
            raise UserError(
                f"{self.path} is incomplete ({faults[0]}). Its parts are needed. Run augment again to repair it"
            )
        removed = (self.parts, self.rows)
        freed = sum(_size(path) for path in removed)
        self.write_run({**run, "cleaned": True})
        for path in removed:
            shutil.rmtree(path, ignore_errors=True)
        return freed


def _size(folder: Path) -> int:
    """Return the number of bytes of all files below a folder; 0 if it does not exist."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
