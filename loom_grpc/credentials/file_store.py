"""Accounts kept in a file, Loom's credentials file; beside it the logins that are under way, and how the accounts fare."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from loom_grpc.core.account import AccountExistsError, AccountRef, Login, Stored, StoredKey, StoreError, Tokens
from loom_grpc.core.health import Condition, Counts, Record, Standing
from loom_grpc.core.to_its_end import to_its_end
from loom_grpc.credentials.json_file import Document, in_words, read, read_if_fit, version_of, write
from loom_grpc.credentials.secret_text import SecretError, usable

if TYPE_CHECKING:
    from filelock import BaseFileLock

T = TypeVar("T")

_POLL_S: Final = 0.02


class FileStore:
    """Keeps accounts in a JSON file that several processes may share; nothing is written before there is something to keep.

    `path` is the file, or a link to it; `<name>.logins.json`, `<name>.records.json` and the locks lie beside it. `clock` gives seconds
    since 1970. A lock that another process holds for more than `wait_s` is a `StoreError`. Cancelling a change waits for its end.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, wait_s: float = 60.0) -> None:
        self.troubles: tuple[str, ...] = ()
        """What the file had at the last `load` that cannot be used, a sentence each. It is left as it is."""
        self._path = path
        self._clock = clock
        self._wait_s = wait_s
        self._has_accounts = False
        """Whether there were accounts in the file when it was last read or written: then it does not vanish on purpose."""

    def __repr__(self) -> str:
        return f"FileStore({str(self._path)!r})"

    async def revision(self) -> object:
        """Returns what tells one version of the files from another."""
        return await asyncio.to_thread(self._revision)

    async def load(self) -> dict[AccountRef, Stored]:
        """Returns all accounts; what is wrong with the others stands in `troubles`."""
        stored, self.troubles = await asyncio.to_thread(self._load)
        return stored

    async def add(self, ref: AccountRef, stored: Stored) -> None:
        """Keeps a new account; raises `AccountExistsError`."""
        await _in_thread(partial(self._save, ref, stored, is_new=True))

    async def save(self, ref: AccountRef, stored: Stored) -> None:
        """Keeps an account, in the place of what was there."""
        await _in_thread(partial(self._save, ref, stored, is_new=False))

    async def remove(self, ref: AccountRef) -> bool:
        """Forgets an account and its record; tells whether there was one."""
        return await _in_thread(partial(self._remove, ref))

    @asynccontextmanager
    async def hold(self, ref: AccountRef) -> AsyncIterator[Stored | None]:
        """Keeps everybody else from holding the account, and gives what is stored now."""
        lock = await asyncio.to_thread(self._lock_of, ref)
        try:
            await self._take(lock, ref)
            yield (await self.load()).get(ref)
        finally:
            lock.release()

    async def keep_login(self, state: str, login: Login) -> None:
        """Keeps a login until it is taken, and drops those that are too late to finish."""
        await _in_thread(partial(self._keep_login, state, login))

    async def take_login(self, state: str) -> Login | None:
        """Returns a login and forgets it; None when there is none, also when it is too late."""
        return await _in_thread(partial(self._take_login, state))

    async def load_records(self) -> dict[AccountRef, Record]:
        """Returns how all accounts fare."""
        return await asyncio.to_thread(self._load_records)

    async def merge_records(self, changes: Mapping[AccountRef, Record]) -> None:
        """Adds the counts to those that are kept, and keeps each standing that is later than the one that is kept."""
        if changes:
            await _in_thread(partial(self._merge_records, changes))

    async def close(self) -> None:
        """Does nothing: between two calls no file is open."""

    def _revision(self) -> object:
        files = _files(self._path)
        with in_words(files.accounts):
            return tuple(version_of(file) for file in (files.accounts, files.records))

    def _load(self) -> tuple[dict[AccountRef, Stored], tuple[str, ...]]:
        file = _files(self._path).accounts
        stored: dict[AccountRef, Stored] = {}
        troubles: list[str] = []
        for key, value in self._read(file).items():
            try:
                account = _stored(value)
                if account is not None:
                    _put_in(stored, _ref(key), account)
            except ValueError as error:
                troubles.append(f"The account {key!r} in {file} is left out: {error}.")
        return stored, tuple(troubles)

    def _read(self, file: Path) -> Document:
        """Reads the accounts. A folder that is not mounted for a while, or an editor at its work, removes none."""
        accounts = read(file, wanted=self._has_accounts)
        self._has_accounts = bool(accounts)
        return accounts

    def _save(self, ref: AccountRef, stored: Stored, *, is_new: bool) -> None:
        with self._locked() as files:
            accounts = self._read(files.accounts)
            key = next(_keys(accounts, ref), str(ref))
            if is_new and key in accounts:
                raise AccountExistsError(f"There is an account {ref} already.")
            accounts[key] = _entry(stored, accounts.get(key))
            write({files.accounts: accounts})
            self._has_accounts = True

    def _remove(self, ref: AccountRef) -> bool:
        if not self._has_accounts and self._revision() == (None, None):
            return False
        with self._locked() as files:
            accounts, records = self._read(files.accounts), read_if_fit(files.records)
            keys = list(_keys(accounts, ref))
            for key in keys:
                del accounts[key]
            changed = {files.accounts: accounts} if keys else {}
            if records.pop(str(ref), None) is not None:
                changed[files.records] = records
            write(changed)
            self._has_accounts = bool(accounts)
        return bool(keys)

    def _keep_login(self, state: str, login: Login) -> None:
        with self._locked() as files:
            logins = {key: value for key, value in read_if_fit(files.logins).items() if self._is_in_time(_login(value))}
            logins[_digest(state)] = {**login.ref._asdict(), "verifier": login.verifier, "expires": login.expires}
            write({files.logins: logins})

    def _take_login(self, state: str) -> Login | None:
        if _digest(state) not in read_if_fit(_files(self._path).logins):
            return None
        with self._locked() as files:
            logins = read_if_fit(files.logins)
            login = _login(logins.pop(_digest(state), None))
            write({files.logins: logins})
        return login if self._is_in_time(login) else None

    def _is_in_time(self, login: Login | None) -> bool:
        return login is not None and login.expires > self._clock()

    def _load_records(self) -> dict[AccountRef, Record]:
        records = {key: _record(value) for key, value in read_if_fit(_files(self._path).records).items()}
        return {_ref(key): record for key, record in records.items() if record is not None}

    def _merge_records(self, changes: Mapping[AccountRef, Record]) -> None:
        with self._locked() as files:
            records = read_if_fit(files.records)
            for ref, change in changes.items():
                before = _record(records.get(str(ref)))
                after = change if before is None else _merge(before, change)
                records[str(ref)] = {**dataclasses.asdict(after.standing), **after.counts._asdict()}
            # A count that a power cut takes back is not worth waiting for the disk.
            write({files.records: records}, lasting=False)

    @contextmanager
    def _locked(self) -> Iterator[_Files]:
        """Keeps other processes and threads from changing the files; a short wait, in a thread."""
        files = _files(self._path)
        with in_words(files.accounts):
            lock = _lock(files.lock)
            with lock.acquire(timeout=self._wait_s, poll_interval=_POLL_S):
                yield files

    def _lock_of(self, ref: AccountRef) -> BaseFileLock:
        files = _files(self._path)
        with in_words(files.accounts):
            return _lock(files.lock.with_suffix(f".{_digest(str(ref))[:16]}.lock"))

    async def _take(self, lock: BaseFileLock, ref: AccountRef) -> None:
        """Waits for a lock that may be held as long as a provider takes to answer, so no thread is kept waiting for it."""
        now = asyncio.get_running_loop().time
        give_up = now() + self._wait_s
        while not await _in_thread(partial(_try, lock, self._path)):
            if now() >= give_up:
                raise StoreError(
                    f"Another process has kept the account {ref} in {self._path} for {self._wait_s:g} s; end it."
                )
            await asyncio.sleep(_POLL_S)


