"""The credential store as a file: the contract, what the file looks like, and what harms it not."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from loom_grpc.core.account import (
    AccountExistsError,
    AccountRef,
    CredentialStore,
    Stored,
    StoredKey,
    StoreError,
    Tokens,
)
from loom_grpc.core.health import Condition, Counts
from loom_grpc.credentials.file_store import FileStore
from tests.program import Result, environment, run
from tests.store_contract import ALPHA, BETA, KEY, LOGIN, NOW, OTHER_KEY, TOKENS, Clock, Open, StoreContract, record

BARE = AccountRef("anthropic", "claude-max-1")
UNFIT = "has line breaks, control characters or letters beyond ASCII, which no header can carry"


class TestContract(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path, clock: Clock) -> Open:
        async def open_store() -> CredentialStore:
            return FileStore(tmp_path / "state" / "credentials.json", clock=clock)

        return open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def made(folder: Path) -> Path:
    """The folder, when it is there already."""
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def file(folder: Path) -> Path:
    return folder / "credentials.json"


@pytest.fixture
def store(file: Path) -> FileStore:
    return FileStore(file, clock=Clock())


def put(file: Path, content: object, mode: int = 0o600) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)


def written(file: Path) -> Any:
    return json.loads(file.read_text())


def modes(folder: Path) -> dict[str, int]:
    """Reads the modes of a folder (`.`) and of what is in it; the lock of one account is called `account.lock`."""
    files = {".": folder} | {re.sub(r"\.[0-9a-f]{16}\.", ".account.", file.name): file for file in folder.iterdir()}
    return {name: file.stat().st_mode & 0o777 for name, file in files.items()}


def link(file: Path, target: Path) -> None:
    file.parent.mkdir()
    file.symlink_to(target)


def opened(file: Path) -> IO[str]:
    return file.open()


def changed_ns(file: Path) -> int:
    return file.stat().st_mtime_ns


def leads_to(file: Path) -> Path:
    return file.readlink()


def close_to_others(file: Path) -> None:
    file.chmod(0o600)


def move(file: Path, target: Path) -> None:
    file.rename(target)


def give_away(file: Path) -> None:
    """Lets a file belong to another user, or where only root may do that, puts one of root's in its place."""
    if os.geteuid() == 0:
        os.chown(file, 65534, -1)
    else:
        file.unlink()
        file.symlink_to("/etc/passwd")


def contents(folder: Path) -> dict[str, str]:
    """Reads every file of a folder but the locks, which are empty."""
    return {file.name: file.read_text() for file in folder.iterdir() if file.suffix != ".lock"}


async def python(script: str, *arguments: str, cwd: Path) -> Result:
    return await run("-c", script, *arguments, cwd=cwd, command=(sys.executable,))


