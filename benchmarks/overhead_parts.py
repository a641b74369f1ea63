"""Times of the parts of a mixer: its maps, its choice of partners, its cut, and the copying of pixels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

SECTIONS: dict[str, tuple[str, ...]] = {
    "saliency": ("maps", "input_gradient", "activation_maps", "averaged.forward", "generator.forward"),
    "pairing": ("_draws", "partner_index"),
    "cut": ("minimal_labels", "joint_outputs"),
}
"""Part of a mixer -> its methods and functions. The time of a mixer that is in none of them is the part `copy`."""
PARTS = (*SECTIONS, "copy")


class PartTimer:
    """Measures the time in the parts of a mixer; a part inside another part belongs to the outer one."""

    def __init__(self, now: Callable[[], float]):
        self._now = now
        self._active: list[str] = []
        self.seconds: dict[str, float] = {}

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that measures each call of `function`."""

        def call(*args: Any, **keys: Any) -> Any:
            if self._active not in ([], ["mixer"]) or part in self._active:
                return function(*args, **keys)
            self._active.append(part)
            start = self._now()
            try:
                return function(*args, **keys)
            finally:
                self._active.pop()
                self.seconds[part] = self.seconds.get(part, 0.0) + self._now() - start

        return call

    def take(self) -> dict[str, float]:
        """Returns the seconds of `mixer` and of each part since the last call, and sets them to zero."""
        seconds, self.seconds = self.seconds, {}
        parts = {part: seconds.get(part, 0.0) for part in SECTIONS}
        total = seconds.get("mixer", 0.0)
        return {"mixer": total, **parts, "copy": max(0.0, total - sum(parts.values()))}


@contextmanager
def timed_parts(mixer: Any, timer: PartTimer) -> Iterator[None]:
    """Measures the parts of a mixer inside the context. If `mixer` is None, nothing is measured."""
    with ExitStack() as stack:
        if mixer is not None:
            modules = [sys.modules[each.__module__] for each in type(mixer).__mro__ if "mixers" in each.__module__]
            for part, names in SECTIONS.items():
                for name in names:
                    for owner, attribute in _owners(mixer, modules, name):
                        function = timer.timed(part, getattr(owner, attribute))
                        stack.enter_context(mock.patch.object(owner, attribute, function))
            stack.enter_context(mock.patch.object(mixer, "forward", timer.timed("mixer", mixer.forward)))
        yield


def _owners(mixer: Any, modules: list[Any], name: str) -> list[tuple[Any, str]]:
    """Returns each object that has the function `name`, and its attribute there."""
    path, _, attribute = name.rpartition(".")
    owner = getattr(mixer, path, None) if path else mixer
    methods = [owner] if hasattr(owner, attribute) else []
    return [(each, attribute) for each in [*methods, *(each for each in modules if hasattr(each, name))]]