class _Files(NamedTuple):
    accounts: Path
    logins: Path
    records: Path
    lock: Path


def _files(path: Path) -> _Files:
    """Finds the file that a path leads to, so that whoever comes by another link finds the same lock."""
    accounts = Path(os.path.realpath(path))
    name = accounts.name.removesuffix(".json")
    return _Files(
        accounts, *(accounts.with_name(name + ending) for ending in (".logins.json", ".records.json", ".lock"))
    )


async def _in_thread(work: Callable[[], T]) -> T:
    """Makes a change in a thread. Cancelling waits for its end."""
    return await to_its_end(asyncio.get_running_loop().run_in_executor(None, work))


def _lock(file: Path) -> BaseFileLock:
    """Makes a lock that the system takes back when the process dies.

    It belongs to an open file and not to the process (flock(2)), so that it keeps two tasks of one process apart as well.
    """
    from filelock import FileLock

    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileLock(file, mode=0o600, thread_local=False)


def _try(lock: BaseFileLock, file: Path) -> bool:
    from filelock import Timeout

    with in_words(file):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _ref(key: str) -> AccountRef:
    """Reads an account's name; Loom's own file knows Anthropic alone and does not say so."""
    provider, slash, id = key.partition("/")
    return AccountRef(provider, id) if slash else AccountRef("anthropic", key)


