"""Who may do what: tokens, users, their organisations.

The answers are the Hub's: an unknown token is 401 whatever it asks for, what one may not see does not exist (404, or
401 for someone without a token), and what one may see but not change is 403.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from testing.hub_double.repos import Repository
from testing.hub_double.wire import Refusal

WRITE, READ = "write", "read"


@dataclass(frozen=True)
class Account:
    """One token of one user: what the user is in each organisation, and what the token allows at most."""

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
    """All tokens. At first: of `org` a writer and a member who reads; a stranger; a read-only token."""

    def __init__(self):
        self._by_token: dict[str, Account] = {}
        self.writer = self.add("ada", {"org": WRITE})
        self.member = self.add("ben", {"org": READ})
        self.stranger = self.add("eve")
        self.reader = self.add("ada", {"org": WRITE}, role=READ)

    def add(self, name: str, organisations: dict[str, str] | None = None, role: str = WRITE) -> str:
        """A new token of the user `name`, formed like the Hub's."""
        token = f"hf_{secrets.token_hex(17)}"
        self._by_token[token] = Account(name, organisations or {}, role)
        return token

    def known(self, token: str | None) -> bool:
        return token in self._by_token

    def of(self, token: str | None) -> Account | None:
        """The account of a request's token, None without a token."""
        if token is None:
            return None
        if token not in self._by_token:
            raise Refusal(401, f"Invalid credentials in Authorization header: {token}")  # a Hub may be careless
        return self._by_token[token]


def require(account: Account | None, need: str, repository: Repository | None) -> None:
    """Raise unless `account` may read, contribute to (open pull requests of) or write to a repository.

    A repository that is missing and one that is hidden are the same to whom asks.
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
