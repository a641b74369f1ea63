"""Stage: the base class of the callables for `datasets.Dataset.map`.

Owns the correct call of `map`. Images are passed undecoded, because `map` would otherwise encode the originals again.
The call declares the features of all columns. Its fingerprint includes the identity of the model. This module contains
no model and no computation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.image_files import ImageFiles

if TYPE_CHECKING:
    from datasets import Dataset, Features

ImageCell = dict[str, Any]
"""An undecoded image of `datasets`: its encoded bytes, or the path of its file."""

WRITER_BATCH = 64
"""Number of rows in memory before they are written. The default of 1,000 takes too much memory for images."""


class Stage:
    """A callable for `Dataset.map(batched=True)`, from the columns that it reads to the columns that it adds.

    A stage is a frozen configuration. Its model is loaded on first use and is not pickled. So pickles and fingerprints
    contain only the configuration.
    """

    VERSION: ClassVar[str] = "1"
    """Version of the output. The fingerprint includes it. Increase it when the output changes. If a stage runs other
    stages, its version contains their versions."""
    reads: tuple[str, ...] = ()
    """The columns that `__call__` takes, in order."""
    finished: int | None = None
    """Number of rows of the last batch that have results, counted from its first row; None: all rows.

    After a signal, the rows that follow have no results."""
    on_batch: Callable[[Sequence[int]], None] | None = None
    """Callback that receives the rows of each device batch before they are computed; it is not pickled."""
    _transient: ClassVar[tuple[str, ...]] = ("_tower", "on_progress", "on_batch")
    """Names of attributes that are None in a pickled stage, such as models and callbacks."""
    _cached: ClassVar[tuple[str, ...]] = ()
    """Names of cached properties that are left out of a pickled stage."""

    @property
    def adds(self) -> Features:
        """The columns that `__call__` returns, with their Features."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return the values that change the output, for the fingerprint: attempt fields and model identities."""
        raise NotImplementedError

    def run(self, *columns: list[Any]) -> dict[str, list[Any]]:
        """Compute the added columns of a batch from the columns in `reads`."""
        raise NotImplementedError

    def __call__(self, *columns: list[Any]) -> dict[str, list[Any]]:
        name = type(self).__name__
        if columns and isinstance(columns[0], Mapping):
            raise TypeError(
                f"{name} got a whole batch, and map would encode its images again. Use {name}(...).map(dataset), "
                f"or pass input_columns={list(self.reads)} to Dataset.map"
            )
        if len(columns) != len(self.reads):
            raise TypeError(f"{name} takes {', '.join(self.reads)}, but got {len(columns)} columns: use .map(dataset)")
        return self.run(*columns)

    def map(self, ds: Dataset, columns: Mapping[str, str] | None = None, **kwargs: Any) -> Dataset:
        """Map the stage over a dataset: `ds.map` with the right columns, features and fingerprint.

        Image columns are passed undecoded, so that the bytes of the originals do not change. The returned dataset
        decodes them again.

        Args:
            ds: the dataset.
            columns: map from a name that the stage reads to the name in the dataset.
            kwargs: other arguments of `ds.map`.

        Raises:
            UserError: a column is missing, or a column that the stage adds exists already.
        """
        from datasets import Features, Image

        names = [(columns or {}).get(name, name) for name in self.reads]
        removed = kwargs.get("remove_columns") or []
        removed = [removed] if isinstance(removed, str) else list(removed)
        self._check(ds, names, removed)
        if "new_fingerprint" not in kwargs:
            kwargs["new_fingerprint"] = self.fingerprint(ds, names, removed)
        decoded = {name: f for name, f in ds.features.items() if isinstance(f, Image) and f.decode}
        for name in decoded:
            ds = ds.cast_column(name, Image(decode=False))
        remaining = {name: feature for name, feature in ds.features.items() if name not in removed}
        result = ds.map(
            self,
            **{"batched": True, "writer_batch_size": WRITER_BATCH} | kwargs,
            input_columns=names,
            features=Features(remaining | dict(self.adds)),
        )
        for name, feature in decoded.items():
            if name in remaining and name not in self.adds:
                result = result.cast_column(name, feature)
        return result

    def fingerprint(self, ds: Dataset, columns: list[str] | None = None, removed: list[str] | None = None) -> str:
        """Return 32 hex digits: a digest of the fingerprint of `ds`, the class, its settings and the columns."""
        parts = [ds._fingerprint, type(self).__name__, self.VERSION, self.settings()]
        parts += [columns or list(self.reads), removed or []]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {name: None for name in self._transient if name in self.__dict__}
        return {name: value for name, value in state.items() if name not in self._cached}

    def _check(self, ds: Dataset, names: list[str], removed: list[str]) -> None:
        available = ", ".join(ds.column_names)
        for wanted, name in zip(self.reads, names, strict=True):
            if name not in ds.column_names:
                raise UserError(
                    f"{type(self).__name__} reads {name!r}, which the dataset does not have; its columns: {available}. "
                    f"Use columns={{{wanted!r}: <name in the dataset>}}"
                )
        for name in self.adds:
            if name in ds.column_names and name not in removed:
                remedy = f"Use remove_columns or rename_column({name!r}, ...) first"
                raise UserError(f"{type(self).__name__} adds {name!r}, which the dataset has already. {remedy}")


def files_setting(files: ImageFiles) -> dict[str, Any]:
    """Return the folders of image files and their range of grey as settings of a stage; nothing for the defaults."""
    settings: dict[str, Any] = {"roots": list(files.roots)} if files.roots else {}
    return settings | ({"grey_range": files.grey_range} if files.grey_range != "dtype" else {})


def attempt_fields(config: Any) -> dict[str, Any]:
    """Return the fields of a recipe section that change the content of an attempt, without paths and revisions."""
    fields = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.metadata["scope"] != "attempt" or field.name in ("path", "revision"):
            continue
        if dataclasses.is_dataclass(value):
            value = attempt_fields(value)
        elif isinstance(value, tuple):
            value = [attempt_fields(item) if dataclasses.is_dataclass(item) else item for item in value]
        fields[field.name] = value
    return fields
