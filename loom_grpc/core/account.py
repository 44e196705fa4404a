"""What is kept of an account: what it shows its provider, a login that is under way, and where both are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from loom_grpc.core.health import Record


class AccountRef(NamedTuple):
    """An account's name: ids are unique within a provider."""

    provider: str
    id: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.id}"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A provider's key that was added while the server ran."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an OAuth login gives. `expires` is in seconds since 1970; None when the provider does not say."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    """Empty when there is none: the login lasts as long as the access token."""
    expires: float | None


Stored = StoredKey | Tokens


@dataclass(frozen=True, slots=True)
class Login:
    """A login that a person has begun in a browser."""

    ref: AccountRef
    verifier: str = field(repr=False)
    """PKCE's secret (RFC 7636), which never leaves the server before the exchange."""
    expires: float
    """When it is too late to finish, in seconds since 1970."""


class StoreError(Exception):
    """A store that cannot be read or written: what is wrong and what to do, in words for the operator."""


class AccountExistsError(Exception):
    """The store has an account of this name already."""


class CredentialStore(Protocol):
    """Keeps accounts that were added or logged in while the server ran, and how all accounts fare; several processes may share one.

    Every method raises `StoreError` when the store cannot be had, and then has changed nothing.
    """

    @property
    def troubles(self) -> Sequence[str]:
        """What the last `load` has found and cannot use, a sentence each; it is left as it is."""

    async def revision(self) -> object:
        """Returns something that differs whenever the accounts or records may have changed; cheap enough to be asked every second."""

    async def load(self) -> dict[AccountRef, Stored]:
        """Returns all accounts."""

    async def add(self, ref: AccountRef, stored: Stored) -> None:
        """Keeps a new account; raises `AccountExistsError`."""

    async def save(self, ref: AccountRef, stored: Stored) -> None:
        """Keeps an account, in the place of what was there."""

    async def remove(self, ref: AccountRef) -> bool:
        """Forgets an account and its record; tells whether there was one."""

    def hold(self, ref: AccountRef) -> AbstractAsyncContextManager[Stored | None]:
        """Keeps every other process (and task) from holding the account, and gives what is stored now.

        Within it `save` and `remove` may be called. A process that dies lets go.
        """

    async def keep_login(self, state: str, login: Login) -> None:
        """Keeps a login until it is taken; those that are too late to finish are dropped on the way."""

    async def take_login(self, state: str) -> Login | None:
        """Returns a login and forgets it, so that no second one can take it; None when there is none, also when it is too late."""

    async def load_records(self) -> dict[AccountRef, Record]:
        """Returns how all accounts fare."""

    async def merge_records(self, changes: Mapping[AccountRef, Record]) -> None:
        """Adds the counts to those that are kept, and keeps each standing that is later than the one that is kept.

        Of two that began at the same time the one whose pause is longer is kept.
        """

    async def close(self) -> None:
        """Lets go of files and connections."""
