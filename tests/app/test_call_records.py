"""What is recorded of calls that a server answers: vectors, requests that are passed on, and what was said."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from cryptography.fernet import Fernet
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.config import ConfigError
from loom_grpc.storage.database import Database
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.storage.spool import FileSpool
from loom_grpc.v1.admin_service_pb2 import CallFilter
from loom_grpc.v1.audit_pb2 import OPERATION_COMPLETE, OPERATION_EMBED, OPERATION_RAW, CallRecord
from tests.shim.serving import Shim, configuration, shim
from tests.stand_in import Connection, StandIn, answer, json_answer, stand_in

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ASK = {"model": "openai/chat", "messages": [{"role": "user", "content": "I am ada@example.org, hush-hush"}]}


async def answers(connection: Connection) -> None:
    """Answers with words, vectors, or as is, by the path."""
    path = connection.asked.path
    if path.endswith("/chat/completions"):
        message = {"role": "assistant", "content": "Hello ada@example.org"}
        value: Any = {"id": "1", "choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE}
    elif path.endswith("/embeddings"):
        rows = [{"index": index, "embedding": [0.5]} for index, _ in enumerate(connection.asked.json["input"])]
        value = {"data": rows, "model": "vectors", "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    else:
        value = {"ok": True}
    await json_answer(value)(connection)


def settings(folder: Path, upstream: str, **audit: Any) -> dict[str, Any]:
    openai = {"base_url": f"{upstream}/v1", "api_key": "hush-hush", "raw": True, "retry": {"base_delay_s": 0}}
    return {
        "providers": {"openai": openai, "mock": {}},
        "models": {
            "openai/chat": {"prices": {"input": 2, "output": 10}},
            "openai/vectors": {"prices": {"input": 0.5, "output": 0}},
        },
        "database": {"url": f"sqlite:///{folder}/loom.db"},
        "credentials": {"encryption_key": Fernet.generate_key().decode(), "keep_records": False},
        "audit": {"spool_dir": f"{folder}/spool", "flush_s": 0.01} | audit,
    }


@asynccontextmanager
async def world(folder: Path, **audit: Any) -> AsyncIterator[tuple[StandIn, Shim]]:
    async with stand_in(answers) as upstream, shim(configuration(**settings(folder, upstream.url, **audit))) as ours:
        yield upstream, ours


@contextmanager
def beginning(settings: dict[str, Any]) -> Iterator[None]:
    """Gives the time between a worker's first step, which is to make what the configuration asks for, and its second."""
    script = (
        "import json, sys; from loom_grpc.app import App; from loom_grpc.telemetry import Telemetry; "
        "from tests.shim.serving import configuration; config = configuration(**json.loads(sys.argv[1])); "
        "App(config, {}, Telemetry(config)).provision(); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, json.dumps(settings)]
    with Popen(command, stdin=PIPE, stdout=PIPE) as worker:  # noqa: S603 - this Python
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"\n"
        yield
        worker.stdin.close()


async def kept(folder: Path) -> Sequence[CallRecord]:
    """Returns what is in the ledger, the oldest first."""
    database = Database(f"sqlite:///{folder}/loom.db")
    ledger = DatabaseLedger(database)
    try:
        return [record async for some in ledger.export(CallFilter()) for record in some]
    finally:
        await ledger.close()


async def test_prompt_and_answer_are_kept_and_redacted_where_that_is_wanted(tmp_path: Path) -> None:
    async with world(tmp_path, content=True) as (_, ours):
        told = await ours.post("/v1/chat/completions", ASK)

    (record,) = await kept(tmp_path)
    assert told.status == 200
    assert json.loads(record.prompt_json)["messages"] == [{"role": "ROLE_USER", "content": "I am [E-MAIL], [REDACTED]"}]
    assert json.loads(record.answer_json)["message"]["content"] == "Hello [E-MAIL]"
    assert (record.operation, record.cost.nanos) == (OPERATION_COMPLETE, 3 * 2000 + 2 * 10_000)


async def test_nothing_of_what_was_said_is_kept_otherwise(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, ours):
        await ours.post("/v1/chat/completions", ASK)

    (record,) = await kept(tmp_path)
    assert (record.prompt_json, record.answer_json) == ("", "")


async def test_vectors_are_recorded_with_what_they_cost(tmp_path: Path) -> None:
    async with world(tmp_path, content=True) as (_, ours):
        told = await ours.post("/v1/embeddings", {"model": "openai/vectors", "input": ["a", "b"]})

    (record,) = await kept(tmp_path)
    assert told.status == 200
    assert (record.operation, record.provider, record.model) == (OPERATION_EMBED, "openai", "vectors")
    assert (record.usage.input_tokens, record.cost.nanos) == (7, 3500)
    assert (json.loads(record.prompt_json), record.answer_json) == ({"inputs": [{"text": "a"}, {"text": "b"}]}, "")


async def test_requests_that_are_passed_on_are_recorded_without_a_price(tmp_path: Path) -> None:
    async with world(tmp_path, content=True) as (upstream, ours):
        await ours.post("/openai/raw/files", {"model": "gpt", "secret": "s"})
        upstream.play(json_answer({"error": {"message": "No such file."}}, status=404))
        await ours.get("/openai/raw/files/x")
        upstream.play(answer(b"", status=500))
        await ours.get("/openai/raw/files/y")
        refused = await ours.get("/mock/raw/x")

    records = await kept(tmp_path)
    told = [(r.operation, r.provider, r.requested_model, r.attempts, r.error_reason) for r in records]
    assert refused.status == 403
    assert told == [
        (OPERATION_RAW, "openai", "openai", 1, ""),
        (OPERATION_RAW, "openai", "openai", 1, "MODEL_NOT_FOUND"),
        (OPERATION_RAW, "openai", "openai", 3, "PROVIDER_UNAVAILABLE"),
        (OPERATION_RAW, "", "mock", 0, "PERMISSION_DENIED"),
    ]
    assert [r.HasField("cost") for r in records] == [False, False, False, True]
    assert all(r.duration.ToNanoseconds() > 0 for r in records)
    assert {(r.prompt_json, r.answer_json) for r in records} == {("", "")}


async def test_metrics_tell_what_calls_cost_and_how_records_fare(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, ours):
        await ours.post("/v1/chat/completions", ASK)
        metrics = (await ours.get("/metrics")).body.decode()
        health = await ours.get("/health")

    lines = metrics.splitlines()
    assert 'loom_cost_nanos_total{loom_provider="openai",gen_ai_request_model="chat"} 26000' in lines
    assert [line.split()[0] for line in lines if line.startswith("loom_spool_")] == [
        "loom_spool_records{}",
        "loom_spool_size{}",
        "loom_spool_age_seconds{}",
    ]
    assert (health.json["status"], "warnings" in health.json) == ("healthy", False)


async def test_health_warns_while_records_cannot_go_on_and_calls_are_answered(tmp_path: Path) -> None:
    (tmp_path / "loom.db").write_bytes(b"This is no database." * 100)

    async with world(tmp_path) as (_, ours):
        told = await ours.post("/v1/chat/completions", ASK)
        async with asyncio.timeout(10):
            while "records" not in (warned := await components(ours)):  # noqa: ASYNC110 - nothing else tells of it
                await asyncio.sleep(0.02)
        health = await ours.get("/health")

    assert (told.status, health.status, health.json["status"]) == (200, 200, "healthy")
    assert warned >= {"records", "pruning"}


async def components(ours: Shim) -> set[str]:
    health = (await ours.get("/health")).json
    return {warning["component"] for warning in health.get("warnings", [])}


async def test_a_spool_with_records_for_another_database_is_refused_until_they_are_gone(tmp_path: Path) -> None:
    (tmp_path / "loom.db").write_bytes(b"This is no database." * 100)
    async with world(tmp_path) as (_, ours):
        await ours.post("/v1/chat/completions", ASK)

    other = {"database": {"url": f"sqlite:///{tmp_path}/other.db"}}
    config = configuration(**(settings(tmp_path, "http://127.0.0.1:1") | other))
    with pytest.raises(ConfigError) as refused:
        async with shim(config):
            raise AssertionError
    assert "1 records that are to go elsewhere" in str(refused.value)

    (tmp_path / "loom.db").unlink()
    async with world(tmp_path):
        pass
    assert len(await kept(tmp_path)) == 1
    async with shim(config):
        pass


async def test_two_servers_whose_records_go_to_different_places_share_no_spool(tmp_path: Path) -> None:
    other = {"database": {"url": f"sqlite:///{tmp_path}/other.db"}}
    config = configuration(**(settings(tmp_path, "http://127.0.0.1:1") | other))

    async with world(tmp_path):
        with pytest.raises(ConfigError) as refused:
            async with shim(config):
                raise AssertionError
        async with world(tmp_path) as (_, ours):
            assert (await ours.post("/v1/chat/completions", ASK)).status == 200

    assert str(refused.value).startswith(f"audit.spool_dir: The spool in {tmp_path}/spool is in use by a server")


async def test_records_for_elsewhere_keep_a_server_out_though_other_workers_of_it_begin_meanwhile(
    tmp_path: Path,
) -> None:
    async with world(tmp_path):
        pass
    other = {**settings(tmp_path, "http://127.0.0.1:1"), "database": {"url": f"sqlite:///{tmp_path}/other.db"}}
    left = FileSpool(tmp_path / "spool", 2**20, lambda: 1.0, on_trouble=print, on_recovery=print, on_damage=print)
    left.put("left", b"record")
    left.close()

    with beginning(other), pytest.raises(ConfigError) as refused:
        async with shim(configuration(**other)):
            raise AssertionError

    assert str(refused.value).startswith(f"audit.spool_dir: The spool in {tmp_path}/spool has 1 records")


async def test_a_folder_that_cannot_be_a_spool_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("I am a file.")

    with pytest.raises(ConfigError) as refused:
        async with world(tmp_path):
            raise AssertionError

    assert str(refused.value).startswith(f"audit.spool_dir: The spool in {tmp_path}/spool cannot be used")


async def test_what_a_dead_process_has_left_is_sent_by_a_living_one(tmp_path: Path) -> None:
    record = CallRecord(id="left", start_time=Timestamp(seconds=1), operation=OPERATION_COMPLETE)
    async with world(tmp_path) as (_, ours):
        dead = FileSpool(tmp_path / "spool", 2**20, lambda: 1.0, on_trouble=print, on_recovery=print, on_damage=print)
        dead.put(record.id, record.SerializeToString())
        dead.close()  # the kernel does as much for a process that is killed
        async with asyncio.timeout(10):
            while "loom_records_sent_total{} 1" not in (await ours.get("/metrics")).body.decode():  # noqa: ASYNC110 - nothing else tells
                await asyncio.sleep(0.05)

    assert [each.id for each in await kept(tmp_path)] == ["left"]


async def test_an_address_that_is_none_of_a_broker_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"audit\.bus\.url: ") as caught:
        async with world(tmp_path, bus={"url": "http://user:hush-hush@broker/"}):
            pass

    assert "hush-hush" not in str(caught.value)


async def test_without_the_vault_that_knows_the_bus_the_server_says_so_and_does_not_start(tmp_path: Path) -> None:
    config = configuration(
        providers={"mock": {}},
        access={"enabled": True},
        vault={"address": "http://127.0.0.1:1", "token": "none"},
        audit={"spool_dir": tmp_path / "spool", "bus": {"url": "vault:secret/bus#url"}},
    )
    with pytest.raises(ConfigError, match=r"audit\.bus\.url: .* cannot be fetched at present"):
        async with shim(config, environ={"XDG_STATE_HOME": str(tmp_path)}):
            raise AssertionError
