"""Draws pictures of a run into its private folder."""

from __future__ import annotations

from pathlib import Path

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, write_atomic
from diffcore_hf.workflows import pictures
from diffcore_hf.workflows.export import read_decided


def preview(out: str | Path, samples: int | None = None, *, mixed: bool = False) -> list[Path]:
    """Draw a contact sheet and histograms of a run, or one other picture.

    Args:
        out: the folder of a run. If `mixed` is true, it may also be the folder of an export.
        samples: draw only a sheet of this number of attempts, kept or rejected; None draws the other pictures.
        mixed: draw only a sheet of rows beside their mixed training images.

    Returns:
        The PNG files, in OUT/.diffcore/preview.

    Raises:
        UserError: this is not the folder of a run, or the run has no attempt.
    """
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
        }
    folder = Folder(out).private / "preview"
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return [folder / name for name in contents]
