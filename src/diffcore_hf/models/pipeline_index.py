"""Index of a pipeline: the components that model_index.json names, checked without torch.

Owns the rule that a component is a class of diffusers or transformers. Other libraries and files with code are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.core.errors import UserError
from diffcore_hf.models import library_classes

LIBRARIES = ("diffusers", "transformers")

_REMEDY = "Give a folder or repository that save_pretrained wrote"


@dataclass(frozen=True)
class Component:
    """The class of a component."""

    library: str
    """`diffusers`, `transformers`, or the name of a folder in `diffusers.pipelines`."""
    name: str


def components_of(index: Mapping[str, Any], shown: str) -> dict[str, Component]:
    """Returns the components of a pipeline. Components that the model does not have are left out.

    Args:
        index: content of model_index.json.
        shown: path of the model for errors.

    Raises:
        UserError: an entry is not a class of diffusers or transformers.
    """
    components = {}
    for key, value in index.items():
        if key.startswith("_") or not isinstance(value, (list, dict)) or value == [None, None]:
            continue
        if not key.isidentifier() or not _is_pair(value):
            raise UserError(
                f"{shown}: model_index.json has {key!r}, which does not name a library and a class. {_REMEDY}"
            )
        library, name = value
        if library not in LIBRARIES and not library_classes.is_pipeline_folder(library):
            raise UserError(
                f"{shown}: its component {key} is {name} of {library!r}, but only classes of diffusers and "
                "transformers are used. Use another model"
            )
        components[key] = Component(library, name)
    return components


def check_components(components: Mapping[str, Component], folder: Path | None, shown: str) -> None:
    """Checks that a local folder has files for each component.

    Args:
        components: the components.
        folder: folder of the model; None: a repository, whose files may not be here.
        shown: path of the model for errors.

    Raises:
        UserError: a component has no folder.
    """
    if folder is None:
        return
    for name in components:
        if not (folder / name).is_dir() or (folder / name).is_symlink():
            raise UserError(
                f"{shown}: the folder of its component {name} is missing or is a link. Copy the folder, or download "
                "the model again"
            )


def _is_pair(value: Any) -> bool:
    """Returns whether a value is a list of two names."""
    is_pair = isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)
    return is_pair and all(each.isidentifier() and not each.startswith("_") for each in value)
