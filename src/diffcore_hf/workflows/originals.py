"""Joins the images of the source to a dataset that was published without them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.augmentation.source.folder import is_local, read_local
from diffcore_hf.config.augment import Layout, SourceConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.image_roots import files_below, files_of
from diffcore_hf.core.manifest import Manifest, checked_manifest
from diffcore_hf.core.schema import prefix_of
from diffcore_hf.publishing.card.reproduction import is_hub
from diffcore_hf.publishing.hub import originals
from diffcore_hf.publishing.hub.client_errors import as_user_error
from diffcore_hf.publishing.hub.remote import open_remote

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def join_originals(
    path: str | Path,
    source: str | Path | DatasetDict | Dataset | None = None,
    version: str | None = None,
    *,
    root: str | Path | None = None,
    layout: Layout = "auto",
    table: str | None = None,
) -> DatasetDict:
    """Load a dataset that was published without its original images, and add the images of its source.

    Args:
        path: `owner/name` on the Hub, or a folder.
        source: the dataset with the images: a Hub id, a folder, or a dataset in memory. None means the source in the
            manifest, at its recorded commit.
        version: the version of `path`; needed only if it is on the Hub.
        root: `source.root` of the run: folder with the image files that the cells of the source name.
        layout: `source.layout` of the run, if the source is a local folder.
        table: `source.table` of the run, if the source is a local folder.

    Returns:
        The splits for which the source has images.

    Raises:
        UserError: the dataset or the source does not exist, or no image of the source has a recorded hash.
    """
    from diffcore_hf.core.loading import load_splits
    from diffcore_hf.publishing.hub.loading import load_augmented

    if version is None and not Path(path).is_dir():
        raise UserError(f"version of {path} is missing. See diffcore-hf versions {path}")
    manifest = _manifest(path, version)
    augmented = load_augmented(path, version)
    references = load_augmented(path, version, name="references", split="train")
    recorded = manifest["resolved"]["source"]
    source_recipe = manifest["recipe"]["source"]
    if source is None and not is_hub(recorded):
        raise UserError(
            f"source is missing: {path} was generated from {recorded['path']}. Give the folder or the dataset"
        )
    given = recorded["path"] if source is None else source
    if isinstance(given, (str, Path)):
        commit = recorded["identity"] if str(given) == recorded["path"] and is_hub(recorded) else None
        location, name = str(given), source_recipe.get("name")
        if is_local(location):
            columns = {key: source_recipe[key] for key in ("image", "label") if key in source_recipe}
            below = str(root) if root else None
            local = read_local(SourceConfig(location, name, layout=layout, table=table, root=below, **columns))
            given, files = local.splits, local.files
        else:
            given, commit = load_splits(location, name, None, commit, section="source")
            files = files_of(location, commit)
    else:
        files = files_below(str(root) if root else None)
    prefix = prefix_of(next(iter(augmented.values())).column_names)
    image = source_recipe.get("image", "image")
    return originals.join_originals(augmented, references, given, image=image, prefix=prefix, files=files)


def _manifest(path: str | Path, version: str | None) -> Manifest:
    where = f"{path} {version}" if version else str(path)
    if Path(path).is_dir():
        return checked_manifest(Folder(path).manifest(), where)
    remote = open_remote(str(path))
    with as_user_error(where):
        return checked_manifest(remote.manifest(remote.commit_of_version(version or "")), where)
