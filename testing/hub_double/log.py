"""Log: the recorded requests, for assertions such as "nothing was uploaded" or "no token was sent"."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One request and its outcome. It is logged before its reply is sent."""

    origin: str  # "hub" or "storage"; the storage of the real Hub is on other hosts
    method: str
    target: str  # the raw path with the query
    headers: dict[str, str]  # names in lower case
    received: int  # bytes of the body
    status: int | None  # None where no reply was sent
    sent: int  # bytes of the reply's body
    fault: str | None  # the fault that was applied

    def __str__(self) -> str:
        fault = f" ({self.fault})" if self.fault else ""
        return f"{self.method} {self.target} -> {self.status or 'no reply'}{fault}"


class Log:
    """All requests since the last `clear`, in order of their replies."""

    def __init__(self):
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def append(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def select(self, method: str = ".*", path: str = "") -> list[Entry]:
        """Returns the entries whose method and raw path with query match these regular expressions."""
        with self._lock:
            return [
                entry for entry in self._entries if re.fullmatch(method, entry.method) and re.search(path, entry.target)
            ]

    def count(self, method: str = ".*", path: str = "") -> int:
        return len(self.select(method, path))

    def uploaded(self) -> int:
        """Returns the number of received bytes of large files: LFS objects, their parts, and xorbs."""
        return sum(entry.received for entry in self.select("PUT|POST", "^/(upload|part|xorb-upload|v1/xorbs)/"))

    def __str__(self) -> str:
        return "\n".join(map(str, self.select()))
