"""Accounts: tokens, users and organisations, and their rights.

The replies are the same as on the Hub. An unknown token gets 401. The reply for a hidden repository is 404, or 401 if
the request has no token. The reply for a repository that the account may see but not change is 403.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from testing.hub_double.repos import Repository
from testing.hub_double.wire import Refusal

WRITE, READ = "write", "read"


@dataclass(frozen=True)
class Account:
    """One token of a user, with the user's role in each organisation. The role of the token limits these roles."""

    name: str
    organisations: dict[str, str] = field(default_factory=dict)  # its name -> WRITE or READ
    role: str = WRITE

    def sees(self, repository: Repository) -> bool:
        return not repository.private or repository.namespace in (self.name, *self.organisations)

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or self.organisations.get(namespace) == WRITE

    def writes(self, namespace: str) -> bool:
        return self.role == WRITE and self.owns(namespace)


class Accounts:
    """All tokens.

    A new object has four tokens: one of a member of `org` with write access, one of a member of `org` with read
    access, one of a user who is not a member, and a read-only token of the first user.
    """

    def __init__(self):
        self._by_token: dict[str, Account] = {}
        self.writer = self.add("ada", {"org": WRITE})
        self.member = self.add("ben", {"org": READ})
        self.stranger = self.add("eve")
        self.reader = self.add("ada", {"org": WRITE}, role=READ)

    def add(self, name: str, organisations: dict[str, str] | None = None, role: str = WRITE) -> str:
        """Creates a token of the user `name`, in the form of the Hub's tokens."""
        token = f"hf_{secrets.token_hex(17)}"
        self._by_token[token] = Account(name, organisations or {}, role)
        return token

    def known(self, token: str | None) -> bool:
        return token in self._by_token

    def of(self, token: str | None) -> Account | None:
        """Returns the account of a request's token; None if there is no token."""
        if token is None:
            return None
        if token not in self._by_token:
            # The message repeats the token, so that tests can check that the package never prints it.
            raise Refusal(401, f"Invalid credentials in Authorization header: {token}")
        return self._by_token[token]


def require(account: Account | None, need: str, repository: Repository | None) -> None:
    """Raises Refusal if the account lacks a right on the repository.

    `need` is this right: "read", "contribute" (open pull requests) or "write". A missing and a hidden
    repository give the same reply.
    """
    hidden = repository is None or (repository.private if account is None else not account.sees(repository))
    if hidden:
        raise Refusal(401 if account is None else 404, "Repository not found", "RepoNotFound")
    if need == "read":
        return
    if account is None:
        raise Refusal(401, "Invalid username or password.")
    if account.role != WRITE or (need == "write" and not account.owns(repository.namespace)):
        raise Refusal(403, f"you do not have write access to {repository.id} with this token")
