"""Views: temporary folders with the files of a model that a library may read, and nothing else.

Owns the folders that contain only a closed list of files. If a library gets the folder of an unknown author, it opens
pickles, code, configurations of adapters and links in it. A view contains links to checked files only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from diffcore_hf.core.errors import UserError
from diffcore_hf.models.file_contents import check_contents, check_weights, read_object, safe_tokenizer_config
from diffcore_hf.models.model_files import check_file, handed_files, list_files

_TOKENIZER = "tokenizer_config.json"


@contextlib.contextmanager
def model_view(folder: Path, shown: str) -> Iterator[Path]:
    """Yields a folder with the checked files of a model. It exists inside the block only.

    If an error for a user contains the path of the view, this path is replaced by the path of the model.

    Args:
        folder: folder of the model, or a snapshot in the cache.
        shown: path of the model for errors.

    Raises:
        UserError: a file is refused; see `list_files` and `check_contents`.
    """
    files = handed_files(list_files(folder, shown))
    check_contents(files, shown)
    with _folder_of(files) as view, _named(view, shown):
        yield view


@contextlib.contextmanager
def file_view(file: Path, shown: str) -> Iterator[Path]:
    """Yields a folder that contains only one checked file of weights, under its own name."""
    check_file(file, shown)
    check_weights(file, shown)
    with _folder_of({file.name: file.resolve()}) as view, _named(view, str(file.parent)):
        yield view


@contextlib.contextmanager
def _folder_of(files: Mapping[str, Path]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="diffcore-model-", ignore_cleanup_errors=True) as folder:
        view = Path(folder).resolve()
        for name, path in files.items():
            target = view / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.name == _TOKENIZER:
                target.write_text(json.dumps(safe_tokenizer_config(read_object(path))), encoding="utf-8")
            else:
                _link(path, target)
        yield view


def _link(path: Path, target: Path) -> None:
    """Makes a link, or a copy where the system has no links."""
    try:
        os.symlink(path, target)
    except OSError:
        shutil.copyfile(path, target)


@contextlib.contextmanager
def _named(view: Path, shown: str) -> Iterator[None]:
    """Replaces the path of a view in the errors for a user."""
    try:
        yield
    except UserError as error:
        error.args = (str(error).replace(str(view), shown),)
        raise
