"""How the accounts fare, over restarts and processes: what is written to the store and read from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from loom_grpc.core.account import CredentialStore
from loom_grpc.core.health import Condition, Counts, Record, Standing
from loom_grpc.core.pool import Account


@dataclass(slots=True)
class _Kept:
    """What the store has of an account."""

    standing: Standing | None = None
    total: Counts = field(default_factory=Counts)
    """All counts, what this process has written included."""
    written: Counts = field(default_factory=Counts)
    """What this process has counted and written."""


class Records:
    """The standings and counts of the accounts that `accounts` returns."""

    def __init__(self, store: CredentialStore, accounts: Callable[[], Iterable[Account]]) -> None:
        self._store = store
        self._accounts = accounts
        self._kept: dict[Account, _Kept] = {}

    def counts(self, account: Account) -> Counts:
        """Returns how much an account was used, over all processes and restarts."""
        return self._of(account).total.plus(self._unwritten(account))

    async def read(self) -> None:
        """Takes over what the store knows; raises `StoreError`.

        An account that was refused before this process knew it is asked again: what it shows may be another by now.
        """
        records = await self._store.load_records()
        self._kept = {account: self._of(account) for account in self._accounts()}
        for account, kept in self._kept.items():
            if (record := records.get(account.ref)) is None:
                continue
            is_new = kept.standing is None
            kept.standing, kept.total = record.standing, record.counts
            if is_new and record.standing.condition is Condition.REFUSED:
                account.health.since = max(account.health.since, record.standing.since)
            else:
                account.health.adopt(record.standing)

    async def write(self) -> None:
        """Writes what has changed; raises `StoreError`, and then writes it the next time."""
        changed = [account for account in self._accounts() if self._has_changed(account)]
        changes = {account: Record(account.health.standing(), self._unwritten(account)) for account in changed}
        if not changes:
            return
        await self._store.merge_records({account.ref: record for account, record in changes.items()})
        for account, (standing, counts) in changes.items():
            kept = self._kept.setdefault(account, _Kept())
            kept.standing = standing
            kept.written = kept.written.plus(counts)
            kept.total = kept.total.plus(counts)

    def _of(self, account: Account) -> _Kept:
        return self._kept.get(account) or _Kept()

    def _unwritten(self, account: Account) -> Counts:
        return account.health.counts().minus(self._of(account).written)

    def _has_changed(self, account: Account) -> bool:
        """Tells whether there is something to write; of a provider's plain key nothing is before an operator meddles with it."""
        known, standing = self._of(account).standing, account.health.standing()
        if account.implicit and known is None and standing.condition is Condition.AVAILABLE:
            return False
        return self._unwritten(account) != Counts() or (standing != known and (known is not None or standing.since > 0))
