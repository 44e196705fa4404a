"""How the accounts fare, over restarts and processes: what is written to the store and read from it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from loom_grpc.core.account import CredentialStore
from loom_grpc.core.health import Condition, Counts, Health, Record, Standing
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
        # By their health and not by the accounts: one that takes another's place goes on with its counts.
        self._kept: dict[Health, _Kept] = {}
        self.coming: Sequence[Account] = ()
        """Accounts that are about to be among them."""
        self._lock = asyncio.Lock()
        """Held while the store is read or written: what two writers add at once would be there twice."""

    def counts(self, account: Account) -> Counts:
        """Returns how much an account was used, over all processes and restarts."""
        return self._of(account).total.plus(self._unwritten(account))

    async def read(self) -> None:
        """Takes over what the store knows; raises `StoreError`.

        An account that was refused before this process knew it is asked again: what it shows may be another by now.
        """
        async with self._lock:
            records = await self._store.load_records()
            known, accounts = set(self._kept), [*self._accounts(), *self.coming]
            self._kept = {account.health: self._of(account) for account in accounts}
            for account in accounts:
                if account.ref in records:
                    self._take(account, records[account.ref], is_new=account.health not in known)
                else:  # a damaged file may have lost it, and then it is written anew
                    self._of(account).standing = None

    async def write(self) -> None:
        """Writes what has changed; raises `StoreError`, and then writes it the next time. Cancelling lets it go on to its end."""
        work = asyncio.create_task(self._write())
        work.add_done_callback(_see)
        await asyncio.shield(work)

    async def _write(self) -> None:
        async with self._lock:
            changed = [account for account in self._accounts() if self._has_changed(account)]
            changes = {account: Record(account.health.standing(), self._unwritten(account)) for account in changed}
            if not changes:
                return
            await self._store.merge_records({account.ref: record for account, record in changes.items()})
            for account, (standing, counts) in changes.items():
                kept = self._kept.setdefault(account.health, _Kept())
                kept.standing = standing
                kept.written = kept.written.plus(counts)
                kept.total = kept.total.plus(counts)

    def _take(self, account: Account, record: Record, *, is_new: bool) -> None:
        kept = self._of(account)
        kept.standing, kept.total = record.standing, record.counts
        asked_again = is_new and record.standing.condition is Condition.REFUSED
        account.health.adopt(_taken_back(record.standing) if asked_again else record.standing)

    def _of(self, account: Account) -> _Kept:
        return self._kept.get(account.health) or _Kept()

    def _unwritten(self, account: Account) -> Counts:
        return account.health.counts().minus(self._of(account).written)

    def _has_changed(self, account: Account) -> bool:
        """Tells whether there is something to write; of a provider's plain key nothing is before an operator meddles with it."""
        known, standing = self._of(account).standing, account.health.standing()
        if account.implicit and known is None and standing.condition is Condition.AVAILABLE:
            return False
        return self._unwritten(account) != Counts() or (standing != known and (known is not None or standing.since > 0))


def _taken_back(refused: Standing) -> Standing:
    """Returns what follows a refusal at once, in all processes: they would go on contradicting each other if it began with the refusal."""
    since, error_at = (math.nextafter(moment, math.inf) for moment in (refused.since, refused.last_error_at))
    return replace(refused, condition=Condition.AVAILABLE, since=since, last_error="", last_error_at=error_at)


def _see(work: asyncio.Task[None]) -> None:
    """Looks at the outcome, which nobody else does when the caller has been cancelled."""
    if not work.cancelled():
        work.exception()
