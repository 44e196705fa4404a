"""A second target beside a silent one, and the beginning of a stream held back, behind a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
import pytest

from loom_grpc.config import Config
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.server.serving import COMPLETION, LAST, Serving, chunk, serving
from tests.shim.serving import Shim, request, shim
from tests.stand_in import Connection, Script, StandIn, json_answer, stand_in, stream_answer

DOWN = json_answer({"error": {"message": "Down"}}, status=503)
WELL = json_answer(COMPLETION)
SPOKEN = stream_answer(chunk("Hello"), LAST)
SOON_S = 0.05
WAIT_S = 10
KEPT = {"tokens": 20, "seconds": WAIT_S}
"""More than what comes before the targets here break off."""
HI: dict[str, Any] = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}


class Upstreams(NamedTuple):
    """The providers of the two targets."""

    first: StandIn
    second: StandIn


@asynccontextmanager
async def upstreams(*scripts: Script) -> AsyncIterator[tuple[Upstreams, dict[str, Any]]]:
    """Runs both providers; gives the configuration of them too."""
    first_script, second_script = scripts
    async with stand_in(first_script) as first, stand_in(second_script) as second:
        provider = {"api_key": "sk-test", "retry": {"max_attempts": 1}}
        config = {
            "grpc": {"address": "127.0.0.1:0"},
            "http": {"address": "127.0.0.1:0"},
            "providers": {"openai": provider | {"base_url": first.url}, "groq": provider | {"base_url": second.url}},
            "log": {"level": "error"},
        }
        yield Upstreams(first, second), config


def routed(config: dict[str, Any], **route: Any) -> Config:
    """Adds a route to both targets."""
    targets = [{"model": "openai/one"}, {"model": "groq/two"}]
    return Config.model_validate(config | {"routes": {"smart": {"targets": targets} | route}})


@asynccontextmanager
async def over_grpc(*scripts: Script, **route: Any) -> AsyncIterator[tuple[Upstreams, Serving]]:
    async with upstreams(*scripts) as (providers, config), serving(routed(config, **route)) as server:
        yield providers, server


@asynccontextmanager
async def over_http(*scripts: Script, **route: Any) -> AsyncIterator[tuple[Upstreams, Shim]]:
    async with upstreams(*scripts) as (providers, config), shim(routed(config, **route)) as server:
        yield providers, server


def ask() -> LlmRequest:
    """Makes a request to the route."""
    return LlmRequest(model="smart", messages=[Message(role=ROLE_USER, content="hi")])


class Heard(NamedTuple):
    """What a caller got."""

    text: str
    provider: str
    model: str
    attempts: str


async def hear(server: Serving, *, stream: bool) -> Heard:
    """Makes a call to its end."""
    call: Any = server.stub.Stream(ask()) if stream else server.stub.Complete(ask())
    text = "".join([event.text_delta.content async for event in call]) if stream else (await call).message.content
    said = dict(await call.trailing_metadata())
    assert float(said["loom-overhead-ms"]) >= 0
    return Heard(text, said["loom-provider"], said["loom-model"], said["loom-attempts"])


async def silent(connection: Connection) -> None:
    """Says nothing until the caller hangs up."""
    await connection.closed.wait()


async def head_alone(connection: Connection) -> None:
    """Takes the request, and then says nothing."""
    await connection.head()
    await connection.closed.wait()


async def hung_up(upstream: StandIn) -> None:
    """Waits until the only connection is closed."""
    (connection,) = upstream.connections
    async with asyncio.timeout(WAIT_S):
        await connection.closed.wait()


async def cut_off(connection: Connection) -> None:
    """Begins an answer and breaks off."""
    await connection.head()
    await connection.send(chunk("Hel"))
    connection.cut()


def after(event: asyncio.Event, script: Script) -> Script:
    """Scripts an answer that comes after something has happened."""

    async def wait(connection: Connection) -> None:
        await event.wait()
        await script(connection)

    return wait


async def to_the_end(stream: Any) -> list[str | None]:
    """Reads the events of a stream that fails in the end."""
    kinds: list[str | None] = []
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for event in stream:
            kinds.append(event.WhichOneof("event"))  # noqa: PERF401 - what came before the failure counts
    assert await stream.code() is not grpc.StatusCode.OK
    return kinds


@pytest.mark.parametrize("nothing", [silent, head_alone])
async def test_a_second_target_answers_a_stream_while_the_first_one_is_silent(nothing: Script) -> None:
    async with over_grpc(nothing, SPOKEN, hedge_after_s=SOON_S) as (our, server):
        heard = await hear(server, stream=True)
        await hung_up(our.first)

    assert heard == Heard("Hello", "groq", "two", "2")
    assert (len(our.first.asked), len(our.second.asked)) == (1, 1)


async def test_a_second_target_gives_a_whole_answer_while_the_first_one_is_silent() -> None:
    async with over_grpc(silent, WELL, hedge_after_s=SOON_S) as (our, server):
        heard = await hear(server, stream=False)
        await hung_up(our.first)

    assert heard == Heard("Hello.", "groq", "two", "2")


@pytest.mark.parametrize("stream", [True, False])
async def test_the_first_target_is_kept_when_it_speaks_before_the_second_one(stream: bool) -> None:
    async with over_grpc(silent, silent, hedge_after_s=SOON_S) as (our, server):
        our.first.play(after(our.second.arrived, SPOKEN if stream else WELL))
        heard = await hear(server, stream=stream)
        await hung_up(our.second)

    assert heard == Heard("Hello" if stream else "Hello.", "openai", "one", "2")


async def test_a_first_target_that_speaks_in_time_is_asked_alone() -> None:
    async with over_grpc(SPOKEN, SPOKEN, hedge_after_s=WAIT_S) as (our, server):
        heard = await hear(server, stream=True)

    assert heard == Heard("Hello", "openai", "one", "1")
    assert our.second.asked == []


async def test_a_second_target_that_fails_leaves_the_call_to_the_first_one() -> None:
    async with over_grpc(silent, DOWN, hedge_after_s=SOON_S) as (our, server):
        our.first.play(after(our.second.arrived, SPOKEN))
        heard = await hear(server, stream=True)

    assert heard == Heard("Hello", "openai", "one", "2")


async def test_a_first_target_that_fails_leaves_the_call_to_the_second_one() -> None:
    async with over_grpc(silent, silent, hedge_after_s=SOON_S) as (our, server):

        async def slow(connection: Connection) -> None:
            await our.first.connections[0].closed.wait()
            await SPOKEN(connection)

        async def breaks_off(connection: Connection) -> None:
            await our.second.arrived.wait()
            connection.cut()

        our.first.play(breaks_off)
        our.second.play(slow)
        heard = await hear(server, stream=True)

    assert heard == Heard("Hello", "groq", "two", "2")


async def test_time_in_which_targets_are_silent_is_not_the_servers() -> None:
    async with over_grpc(silent, SPOKEN, hedge_after_s=0.5) as (_, server):
        call = server.stub.Stream(ask())
        assert [event async for event in call]
        overhead_ms = float(dict(await call.trailing_metadata())["loom-overhead-ms"])

    assert 0 <= overhead_ms < 400


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_hangs_up_leaves_neither_target_at_work(stream: bool) -> None:
    async with over_grpc(silent, silent, hedge_after_s=SOON_S) as (our, server):
        call: Any = server.stub.Stream(ask()) if stream else server.stub.Complete(ask())
        reading = asyncio.ensure_future(call.read() if stream else call.code())
        await our.second.arrived.wait()
        call.cancel()
        await asyncio.wait((reading,))
        await hung_up(our.first)
        await hung_up(our.second)


async def test_the_retry_budget_bounds_how_often_two_are_asked_for_one() -> None:
    """In an outage everybody is silent, and twice the calls would make it no better."""

    async def slow(connection: Connection) -> None:
        await asyncio.sleep(5 * SOON_S)
        await SPOKEN(connection)

    async with over_grpc(silent, SPOKEN, hedge_after_s=SOON_S, retry_budget=0) as (our, server):
        within = [await hear(server, stream=True) for _ in range(3)]
        our.first.play(slow)
        beyond = await hear(server, stream=True)

    assert within == [Heard("Hello", "groq", "two", "2")] * 3
    assert beyond == Heard("Hello", "openai", "one", "1")
    assert (len(our.first.asked), len(our.second.asked)) == (4, 3)


async def test_a_target_that_is_left_for_its_silence_is_not_counted_as_busy_or_broken() -> None:
    """A breaker that took a lost race for a failure would keep calls away from a target that is merely the slower one."""
    async with over_grpc(silent, SPOKEN, hedge_after_s=SOON_S, retry_budget=1, breaker={"consecutive_failures": 1}) as (
        our,
        server,
    ):
        await hear(server, stream=True)
        our.first.play(SPOKEN)
        again = await hear(server, stream=True)

    assert again == Heard("Hello", "openai", "one", "1")


@pytest.mark.parametrize("path", ["stream", "complete"])
async def test_the_head_of_an_http_answer_names_the_target_that_answers(path: str) -> None:
    whole = path == "complete"
    async with over_http(silent, WELL if whole else SPOKEN, hedge_after_s=SOON_S) as (our, server):
        answer = await server.post(f"/proxy/smart/{path}", HI)
        await hung_up(our.first)

    said = {name: answer.headers[f"loom-{name}"] for name in ("provider", "model", "attempts")}
    assert (answer.status, said) == (200, {"provider": "groq", "model": "two", "attempts": "2"})


async def test_a_stream_that_breaks_off_early_begins_anew_unseen() -> None:
    async with over_http(cut_off, SPOKEN, hold_back=KEPT) as (our, server):
        answer = await server.post("/proxy/smart/stream", HI)

    texts = [event["content"] for event in answer.events if event["type"] == "text_delta"]
    assert (answer.status, texts, answer.headers["loom-provider"]) == (200, ["Hello"], "groq")
    assert [event["type"] for event in answer.events] == ["text_delta", "completed"]
    assert (len(our.first.asked), len(our.second.asked)) == (1, 1)


async def test_a_stream_that_breaks_off_early_everywhere_is_a_plain_error() -> None:
    async with over_http(cut_off, cut_off, hold_back=KEPT) as (_, server):
        answer = await server.post("/proxy/smart/stream", HI)

    said = (answer.headers["content-type"], answer.headers["loom-provider"], answer.headers["loom-attempts"])
    assert (answer.status, said) == (502, ("application/json", "groq", "2"))


async def test_a_stream_that_breaks_off_after_it_was_shown_ends_in_an_error() -> None:
    async with over_http(cut_off, SPOKEN, hold_back=KEPT | {"tokens": 1}) as (our, server):
        our.first.play(stream_answer(chunk("Hello, wor")))
        answer = await server.post("/proxy/smart/stream", HI)

    assert [event["type"] for event in answer.events] == ["text_delta", "error"]
    assert our.second.asked == []


async def test_what_has_come_is_shown_in_time_though_the_rest_is_late() -> None:
    go_on = asyncio.Event()

    async def halting(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        await go_on.wait()
        await connection.send(chunk("lo"))
        await connection.send(LAST)
        await connection.end()

    async with over_http(halting, SPOKEN, hold_back={"tokens": 1000, "seconds": SOON_S}) as (_, server):
        reader, writer = await server.connect(request("/proxy/smart/stream", HI))
        early = await asyncio.wait_for(reader.readuntil(b"Hel"), WAIT_S)
        go_on.set()
        late = await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()

    assert early.startswith(b"HTTP/1.1 200")
    assert b"completed" in late


async def test_an_early_end_over_grpc_is_unseen_for_callers_who_take_no_restarts() -> None:
    async with over_grpc(cut_off, SPOKEN, hold_back=KEPT) as (_, server):
        call = server.stub.Stream(ask())
        kinds = [event.WhichOneof("event") async for event in call]
        attempts = dict(await call.trailing_metadata())["loom-attempts"]

    assert (kinds, attempts) == (["started", "text_delta", "completed"], "2")


async def test_callers_who_take_restarts_wait_for_nothing() -> None:
    async with over_grpc(cut_off, SPOKEN, hold_back=KEPT) as (_, server):
        stream = server.stub.Stream(ask(), metadata=(("loom-events", "restarted"),))
        kinds = [event.WhichOneof("event") async for event in stream]

    assert kinds == ["started", "text_delta", "restarted", "text_delta", "completed"]


async def test_the_winner_of_two_that_breaks_off_early_is_replaced_unseen() -> None:
    """Hedging and holding back go together: a third target answers, and nobody has seen the second one."""
    targets = [{"model": "openai/one"}, {"model": "groq/two"}, {"model": "groq/three"}]
    async with over_grpc(silent, cut_off, hedge_after_s=SOON_S, hold_back=KEPT, targets=targets) as (our, server):
        our.second.play(cut_off, SPOKEN)
        heard = await hear(server, stream=True)
        await hung_up(our.first)

    assert heard == Heard("Hello", "groq", "three", "3")


async def test_a_winner_that_breaks_off_after_it_was_shown_ends_in_an_error() -> None:
    async with over_grpc(silent, cut_off, hedge_after_s=SOON_S) as (our, server):
        kinds = await to_the_end(server.stub.Stream(ask()))
        await hung_up(our.first)

    assert kinds == ["started", "text_delta", "error"]
