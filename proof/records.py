"""The fault run: calls are made and counted by their callers while everything behind the server, and it too, is killed again and again.

`python -m proof.records [--calls 10000] [--seconds 300] [--kills 4] [--seed 1]` runs it alone and prints what came of it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import aio_pika
import aiohttp
import aiormq
import grpc
import uvloop
from aio_pika.exceptions import AMQPError

from loom_grpc.client import LoomClient
from loom_grpc.client.failure import llm_error
from loom_grpc.core.errors import reason_name
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from proof.cast import MODELS, Cast, Victim, cast, let_in
from tests.rabbitmq_server import RabbitServer, rabbitmq_server

CALLERS: Final = 24
PATIENCE_S: Final = 30.0
"""How long a caller waits for an answer."""
PAUSE_S: Final = 0.5
"""How long a caller waits after a call that failed."""
DRAIN_S: Final = 120.0
"""How long everything may take to arrive once all is well."""
LOOK_S: Final = 0.25
REFUSED: Final = ("UNAUTHENTICATED", "PERMISSION_DENIED", "HTTP 401", "HTTP 403")
"""What nobody with a valid key is ever told."""
_RECORDED: Final = "SELECT request_id, count(*) FROM call_record GROUP BY request_id"
_UNBALANCED: Final = """
SELECT (SELECT coalesce(sum(cost_nanos), 0) FROM call_record)
     - (SELECT coalesce(sum(nanos), 0) FROM spend WHERE scope_kind = 'organization')
"""


class Plan(NamedTuple):
    """How much of it there is."""

    calls: int = 10_000
    """How many calls are to be answered; one that fails is made again, as another call."""
    seconds: float = 300.0
    """How long that takes at least."""
    kills: int = 4
    """How often each is killed."""
    longest_down_s: float = 4.0
    seed: int = 1


@dataclass
class Outcome:
    """What came of it, counted."""

    wanted: int
    """Calls that were to be answered."""
    servers: dict[str, str] = field(default_factory=dict)
    """The versions of what was killed."""
    answered: int = 0
    """Calls whose whole answer came."""
    failed: dict[str, int] = field(default_factory=dict)
    """Calls without a whole answer, by what their callers were told."""
    killed: dict[str, int] = field(default_factory=dict)
    records: int = 0
    """Records in the database."""
    missing: int = 0
    """Answered calls without a record."""
    double: int = 0
    """Calls with more than one record, answered or not."""
    unknown: int = 0
    """Records of calls that nobody made."""
    unbalanced: int = 0
    """Billionths of a dollar by which what was spent, as budgets know it, differs from the sum of the records."""
    spooled: int = 0
    """Records that were left in the spool."""
    queued: int = 0
    """Messages that were left in the queue."""
    dead: int = 0
    """Messages among the dead letters."""
    refused: int = 0
    """Calls with a valid key that were told that it is not."""
    crashes: int = 0
    """What the server and the auditor wrote to their logs that nobody had foreseen."""
    most_spooled: int = 0
    """The most records that waited in the spool at once."""
    calls_s: float = 0.0
    drained_s: float = 0.0
    """From the last answer until all had arrived."""

    @property
    def is_right(self) -> bool:
        """Whether nothing was lost, double, left behind or refused."""
        wrong = (
            self.missing,
            self.double,
            self.unknown,
            self.spooled,
            self.queued,
            self.dead,
            self.refused,
            self.crashes,
        )
        return self.answered == self.wanted and not any(wrong)


@dataclass
class Tally:
    """What callers know."""

    answered: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    failed: Counter[str] = field(default_factory=Counter)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by another, when a call was answered."""

    def answer(self, id: str) -> None:
        """Notes that a whole answer came, by the id that the server gave with it."""
        self.answered.add(id)
        news, self.news = self.news, asyncio.Event()
        news.set()

    async def has(self, calls: float) -> None:
        """Waits until so many calls were answered."""
        while len(self.answered) < calls:
            await self.news.wait()


class NotAnswered(Exception):  # noqa: N818 - it is what the run is about
    """A call failed, in a word."""


