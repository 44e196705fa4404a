"""Connect and gRPC-Web: every method, in every media type, with the meaning that it has over gRPC."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import struct
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from loom_grpc.client import LoomClient
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import (
    CONFLICT,
    INVALID_REQUEST,
    LOOP_DETECTED,
    MODEL_NOT_FOUND,
    PERMISSION_DENIED,
    PROVIDER_AUTH_FAILED,
    PROVIDER_NOT_CONFIGURED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    RATE_LIMITED,
    TABLE,
    UNAUTHENTICATED,
    LlmError,
)
from loom_grpc.core.events import error_event
from loom_grpc.shim.remote import RemoteGateway
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import (
    CountTokensResponse,
    EmbedInput,
    EmbedRequest,
    EmbedResponse,
    ListModelsRequest,
    ListModelsResponse,
    LlmEvent,
    Model,
)
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub
from tests.let_in import let_in
from tests.program import Server
from tests.shim.callers import (
    SERVICE,
    STREAMS,
    UNARY,
    Caller,
    Told,
    answer_of,
    ask,
    events_of,
    split,
    unarmour,
    unpacked,
)
from tests.shim.serving import DONE, GREETING, WAIT_S, Script, configuration, plays, request, shim, text

PROTO = Caller("application/proto")
STREAM = Caller("application/connect+proto")
WEB = Caller("application/grpc-web+proto")
every_unary = pytest.mark.parametrize("caller", UNARY, ids=repr)
every_stream = pytest.mark.parametrize("caller", STREAMS, ids=repr)
EVERY = [("Complete", caller) for caller in UNARY] + [("Stream", caller) for caller in STREAMS]
every_one = pytest.mark.parametrize(("method", "caller"), EVERY, ids=str)


def failing(error: LlmError) -> Script:
    async def play(call: Call, send: Send) -> None:
        raise error

    return Script(play)


@every_unary
async def test_every_method_answers(caller: Caller) -> None:
    embed = EmbedRequest(model="mock/mock-embed", inputs=[EmbedInput(text="a"), EmbedInput(text="b")])
    async with shim() as server:
        complete = await caller.call(server.client, "Complete", ask("Grüße, 世界"))
        count = await caller.call(server.client, "CountTokens", ask("one two three"))
        embedded = await caller.call(server.client, "Embed", embed)
        models = await caller.call(server.client, "ListModels", ListModelsRequest(provider="mock", page_size=2))

    answer = answer_of(caller, complete)
    counted = caller.decode(count.messages[0], CountTokensResponse())
    vectors = caller.decode(embedded.messages[0], EmbedResponse())
    page = caller.decode(models.messages[0], ListModelsResponse())
    assert [told.http for told in (complete, count, embedded, models)] == [200] * 4
    assert (answer.message.content, answer.provider, answer.model) == ("Grüße, 世界", "mock", "mock-echo")
    assert (counted.input_tokens > 0, counted.provider) == (True, "mock")
    assert [len(vector.values) > 0 for vector in vectors.embeddings] == [True, True]
    assert ([model.provider for model in page.models], page.next_page_token) == (["mock", "mock"], "2")
    assert complete.trailing["loom-model"] == "mock-echo"
    assert complete.headers["content-type"] == caller.media_type


@every_stream
async def test_a_stream_is_its_events_and_an_end(caller: Caller) -> None:
    events = [text("Hé"), text("llo."), DONE]
    async with shim(gateway=plays(*events)) as server:
        told = await caller.call(server.client, "Stream", ask(), x_request_id="r-1")

    assert (told.code, told.message, told.details) == (code_pb2.OK, "", [])
    assert events_of(caller, told) == events
    assert float(told.trailing.pop("loom-overhead-ms")) > 0
    assert told.trailing == {
        "loom-request-id": "r-1",
        "loom-provider": "openai",
        "loom-model": "gpt-4o",
        "loom-attempts": "1",
    }
    assert (told.headers["loom-request-id"], told.headers["cache-control"]) == ("r-1", "no-cache")


@pytest.mark.parametrize("caller", [STREAM, WEB, Caller("application/grpc-web-text")], ids=repr)
async def test_an_event_arrives_when_it_happens(caller: Caller) -> None:
    seen = asyncio.Event()

    async def play(call: Call, send: Send) -> None:
        await send(text("a"))
        await seen.wait()
        await send(DONE)

    async with shim(gateway=Script(play)) as server:
        headers = {"content-type": caller.media_type}
        path = f"{SERVICE}/Stream"
        async with server.client.post(path, data=caller.encode(ask()), headers=headers) as response:
            first = await asyncio.wait_for(response.content.readany(), WAIT_S)
            seen.set()
            rest = await response.read()

    plain = [unarmour(piece) if caller.is_text else piece for piece in (first, rest)]
    assert [LlmEvent.FromString(data) for _, data in split(plain[0])] == [text("a")]
    assert [flags for flags, _ in split(plain[1])] == [0, 0x80 if caller.is_web else 2]


@pytest.mark.parametrize("reason", TABLE, ids=ErrorReason.Name)
async def test_every_error_says_what_it_says_over_grpc(reason: ErrorReason.ValueType) -> None:
    error = LlmError(reason, "100 % «no»\r\nnext", retry_after=1.5, partial=GREETING, field="model")
    info = ErrorInfo(reason=error.name, domain="loom-grpc", metadata={"field": "model", "request_id": "r-1"})
    retry = RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    async with shim(gateway=failing(error)) as server:
        for caller in UNARY:
            told = await caller.call(server.client, "Complete", ask(), x_request_id="r-1")
            assert (told.code, told.message, told.details) == (error.row.grpc, error.message, [info, retry])
            assert (told.messages, told.headers["retry-after"]) == ([], "2")
        for caller in STREAMS:
            told = await caller.call(server.client, "Stream", ask(), x_request_id="r-1")
            assert (told.code, told.message, told.details) == (error.row.grpc, error.message, [info, retry])
            assert events_of(caller, told) == [error_event(error)]
            assert told.trailing["loom-request-id"] == "r-1"


@pytest.mark.parametrize(
    ("reason", "http"),
    [
        (UNAUTHENTICATED, 401),
        (PERMISSION_DENIED, 403),
        (INVALID_REQUEST, 400),
        (MODEL_NOT_FOUND, 404),
        (PROVIDER_NOT_CONFIGURED, 400),
        (RATE_LIMITED, 429),
        (PROVIDER_AUTH_FAILED, 500),
        (PROVIDER_UNAVAILABLE, 503),
        (PROVIDER_TIMEOUT, 504),
        (LOOP_DETECTED, 409),
        (CONFLICT, 409),
    ],
)
async def test_connect_has_an_http_status_for_each_code(reason: ErrorReason.ValueType, http: int) -> None:
    async with shim(gateway=failing(LlmError(reason, "No."))) as server:
        told = await PROTO.call(server.client, "Complete", ask())

    assert told.http == http


@every_stream
async def test_a_stream_that_breaks_off_ends_with_the_error_and_what_had_arrived(caller: Caller) -> None:
    error = LlmError(PROVIDER_UNAVAILABLE, "Gone.", partial=GREETING)

    async def play(call: Call, send: Send) -> None:
        await send(text("Hello."))
        raise error

    async with shim(gateway=Script(play)) as server:
        told = await caller.call(server.client, "Stream", ask())

    assert events_of(caller, told) == [text("Hello."), error_event(error)]
    assert (told.code, told.message, told.info.reason) == (code_pb2.UNAVAILABLE, "Gone.", "PROVIDER_UNAVAILABLE")


async def test_a_mistake_of_the_server_is_an_internal_error() -> None:
    async def play(call: Call, send: Send) -> None:
        raise KeyError("secret")

    async with shim(gateway=Script(play)) as server:
        for method, caller in EVERY:
            told = await caller.call(server.client, method, ask())
            assert (told.code, told.info.reason) == (code_pb2.INTERNAL, "INTERNAL")
            assert told.message == "The server failed; its log has the details under the request id."


async def test_a_caller_without_a_key_is_refused(tmp_path: Path) -> None:
    ann = await let_in(tmp_path)
    async with shim(configuration(**ann.settings), environ=ann.environ) as server:
        for method, caller in EVERY:
            told = await caller.call(server.client, method, ask())
            assert (told.code, told.info.reason) == (code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED")
            assert told.http == (401 if caller.is_bare else 200)
            right = await caller.call(server.client, method, ask(), authorization=ann.authorization)
            assert right.code == code_pb2.OK
        wrong = await WEB.call(server.client, "Stream", ask(), authorization="Bearer lt-no")

    assert (wrong.code, wrong.info.reason) == (code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED")


@every_one
async def test_a_caller_who_goes_away_cancels_the_call(method: str, caller: Caller) -> None:
    async def play(call: Call, send: Send) -> None:
        if call.stream:
            await send(text("a"))
        await asyncio.Event().wait()

    script = Script(play)
    async with shim(gateway=script) as server:
        data = request(f"{SERVICE}/{method}", caller.encode(ask())).replace(
            b"application/json", caller.media_type.encode()
        )
        _, writer = await server.connect(data)
        await asyncio.wait_for(script.asked.wait(), WAIT_S)
        writer.transport.abort()
        await asyncio.wait_for(script.cancelled.wait(), WAIT_S)

    ((_, error, cancelled),) = script.concluded
    assert (error, cancelled) == (None, True)


@pytest.mark.parametrize(
    ("caller", "header", "value", "seconds"),
    [
        (PROTO, "connect_timeout_ms", "1500", 1.5),
        (Caller("application/json"), "connect_timeout_ms", "9999999999", 9999999.999),
        (WEB, "grpc_timeout", "2S", 2.0),
        (WEB, "grpc_timeout", "1500m", 1.5),
        (WEB, "grpc_timeout", "3M", 180.0),
        (WEB, "grpc_timeout", "1H", 3600.0),
        (WEB, "grpc_timeout", "99999999u", 99.999999),
        (WEB, "grpc_timeout", "99999999n", 0.099999999),
    ],
)
async def test_a_deadline_goes_with_the_call(caller: Caller, header: str, value: str, seconds: float) -> None:
    left: list[float] = []

    async def play(call: Call, send: Send) -> None:
        left.append(call.deadline - asyncio.get_running_loop().time())
        await send(DONE)

    async with shim(gateway=Script(play)) as server:
        told = await caller.call(server.client, "Complete", ask(), **{header: value})

    assert told.code == code_pb2.OK
    assert left == [pytest.approx(seconds, abs=0.5)]


@pytest.mark.parametrize("after_ms", ["0", "200"])
async def test_a_deadline_ends_a_call(after_ms: str) -> None:
    asked = ask(model="mock/mock-slow")
    async with shim() as server:

        async def call(method: str, caller: Caller) -> Told:
            headers = {"grpc_timeout": f"{after_ms}m"} if caller.is_web else {"connect_timeout_ms": after_ms}
            return await caller.call(server.client, method, asked, **headers)

        every = await asyncio.gather(*(call(method, caller) for method, caller in EVERY))

    for told in every:
        assert (told.code, told.info.reason) == (code_pb2.DEADLINE_EXCEEDED, "PROVIDER_TIMEOUT")


async def test_a_deadline_ends_a_list_too() -> None:
    class Slow(Script):
        async def list_models(self, call: Call, provider: str = "") -> list[Model]:
            return await asyncio.Future()

    async with shim(gateway=Slow(plays().play)) as server:
        told = await PROTO.call(server.client, "ListModels", ListModelsRequest(), connect_timeout_ms="100")

    assert (told.code, told.info.reason) == (code_pb2.DEADLINE_EXCEEDED, "PROVIDER_TIMEOUT")


async def test_a_page_that_is_none_is_refused_by_its_field() -> None:
    async with shim(gateway=plays()) as server:
        told = await WEB.call(server.client, "ListModels", ListModelsRequest(page_token="x"))

    assert (told.code, told.info.metadata["field"]) == (code_pb2.INVALID_ARGUMENT, "page_token")


@pytest.mark.parametrize("value", ["-1", "1.5", "10S0", "99999999999", "1x", "soon", "S"])
@pytest.mark.parametrize("caller", [PROTO, WEB], ids=repr)
async def test_a_deadline_that_is_none_is_refused(caller: Caller, value: str) -> None:
    header = "grpc-timeout" if caller.is_web else "connect-timeout-ms"
    async with shim(gateway=plays(DONE)) as server:
        told = await caller.call(server.client, "Complete", ask(), **{header: value})

    assert (told.code, told.info.reason) == (code_pb2.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert told.message.startswith(f"{header}: must be ")


async def test_metadata_goes_with_the_call() -> None:
    script = plays(DONE)
    sent = {
        "loom_events": "restarted",
        "loom_cache": "no-store",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "authorization": "Bearer k",
    }
    async with shim(gateway=script) as server:
        await STREAM.call(server.client, "Stream", ask(), **sent)

    (call,) = script.calls
    assert call.metadata == {name.replace("_", "-"): value for name, value in sent.items()}
    assert (call.wants_restarts, call.stream, call.api) == (True, True, f"{SERVICE}/Stream")
    assert call.request == ask()


async def test_limits_are_told_before_and_after() -> None:
    config = configuration(limits={"address": {"requests_per_minute": 1}})
    async with shim(config) as server:
        first = await STREAM.call(server.client, "Stream", ask())
        second = await PROTO.call(server.client, "Complete", ask())
        third = await WEB.call(server.client, "Stream", ask())

    for told in (first.headers["loom-ratelimit"], first.trailing["loom-ratelimit"], second.trailing["loom-ratelimit"]):
        assert told.startswith("requests;limit=1;remaining=0;reset=")
    assert (first.code, second.code, third.code) == (0, code_pb2.RESOURCE_EXHAUSTED, code_pb2.RESOURCE_EXHAUSTED)
    assert (second.info.reason, second.http, int(second.headers["retry-after"]) > 0) == ("RATE_LIMITED", 429, True)
    assert "loom-ratelimit" in third.trailing


async def test_a_server_that_drains_tells_callers_to_come_again() -> None:
    async def play(call: Call, send: Send) -> None:
        await asyncio.Event().wait()

    script = Script(play)
    async with shim(gateway=script) as server:
        asking = asyncio.create_task(WEB.call(server.client, "Stream", ask()))
        await asyncio.wait_for(script.asked.wait(), WAIT_S)
        await server.edge.drain(0)
        told = await asking

    assert (told.code, told.info.reason) == (code_pb2.UNAVAILABLE, "DRAINING")


async def test_a_call_is_recorded_as_one_by_http() -> None:
    config = configuration(log={"level": "info"})
    async with shim(config) as server:
        await WEB.call(server.client, "Stream", ask(), x_request_id="r-1")

    assert (
        b'"event":"call","request_id":"r-1","provider":"mock","model":"mock-echo","edge":"http"'
        in server.log.getvalue()
    )


@pytest.mark.parametrize(
    "model", ["mock-echo", "mock-think", "mock-quota", "mock-context", "mock-cut", "mock-malformed"]
)
async def test_browsers_are_told_what_callers_of_grpc_are_told(live_server: Server, model: str) -> None:
    asked, metadata = ask("Say it.", f"mock/{model}"), (("x-request-id", "r-1"),)
    events: list[LlmEvent] = []
    async with grpc.aio.insecure_channel(live_server.grpc_address) as channel:
        stream: Any = LlmServiceStub(channel).Stream(asked, metadata=metadata)
        with contextlib.suppress(grpc.aio.AioRpcError):  # what it says is looked at below
            async for event in stream:
                events.append(plain(event))  # noqa: PERF401 - what came before the error counts
        code, message = (await stream.code()).value[0], await stream.details()
        trailing = dict(await stream.trailing_metadata())
    details: list[Message] = unpacked(Status.FromString(trailing.pop("grpc-status-details-bin", b"")))

    async with aiohttp.ClientSession(live_server.http_url) as client:
        every = await asyncio.gather(*(caller.call(client, "Stream", asked, x_request_id="r-1") for caller in STREAMS))
        for caller, told in zip(STREAMS, every, strict=True):
            assert [plain(event) for event in events_of(caller, told)] == events
            assert (told.code, told.message, told.details) == (code, message or "", details)
            assert told.trailing.keys() == trailing.keys()


def plain(event: LlmEvent) -> LlmEvent:
    """Takes away what the mock provider counts up."""
    copy = LlmEvent()
    copy.CopyFrom(event)
    if copy.HasField("started"):
        copy.started.ClearField("id")
    if copy.HasField("completed"):
        copy.completed.response.ClearField("id")
    if copy.HasField("error"):
        copy.error.partial.ClearField("id")
    return copy


async def test_a_shim_before_another_server_passes_the_calls_on(live_server: Server) -> None:
    async with LoomClient(live_server.grpc_address) as loom, shim(gateway=RemoteGateway(loom)) as server:
        whole = await PROTO.call(server.client, "Complete", ask("hé"))
        stream = await WEB.call(server.client, "Stream", ask("hé"))
        failed = await STREAM.call(server.client, "Stream", ask(model="mock/mock-context"))

    assert answer_of(PROTO, whole).message.content == "hé"
    assert events_of(WEB, stream)[-1].completed.response.message.content == "hé"
    assert (failed.code, failed.info.reason) == (code_pb2.INVALID_ARGUMENT, "CONTEXT_TOO_LONG")


async def test_pages_of_other_origins_are_refused_unless_the_configuration_names_them() -> None:
    page = {"origin": "https://app.example.org"}
    asks = page | {
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization,connect-protocol-version,content-type",
    }
    named = configuration({"cors": {"allow_origins": ["https://app.example.org"]}})
    async with shim() as closed, shim(named) as open_:
        refused = await closed.get(f"{SERVICE}/Stream", "OPTIONS", **asks)
        silent = await PROTO.call(closed.client, "Complete", ask(), **page)
        allowed = await open_.get(f"{SERVICE}/Stream", "OPTIONS", **asks)
        told = await PROTO.call(open_.client, "Complete", ask(), **page)
        stranger = await open_.get(f"{SERVICE}/Stream", "OPTIONS", **(asks | {"origin": "https://evil.example.org"}))

    assert (refused.status, stranger.status, allowed.status) == (405, 400, 200)
    for headers in (refused.headers, silent.headers, stranger.headers):
        assert "access-control-allow-origin" not in headers
    assert allowed.headers["access-control-allow-headers"] == asks["access_control_request_headers"]
    assert told.headers["access-control-allow-origin"] == "https://app.example.org"
    exposed = told.headers["access-control-expose-headers"].split(", ")
    assert {name for name in told.headers if name.startswith(("trailer-", "loom-"))} <= set(exposed)


async def test_only_posts_are_calls() -> None:
    async with shim() as server:
        answer = await server.get(f"{SERVICE}/Complete?connect=v1&encoding=json&message=%7B%7D")

    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_text_may_come_in_pieces_that_are_padded_each() -> None:
    caller = Caller("application/grpc-web-text")
    data = ask("hé").SerializeToString()
    frame = struct.pack(">BI", 0, len(data)) + data
    body = base64.b64encode(frame[:4]) + base64.b64encode(frame[4:11]) + base64.b64encode(frame[11:])
    async with shim() as server:
        told = await caller.post(server.client, "Complete", body)

    assert answer_of(caller, told).message.content == "hé"
