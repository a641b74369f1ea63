"""Audit hook: records files that are opened outside of allowed folders, and events that run code."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WATCHED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")
"""Audit events that loading a model may not cause."""


class Audit:
    """Recorder of audit events. An audit hook cannot be removed, so this class is used in a process of its own.

    Args:
        allowed: folders and files that may be opened at any time. The installed packages are always allowed.
    """

    def __init__(self, allowed: Iterable[str | Path]):
        installed = (*sys.path[1:], sys.prefix, sys.base_prefix)
        self.allowed = tuple(str(Path(path).resolve()) for path in (*installed, *allowed) if str(path))
        self.events: list[str] = []
        self.folder: str | None = None
        """Folder of the model that is loaded now. While it is None, no event is recorded."""
        sys.addaudithook(self._record)

    def start(self, folder: Path) -> None:
        """Record the events from now on; files in `folder` are allowed."""
        self.events, self.folder = [], str(folder)

    def stop(self) -> list[str]:
        """Return the events since `start`."""
        self.folder = None
        return self.events

    def _record(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            name = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode(errors="replace")
            path = str(Path(name).absolute())
            if not path.startswith((self.folder, *self.allowed)):
                self.events.append(f"open {path}")
        elif event in WATCHED:
            self.events.append(f"{event} {arguments!r}")
