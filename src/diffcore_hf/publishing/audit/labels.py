"""Labels: checks that the label column of the source has the class of each row.

The label column may have any type. A column of class labels contains the indices of the classes. Any other column
contains values whose texts are the names of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffcore_hf.publishing.audit.findings import Findings

_MISSING = (None, "", -1)
"""Values of the label column that mean that a row has no label."""


class LabelColumn:
    """Collects the values of the label column, and reports those that are not the class of their row.

    Args:
        names: names of the classes.
        labels: row id -> index of the class.
    """

    def __init__(self, names: Sequence[str], labels: Mapping[str, int]) -> None:
        self._labels, self._count = labels, len(names)
        self._index = {name: index for index, name in enumerate(names)}
        self._wrong: dict[str, list[tuple[str, str]]] = {"index": [], "name": []}
        """What the values are, index or name of a class -> the faults in this case, as pairs of kind and row."""

    def add(self, config: str, row_id: str, value: Any) -> None:
        """Add the value of a row of a configuration. A row that is not in `references` is ignored."""
        label = self._labels.get(row_id)
        if label is None:
            return
        as_index = value if type(value) is int and 0 <= value < self._count else -1
        as_name = -1 if value in _MISSING else self._index.get(str(value), -1)
        for reading, found in (("index", as_index), ("name", as_name)):
            if found != label:
                self._wrong[reading].append((f"{config}: the label is not the class of the row", row_id))

    def report(self, findings: Findings) -> None:
        """Add the faults of the case, index or name, that has fewer faults."""
        for kind, where in min(self._wrong.values(), key=len):
            findings.add(kind, where)
