"""Double: the Hub double as one object with its state, its two servers, and settings and queries for tests."""

from __future__ import annotations

import secrets
import threading
import time

from testing.hub_double import routes_commits, routes_files, routes_repos, routes_storage  # noqa: F401 (registers routes)
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
    """A running Hub double; as a context manager it stops at the end.

    Attributes:
        url: origin of the Hub.
        storage_url: origin of all storage, which for the real Hub is on other hosts.
        accounts: the accounts and their tokens, such as `accounts.writer`; `token` is the token of the writer.
        log: the requests (log.py).
        faults: the faults to inject (faults.py).
        redirects: whether large files are downloaded from the storage origin, as from a CDN.
        page_size: number of entries on a page of a tree, of commits and of discussions.
        grants: whether the client gets a ticket for each xorb. Then a xorb that is stored is not sent again.
        part_size: LFS objects with more bytes are uploaded in parts; None: no object is uploaded in parts.
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
        """Resets everything except the accounts and the Xet store.

        The Xet store stays, because hf_xet never sends the same data twice.
        """
        with self._lock:
            xet = self.objects.xet
            self.objects = Objects()
            self.objects.xet = xet
            self.repositories.clear()
            self.redirects, self.page_size, self.part_size, self.grants = False, 1000, None, True
            self.unknown: list[str] = []  # requests without a route
            self.leaked_tokens: list[str] = []  # requests that sent a token of the Hub to the storage origin
            self.crashes: list[str] = []  # errors of the double itself
            self.tripwire.caught.clear()
            self.faults.clear()
            self.log.clear()

    def verify(self) -> None:
        """Raises AssertionError after a request without a route, a leaked token, stray traffic or a crash."""
        wrong = {
            "the double has no route for": self.unknown,
            "a token was sent to another host": self.leaked_tokens,
            "a request was sent to another host": self.tripwire.caught,
            "the double crashed": self.crashes,
        }
        faults: list[str] = []
        for description, lines in wrong.items():
            faults += [f"{description}: {line}" for line in lines]
        if faults:
            raise AssertionError("\n".join(faults))

    @property
    def token(self) -> str:
        return self.accounts.writer

    def repo_id(self, namespace: str = "org") -> str:
        """Returns an unused repository id, so that the caches of the clients have nothing under it."""
        return f"{namespace}/repo-{secrets.token_hex(6)}"

    def dataset(self, repo_id: str) -> Repository:
        return self.repositories["datasets", repo_id]

    def model(self, repo_id: str) -> Repository:
        return self.repositories["models", repo_id]

    def create(self, repo_id: str, kind: str = "datasets", *, private: bool = False) -> Repository:
        """Creates a repository without a client."""
        repository = Repository(kind, repo_id, repo_id.split("/")[0], private=private)
        self.repositories[kind, repo_id] = repository
        return repository

    def content(self, repository: Repository, revision: str = "main") -> dict[str, bytes]:
        """Returns {path: bytes} of a revision, large files included."""
        with self._lock:
            files = repository.files(revision).items()
            return {path: self.objects.read(b.sha256) if b.sha256 else b.content for path, b in files}

    def page(self, kind: str, repo_id: str) -> str:
        """Returns the address of a repository's page, from which the clients parse its id."""
        return f"{self.url}/{repo_id}" if kind == "models" else f"{self.url}/{kind}/{repo_id}"

    def account(self, request: Request) -> Account:
        """Returns the account of a request that needs one; raises Refusal 401 if there is no token."""
        account = self.accounts.of(request.bearer)
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        return account

    def permitted(self, request: Request, need: str, kind: str, repo_id: str) -> None:
        require(self.accounts.of(request.bearer), need, self.repositories.get((kind, repo_id)))

    def grant(self, scope: str) -> tuple[str, int]:
        """Creates a token of the Xet server; returns it and its time of expiry."""
        token = f"xet_{secrets.token_hex(16)}"
        self._grants[token] = scope
        return token, int(time.time()) + 3600

    def granted(self, request: Request, scope: str) -> None:
        """Raises an error if the token of a request to the Xet server lacks `scope`.

        Write access includes read access.
        """
        has = self._grants.get(request.bearer)
        if has is None:
            raise Refusal(401, "no token of this Xet server")
        if has != scope and has != "write":
            raise Refusal(403, f"the token is for {has}")

    def respond(self, origin: str, request: Request) -> Reply:
        """Returns the reply to a request if no fault is injected."""
        if origin == STORAGE and "authorization" in request.headers:
            if self.accounts.known(request.bearer):
                self.leaked_tokens.append(f"{request.method} {request.path}")
            if not request.path.startswith("/v"):
                # The buckets of the real Hub also refuse a signed link together with an Authorization header.
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
