"""Finished folders with new bytes in them: Xet never sends again what any earlier test has sent."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diffcore_hf.core.folder import Folder, file_sha256, seal


def enlarged(folder: Path, target: Path, seed: int, *, rows: int = 4, row_bytes: int = 20_000) -> Path:
    """The folder with one more file of random bytes, in its list as an export would have it."""
    shutil.copytree(folder, target)
    random = np.random.default_rng(seed)
    path = target / "data" / f"extra-{seed}.parquet"
    table = pa.table({"bytes": pa.array([random.bytes(row_bytes) for _ in range(rows)], pa.binary())})
    pq.write_table(table, path, row_group_size=16, compression="none")
    entry = {"path": f"data/{path.name}", "rows": rows, "sha256": file_sha256(path), "size": path.stat().st_size}
    manifest = Folder(target).manifest()
    manifest["files"] = sorted([*manifest["files"], entry], key=lambda one: one["path"])
    (target / "diffcore.json").write_bytes(seal(manifest))
    return target
