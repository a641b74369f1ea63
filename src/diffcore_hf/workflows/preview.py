"""Pictures of a run, beside what it published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, write_whole
from diffcore_hf.workflows import pictures as exhibits

if TYPE_CHECKING:
    pass

from diffcore_hf.workflows.augment import gather
from diffcore_hf.workflows.export import reopened


def preview(out: str | Path, samples: int | None = None, *, mixed: bool = False) -> list[Path]:
    """Pictures of a run beside what it published: a contact sheet and histograms, or one other sheet.

    Args:
        out: the folder of a run; for `mixed` any that holds counterparts, exports as well.
        samples: so many attempts before any filter, instead.
        mixed: rows beside the training images that mixing makes of them, instead.

    Returns:
        The PNG files, in OUT/.diffcore/preview.
    """
    if mixed:
        from diffcore_hf.workflows.mixed_pictures import mixed_batch

        path = Folder(out).private / "preview" / "mixed.png"
        write_whole(path, mixed_batch(out))
        return [path]
    prepared = reopened(out, {})
    material = gather(prepared)
    if not len(material.attempts):
        raise UserError(f"{out} has no attempt yet. Run augment first, with --limit 20 for a quick look")
    if samples is not None:
        pictures = {f"samples-{samples}.png": exhibits.samples(material, samples)}
    else:
        pictures = {
            "contact_sheet.png": exhibits.contact_sheet(material),
            "similarity.png": exhibits.histogram(material),
            "similarity_by_class.png": exhibits.class_histograms(material),
        }
    folder = prepared.folder.private / "preview"
    for name, content in pictures.items():
        write_whole(folder / name, content)
    return [folder / name for name in pictures]