@asynccontextmanager
async def started(script: str, *arguments: str) -> AsyncIterator[Process]:
    """Runs a script that has said a first line; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        await said(process)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    assert line
    return line.decode().strip()


async def test_the_file_is_loom_s(store: FileStore, file: Path) -> None:
    await store.add(ALPHA, TOKENS)
    await store.add(BETA, OTHER_KEY)
    await store.add(BARE, Tokens("access", "", None))

    assert written(file) == {
        "anthropic/alpha": {"type": "oauth", "refresh": "refresh-1", "access": "access-1", "expires": 1800003600250},
        "openai/beta": {"type": "api", "key": "key-of-beta"},
        "anthropic/claude-max-1": {"type": "oauth", "refresh": "", "access": "access", "expires": None},
    }


async def test_an_id_alone_is_an_account_of_anthropic_and_stays_spelled_so(store: FileStore, file: Path) -> None:
    put(file, {"claude-max-1": {"type": "oauth", "refresh": "r", "access": "a", "expires": 1800000000500}})

    assert await store.load() == {BARE: Tokens("a", "r", NOW + 0.5)}
    with pytest.raises(AccountExistsError):
        await store.add(BARE, KEY)
    await store.save(BARE, TOKENS)
    assert written(file) == {
        "claude-max-1": {"type": "oauth", "refresh": "refresh-1", "access": "access-1", "expires": 1800003600250}
    }
    assert await store.remove(BARE) is True
    assert written(file) == {}


async def test_what_others_wrote_is_kept(store: FileStore, file: Path) -> None:
    others = {"wellknown": {"type": "wellknown", "key": "NAME", "n": [1, 2.5, 10**30, None, "é\ud800"]}}
    put(file, others | {"a": {"type": "oauth", "refresh": "r", "access": "a", "expires": 0, "scope": "user"}})

    await store.save(AccountRef("anthropic", "a"), Tokens("a-2", "r-2", None))
    await store.add(BETA, OTHER_KEY)

    assert store.troubles == ()
    assert list(written(file).items()) == [
        *others.items(),
        ("a", {"type": "oauth", "refresh": "r-2", "access": "a-2", "expires": None, "scope": "user"}),
        ("openai/beta", {"type": "api", "key": "key-of-beta"}),
    ]


async def test_an_account_of_another_kind_leaves_nothing_of_the_one_before(store: FileStore, file: Path) -> None:
    await store.add(ALPHA, TOKENS)
    await store.save(ALPHA, KEY)

    assert written(file) == {"anthropic/alpha": {"type": "api", "key": "key-of-alpha"}}


@pytest.mark.parametrize(
    ("name", "entry", "trouble"),
    [
        ("bad", "a text", "it is not an object with a `type`"),
        ("bad", {"key": "k"}, "it is not an object with a `type`"),
        ("bad", {"type": "api"}, "it has no `key`"),
        ("bad", {"type": "api", "key": 7}, "it has no `key`"),
        ("bad", {"type": "oauth"}, "it has no `access` and no `refresh`"),
        ("bad", {"type": "oauth", "access": ["a"]}, "it has no `access` and no `refresh`"),
        (
            "bad",
            {"type": "oauth", "access": "a", "expires": "soon"},
            "`expires` is not a time in milliseconds since 1970",
        ),
        (
            "bad",
            {"type": "oauth", "access": "a", "expires": True},
            "`expires` is not a time in milliseconds since 1970",
        ),
        (
            "bad",
            {"type": "oauth", "access": "a", "expires": 10**400},
            "`expires` is not a time in milliseconds since 1970",
        ),
        ("bad", {"type": "api", "key": "k\nx-other: y"}, f"its `key` {UNFIT}"),
        ("bad", {"type": "api", "key": "ключ"}, f"its `key` {UNFIT}"),
        ("bad", {"type": "oauth", "access": "a\u007f", "refresh": "r"}, f"its `access` {UNFIT}"),
        ("groq/", {"type": "api", "key": "k"}, "its name is not `provider/id`"),
        ("/bad", {"type": "api", "key": "k"}, "its name is not `provider/id`"),
        ("beta", {"type": "api", "key": "k"}, "anthropic/beta is there twice, and the first one counts"),
    ],
)
async def test_a_broken_account_is_told_and_kept_and_takes_no_other_down(
    store: FileStore, file: Path, name: str, entry: object, trouble: str
) -> None:
    good = {"type": "api", "key": "key-of-beta"}
    put(file, {"anthropic/beta": good, name: entry})

    assert await store.load() == {AccountRef("anthropic", "beta"): OTHER_KEY}
    assert store.troubles == (f"The account {name!r} in {file} is left out: {trouble}.",)
    await store.save(ALPHA, KEY)
    assert written(file) == {
        "anthropic/beta": good,
        name: entry,
        "anthropic/alpha": {"type": "api", "key": "key-of-alpha"},
    }


async def test_troubles_end_when_they_are_put_right(store: FileStore, file: Path) -> None:
    put(file, {"a": {"type": "api"}})
    await store.load()
    put(file, {"a": {"type": "api", "key": "key-of-alpha"}})

    assert await store.load() == {AccountRef("anthropic", "a"): KEY}
    assert store.troubles == ()


async def test_removing_an_account_that_is_there_in_both_spellings_leaves_none(store: FileStore, file: Path) -> None:
    put(file, {"alpha": {"type": "api", "key": "1"}, "anthropic/alpha": {"type": "api", "key": "2"}})

    assert await store.remove(ALPHA) is True
    assert await store.load() == {}


async def test_nothing_is_written_before_there_is_something_to_keep(store: FileStore, tmp_path: Path) -> None:
    await store.load()
    await store.load_records()
    await store.revision()
    await store.take_login("state")
    await store.remove(ALPHA)
    await store.merge_records({})
    await store.close()

    assert contents(tmp_path) == {}


async def test_all_files_are_for_one_user_s_eyes(store: FileStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        await store.add(ALPHA, KEY)
        await store.keep_login("state", LOGIN)
        await store.merge_records({ALPHA: record()})
        async with store.hold(ALPHA):
            pass
    finally:
        os.umask(before)

    assert modes(folder) == {
        ".": 0o700,
        "credentials.json": 0o600,
        "credentials.logins.json": 0o600,
        "credentials.records.json": 0o600,
        "credentials.lock": 0o600,
        "credentials.account.lock": 0o600,
    }


async def test_the_state_of_a_login_cannot_be_read_from_the_file(store: FileStore, folder: Path) -> None:
    await store.keep_login("state-1", LOGIN)

    assert "state-1" not in (folder / "credentials.logins.json").read_text()


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o620, 0o610, 0o666])
async def test_a_file_that_others_may_use_is_not_used(store: FileStore, file: Path, folder: Path, open_to: int) -> None:
    put(file, {"alpha": {"type": "api", "key": "key-of-alpha"}}, open_to)
    before = contents(folder)

    with pytest.raises(StoreError) as told:
        await store.load()
    with pytest.raises(StoreError):
        await store.save(ALPHA, TOKENS)

    assert str(told.value) == (
        f"The file {file} is open to other users (mode {open_to:04o}); it is not used."
        f" Close it with `chmod 600 {file}`, and renew the keys in it if somebody may have read them."
    )
    assert contents(folder) == before
    revision = await store.revision()
    close_to_others(file)
    assert await store.revision() != revision
    assert await store.load() == {ALPHA: KEY}


async def test_a_file_of_another_user_is_not_used(store: FileStore, file: Path) -> None:
    put(file, "{}")
    give_away(file)

    with pytest.raises(StoreError, match=f"belongs to another user.*`chown {os.geteuid()} "):
        await store.load()


async def test_who_is_reading_the_file_reads_on_in_the_old_one(store: FileStore, file: Path) -> None:
    await store.add(ALPHA, KEY)
    before = written(file)
    with opened(file) as reader:
        await store.save(ALPHA, TOKENS)

        assert json.load(reader) == before


async def test_each_version_is_dated_after_the_one_before_even_when_the_clock_went_back(
    store: FileStore, file: Path
) -> None:
    await store.add(ALPHA, KEY)
    os.utime(file, ns=(2 * 10**18, 2 * 10**18))

    for n in (1, 2):
        await store.save(ALPHA, KEY)
        assert changed_ns(file) == 2 * 10**18 + n


async def test_a_link_stays_a_link(store: FileStore, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "real.json"
    link(file, target)

    await store.add(ALPHA, KEY)
    await store.merge_records({ALPHA: record()})

    assert leads_to(file) == target
    assert sorted(contents(target.parent)) == ["real.json", "real.records.json"]
    assert await FileStore(target).load() == await store.load() == {ALPHA: KEY}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_what_is_no_file_is_not_used(store: FileStore, file: Path, make: Callable[[Path], None]) -> None:
    file.parent.mkdir()
    make(file)

    for use in (store.load(), store.save(ALPHA, KEY)):
        with pytest.raises(StoreError, match=r"move it away, or set credentials\.file"):
            await use


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"alpha": {"type": "api", "key": "key-of-al',
        '["key-of-alpha"]',
        '"key-of-alpha"',
        "null",
        '{"alpha": {"key": "key-of-alpha"}} {}',
        '{"alpha": {"type": "api", "key": "key-of-alpha"}, "alpha": {"type": "api", "key": "key-of-beta"}}',
        '{"key-of-alpha": NaN}',
        '{"key-of-alpha": 1e999}',
        '{"key-of-alpha": ' + "[" * 100_000,
    ],
    ids=range(11),
)
async def test_a_damaged_file_is_neither_used_nor_written_nor_quoted(
    store: FileStore, file: Path, folder: Path, content: str
) -> None:
    put(file, content)

    for use in (store.load(), store.add(BETA, KEY), store.save(ALPHA, KEY), store.remove(ALPHA)):
        with pytest.raises(StoreError) as told:
            await use
        assert str(told.value) == (
            f"The file {file} is damaged: it is not one JSON object. Nothing is read from it or written to it;"
            " repair it, put a copy in its place, or move it away to begin anew."
        )
    with pytest.raises(StoreError):
        async with store.hold(ALPHA):
            pytest.fail("nothing tells what is held")
    assert contents(folder) == {file.name: content}


async def test_bytes_that_are_no_text_are_damage(store: FileStore, file: Path) -> None:
    put(file, b'{"alpha": "\xff\xfe"}')

    with pytest.raises(StoreError, match="is damaged"):
        await store.load()


async def test_a_file_that_was_repaired_is_used_at_once(store: FileStore, file: Path) -> None:
    put(file, "{")
    with pytest.raises(StoreError):
        await store.load()
    put(file, {"alpha": {"type": "api", "key": "key-of-alpha"}})

    async with store.hold(ALPHA) as stored:
        assert stored == KEY


async def test_a_file_with_accounts_that_vanishes_is_missed_and_not_begun_anew(store: FileStore, file: Path) -> None:
    """A folder that is not mounted for a while, or an editor that writes a file anew, removes no accounts."""
    put(file, {"anthropic/alpha": {"type": "api", "key": "key-of-alpha"}})
    before = await store.load()
    elsewhere = file.with_name("elsewhere.json")
    move(file, elsewhere)

    for use in (store.load(), store.add(BETA, KEY), store.save(ALPHA, KEY), store.remove(ALPHA)):
        with pytest.raises(StoreError) as told:
            await use
        assert str(told.value) == (
            f"The file {file} held accounts and is gone; put it back, or restart the server to begin anew."
        )
    with pytest.raises(StoreError):
        async with store.hold(ALPHA):
            pytest.fail("nothing tells what is held")
    move(elsewhere, file)
    assert await store.load() == before


async def test_a_file_without_accounts_may_vanish(store: FileStore, file: Path) -> None:
    await store.save(ALPHA, KEY)
    await store.remove(ALPHA)
    move(file, file.with_name("elsewhere.json"))

    await store.save(BETA, KEY)

    assert await store.load() == {BETA: KEY}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"anthropic/alpha": 5}', '{"anthropic/alpha": {"since": "x"}}'])
async def test_damaged_records_begin_anew(store: FileStore, folder: Path, damage: str) -> None:
    put(folder / "credentials.records.json", damage)

    assert await store.load_records() == {}
    await store.merge_records({ALPHA: record(counts=Counts(1))})
    assert await store.load_records() == {ALPHA: record(counts=Counts(1))}


async def test_one_damaged_record_takes_no_other_down(store: FileStore, folder: Path) -> None:
    await store.merge_records({ALPHA: record(), BETA: record(condition=Condition.OFF)})
    records = folder / "credentials.records.json"
    put(records, written(records) | {"anthropic/alpha": {"condition": "happy"}})

    assert await store.load_records() == {BETA: record(condition=Condition.OFF)}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"x": 5}'])
async def test_damaged_logins_begin_anew(store: FileStore, folder: Path, damage: str) -> None:
    put(folder / "credentials.logins.json", damage)

    assert await store.take_login("state") is None
    await store.keep_login("state", LOGIN)
    assert await store.take_login("state") == LOGIN


async def test_a_state_that_no_file_could_hold_is_none(store: FileStore) -> None:
    await store.keep_login("state", LOGIN)

    assert await store.take_login("\ud800") is None


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from loom_grpc.core.account import AccountRef, StoredKey, StoreError
from loom_grpc.credentials.file_store import FileStore

# The limit would cut short the bytecode that Python keeps of a module as well, for whoever imports it next.
sys.dont_write_bytecode = True
store = FileStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
try:
    asyncio.run(store.save(AccountRef("openai", "beta"), StoredKey("key-of-beta")))
except StoreError as error:
    print(error)
"""


