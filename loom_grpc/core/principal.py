"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from loom_grpc.core.fingerprint import tenant_of

if TYPE_CHECKING:
    from loom_grpc.core.quota import Cap, Rate


class Need(IntEnum):
    """What a method wants of its caller, the least first."""

    NOTHING = 0
    USER = 1
    ADMIN = 2


class Shown(NamedTuple):
    """All that a caller shows of itself."""

    credentials: tuple[tuple[str, str], ...] = ()
    """Names, in lower case, and texts of the metadata, headers and the query parameter `key` that hold credentials."""
    certificates: tuple[str, ...] = ()
    """The certificate that the connection was opened with, as PEM; verified by the TLS library."""
    peer: str = ""
    """The address at the other end of the connection, without a port; empty for a Unix socket."""
    forwarded: str = ""
    """What `x-forwarded-for` holds, which counts only where the peer is a trusted proxy."""

    def __repr__(self) -> str:
        return f"Shown({[name for name, _ in self.credentials]}, {len(self.certificates)} certificates, {self.peer!r})"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a key may be used for; what is empty allows everything."""

    providers: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()
    """Names of models or `provider/model`, in which `*` is any text."""
    routes: frozenset[str] = frozenset()

    def target(self, provider: str, model: str) -> bool:
        """Tells whether a model of a provider may be asked."""
        if self.providers and provider not in self.providers:
            return False
        if not self.models:
            return True
        names = (model, f"{provider}/{model}")
        return any(fnmatchcase(name, pattern) for pattern in self.models for name in names)

    def route(self, name: str) -> bool:
        """Tells whether a route may be asked; without a route the name is empty."""
        return not self.routes or name in self.routes


EVERYTHING: Final = Allowed()


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller who was let in."""

    method: str = "none"
    """How it showed who it is: `key`, `jwt`, `certificate`, `admin_key`, or `none` where nobody has to."""
    need: Need = Need.USER
    """The most that it may do."""
    key_id: str = ""
    user: str = ""
    team: str = ""
    organization: str = ""
    tenant: str = ""
    """On whose behalf it calls, for what callers must not share: the same for all keys of one user, and for nobody else."""
    allowed: Allowed = EVERYTHING
    rates: tuple[Rate, ...] = field(default=(), repr=False)
    """The limits that it is under, of its key, its user, its team and its organization."""
    caps: tuple[Cap, ...] = field(default=(), repr=False)
    """The budgets that it is under."""


ANYBODY: Final = Principal()
"""Who calls where nobody has to show anything."""


def stranger(shown: Shown) -> Principal:
    """Returns a caller of whom nothing is known but that it is not the same as one who shows anything else."""
    certificates = [("certificate", pem) for pem in shown.certificates]
    return Principal(tenant=tenant_of([*shown.credentials, *certificates]))


def bearer(authorization: str) -> str:
    """Returns the token of a header authorization; that of another scheme is not for us."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def who(principal: Principal) -> str:
    """Names a caller for the log: by its user and its key, or by how it came in."""
    named = [name for name in (principal.user, principal.key_id) if name]
    return "/".join(named) or principal.method
