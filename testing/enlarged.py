"""Enlarged folders: finished folders with added random bytes. Xet must send them, because they are not stored yet."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diffcore_hf.core.folder import Folder, file_sha256, manifest_bytes
from diffcore_hf.core.manifest import FileEntry


def enlarged(folder: Path, target: Path, seed: int, *, rows: int = 4, row_bytes: int = 20_000) -> Path:
    """Copy a folder and add a file of random bytes, listed in the manifest as an export lists its pictures."""
    shutil.copytree(folder, target)
    random = np.random.default_rng(seed)
    # The file is added to the pictures, because a shard has to be in a configuration.
    path = target / "assets" / f"extra-{seed}.parquet"
    table = pa.table({"bytes": pa.array([random.bytes(row_bytes) for _ in range(rows)], pa.binary())})
    pq.write_table(table, path, row_group_size=16, compression="none")
    extra = FileEntry(path=f"assets/{path.name}", sha256=file_sha256(path), size=path.stat().st_size)
    manifest = Folder(target).manifest()
    assert manifest is not None
    manifest["files"] = sorted([*manifest["files"], extra], key=lambda entry: entry["path"])
    (target / "diffcore.json").write_bytes(manifest_bytes(manifest))
    return target