async def test_a_disk_that_takes_no_more_leaves_the_file_whole(store: FileStore, file: Path, folder: Path) -> None:
    await store.add(ALPHA, KEY)
    before = contents(folder)

    result = await python(FULL_DISK, str(file), cwd=folder)

    assert (result.code, result.err) == (0, "")
    assert result.out == (
        f"The file {file} cannot be used: the server's user may not write a file of this size; raise the limit.\n"
    )
    assert contents(folder) == before


FORBIDDEN = """
import asyncio, os, sys, tempfile
from pathlib import Path
from loom_grpc.core.account import AccountRef, StoredKey, StoreError
from loom_grpc.core.health import Condition, Counts, Record, Standing
from loom_grpc.credentials.file_store import FileStore

ref, folder = AccountRef("anthropic", "alpha"), Path(sys.argv[1])
if os.geteuid() == 0:
    # Whatever is imported late is imported now: the other user may not be able to read it.
    with tempfile.TemporaryDirectory() as elsewhere:
        asyncio.run(FileStore(Path(elsewhere, "credentials.json")).save(ref, StoredKey("key-of-alpha")))
    os.chown(folder, 65534, -1)
    os.setuid(65534)
store = FileStore(folder / "credentials.json")

async def hold():
    async with store.hold(ref):
        print("held")

async def main():
    await store.save(ref, StoredKey("key-of-alpha"))
    (folder / "credentials.lock").unlink()
    folder.chmod(0o500)
    records = {ref: Record(Standing(Condition.OFF, 1.0), Counts())}
    for change in (store.save(ref, StoredKey("no")), store.remove(ref), store.merge_records(records), hold()):
        try:
            await change
        except StoreError as error:
            print(error)
    print(await store.load() == {ref: StoredKey("key-of-alpha")}, sorted(os.listdir(folder)))
    folder.chmod(0o700)

asyncio.run(main())
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may reach."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


async def test_a_folder_that_may_not_be_written_leaves_the_file_whole_and_readable(
    open_folder: Path, folder: Path
) -> None:
    result = await python(FORBIDDEN, str(open_folder), cwd=open_folder)

    told = (
        f"The file {open_folder}/credentials.json cannot be used: the server's user may not use it;"
        " let that user own the file and its folder."
    )
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [told] * 4 + ["True ['credentials.json']"]


async def test_a_folder_that_is_a_file_is_told(store: FileStore, folder: Path) -> None:
    put(folder, "")

    for use in (store.load(), store.save(ALPHA, KEY), store.merge_records({ALPHA: record()}), store.revision()):
        with pytest.raises(
            StoreError, match=r"credentials(\.records)?\.json cannot be used: (Not a directory|File exists)"
        ):
            await use


async def test_a_lock_that_nobody_lets_go_of_is_told(file: Path) -> None:
    patient, impatient = FileStore(file), FileStore(file, wait_s=0.1)

    async with patient.hold(ALPHA):
        with pytest.raises(
            StoreError, match=r"kept the account anthropic/alpha in .*credentials.json for 0.1 s; end it"
        ):
            async with impatient.hold(ALPHA):
                pytest.fail("two hold the account")


HOLD_FILE = """
import sys, filelock
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


