"""The double as one object: its state, its two servers, and what tests set and ask."""

from __future__ import annotations

import secrets
import threading
import time

from testing.hub_double import routes_commits, routes_files, routes_repos, routes_storage  # noqa: F401 (they register routes)
from testing.hub_double.accounts import Account, Accounts, require
from testing.hub_double.faults import Faults
from testing.hub_double.log import Log
from testing.hub_double.objects import Objects
from testing.hub_double.repos import Repository
from testing.hub_double.routing import HUB, STORAGE, dispatch
from testing.hub_double.server import Server
from testing.hub_double.tripwire import Tripwire
from testing.hub_double.wire import Refusal, Reply, Request


class Double:
    """A running Hub; a context manager.

    Attributes:
        url, storage_url: the origins of the Hub and of everything that is on other hosts in reality.
        accounts: the tokens, `accounts.writer` and others; `token` is the writer's.
        log, faults: see log.py and faults.py.
        redirects: whether large files are downloaded from the storage origin, as from a CDN.
        page_size: entries on a page of a tree, of commits and of discussions.
        grants: whether xorbs are uploaded under grants, as clients prefer: what is stored is not sent again then.
        part_size: LFS objects larger than this are uploaded in parts; None: never.
    """

    def __init__(self):
        self.accounts = Accounts()
        self.objects = Objects()
        self.log, self.faults = Log(), Faults()
        self.repositories: dict[tuple[str, str], Repository] = {}
        self._grants: dict[str, str] = {}  # token of the Xet server -> its scope
        self._lock = threading.RLock()
        self._servers = {origin: Server(self, origin) for origin in (HUB, STORAGE)}
        self.url, self.storage_url = self._servers[HUB].url, self._servers[STORAGE].url
        self.tripwire = Tripwire()
        self.reset()

    def reset(self) -> None:
        """As new, but for the accounts and what Xet stores: hf_xet never sends again what it remembers to have sent."""
        with self._lock:
            xet = self.objects.xet
            self.objects = Objects()
            self.objects.xet = xet
            self.repositories.clear()
            self.redirects, self.page_size, self.part_size, self.grants = False, 1000, None, True
            self.unknown: list[str] = []  # requests that no route is for
            self.strayed: list[str] = []  # requests that took a token of the Hub to the storage origin
            self.crashes: list[str] = []  # errors of the double itself
            self.tripwire.caught.clear()
            self.faults.clear()
            self.log.clear()

    def verify(self) -> None:
        """Raise AssertionError if a client did what the double does not know, or sent something where it must not."""
        wrong = {
            "the double has no route for": self.unknown,
            "a token was sent to another host": self.strayed,
            "traffic off loopback": self.tripwire.caught,
            "the double crashed": self.crashes,
        }
        found = [f"{what}: {line}" for what, lines in wrong.items() for line in lines]
        if found:
            raise AssertionError("\n".join(found))

    @property
    def token(self) -> str:
        return self.accounts.writer

    def repo_id(self, namespace: str = "org") -> str:
        """An id that was never used: the caches of the clients know repositories by their id."""
        return f"{namespace}/repo-{secrets.token_hex(6)}"

    def dataset(self, repo_id: str) -> Repository:
        return self.repositories["datasets", repo_id]

    def model(self, repo_id: str) -> Repository:
        return self.repositories["models", repo_id]

    def create(self, repo_id: str, kind: str = "datasets", *, private: bool = False) -> Repository:
        """A repository that is there without a client having created it."""
        repository = Repository(kind, repo_id, repo_id.split("/")[0], private=private)
        self.repositories[kind, repo_id] = repository
        return repository

    def content(self, repository: Repository, revision: str = "main") -> dict[str, bytes]:
        """{path: bytes} of a revision, large files too."""
        with self._lock:
            files = repository.files(revision).items()
            return {path: self.objects.read(b.sha256) if b.sha256 else b.content for path, b in files}

    def page(self, kind: str, repo_id: str) -> str:
        """The address of a repository's page; the clients read the id out of it."""
        return f"{self.url}/{repo_id}" if kind == "models" else f"{self.url}/{kind}/{repo_id}"

    def account(self, request: Request) -> Account:
        """The account of a request that needs one."""
        account = self.accounts.of(request.bearer)
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        return account

    def permitted(self, request: Request, need: str, kind: str, repo_id: str) -> None:
        require(self.accounts.of(request.bearer), need, self.repositories.get((kind, repo_id)))

    def grant(self, scope: str) -> tuple[str, int]:
        """A token of the Xet server and when it expires."""
        token = f"xet_{secrets.token_hex(16)}"
        self._grants[token] = scope
        return token, int(time.time()) + 3600

    def granted(self, request: Request, scope: str) -> None:
        """Raise unless a request to the Xet server may `scope`; who writes may read."""
        has = self._grants.get(request.bearer)
        if has is None:
            raise Refusal(401, "no token of this Xet server")
        if has != scope and has != "write":
            raise Refusal(403, f"the token is for {has}")

    def answer(self, origin: str, request: Request) -> Reply:
        """What the server asks for each request that no fault keeps from being applied."""
        if origin == STORAGE and "authorization" in request.headers:
            if self.accounts.known(request.bearer):
                self.strayed.append(f"{request.method} {request.path}")
            if not request.path.startswith("/v"):
                # As the buckets of the real Hub do: a signed link and a header are one signature too many.
                return Refusal(400, "Only one auth mechanism allowed").reply()
        with self._lock:
            return dispatch(self, origin, request)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self.tripwire.close()

    def __enter__(self) -> Double:
        return self

    def __exit__(self, *error) -> None:
        self.close()
