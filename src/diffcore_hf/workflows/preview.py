"""Draws pictures of a run into its private folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, write_atomic
from diffcore_hf.workflows import pictures
from diffcore_hf.workflows.closest_pairs import closest_pairs
from diffcore_hf.workflows.export import read_decided


def preview(
    out: str | Path,
    samples: int | None = None,
    *,
    mixed: bool = False,
    batch: Sequence[str] = (),
    config: str | None = None,
    flags: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Draw a contact sheet and histograms of a run, or one other picture.

    Args:
        out: the folder of a run. If `mixed` is true, it may also be the folder of an export.
        samples: draw only a sheet of this number of attempts, kept or rejected; None draws the other pictures.
        mixed: draw only a sheet of rows beside their mixed training images.
        batch: draw only the first training batch of these arms. `out` may then also be an export, another dataset or
            the output of a training.
        config: for `batch`: file or name of a training recipe.
        flags: for `batch`: layer of keys of the training recipe.

    Returns:
        The PNG files, in OUT/.diffcore/preview. The training batch of a dataset on the Hub is in the current folder.

    Raises:
        UserError: this is not the folder of a run, the run has no attempt, or an arm of `batch` cannot be built.
    """
    if batch:
        from diffcore_hf.workflows.batch_pictures import picture_path, training_batch

        content = training_batch(out, batch, config, flags or {})
        path = picture_path(out)
        write_atomic(path, content)
        return [path]
    if flags:
        raise UserError(
            f"{first_key(flags)} is a key of a training, which only a training batch reads. Add e.g. --batch plain"
        )
    if mixed:
        from diffcore_hf.workflows.mixed_pictures import mixed_batch

        path = Folder(out).private / "preview" / "mixed.png"
        write_atomic(path, mixed_batch(out))
        return [path]
    material = read_decided(out)
    if not len(material.facts):
        raise UserError(f"{out} has no attempt yet. Run augment first, e.g. with --limit 20")
    if samples is not None:
        contents = {f"samples-{samples}.png": pictures.samples(material, samples)}
    else:
        contents = {
            "contact_sheet.png": pictures.contact_sheet(material),
            "similarity.png": pictures.histogram(material),
            "similarity_by_class.png": pictures.class_histograms(material),
            **closest_pairs(material),
        }
    folder = Folder(out).private / "preview"
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return [folder / name for name in contents]


def first_key(layer: Mapping[str, Any]) -> str:
    """Return the dotted name of the first key of a layer."""
    name, value = next(iter(layer.items()))
    return f"{name}.{first_key(value)}" if isinstance(value, Mapping) and value else str(name)