async def test_a_locked_file_is_told_and_changed_when_it_is_free(file: Path, made: Path) -> None:
    async with started(HOLD_FILE, str(made / "credentials.lock")):
        with pytest.raises(StoreError, match="another process keeps it locked"):
            await FileStore(file, wait_s=0.1).save(ALPHA, KEY)
        waiting = asyncio.create_task(FileStore(file).save(ALPHA, KEY))
        await asyncio.sleep(0)

    await waiting
    assert await FileStore(file).load() == {ALPHA: KEY}


async def test_a_change_that_is_cancelled_ends_before_the_account_is_let_go(store: FileStore) -> None:
    async with store.hold(ALPHA):
        saving = asyncio.create_task(store.save(ALPHA, KEY))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        assert await store.load() == {ALPHA: KEY}


async def test_a_change_that_is_cancelled_again_and_again_is_waited_for(file: Path, made: Path) -> None:
    store = FileStore(file)
    async with started(HOLD_FILE, str(made / "credentials.lock")):
        saving = asyncio.create_task(store.save(ALPHA, KEY))
        for _ in range(3):
            await asyncio.sleep(0)
            saving.cancel()
        ended, _ = await asyncio.wait([saving], timeout=0.2)
        assert ended == set()

    with pytest.raises(asyncio.CancelledError):
        await saving
    assert await store.load() == {ALPHA: KEY}


