"""Records on their way from a real broker into a real database: each arrives once, whatever dies on the way."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
import aiohttp
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.auditor.auditor import audit
from loom_grpc.auditor.report import Report
from loom_grpc.bus.rabbitmq import RabbitSink
from loom_grpc.config.audit import BusConfig
from loom_grpc.core.account import StoreError
from loom_grpc.storage.database import Database
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.v1.admin_service_pb2 import CallFilter
from loom_grpc.v1.audit_pb2 import CallRecord
from loom_grpc.v1.usage_pb2 import Cost
from tests.postgres import PASSWORD, Postgres, postgres_server
from tests.program import ROOT, Result, environment, run
from tests.rabbitmq_server import RabbitServer
from tests.telemetry.lines import Log, telemetry

WAIT_S = 60
NOON_S = 1_795_262_400


def bus(prefetch: int = 500) -> dict[str, object]:
    """Names of a test's own."""
    name = f"test-{uuid.uuid4().hex}"
    return {
        "url": "unused",
        "exchange": name,
        "queue": name,
        "dead_letter_exchange": f"{name}.dead",
        "dead_letter_queue": f"{name}.dead",
        "prefetch": prefetch,
    }


def record(number: int) -> bytes:
    # Its cost says who it is: the sum tells of one that was counted twice.
    at = Timestamp(seconds=NOON_S)
    cost = Cost(nanos=number, currency_code="USD")
    return CallRecord(id=f"{number:08}", start_time=at, provider="mock", cost=cost).SerializeToString()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@dataclass
class World:
    """A broker, a database, and names for what is between them."""

    rabbitmq: RabbitServer
    database_url: str
    names: BusConfig
    log: Log = field(default_factory=Log)

    @asynccontextmanager
    async def ledger(self, kind: type[DatabaseLedger] = DatabaseLedger) -> AsyncIterator[DatabaseLedger]:
        ledger = kind(Database(self.database_url))
        try:
            yield ledger
        finally:
            await ledger.close()

    @asynccontextmanager
    async def auditing(self, kind: type[DatabaseLedger] = DatabaseLedger) -> AsyncIterator[DatabaseLedger]:
        """Runs an auditor, and ends it as SIGTERM would."""
        stop = asyncio.Event()
        async with self.ledger(kind) as ledger:
            report = Report(telemetry(self.log))
            work = asyncio.create_task(audit(self.names, lambda: self.rabbitmq.url, ledger, stop, report))
            try:
                yield ledger
            finally:
                stop.set()
                await asyncio.wait_for(work, WAIT_S)

    async def send(self, records: Iterable[bytes]) -> None:
        """Sends a batch, as often as it takes, as the courier of a spool does."""
        batch = list(records)
        sink = RabbitSink(lambda: self.rabbitmq.url, self.names)
        try:
            while True:
                try:
                    return await sink.send(batch)
                except StoreError:
                    await asyncio.sleep(0.05)
        finally:
            await sink.close()

    async def arrived(self, number: int) -> None:
        """Waits until the ledger has so many records."""
        async with self.ledger() as ledger:
            try:
                async with asyncio.timeout(WAIT_S):
                    while await count(ledger) < number:  # noqa: ASYNC110 - a database tells nobody
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise AssertionError(f"{await count(ledger)} of {number}: {self.log.lines()}") from None

    async def told(self, event: str) -> None:
        """Waits until the log has an event."""
        async with asyncio.timeout(WAIT_S):
            while not self.log.lines(event):
                self.log.written.clear()
                await self.log.written.wait()

    async def waiting(self, queue: str) -> list[bytes]:
        """Takes what is in a queue and nobody else has in hand."""
        found = []
        async with await aio_pika.connect(self.rabbitmq.url) as connection, connection.channel() as channel:
            source = await channel.get_queue(queue)
            while (message := await source.get(no_ack=True, fail=False)) is not None:
                found.append(message.body)
        return found


