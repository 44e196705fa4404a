"""How accounts fare, as the store keeps it for restarts and other processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loom_grpc.app.records import Records
from loom_grpc.core.account import AccountRef
from loom_grpc.core.call import Call, Send
from loom_grpc.core.health import Condition, Event, Health
from loom_grpc.core.pool import Account
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.v1.admin_service_pb2 import ACCOUNT_KIND_API_KEY
from loom_grpc.v1.llm_service_pb2 import Model

REF = AccountRef("openai", "team-a")


class Silent:
    """A provider that nobody asks."""

    async def __call__(self, call: Call, send: Send) -> None:
        """Answers nothing."""

    async def count_tokens(self, call: Call) -> int | None:
        """Cannot tell."""
        return None

    async def models(self, call: Call) -> list[Model] | None:
        """Has no list."""
        return None


def damage(file: Path, how: str) -> None:
    if how == "open to others":
        file.chmod(0o644)
    elif how == "gone":
        file.unlink()
    else:
        file.write_text(how)


@pytest.mark.parametrize("how", ["open to others", "gone", "", "{"])
async def test_what_a_damaged_file_has_lost_is_written_anew(tmp_path: Path, how: str) -> None:
    """An account that an operator has switched off would else be asked again after the next restart."""
    store = FileStore(tmp_path / "credentials.json")
    silent = Silent()
    account = Account(REF, ACCOUNT_KIND_API_KEY, silent, silent, Health(time.time), configured=True)
    account.health.record(Event.SWITCHED_OFF)
    records = Records(store, lambda: [account])
    await records.write()
    await records.read()

    damage(tmp_path / "credentials.records.json", how)
    await records.read()
    await records.write()

    assert account.health.condition is Condition.OFF
    assert {ref: record.standing for ref, record in (await store.load_records()).items()} == {
        REF: account.health.standing()
    }