SAVE_MANY = """
import asyncio, sys
from pathlib import Path
from loom_grpc.core.account import AccountRef, StoredKey
from loom_grpc.core.health import Condition, Counts, Record, Standing
from loom_grpc.credentials.file_store import FileStore

async def main():
    store = FileStore(Path(sys.argv[1]))
    together = AccountRef("groq", "together")
    for n in range(100):
        await store.save(AccountRef(sys.argv[2], str(n)), StoredKey(f"{sys.argv[2]}-{n}"))
        await store.merge_records({together: Record(Standing(Condition.AVAILABLE, 1.0), Counts(1, 0, 2, 3))})

asyncio.run(main())
"""


async def test_two_processes_that_save_in_turns_lose_nothing(store: FileStore, file: Path, made: Path) -> None:
    results = await asyncio.gather(*(python(SAVE_MANY, str(file), name, cwd=made) for name in ("zai", "groq")))

    assert [(result.code, result.err) for result in results] == [(0, "")] * 2
    expected: dict[AccountRef, Stored] = {
        AccountRef(name, str(n)): StoredKey(f"{name}-{n}") for name in ("zai", "groq") for n in range(100)
    }
    assert await store.load() == expected
    assert await store.load_records() == {AccountRef("groq", "together"): record(1.0, counts=Counts(200, 0, 400, 600))}


