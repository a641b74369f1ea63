"""Client: runs code with the real clients in a process whose environment is set before they are imported.

The clients read HF_ENDPOINT, HF_HOME and HF_HUB_DISABLE_XET once, at import, and the process of the tests is offline.
Therefore client code runs in a worker process (worker.py), to which a test sends functions. A separate program under
test is started with `environment()`.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testing.hub_double.double import Double

ROOT = Path(__file__).parents[2]
"""Folder that contains the package `testing`, which the worker imports."""
CLIENT_VARIABLES = ("HF_", "HUGGINGFACE_", "HUGGING_FACE_")
"""Prefixes of the variables that the clients read; the values of the test process are not passed on."""


def environment(hub: Double, home: Path, *, xet: bool, token: str | None = None) -> dict[str, str]:
    """Returns the environment of a process whose clients reach the double and no other host.

    Args:
        hub: the double.
        home: value of HF_HOME; an empty folder gives an empty cache.
        xet: whether large files are uploaded over Xet, the default of the clients, or over LFS.
        token: value of HF_TOKEN; by default the token of the writer.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CLIENT_VARIABLES)}
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        kept.pop(name, None)
        kept.pop(name.upper(), None)
    proxies = {"http_proxy": hub.tripwire.url, "https_proxy": hub.tripwire.url, "no_proxy": "127.0.0.1,localhost"}
    return {
        **kept,
        **proxies,
        **{name.upper(): value for name, value in proxies.items()},
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH")))),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token or hub.token,
        "HF_HOME": str(home),
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # otherwise load_dataset sends a request to s3.amazonaws.com
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        # By default, a shard that is always refused is retried for minutes, and timeouts also take minutes.
        "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "3",
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "100ms",
        "HF_XET_CLIENT_READ_TIMEOUT": "2s",
        "HF_HUB_ETAG_TIMEOUT": "2",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        **({} if xet else {"HF_HUB_DISABLE_XET": "1"}),
    }


class Client:
    """A worker process in which a call runs a function: `client(function, *args, **kwargs)`.

    The function must be importable, because it is pickled by name. Its arguments and its result must be picklable. Its
    exception is raised here, with the traceback of the worker as a note. A call starts the worker if it is not
    running. An earlier call ended it if the call killed it or took more than `timeout` seconds.
    """

    def __init__(self, hub: Double, home: Path, *, xet: bool, token: str | None = None, timeout: float = 120):
        self.home, self.xet = home, xet
        self._environment = environment(hub, home, xet=xet, token=token)
        self.timeout = timeout
        self._process: subprocess.Popen | None = None

    def __call__(self, function: Callable, *args, **kwargs) -> Any:
        if self._process is None:
            self._start()
        try:
            # The worker needs the import path first, to import the module of the function.
            self._pipe.send(sys.path)
            self._pipe.send_bytes(pickle.dumps((function, args, kwargs)))
            if not self._pipe.poll(self.timeout):
                raise TimeoutError(f"{function.__qualname__} took more than {self.timeout} s")
            raised, outcome = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, ConnectionError):
            self.close()
            raise RuntimeError(f"the worker died:\n{self.output()[-4000:]}") from None
        except BaseException:
            self.close()  # A late result would otherwise be read as the result of the next call.
            raise
        if raised:
            raise outcome
        return outcome

    def output(self) -> str:
        """Returns everything that the worker has printed, logs and warnings included."""
        return self._output.read_text(errors="replace")

    @property
    def _output(self) -> Path:
        return self.home / "output.txt"

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._pipe, theirs = Pipe()
        with theirs, open(self._output, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "testing.hub_double.worker", str(theirs.fileno())],
                env=self._environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def close(self) -> None:
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error) -> None:
        self.close()