async def run(plan: Plan, folder: Path, rabbitmq: RabbitServer) -> Outcome:
    """Makes the calls, kills and starts again, and counts."""
    with cast(folder, rabbitmq) as found:
        await let_in(found.key, found.database_url)
        await asyncio.to_thread(found.auditor.start)
        await asyncio.to_thread(found.server.start)
        outcome, tally = Outcome(plan.calls, await _versions(found)), Tally()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(found, outcome))
            await _calls_and_kills(plan, found, tally, outcome)
            began = time.monotonic()
            await _drain(found, tally)
            outcome.drained_s = round(time.monotonic() - began, 1)
            watching.cancel()
        await _judge(found, tally, outcome)
    return outcome


async def run_alone(plan: Plan) -> Outcome:
    """Does the same with a RabbitMQ and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="loom-proof-") as folder, rabbitmq_server() as rabbitmq:
        return await run(plan, Path(folder), rabbitmq)


async def _calls_and_kills(plan: Plan, found: Cast, tally: Tally, outcome: Outcome) -> None:
    chance = random.Random(plan.seed)  # noqa: S311 - the same moments each time
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(_call(plan, found, tally, number))
        for name, victim in found.victims.items():
            outcome.killed[name] = 0
            moments = _moments(plan, chance)
            pauses = [chance.uniform(0.1, plan.longest_down_s) for _ in moments]
            group.create_task(_torment(name, victim, list(zip(moments, pauses, strict=True)), tally, outcome))
    outcome.calls_s = round(time.monotonic() - began, 1)


def _moments(plan: Plan, chance: random.Random) -> list[float]:
    """Says after how many answered calls something is killed: by chance, but all over the run."""
    stretch = 0.9 * plan.calls / plan.kills
    return [0.03 * plan.calls + stretch * (number + chance.random()) for number in range(plan.kills)]


async def _torment(
    name: str, victim: Victim, kills: Sequence[tuple[float, float]], tally: Tally, outcome: Outcome
) -> None:
    for moment, down_s in kills:
        await tally.has(moment)
        await asyncio.to_thread(victim.kill)
        outcome.killed[name] += 1
        await asyncio.sleep(down_s)
        await asyncio.to_thread(victim.start)


async def _call(plan: Plan, found: Cast, tally: Tally, number: int) -> None:
    """Is one caller, over gRPC and HTTP in turn, whole and as a stream."""
    calls = range(number, plan.calls, CALLERS)
    async with _lines(found) as (client, http):
        began = time.monotonic()
        for done, call in enumerate(calls):
            await asyncio.sleep(began + plan.seconds * done / len(calls) - time.monotonic())
            ask, line, stream = (_ask_grpc, client, done % 2) if done % 4 < 2 else (_ask_http, http, done % 2)
            attempt = 0
            while not await _is_answered(ask, line, tally, f"{call}-{attempt}", bool(stream)):
                attempt += 1
                await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def _lines(found: Cast) -> AsyncIterator[tuple[LoomClient, aiohttp.ClientSession]]:
    headers = {"authorization": f"Bearer {found.key}"}
    own = {"grpc.use_local_subchannel_pool": 1, "grpc.max_reconnect_backoff_ms": 500}  # or all would share a connection
    async with (
        LoomClient(found.grpc_address, api_key=found.key, options=own) as client,
        aiohttp.ClientSession(found.http_url, headers=headers) as http,
    ):
        yield client, http


async def _is_answered(
    ask: Callable[[Any, str, str, bool], Awaitable[str]], line: Any, tally: Tally, id: str, stream: bool
) -> bool:
    """Makes a call and notes what came of it."""
    tally.made.add(id)
    try:
        async with asyncio.timeout(PATIENCE_S):
            told = await ask(line, id, MODELS[stream], stream)
    except NotAnswered as failure:
        tally.failed[str(failure)] += 1
    except TimeoutError:
        tally.failed["no answer in time"] += 1
    else:
        tally.answer(told)
        return True
    return False


async def _ask_grpc(client: LoomClient, id: str, model: str, stream: bool) -> str:
    """Makes a call and returns the id that came with the whole answer."""
    request = LlmRequest(model=model, messages=[Message(role=ROLE_USER, content="Hello?")])
    metadata = client.metadata({"x-request-id": id})
    try:
        if stream:
            call = client.stub.Stream(request, metadata=metadata)
            kinds = [event.WhichOneof("event") async for event in call]
            if kinds[-1:] != ["completed"]:
                raise NotAnswered("a part of a stream")
            trailing = await call.trailing_metadata()
        else:
            whole = client.stub.Complete(request, metadata=metadata)
            await whole
            trailing = await whole.trailing_metadata()
    except grpc.aio.AioRpcError as error:
        raise NotAnswered(reason_name(llm_error(error, client.target).reason)) from None
    return str(dict(trailing or ())["loom-request-id"])


async def _ask_http(http: aiohttp.ClientSession, id: str, model: str, stream: bool) -> str:
    """Makes a call and returns the id that came with the whole answer."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello?"}], "stream": stream}
    try:
        async with http.post("/v1/chat/completions", json=body, headers={"x-request-id": id}) as response:
            text = await response.text()
    except aiohttp.ClientError as error:
        raise NotAnswered(type(error).__name__) from None
    if response.status != 200:
        raise NotAnswered(f"HTTP {response.status}")
    if not text.rstrip().endswith("data: [DONE]" if stream else "}"):
        raise NotAnswered("a part of a stream")
    return response.headers["loom-request-id"]


