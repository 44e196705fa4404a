"""The response cache of the configuration behind real servers, over gRPC and HTTP, in memory and in Redis."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import orjson
import pytest
import trustme

from loom_grpc.app import App
from loom_grpc.app.cache import space_of
from loom_grpc.client import llm_error
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.errors import INVALID_REQUEST
from loom_grpc.server.edge import GrpcEdge
from loom_grpc.shim.serve import HttpEdge
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, LlmResponse
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.redis_server import PASSWORD, RedisServer
from tests.server.serving import COMPLETION, LAST, chunk
from tests.stand_in import Connection, StandIn, json_answer, stand_in, stream_answer
from tests.telemetry.lines import Log

ASK = LlmRequest(
    provider="openai", model="gpt-4o", temperature=0, messages=[Message(role=ROLE_USER, content="Say hello.")]
)
BODY = {"model": "gpt-4o", "temperature": 0, "messages": [{"role": "user", "content": "Say hello."}], "tools": []}
WELL = json_answer(COMPLETION)
STREAMED = stream_answer(chunk("Hel"), chunk("lo."), LAST)
WAIT_S = 10

Files = Mapping[str, str]


def configuration(
    upstream_url: str, *, tls: Files | None = None, more: Mapping[str, Any] | None = None, **cache: Any
) -> Config:
    edge = {"address": "localhost:0"} | ({"tls": dict(tls)} if tls else {})
    openai = {"api_key": "sk-test", "base_url": upstream_url, "retry": {"max_attempts": 1}}
    return Config.model_validate(
        {"grpc": edge, "http": edge, "providers": {"openai": openai}, "cache": {"enabled": True} | cache}
        | dict(more or {})
    )


def for_nothing(answer: LlmResponse) -> LlmResponse:
    """Returns an answer as those get it who do not pay for it."""
    free = LlmResponse()
    free.CopyFrom(answer)
    free.cost.nanos, free.cost.currency_code = 0, "USD"
    return free


class Server:
    """A server with both edges, and how callers reach it."""

    def __init__(self, app: App, log: Log, telemetry: Telemetry, grpc_port: int, http_port: int) -> None:
        self.app = app
        self.log = log
        self.telemetry = telemetry
        self.grpc_port = grpc_port
        self.http_port = http_port

    async def complete(
        self, request: LlmRequest = ASK, *metadata: tuple[str, str], credentials: grpc.ChannelCredentials | None = None
    ) -> tuple[LlmResponse, dict[str, Any]]:
        """Asks for a whole answer; returns it and the trailing metadata."""
        async with self.channel(credentials) as channel:
            call = LlmServiceStub(channel).Complete(request, metadata=metadata, timeout=WAIT_S)
            return await call, dict(await call.trailing_metadata())

    async def stream(
        self, request: LlmRequest = ASK, *metadata: tuple[str, str]
    ) -> tuple[list[LlmEvent], dict[str, Any]]:
        """Asks for a stream; returns its events and the trailing metadata."""
        async with self.channel() as channel:
            call = LlmServiceStub(channel).Stream(request, metadata=metadata, timeout=WAIT_S)
            events = [event async for event in call]
            return events, dict(await call.trailing_metadata())

    async def post(
        self, path: str = "/proxy/openai/complete", *, context: ssl.SSLContext | None = None, **headers: str
    ) -> tuple[str | None, bytes]:
        """Asks over HTTP; returns the header that tells of the cache, and the body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http{'s' if context else ''}://localhost:{self.http_port}{path}"
        async with (
            aiohttp.ClientSession() as client,
            client.post(url, json=BODY, headers=named, ssl=context or True) as response,
        ):
            return response.headers.get("loom-cache"), await response.read()

    def channel(self, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
        target = f"localhost:{self.grpc_port}"
        if credentials is None:
            return grpc.aio.insecure_channel(target)
        return grpc.aio.secure_channel(target, credentials)


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Server]:
    """Runs a server."""
    log = Log()
    telemetry = Telemetry(config, stream=log)
    async with App(config, {}, telemetry) as app:
        grpc_edge = GrpcEdge(config.grpc, app, telemetry, shared_port=False)
        http_edge = HttpEdge(config, app, telemetry)
        try:
            yield Server(app, log, telemetry, await grpc_edge.start(), await http_edge.start())
        finally:
            await asyncio.gather(grpc_edge.drain(0), http_edge.drain(0))
    await telemetry.close()