HOLD_ACCOUNT = """
import asyncio, sys
from pathlib import Path
from loom_grpc.core.account import AccountRef, StoredKey
from loom_grpc.credentials.file_store import FileStore

async def main():
    store, ref = FileStore(Path(sys.argv[1])), AccountRef("anthropic", "alpha")
    async with store.hold(ref):
        await store.save(ref, StoredKey("key-of-alpha"))
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_process_that_is_killed_lets_go(store: FileStore, file: Path) -> None:
    async with started(HOLD_ACCOUNT, str(file)) as process:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), store.hold(ALPHA):
                pytest.fail("two hold the account")
        process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(10), store.hold(ALPHA) as stored:
            assert stored == KEY


SAVE_FOREVER = """
import asyncio, itertools, sys
from pathlib import Path
from loom_grpc.core.account import AccountRef, StoredKey
from loom_grpc.credentials.file_store import FileStore

async def main():
    store = FileStore(Path(sys.argv[1]))
    for n in itertools.count(int(sys.argv[2])):
        await store.save(AccountRef("groq", "number"), StoredKey(f"{n}" + "." * 100_000))
        print(n, flush=True)

asyncio.run(main())
"""


async def test_a_process_that_is_killed_while_it_writes_leaves_the_file_whole(
    store: FileStore, file: Path, folder: Path
) -> None:
    await store.add(ALPHA, KEY)
    last = 0
    for lines in range(8):
        async with started(SAVE_FOREVER, str(file), str(last + 1)) as process:
            for _ in range(lines):
                await said(process)
            for _ in range(10 * lines):
                assert (await store.load())[ALPHA] == KEY
        stored = await store.load()
        number = stored[AccountRef("groq", "number")]
        assert isinstance(number, StoredKey)
        assert number.key == f"{int(number.key.rstrip('.'))}" + "." * 100_000
        assert int(number.key.rstrip(".")) > last
        assert stored[ALPHA] == KEY
        last = int(number.key.rstrip("."))

    await store.save(BETA, OTHER_KEY)
    assert sorted(contents(folder)) == ["credentials.json"]


TAKE_MANY = """
import asyncio, sys
from pathlib import Path
from loom_grpc.credentials.file_store import FileStore

async def main():
    store = FileStore(Path(sys.argv[1]), clock=lambda: 0.0)
    for n in range(30):
        if await store.take_login(f"state-{n}"):
            print(n)

asyncio.run(main())
"""


async def test_two_processes_take_each_login_once(store: FileStore, file: Path, folder: Path) -> None:
    for n in range(30):
        await store.keep_login(f"state-{n}", LOGIN)

    results = await asyncio.gather(*(python(TAKE_MANY, str(file), cwd=folder) for _ in range(2)))

    assert [result.err for result in results] == ["", ""]
    assert sorted(int(n) for result in results for n in result.out.split()) == list(range(30))
