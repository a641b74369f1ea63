"""Functions for tests of whole runs: they start or interrupt a run and read its output folder."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
from pathlib import Path

from datasets import Dataset, Image

from diffcore_hf.workflows import augment

PARTIAL = {"name": "rank", "by": "class_mean", "floor": "off"}
"""The policy of these tests: with the tiny models it keeps about half of the attempts."""


def go(recipe, data=None):
    """Runs `augment` without a progress bar."""
    return augment.run(recipe, data, progress=False)


def tree(folder, private=True):
    """Returns relative name -> bytes of every file. If `private` is false, only published files are included."""
    files = (file for file in Path(folder).rglob("*") if file.is_file())
    named = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: file.read_bytes() for name, file in named.items() if private or not name.startswith(".diffcore")}


def published(folder):
    return tree(folder, private=False)


def rows(folder, config="default", split="train"):
    """Returns a split of a dataset configuration with undecoded images, from the files in the manifest."""
    ds = Dataset.from_parquet([str(folder / name) for name in manifest(folder)["configs"][config][split]])
    for name, feature in ds.features.items():
        if isinstance(feature, Image):
            ds = ds.cast_column(name, Image(decode=False))
    return ds.with_format("numpy", columns=["embedding"], output_all_columns=True) if "embedding" in ds.features else ds


def contents(ds, column="image"):
    """Returns the stored bytes of a column of images."""
    return [cell["bytes"] for cell in ds.cast_column(column, Image(decode=False))[column]]


def attempts_of(folder):
    """Returns (row id, copy, attempt) -> reason of all attempts in a folder."""
    ds = rows(folder, "attempts")
    return dict(zip(zip(ds["row_id"][:], ds["copy"][:], ds["attempt"][:], strict=True), ds["reason"][:], strict=True))


def manifest(folder):
    return json.loads((Path(folder) / "diffcore.json").read_text())


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def interrupt_at(patch, method, calls):
    """Makes call number `calls` of a method raise KeyboardInterrupt, as Ctrl-C does."""
    module, cls, name = method.rsplit(".", 2)
    cls = getattr(importlib.import_module(module), cls)
    real, seen = getattr(cls, name), []

    def interrupting(self, *arguments, **keywords):
        seen.append(1)
        if len(seen) == calls:
            raise KeyboardInterrupt
        return real(self, *arguments, **keywords)

    patch.setattr(cls, name, interrupting)


def write_review(path, *verdicts):
    """Writes a review of (key, verdict) pairs and returns its path."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row_id", "copy", "attempt", "verdict", "note"])
        writer.writerows([*key, word, "seen"] for key, word in verdicts)
    return str(path)