async def count(ledger: DatabaseLedger) -> int:
    try:
        return await ledger.count(CallFilter())
    except StoreError:
        return 0


async def sums(ledger: DatabaseLedger) -> tuple[int, int]:
    """How many calls the ledger has, and what they cost."""
    [row] = await ledger.usage(CallFilter(), (), 0, 1)
    return row.calls, row.cost_nanos


@pytest.fixture
def world(rabbitmq: RabbitServer, postgres: Postgres) -> World:
    return World(rabbitmq, postgres.new_database(), BusConfig.model_validate(bus()))


async def test_what_was_sent_is_in_the_ledger_and_no_longer_in_the_queue(world: World) -> None:
    async with world.auditing() as ledger:
        await world.send(map(record, range(1200)))
        await world.arrived(1200)
        assert await sums(ledger) == (1200, sum(range(1200)))

    assert await world.waiting(world.names.queue) == []


async def test_a_record_that_comes_twice_counts_once(world: World) -> None:
    async with world.auditing() as ledger:
        await world.send([record(1), record(1), record(2)])
        await world.arrived(2)
        await world.send([record(2), record(3)])
        await world.arrived(3)

        assert await sums(ledger) == (3, 6)


async def test_two_auditors_share_the_work(world: World) -> None:
    world.names = BusConfig.model_validate(bus(prefetch=20))
    async with world.auditing() as ledger, world.auditing():
        await world.send(map(record, range(500)))
        await world.arrived(500)
        assert await sums(ledger) == (500, sum(range(500)))


async def test_what_is_no_record_goes_to_the_dead_letters_and_holds_nobody_up(world: World) -> None:
    nameless = CallRecord(provider="mock").SerializeToString()
    async with world.auditing() as ledger:
        await world.send([b"\xff\xff", record(1), nameless, record(2), b""])
        await world.arrived(2)
        await world.send([record(3)])
        await world.arrived(3)
        assert await sums(ledger) == (3, 6)

    assert await world.waiting(world.names.dead_letter_queue) == [b"\xff\xff", nameless, b""]
    assert await world.waiting(world.names.queue) == []
    assert [line["message"] for line in world.log.lines("record_rejected")] == ["it is no record of a call"] * 3


async def test_a_record_that_the_ledger_chokes_on_goes_to_the_dead_letters_alone(world: World) -> None:
    class Choosy(DatabaseLedger):
        async def add(self, records: Sequence[CallRecord]) -> int:
            if any(record.id == "00000002" for record in records):
                raise ValueError("no room for twos")
            return await super().add(records)

    async with world.auditing(Choosy) as ledger:
        await world.send([record(1), record(2), record(3), record(2)])
        await world.arrived(2)
        await world.send([record(4)])
        await world.arrived(3)
        assert await sums(ledger) == (3, 8)

    assert await world.waiting(world.names.dead_letter_queue) == [record(2), record(2)]
    assert await world.waiting(world.names.queue) == []


async def test_no_word_of_a_caller_keeps_records_out(world: World) -> None:
    at = Timestamp(seconds=NOON_S)
    nasty = CallRecord(id="1", start_time=at, session_id="\0'; DROP", labels={"\0": "\0" * 9000}, provider="x" * 9000)
    odd = CallRecord(id="2", start_time=Timestamp(seconds=-(2**63), nanos=-1), cost=Cost(nanos=2**63 - 1))
    async with world.auditing():
        await world.send([nasty.SerializeToString(), odd.SerializeToString(), record(3)])
        await world.arrived(3)


async def test_all_records_arrive_once_while_the_broker_is_killed_again_and_again(world: World) -> None:
    async def load(first: int) -> None:
        for number in range(first, first + 2000, 100):
            await world.send(map(record, range(number, number + 100)))

    async with world.auditing() as ledger:
        loads = [asyncio.create_task(load(first)) for first in (0, 2000)]
        for number in (200, 1500):
            await world.arrived(number)
            world.rabbitmq.kill()
            await asyncio.to_thread(world.rabbitmq.start)
        await asyncio.gather(*loads)
        await world.arrived(4000)

        assert await sums(ledger) == (4000, sum(range(4000)))
    assert await world.waiting(world.names.queue) == []
    assert len(world.log.lines("auditor_works_again")) == 2