def _keys(accounts: Document, ref: AccountRef) -> Iterator[str]:
    """Yields how an account is spelled in a file, also when it is there in both ways."""
    return (key for key in accounts if _ref(key) == ref)


def _put_in(stored: dict[AccountRef, Stored], ref: AccountRef, account: Stored) -> None:
    if not all(ref):
        raise ValueError("its name is not `provider/id`")
    if ref in stored:
        raise ValueError(f"{ref} is there twice, and the first one counts")
    stored[ref] = account


def _stored(value: object) -> Stored | None:
    """Reads an account; None for a kind that others may know. Raises `ValueError`, whose words quote nothing."""
    match value:
        case {"type": "api", "key": str(key)} if key:
            return StoredKey(_shown(key, "key"))
        case {"type": "api"}:
            raise ValueError("it has no `key`")
        case {"type": "oauth"}:
            return _tokens(cast("Document", value))
        case {"type": str()}:
            return None
    raise ValueError("it is not an object with a `type`")


def _tokens(entry: Document) -> Tokens:
    access, refresh = (entry.get(name) or "" for name in ("access", "refresh"))
    if not (isinstance(access, str) and isinstance(refresh, str) and access + refresh):
        raise ValueError("it has no `access` and no `refresh`")
    return Tokens(access and _shown(access, "access"), refresh, _expires(entry.get("expires")))


def _shown(text: str, name: str) -> str:
    """Returns a text that a header can carry."""
    try:
        return usable(text, f"its `{name}`")
    except SecretError as error:
        raise ValueError(str(error)) from None


def _expires(value: object) -> float | None:
    """Turns milliseconds into seconds."""
    if value is None:
        return None
    # Nobody means a time beyond this one, and far beyond it a number does not fit a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
        raise ValueError("`expires` is not a time in milliseconds since 1970")
    return value / 1000


def _entry(stored: Stored, before: object) -> Document:
    """Writes an account, beside what others have written into it."""
    if isinstance(stored, StoredKey):
        entry: Document = {"type": "api", "key": stored.key}
    else:
        expires = None if stored.expires is None else round(stored.expires * 1000)
        entry = {"type": "oauth", "refresh": stored.refresh, "access": stored.access, "expires": expires}
    if isinstance(before, dict) and before.get("type") == entry["type"]:
        return {**before, **entry}
    return entry


def _login(value: Any) -> Login | None:
    try:
        return Login(AccountRef(value["provider"], value["id"]), value["verifier"], float(value["expires"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _record(value: Any) -> Record | None:
    """Reads a record; None for one that makes no sense, which is then begun anew."""
    try:
        standing = Standing(
            Condition(value["condition"]),
            float(value["since"]),
            float(value["until"]),
            str(value["last_error"]),
            float(value["last_error_at"]),
            float(value["switched_at"]),
            bool(value["is_burst"]),
        )
        return Record(standing, Counts(*(int(value[name]) for name in Counts._fields)))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _merge(before: Record, change: Record) -> Record:
    """Adds the counts; of two standings the greater one by their order holds, and the later error is the last."""
    earlier, later = sorted((before.standing, change.standing), key=lambda standing: standing.order)
    error = max(later, earlier, key=lambda standing: standing.last_error_at)
    standing = dataclasses.replace(later, last_error=error.last_error, last_error_at=error.last_error_at)
    return Record(standing, before.counts.plus(change.counts))
