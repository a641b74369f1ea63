"""Preview: pictures of a run, written beside what it published."""

from __future__ import annotations

from pathlib import Path

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, write_atomic
from diffcore_hf.workflows import pictures
from diffcore_hf.workflows.export import read_decided


def preview(out: str | Path, samples: int | None = None, *, mixed: bool = False) -> list[Path]:
    """Draw a contact sheet and histograms of a run, or one other sheet.

    Args:
        out: the folder of a run; for `mixed` any folder that holds counterparts, an export as well.
        samples: draw this many attempts before any filter instead.
        mixed: draw rows beside the training images that mixing makes of them instead.

    Returns:
        The PNG files, in OUT/.diffcore/preview.

    Raises:
        UserError: no folder of a run, or one without an attempt.
    """
    if mixed:
        from diffcore_hf.workflows.mixed_pictures import mixed_batch

        path = Folder(out).private / "preview" / "mixed.png"
        write_atomic(path, mixed_batch(out))
        return [path]
    material = read_decided(out)
    if not len(material.facts):
        raise UserError(f"{out} has no attempt yet. Run augment first, with --limit 20 for a quick look")
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