@asynccontextmanager
async def world(*scripts: Any, **options: Any) -> AsyncIterator[tuple[StandIn, Server]]:
    """Runs a provider and a server."""
    async with (
        stand_in(*(scripts or (WELL,))) as upstream,
        serving(configuration(upstream.url, **options)) as server,
    ):
        yield upstream, server


async def test_an_equal_request_is_answered_from_the_cache() -> None:
    async with world() as (upstream, server):
        first, before = await server.complete()
        second, after = await server.complete()

    assert second == for_nothing(first)
    assert len(upstream.asked) == 1
    assert (before["loom-cache"], before["loom-attempts"]) == ("miss", "1")
    assert (after["loom-cache"], after["loom-attempts"]) == ("hit", "0")
    assert (after["loom-provider"], after["loom-model"]) == ("openai", "gpt-4o")
    (line,) = [line for line in server.log.lines("call") if line["cache"] == "hit"]
    assert (line["provider"], line["attempts"], line["finish_reason"]) == ("openai", 0, "stop")
    metrics = server.telemetry.prometheus().decode()
    assert 'loom_cache_calls_total{loom_provider="openai",loom_cache="hit"} 1' in metrics
    assert 'loom_cache_calls_total{loom_provider="openai",loom_cache="miss"} 1' in metrics


async def test_a_stream_is_answered_as_a_stream() -> None:
    async with world(STREAMED) as (upstream, server):
        first, _ = await server.stream()
        second, after = await server.stream()
        whole, _ = await server.complete()

    assert len(upstream.asked) == 1
    assert [event.WhichOneof("event") for event in second] == ["started", "text_delta", "completed"]
    assert second[1].text_delta.content == "Hello."
    assert second[-1].completed.response == whole == for_nothing(first[-1].completed.response)
    assert after["loom-cache"] == "hit"


async def test_without_the_cache_nothing_tells_of_it() -> None:
    async with world(enabled=False) as (upstream, server):
        await server.complete(ASK, ("loom-cache", "whatever"))
        _, told = await server.complete(ASK, ("loom-cache", "yes"))
        header, _ = await server.post()

    assert ("loom-cache" in told, header) == (False, None)
    assert len(upstream.asked) == 3


async def test_a_word_that_means_nothing_is_an_invalid_request_over_grpc_and_http() -> None:
    async with world() as (upstream, server):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.complete(ASK, ("loom-cache", "maybe"))
        _, body = await server.post(loom_cache="maybe")

    error = llm_error(failure.value, "")
    assert (error.reason, error.message) == (INVALID_REQUEST, "loom-cache: must be one of yes, no, refresh.")
    assert b"loom-cache: must be one of yes, no, refresh." in body
    assert upstream.asked == []


async def test_an_invalid_request_is_refused_before_the_cache_is_asked() -> None:
    async with world() as (_, server):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.complete(LlmRequest(provider="openai", temperature=0))

    assert llm_error(failure.value, "").reason == INVALID_REQUEST


async def test_http_and_grpc_share_the_cache_and_http_tells_in_a_header() -> None:
    async with world() as (upstream, server):
        _, told = await server.complete(ASK, ("authorization", "Bearer one"))
        whole, body = await server.post(authorization="Bearer one")
        streamed, events = await server.post("/proxy/openai/stream", authorization="Bearer one")
        refreshed, _ = await server.post(authorization="Bearer one", loom_cache="refresh")
        alone, _ = await server.post(authorization="Bearer one", loom_cache="no")

    assert (told["loom-cache"], whole, streamed, refreshed, alone) == ("miss", "hit", "hit", "miss", None)
    assert len(upstream.asked) == 3
    assert orjson.loads(body)["message"]["content"] == "Hello."
    assert b'"content":"Hello."' in events
    assert events.count(b"event: llm\n") == 2