async def test_records_wait_while_the_database_is_down_and_arrive_when_it_is_back(
    world: World, postgres: Postgres
) -> None:
    async with world.auditing() as ledger:
        await world.send([record(1)])
        await world.arrived(1)
        postgres.stop()
        try:
            await world.send(map(record, range(2, 1001)))
            await world.told("auditor_unavailable")
        finally:
            postgres.start()
        await world.arrived(1000)

        assert await sums(ledger) == (1000, sum(range(1001)))
    [trouble] = world.log.lines("auditor_unavailable")
    assert "database" in trouble["message"]
    assert PASSWORD not in trouble["message"]


async def test_stopping_while_the_database_is_down_leaves_the_records_with_the_broker(
    world: World, postgres: Postgres
) -> None:
    async with world.auditing():
        await world.send([record(1)])
        await world.arrived(1)
        postgres.stop()
        try:
            await world.send([record(2)])
            await world.told("auditor_unavailable")
        finally:
            postgres.start()

    async with world.auditing() as ledger:
        await world.arrived(2)
        assert await sums(ledger) == (2, 3)


async def test_stopping_waits_for_the_batch_that_is_being_written(world: World) -> None:
    writing, go_on = asyncio.Event(), asyncio.Event()

    class Slow(DatabaseLedger):
        async def add(self, records: Sequence[CallRecord]) -> int:
            writing.set()
            await go_on.wait()
            return await super().add(records)

    stop = asyncio.Event()
    async with world.ledger(Slow) as ledger:
        report = Report(telemetry(world.log))
        work = asyncio.create_task(audit(world.names, lambda: world.rabbitmq.url, ledger, stop, report))
        await world.send([record(1)])
        await asyncio.wait_for(writing.wait(), WAIT_S)
        stop.set()
        await asyncio.sleep(0)
        assert not work.done()
        go_on.set()
        await asyncio.wait_for(work, WAIT_S)

        assert await sums(ledger) == (1, 1)
    assert await world.waiting(world.names.queue) == []


async def test_an_auditor_killed_before_it_acknowledges_leaves_records_that_count_once(world: World) -> None:
    await world.send(map(record, range(100)))
    names = world.names.model_dump_json()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.auditor.dying", world.rabbitmq.url, world.database_url, names),
        cwd=ROOT,
        env=environment(),
    )
    assert await asyncio.wait_for(process.wait(), WAIT_S) == -signal.SIGKILL
    await world.arrived(100)

    async with world.auditing() as ledger:
        await world.send([record(100)])
        await world.arrived(101)
        assert await sums(ledger) == (101, sum(range(101)))
    assert await world.waiting(world.names.queue) == []


def settings(world: World) -> dict[str, str]:
    return {
        "LOOM_AUDIT__BUS__URL": world.rabbitmq.url,
        "LOOM_AUDIT__BUS__EXCHANGE": world.names.exchange,
        "LOOM_AUDIT__BUS__QUEUE": world.names.queue,
        "LOOM_AUDIT__BUS__DEAD_LETTER_EXCHANGE": world.names.dead_letter_exchange,
        "LOOM_AUDIT__BUS__DEAD_LETTER_QUEUE": world.names.dead_letter_queue,
        "LOOM_DATABASE__URL": world.database_url,
        "LOOM_CREDENTIALS__ENCRYPTION_KEY": "Zm9yLXRoZS10ZXN0cy1vbmx5LTMyLWJ5dGVzLWxvbmc=",
    }


async def started(world: World, folder: Path, *flags: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loom_grpc.cli", "auditor", *flags),
        stderr=asyncio.subprocess.PIPE,
        env=environment(settings(world)),
        cwd=folder,
    )


