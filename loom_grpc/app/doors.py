"""Who is let in: the directory's latest snapshot, looked for again and again and kept for the time when the directory is away."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from loom_grpc.access.authority import Authority
from loom_grpc.access.book import Book, make_book
from loom_grpc.access.latest import Latest
from loom_grpc.app.throttling import ToldThrottle
from loom_grpc.config import Config
from loom_grpc.config.weak_key import weakness
from loom_grpc.core.account import StoreError
from loom_grpc.core.directory import Directory
from loom_grpc.core.period import budget_slot, period_of
from loom_grpc.core.quota import Cap, Meter, MeterError, Spent
from loom_grpc.credentials.secret import Secret
from loom_grpc.quota.throttle import Throttle
from loom_grpc.telemetry import Telemetry, names
from loom_grpc.v1.access_pb2 import AccessSnapshot

if TYPE_CHECKING:
    from loom_grpc.access.certificate import CertificateReader
    from loom_grpc.access.jwt import TokenReader

_SPENT_EVERY_S: Final = 10.0
"""How often servers that share a database and no Redis hear what the others have spent."""


class Doors:
    """Keeps an authority up to date. Without a directory everybody is a stranger, which is enough where nobody has to show anything.

    `kept` is the file that the latest snapshot is kept in; None keeps none.
    """

    def __init__(
        self,
        config: Config,
        directory: Directory | None,
        kept: Path | None,
        throttle: Throttle,
        admin_key: Callable[[], Secret | None],
        meter: Meter | None,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._find_admin_key = admin_key
        self._told_weak = ""
        self._directory = directory
        self._kept = kept
        self._throttle = throttle
        self._meter = meter
        self._telemetry = telemetry
        self._clock = clock
        self._snapshot = AccessSnapshot()
        self._refreshing = asyncio.Lock()
        self._is_stale = False
        self._is_unkept = False
        self._has_told_unkept = False
        self._fresh_at = clock()
        """When the directory was looked at the last time."""
        self._is_read = False
        self._spent_at = 0.0
        """When the counters were told what was spent."""
        self._polling: asyncio.Task[None] | None = None
        self._latest = Latest(self.refresh, lambda: self._is_stale)
        self._tokens = _token_reader(config, telemetry)

        self.authority = Authority(
            config.access,
            self._book(self._snapshot),
            admin_key=self._admin_key,
            throttle=ToldThrottle(throttle, telemetry.address_blocked),
            clock=clock,
            latest=self._latest,
            tokens=self._tokens,
            certificates=_certificate_reader(config),
        )

    @property
    def directory(self) -> Directory | None:
        """Where the keys are kept; None where nobody has to show anything."""
        return self._directory

    def age_s(self) -> float:
        """Returns for how many seconds the directory could not be looked at; 0 while it can."""
        return max(self._clock() - self._fresh_at, 0.0) if self._is_stale else 0.0

    async def start(self) -> None:
        """Reads the directory, or what was kept of it, and begins to look for changes."""
        tokens = self._tokens
        self._telemetry.watch_access(self.age_s, lambda: tokens is not None and bool(tokens.problem))
        if self._directory is None:
            return
        try:
            await self.refresh()
        except StoreError:
            if self._kept is not None:
                self._snapshot = await asyncio.to_thread(_read, self._kept)
            self.authority.adopt(self._book(self._snapshot))
            self._fresh_at = self._snapshot.read_time.ToNanoseconds() / 1e9 or self._fresh_at
        self._polling = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Looks for changes no more."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self._latest.close()
        if self._tokens is not None:
            await self._tokens.close()
        self._throttle.close()

    async def prepare(self, config: Config) -> Book:
        """Returns who is known by another configuration, to go on with.

        The counters then know what was spent of its budgets, as far as that can be found out now.
        """
        book = await make_book(self._snapshot, config.limits, config.spending.budgets)
        if self._directory is not None:
            self._spent_at = 0.0
            with suppress(StoreError):  # it is looked for again, and told
                await self._tell_spent(self._directory, book)
        return book

    def reconfigure(self, config: Config, book: Book) -> None:
        """Goes on with other limits and budgets, and with the book that was prepared unless the directory has changed meanwhile."""
        self._config = config
        self.authority.adopt(book if book.snapshot is self._snapshot else self._book(self._snapshot))

    async def refresh(self) -> None:
        """Takes over what has changed; raises `StoreError`."""
        if self._directory is not None:
            async with self._refreshing:  # or what was read first could be taken over last
                await self._refresh(self._directory)

    async def _refresh(self, directory: Directory) -> None:
        try:
            await self._look(directory)
        except StoreError as error:
            self._grow_stale(str(error))
            raise
        except Exception as error:  # the next look may go well, and has to come
            if not self._is_stale:
                self._telemetry.crashed(None, error)
            words = f"what is known of keys cannot be read because of an unexpected {type(error).__name__}"
            self._grow_stale(words)
            raise StoreError(words) from error
        self._fresh_at = self._clock()
        if self._is_stale:
            self._is_stale = False
            self._telemetry.store_works_again(names.ACCESS_PART)
        if self._is_unkept and self._kept is not None:
            await self._keep(self._kept)

    async def _look(self, directory: Directory) -> None:
        if not self._is_read or await directory.revision() != self._snapshot.revision:
            await self._take(await directory.snapshot(self._clock()))
            self._is_read = True
        elif not 0 <= self._clock() - self._spent_at < _SPENT_EVERY_S:  # or the clock was set back
            await self._tell_spent(directory, self.authority.book)

    def _grow_stale(self, words: str) -> None:
        if not self._is_stale:
            self._is_stale = True
            self._telemetry.store_unavailable(words, names.ACCESS_PART)

    async def _keep(self, file: Path) -> None:
        """Keeps what is known for the next start; where it cannot be written, this goes on without, and tries again."""
        try:
            await asyncio.to_thread(_write, file, self._snapshot.SerializeToString())
        except OSError as error:
            if not self._has_told_unkept:
                self._has_told_unkept = True
                trouble = f"what is known cannot be kept for the next start in {file.parent} ({error.strerror})"
                self._telemetry.store_unavailable(trouble, names.ACCESS_PART)
            return
        self._is_unkept = False
        if self._has_told_unkept:
            self._has_told_unkept = False
            self._telemetry.store_works_again(names.ACCESS_PART)

    def _admin_key(self) -> str:
        """Returns the admin key of the moment; one that is changed to a weak one lets nobody in."""
        secret = self._find_admin_key()
        text = secret.reveal() if secret is not None and secret.known else ""
        why = weakness(text) if text else ""
        if why and why != self._told_weak:
            self._telemetry.secret_unavailable("admin.api_key", why)
        self._told_weak = why
        return "" if why else text

    async def _take(self, snapshot: AccessSnapshot) -> None:
        config, is_new = self._config, snapshot.revision != self._snapshot.revision
        book = await make_book(snapshot, config.limits, config.spending.budgets)
        if self._directory is not None:
            # First, or calls could spend once more what was spent.
            await self._tell_spent(self._directory, book)
        if config is not self._config:  # it has changed meanwhile, and so have the budgets that count
            book, self._spent_at = self._book(snapshot), 0.0
        self._snapshot = snapshot
        self.authority.adopt(book)
        self._is_unkept = self._is_unkept or is_new

    def _book(self, snapshot: AccessSnapshot) -> Book:
        return Book(snapshot, self._config.limits, self._config.spending.budgets)

    async def _tell_spent(self, directory: Directory, book: Book) -> None:
        """Has the counters know what the ledger says was spent, by this and by other servers; raises `StoreError`."""
        caps, now = list(book.caps()), self._clock()
        if self._meter is None or not caps:
            return
        spent = await directory.spent(caps, now)
        try:
            await self._meter.raise_spent(
                [_spent(cap, nanos, now) for cap, nanos in zip(caps, spent, strict=True) if nanos]
            )
        except MeterError:
            self._spent_at = 0.0  # it is told again; whoever calls meanwhile is told of the trouble
        else:
            self._spent_at = now

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._config.access.poll_s)
            try:
                await self.refresh()
            except StoreError:
                continue  # it was told when it began


def _spent(cap: Cap, nanos: int, now: float) -> Spent:
    period = period_of(cap.period, now)
    return Spent(budget_slot(cap, period.name), nanos, period.ends_s)


def _token_reader(config: Config, telemetry: Telemetry) -> TokenReader | None:
    if config.access.jwt is None:
        return None
    from loom_grpc.access.jwt import TokenReader

    return TokenReader(config.access.jwt, on_problem=telemetry.issuer_unavailable)


def _certificate_reader(config: Config) -> CertificateReader | None:
    edges = (config.grpc.tls, config.http.tls)
    if not any(tls is not None and tls.client_ca_file is not None for tls in edges):
        return None
    from loom_grpc.access.certificate import CertificateReader

    return CertificateReader(config.access.certificates)


def _read(file: Path) -> AccessSnapshot:
    """Reads what was kept; nothing where there is nothing that makes sense."""
    try:
        return AccessSnapshot.FromString(file.read_bytes())
    except (OSError, DecodeError):
        return AccessSnapshot()


def _write(file: Path, data: bytes) -> None:
    """Keeps a snapshot, whole or not at all, for the owner's eyes alone."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")  # which nobody else may read
    try:
        with os.fdopen(number, "wb") as new:
            new.write(data)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
