from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from loom_grpc.core.account import AccountRef, StoredKey
from loom_grpc.storage.credential_store import DatabaseStore
from loom_grpc.storage.database import Database
from tests.program import Result, run

REF = AccountRef("anthropic", "alpha")
EMPTY = Result(0, "the database is now at revision 0004; it was empty\n", "")
DONE = Result(0, "the database is at revision 0004 already\n", "")


@pytest.fixture
def configured(tmp_path: Path) -> Mapping[str, str]:
    """Writes a configuration and returns the environment that it needs."""
    (tmp_path / "loom.yaml").write_text(
        'database: {url: "env:URL"}\ncredentials: {encryption_key: "env:KEYS"}\nproviders: {mock: {}}\n'
    )
    return {"URL": f"sqlite:///{tmp_path}/loom.db", "KEYS": Fernet.generate_key().decode()}


async def test_migrating_makes_the_tables_once(configured: Mapping[str, str], tmp_path: Path) -> None:
    assert await run("migrate", env=configured, cwd=tmp_path) == EMPTY
    assert await run("migrate", env=configured, cwd=tmp_path) == DONE


async def test_migrating_down_goes_back_and_keeps_what_there_was(configured: Mapping[str, str], tmp_path: Path) -> None:
    store = DatabaseStore(Database(configured["URL"]), lambda: configured["KEYS"])
    await store.add(REF, StoredKey("key-of-alpha"))
    await store.close()

    async def migrate(*arguments: str) -> Result:
        return await run("migrate", *arguments, env=configured, cwd=tmp_path)

    assert await migrate("--down-to", "0002") == Result(
        0, "the database is now at revision 0002; it was at revision 0004\n", ""
    )
    assert await migrate("--down-to", "0002") == Result(0, "the database is at revision 0002 already\n", "")
    assert await migrate() == Result(0, "the database is now at revision 0004; it was at revision 0002\n", "")
    store = DatabaseStore(Database(configured["URL"]), lambda: configured["KEYS"])
    assert await store.load() == {REF: StoredKey("key-of-alpha")}
    await store.close()
    assert await migrate("--down-to", "none") == Result(0, "the database is now empty; it was at revision 0004\n", "")
    assert await migrate("--down-to", "none") == Result(0, "the database is empty already\n", "")


async def test_a_revision_that_there_is_not_changes_nothing(configured: Mapping[str, str], tmp_path: Path) -> None:
    await run("migrate", env=configured, cwd=tmp_path)

    result = await run("migrate", "--down-to", "0009", env=configured, cwd=tmp_path)

    words = (
        "error: there is no revision 0009 to go back to; those up to the database's own are 0001, 0002, 0003, 0004\n"
    )
    assert result == Result(1, "", words)
    assert await run("migrate", env=configured, cwd=tmp_path) == DONE


async def test_migrating_after_a_rotation_encrypts_anew(configured: Mapping[str, str], tmp_path: Path) -> None:
    store = DatabaseStore(Database(configured["URL"]), lambda: configured["KEYS"])
    await store.add(REF, StoredKey("key-of-alpha"))
    await store.close()
    new = (await run("encryption-key", cwd=tmp_path)).out.strip()

    result = await run("migrate", env={**configured, "KEYS": f"{new},{configured['KEYS']}"}, cwd=tmp_path)

    assert result == Result(0, DONE.out + "accounts encrypted anew, with the first of the keys: 1\n", "")
    store = DatabaseStore(Database(configured["URL"]), lambda: new)
    assert await store.load() == {REF: StoredKey("key-of-alpha")}
    await store.close()


async def test_every_new_key_is_another_one(tmp_path: Path) -> None:
    results = await asyncio.gather(*(run("encryption-key", cwd=tmp_path) for _ in range(2)))

    keys = [result.out.strip() for result in results]
    assert [(result.code, result.err) for result in results] == [(0, "")] * 2
    assert [bool(Fernet(key)) for key in keys] == [True, True]
    assert keys[0] != keys[1]


async def test_without_a_database_there_is_nothing_to_migrate(tmp_path: Path) -> None:
    result = await run("migrate", cwd=tmp_path)

    assert result == Result(
        1, "", "error: database.url: is not set, so accounts are kept in a file, which needs no migration\n"
    )


async def test_a_database_that_cannot_be_had_is_one_line(configured: Mapping[str, str], tmp_path: Path) -> None:
    result = await run("migrate", env={**configured, "URL": "postgresql://me:pass-word@127.0.0.1:1/loom"}, cwd=tmp_path)

    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith("error: the database postgresql://127.0.0.1:1/loom cannot be used: ")
    assert "pass-word" not in result.err