async def test_the_command_takes_records_counts_them_and_ends_well(world: World, tmp_path: Path) -> None:
    process = await started(world, tmp_path, "--metrics-address", "127.0.0.1:0")
    assert process.stderr is not None
    line = json.loads(await asyncio.wait_for(process.stderr.readline(), WAIT_S))
    await world.send([record(1), record(2), b"\xff"])
    await world.arrived(2)
    await world.send([record(2)])
    page = ""
    async with aiohttp.ClientSession() as client, asyncio.timeout(WAIT_S):
        while 'outcome="known"' not in page:
            page = await (await client.get(f"http://127.0.0.1:{line['metrics_port']}/metrics")).text()
    process.terminate()
    rest = (await process.communicate())[1].decode()

    assert process.returncode == 0
    assert (line["event"], line["queue"]) == ("auditing", world.names.queue)
    assert 'loom_auditor_records_total{loom_outcome="new"} 2' in page
    assert 'loom_auditor_records_total{loom_outcome="known"} 1' in page
    assert 'loom_auditor_records_total{loom_outcome="rejected"} 1' in page
    assert '"event":"stopped"' in rest
    assert "Traceback" not in rest


async def test_the_command_deletes_what_is_old(world: World, tmp_path: Path) -> None:
    async with world.ledger() as ledger:
        await ledger.add([CallRecord(id="old", start_time=Timestamp(seconds=1))])
        process = await started(world, tmp_path)
        assert process.stderr is not None
        lines = [json.loads(await asyncio.wait_for(process.stderr.readline(), WAIT_S)) for _ in range(2)]
        process.terminate()
        await process.communicate()
        left = await count(ledger)

    told = next(line for line in lines if line["event"] == "records_pruned")
    assert (told["records"], told["contents"], left) == (1, 0, 0)


async def test_the_command_waits_for_a_broker_that_is_not_there(world: World, tmp_path: Path) -> None:
    world.rabbitmq.kill()
    process = await started(world, tmp_path)
    assert process.stderr is not None
    try:
        lines = [(await asyncio.wait_for(process.stderr.readline(), WAIT_S)).decode() for _ in range(2)]
    finally:
        await asyncio.to_thread(world.rabbitmq.start)
    await world.send([record(1)])
    await world.arrived(1)
    process.terminate()
    lines += (await process.communicate())[1].decode().splitlines()

    assert process.returncode == 0
    assert "cannot be reached" in lines[1]
    assert "pass-of-the-tests" not in "".join(lines)
    assert [line.split('"event":"')[1].split('"')[0] for line in lines] == [
        "auditing",
        "auditor_unavailable",
        "auditor_works_again",
        "stopped",
    ]


async def refused(folder: Path, env: Mapping[str, str], *flags: str) -> Result:
    return await run("auditor", *flags, env=env, cwd=folder)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("LOOM_DATABASE__URL", "error: database.url: is not set, and the auditor writes records to the database"),
        (
            "LOOM_AUDIT__BUS",
            "error: audit.bus.url: is not set, so servers write their records to the database themselves",
        ),
    ],
)
async def test_the_command_says_what_it_needs(world: World, tmp_path: Path, missing: str, words: str) -> None:
    env = {name: value for name, value in settings(world).items() if not name.startswith(missing)}

    result = await refused(tmp_path, env)

    assert result.code == 1
    assert words in result.err


async def test_the_command_refuses_what_is_no_address(world: World, tmp_path: Path) -> None:
    broker = await refused(tmp_path, {**settings(world), "LOOM_AUDIT__BUS__URL": f"http://u:{PASSWORD}@host/"})
    metrics = await refused(tmp_path, settings(world), "--metrics-address", "nowhere")

    assert (broker.code, metrics.code) == (1, 1)
    assert "error: audit.bus.url: must be an address such as amqp://" in broker.err
    assert PASSWORD not in broker.err
    assert "error: --metrics-address: cannot listen on nowhere: it must be HOST:PORT" in metrics.err