async def test_callers_who_show_different_things_share_nothing() -> None:
    async with world() as (upstream, server):
        told = [
            (await server.complete(ASK, *metadata))[1]["loom-cache"]
            for metadata in (
                [],
                [("authorization", "Bearer one")],
                [("authorization", "Bearer two")],
                [("authorization", "Bearer one"), ("authorization", "Bearer two")],
                [("x-api-key", "one")],
            )
        ]
        heard = [
            (await server.post(f"/proxy/openai/complete{query}", x_goog_api_key=key))[0]
            for query, key in (("", "one"), ("", "two"), ("?key=one", ""), ("?key=two", ""))
        ]

    assert {*told, *heard} == {"miss"}
    assert len(upstream.asked) == 9


async def test_callers_with_different_certificates_share_nothing(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = {name: str(tmp_path / name) for name in ("cert_file", "key_file", "client_ca_file")}
    issued.cert_chain_pems[0].write_to_path(files["cert_file"])
    issued.private_key_pem.write_to_path(files["key_file"])
    authority.cert_pem.write_to_path(files["client_ca_file"])
    told = []
    async with world(tls=files) as (upstream, server):
        for name in ("a@example.org", "b@example.org"):
            own = authority.issue_cert(name)
            trust = authority.cert_pem.bytes(), own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes()
            context = ssl.create_default_context()
            authority.configure_trust(context)
            own.configure_cert(context)
            for _ in range(2):
                over_grpc = await server.complete(credentials=grpc.ssl_channel_credentials(*trust))
                told.append(over_grpc[1]["loom-cache"])
                over_http, _ = await server.post(context=context)
                told.append(over_http)

    assert told == ["miss", "hit", "hit", "hit"] * 2
    assert len(upstream.asked) == 2


async def test_equal_requests_at_one_time_are_one_request_to_the_provider_and_all_hear_it_live() -> None:
    go = asyncio.Event()

    async def halting(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        await go.wait()
        await connection.send(chunk("lo.") + LAST)
        await connection.end()

    async with world(halting) as (upstream, server), server.channel() as channel:
        calls: list[Any] = [LlmServiceStub(channel).Stream(ASK, timeout=WAIT_S) for _ in range(5)]
        heard = [[await call.read(), await call.read()] for call in calls]
        calls[0].cancel()
        calls[2].cancel()
        go.set()
        rest = [[await calls[number].read(), await calls[number].read()] for number in (1, 3, 4)]
        told = [dict(await calls[number].trailing_metadata())["loom-cache"] for number in (1, 3, 4)]

    assert len(upstream.asked) == 1
    assert {tuple(event.WhichOneof("event") for event in events) for events in heard} == {("started", "text_delta")}
    assert {tuple(event.WhichOneof("event") for event in events) for events in rest} == {("text_delta", "completed")}
    assert {events[-1].completed.response.message.content for events in rest} == {"Hello."}
    assert told.count("shared") >= 2


async def test_of_those_who_share_an_answer_one_pays_for_it() -> None:
    go = asyncio.Event()
    usage = 'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2}}\n\n'

    async def halting(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        await go.wait()
        await connection.send(chunk("lo.") + LAST.replace("data: [DONE]", usage + "data: [DONE]"))
        await connection.end()

    prices = {"models": {"openai/gpt-4o": {"prices": {"input": 1, "output": 1}}}}
    async with world(halting, more=prices) as (upstream, server), server.channel() as channel:
        calls: list[Any] = [aiter(LlmServiceStub(channel).Stream(ASK, timeout=WAIT_S)) for _ in range(4)]
        for events in calls:
            await anext(events)
        go.set()
        answers = [[event async for event in events][-1].completed.response for events in calls]

    assert len(upstream.asked) == 1
    assert sorted(answer.cost.nanos for answer in answers) == [0, 0, 0, 10_000]
    assert [answer.HasField("cost") for answer in answers] == [True] * 4


async def test_processes_share_what_is_in_redis(redis: RedisServer) -> None:
    async with stand_in(WELL) as upstream:
        config = configuration(upstream.url, redis_url=redis.url)
        async with serving(config) as one, serving(config) as other:
            first, _ = await one.complete()
            second, told = await other.complete()
        (name,) = redis.do("KEYS", "*")
        ttl_ms = redis.do("PTTL", name)

    assert (second, told["loom-cache"], len(upstream.asked)) == (for_nothing(first), "hit", 1)
    assert name.startswith(b"loom-grpc:cache:")
    assert 290_000 < ttl_ms <= 300_000


async def test_an_entry_of_an_older_version_is_a_miss_and_replaced(redis: RedisServer) -> None:
    async with world(redis_url=redis.url) as (upstream, server):
        await server.complete()
        (name,) = redis.do("KEYS", "*")
        redis.do("SET", name, b"0" + redis.do("GET", name)[1:])
        answers = [(await server.complete())[1]["loom-cache"] for _ in range(2)]

    assert answers == ["miss", "hit"]
    assert len(upstream.asked) == 2


async def test_calls_go_on_while_redis_is_down_and_the_log_tells_it_once(redis: RedisServer) -> None:
    redis.stop()
    async with world(redis_url=redis.url) as (_, server):
        told = [(await server.complete())[1]["loom-cache"] for _ in range(3)]
        redis.start()
        async with asyncio.timeout(WAIT_S):
            while told[-1] != "hit":
                told.append((await server.complete())[1]["loom-cache"])
                await asyncio.sleep(0.05)

    assert set(told[:-1]) == {"miss"}
    assert [line["level"] for line in server.log.lines("cache_unavailable")] == ["error"]
    assert len(server.log.lines("cache_works_again")) == 1
    assert PASSWORD not in server.log.getvalue().decode()


async def test_a_url_that_is_none_of_redis_keeps_the_server_from_starting_and_is_not_shown() -> None:
    with pytest.raises(ConfigError) as failure:
        async with world(redis_url="redis://:the-p@ss@host:port/0"):
            pass

    assert str(failure.value).startswith("cache.redis_url: must be an address such as redis://")
    assert "the-p" not in str(failure.value)


async def test_what_is_kept_outlasts_a_change_of_anything_but_the_answers() -> None:
    async with world() as (upstream, server):
        await server.complete()
        told = []
        for more in (
            {"log": {"level": "warning"}},
            {"aliases": {"swift": "openai/gpt-4o"}},
            {},
            {"cache": {"enabled": False}},
        ):
            await server.app.adopt(configuration(upstream.url, more=more))
            told.append((await server.complete())[1].get("loom-cache"))

    assert told == ["hit", "miss", "hit", None]


async def test_another_store_is_taken_into_use_while_the_server_runs(redis: RedisServer) -> None:
    async with world() as (upstream, server):
        told = []
        for cache in (
            {},
            {"redis_url": redis.url},
            {"redis_url": redis.url},
            {"max_bytes": 1000},
            {"max_bytes": 2000},
            {},
        ):
            await server.app.adopt(configuration(upstream.url, **cache))
            told.append((await server.complete())[1]["loom-cache"])
        entries = redis.do("DBSIZE")

    assert told == ["miss", "miss", "hit", "miss", "miss", "miss"]
    assert entries == 1


def test_the_space_changes_with_what_answers_depend_on_and_with_nothing_else() -> None:
    plain = configuration("http://a")

    def changed(**openai: Any) -> Config:
        provider = {"api_key": "sk-test", "base_url": "http://a", "retry": {"max_attempts": 1}} | openai
        return configuration("http://a", more={"providers": {"openai": provider}})

    different = [
        configuration("http://b"),
        changed(default_model="m"),
        changed(options={"a": 1}),
        changed(headers={"openai-beta": "x"}),
        changed(organization="o"),
        configuration("http://a", more={"aliases": {"a": "openai/gpt-4o"}}),
        configuration("http://a", more={"routes": {"r": {"targets": [{"model": "openai/gpt-4o"}]}}}),
        configuration("http://a", more={"rewrites": [{"match": "a", "to": "b"}]}),
    ]
    same = [
        plain,
        changed(api_key="sk-other"),
        changed(timeouts={"idle_s": 1}),
        configuration("http://a", ttl_s=1),
        configuration("http://a", more={"log": {"level": "error"}}),
    ]
    assert len({space_of(config) for config in [plain, *different]}) == len(different) + 1
    assert len({space_of(config) for config in same}) == 1


def test_a_server_without_redis_does_not_load_its_client() -> None:
    code = "import sys; import loom_grpc.server.serve, loom_grpc.app.cache; print([n for n in sys.modules if n == 'redis'])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"  # noqa: S603