async def _watch(found: Cast, outcome: Outcome) -> None:
    """Looks how much waits in the spool."""
    while True:
        outcome.most_spooled = max(outcome.most_spooled, await asyncio.to_thread(found.spooled))
        await asyncio.sleep(LOOK_S)


async def _drain(found: Cast, tally: Tally) -> None:
    """Waits until what was answered is in the database, and nothing is on the way any more; or for as long as that may take."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while True:
                on_the_way = await asyncio.to_thread(found.spooled) or sum(await _messages(found))
                if not on_the_way and tally.answered <= (await asyncio.to_thread(_recorded, found)).keys():
                    return
                await asyncio.sleep(LOOK_S)


async def _judge(found: Cast, tally: Tally, outcome: Outcome) -> None:
    recorded = await asyncio.to_thread(_recorded, found)
    outcome.answered, outcome.failed = len(tally.answered), dict(tally.failed.most_common())
    outcome.records = sum(recorded.values())
    outcome.missing = len(tally.answered - recorded.keys())
    outcome.double = sum(times > 1 for times in recorded.values())
    outcome.unknown = len(recorded.keys() - tally.made)
    [[unbalanced]] = found.postgres.execute(_UNBALANCED, found.database_url)
    outcome.unbalanced = int(str(unbalanced))
    outcome.spooled = await asyncio.to_thread(found.spooled)
    outcome.queued, outcome.dead = await _messages(found)
    outcome.refused = sum(tally.failed[word] for word in REFUSED)
    outcome.crashes = found.crashes()


def _recorded(found: Cast) -> Mapping[str, int]:
    """Counts the records of each call."""
    return {str(id): int(str(times)) for id, times in found.postgres.execute(_RECORDED, found.database_url)}


async def _messages(found: Cast) -> tuple[int, int]:
    """Counts what is in the queue and not yet taken, and the dead letters."""
    names = found.names["queue"], found.names["dead_letter_queue"]
    try:
        async with await aio_pika.connect(found.broker_url) as connection, connection.channel() as channel:
            queues = [await channel.declare_queue(name, passive=True) for name in names]
    except (AMQPError, OSError):
        return 1, 0  # nobody knows
    waiting, dead = (queue.declaration_result.message_count or 0 for queue in queues)
    return waiting, dead


async def _versions(found: Cast) -> dict[str, str]:
    [[postgres]] = found.postgres.execute("SHOW server_version")
    async with aiormq.Connection(found.broker_url) as connection:
        broker = connection.server_properties
    return {
        "PostgreSQL": str(postgres).partition(" ")[0],
        "RabbitMQ": str(broker["version"]),
        "Redis": found.redis.do("INFO", "server")["redis_version"],
    }


def main() -> None:
    """Runs it and prints what came of it."""
    parser = argparse.ArgumentParser(prog="python -m proof.records", description=__doc__)
    for name, default in Plan()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    plan = Plan(**vars(parser.parse_args()))
    print(json.dumps(dataclasses.asdict(uvloop.run(run_alone(plan))), indent=1))


if __name__ == "__main__":
    main()
