"""LlmService over a real channel, in front of a scripted provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from loom_grpc.app import App
from loom_grpc.client import LlmError, LoomClient
from loom_grpc.server.edge import GrpcEdge
from loom_grpc.v1.error_pb2 import ERROR_REASON_PROVIDER_BAD_RESPONSE
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_STOP,
    ListModelsRequest,
    LlmEvent,
    LlmRequest,
    LlmResponse,
)
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_USER, Message
from loom_grpc.v1.usage_pb2 import Usage
from tests.loop import quickest
from tests.program import served
from tests.server.serving import COMPLETION, HI, LAST, chunk, configuration, serving
from tests.stand_in import Connection, answer, json_answer, stand_in, stream_answer
from tests.telemetry.lines import Log, telemetry

CLOSE_S = 0.05
"""How soon a cancelled call must have closed the provider's connection."""
DEADLINE_S = 0.5
"""A caller's deadline, until which a call gets to the provider on a busy machine too."""


def details(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, float | None]:
    """Reads ErrorInfo and the seconds of RetryInfo from an error's trailing metadata."""
    found = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert isinstance(found, bytes)
    status = status_pb2.Status.FromString(found)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    wait = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            wait = retry.retry_delay.ToMilliseconds() / 1000
    return info, wait


async def failed_stream(call: AsyncIterable[LlmEvent]) -> tuple[list[LlmEvent], grpc.aio.AioRpcError]:
    """Reads a stream that fails: its events, and the error that ends it."""
    events: list[LlmEvent] = []
    try:
        async for event in call:
            events.append(event)  # noqa: PERF401 - what came before the error counts
    except grpc.aio.AioRpcError as error:
        return events, error
    raise AssertionError("the stream did not fail")


async def silent(connection: Connection) -> None:
    """Never answers."""
    await connection.closed.wait()


async def test_complete_gives_the_whole_answer_and_asks_with_the_servers_key() -> None:
    async with stand_in(json_answer(COMPLETION)) as upstream, serving(configuration(upstream.url)) as server:
        response = await server.stub.Complete(HI)

    usage = Usage(input_tokens=8, output_tokens=2, provider_usage_json=response.usage.provider_usage_json)
    assert response == LlmResponse(
        message=Message(role=ROLE_ASSISTANT, content="Hello."),
        usage=usage,
        finish_reason="stop",
        stop_reason=STOP_REASON_STOP,
        id="chatcmpl-1",
        provider="openai",
        model="gpt-4o-2024-08-06",
    )
    assert upstream.asked[0].headers["authorization"] == "Bearer sk-test"
    assert upstream.asked[0].json == {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def test_stream_gives_started_then_deltas_then_completed() -> None:
    async with (
        stand_in(stream_answer(chunk("Hel"), chunk("lo."), LAST)) as upstream,
        serving(configuration(upstream.url)) as server,
    ):
        events = [event async for event in server.stub.Stream(HI)]

    kinds = [event.WhichOneof("event") for event in events]
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == ("started", {"text_delta"}, "completed")
    assert "".join(event.text_delta.content for event in events) == "Hello."
    assert events[-1].completed.response.message.content == "Hello."
    assert upstream.asked[0].json["stream_options"] == {"include_usage": True}


async def test_trailing_metadata_tells_who_answered_and_what_it_took() -> None:
    async with stand_in(json_answer(COMPLETION)) as upstream, serving(configuration(upstream.url)) as server:
        call = server.stub.Complete(HI, metadata=(("x-request-id", "my-id"),))
        await call
        trailing = dict(await call.trailing_metadata())

    assert float(trailing.pop("loom-overhead-ms")) < 1000
    assert trailing == {
        "loom-request-id": "my-id",
        "loom-provider": "openai",
        "loom-model": "gpt-4o",
        "loom-attempts": "1",
    }


async def test_cancelling_a_unary_call_closes_the_providers_connection_at_once() -> None:
    async def cancel() -> float:
        async with stand_in(silent) as upstream, serving(configuration(upstream.url)) as server:
            call = server.stub.Complete(HI)
            await asyncio.gather(upstream.arrived.wait(), return_exceptions=True)
            began = time.perf_counter()
            call.cancel()
            await upstream.connections[0].closed.wait()
            return time.perf_counter() - began

    assert await quickest(cancel) < CLOSE_S


async def test_cancelling_a_stream_closes_the_providers_connection_at_once() -> None:
    async def endless(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        await connection.closed.wait()

    async def cancel() -> float:
        async with stand_in(endless) as upstream, serving(configuration(upstream.url)) as server:
            call = server.stub.Stream(HI)
            assert (await anext(aiter(call))).HasField("started")
            began = time.perf_counter()
            call.cancel()
            await upstream.connections[0].closed.wait()
            return time.perf_counter() - began

    assert await quickest(cancel) < CLOSE_S


async def test_the_deadline_of_a_unary_call_ends_it_at_the_provider_too() -> None:
    async with stand_in(silent) as upstream, serving(configuration(upstream.url)) as server:
        began = time.perf_counter()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(HI, timeout=DEADLINE_S)
        await upstream.connections[0].closed.wait()

    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert DEADLINE_S - 0.05 < time.perf_counter() - began < DEADLINE_S + 10 * CLOSE_S


async def test_the_deadline_of_a_stream_ends_it_at_the_provider_too() -> None:
    async with stand_in(silent) as upstream, serving(configuration(upstream.url)) as server:
        began = time.perf_counter()
        _, failure = await failed_stream(server.stub.Stream(HI, timeout=DEADLINE_S))
        await upstream.connections[0].closed.wait()

    assert failure.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert DEADLINE_S - 0.05 < time.perf_counter() - began < DEADLINE_S + 10 * CLOSE_S


async def test_deadlines_that_pass_for_caller_and_server_at_once_are_no_error_in_the_log(tmp_path: Path) -> None:
    flags = ("--grpc-address", "127.0.0.1:0", "--no-http")
    with served("serve", *flags, cwd=tmp_path) as server:
        async with LoomClient(server.grpc_address) as client:
            names = [name for _ in range(5) for name in await asyncio.gather(*(late(client, n) for n in range(400)))]
        code = server.stop()
        server.log.seek(0)
        errors = [line for line in server.log if '"level":"error"' in line]

    assert (set(names), code, errors) == ({"PROVIDER_TIMEOUT"}, 0, [])


async def late(client: LoomClient, number: int) -> str:
    """Makes a call that takes longer than its deadline, and returns how it fails."""
    try:
        await client.complete("Hi", model="mock-slow", timeout_s=0.05 + number / 10_000)
    except LlmError as failure:
        return failure.name
    return ""


async def test_a_stream_that_is_cut_ends_in_an_error_with_what_came_before_it() -> None:
    async def cut(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        await asyncio.sleep(0)
        connection.cut()

    async with stand_in(cut) as upstream, serving(configuration(upstream.url)) as server:
        events, failure = await failed_stream(server.stub.Stream(HI))

    assert failure.code() == grpc.StatusCode.UNAVAILABLE
    assert [event.WhichOneof("event") for event in events][-1] == "error"
    assert events[-1].error.partial.message.content == "Hel"
    assert len(upstream.asked) == 1


async def test_a_stream_that_ends_early_is_no_success() -> None:
    async with stand_in(stream_answer(chunk("Hel"))) as upstream, serving(configuration(upstream.url)) as server:
        events, failure = await failed_stream(server.stub.Stream(HI))

    assert failure.code() == grpc.StatusCode.INTERNAL
    assert events[-1].error.reason == ERROR_REASON_PROVIDER_BAD_RESPONSE
    assert events[-1].error.message == "The provider's answer ended before it was complete."


async def test_a_stream_without_its_marker_is_complete_after_the_finish_reason() -> None:
    body = chunk("Hello.") + LAST.removesuffix("data: [DONE]\n\n")
    async with stand_in(stream_answer(body)) as upstream, serving(configuration(upstream.url)) as server:
        events = [event async for event in server.stub.Stream(HI)]

    assert events[-1].completed.response.finish_reason == "stop"


async def test_a_stalled_stream_ends_in_an_error_after_the_idle_time() -> None:
    async def stall(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        await connection.closed.wait()

    config = {"timeouts": {"idle_s": 0.1}}
    async with stand_in(stall) as upstream, serving(configuration(upstream.url, **config)) as server:
        _, failure = await failed_stream(server.stub.Stream(HI))
        await upstream.connections[0].closed.wait()

    assert failure.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert failure.details() == "The provider sent nothing for 0.1 s."


REFUSALS = [
    (400, "INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT, 1),
    (401, "PROVIDER_AUTH_FAILED", grpc.StatusCode.INTERNAL, 1),
    (402, "PROVIDER_QUOTA_EXCEEDED", grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
    (404, "MODEL_NOT_FOUND", grpc.StatusCode.NOT_FOUND, 1),
    (408, "PROVIDER_TIMEOUT", grpc.StatusCode.DEADLINE_EXCEEDED, 3),
    (429, "PROVIDER_RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED, 3),
    (500, "PROVIDER_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE, 3),
    (529, "PROVIDER_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE, 3),
]
"""What a provider answers, what it means, and how often it is asked."""


@pytest.mark.parametrize(("status", "reason", "code", "attempts"), REFUSALS)
async def test_a_refusal_is_told_by_reason_and_asked_again_only_where_that_helps(
    status: int, reason: str, code: grpc.StatusCode, attempts: int
) -> None:
    body = {"error": {"message": "Key sk-verysecretkey123 is not yours.", "type": "x", "code": None}}
    async with stand_in(json_answer(body, status=status)) as upstream, serving(configuration(upstream.url)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(HI)

    info, _ = details(failure.value)
    assert (failure.value.code(), info.reason, info.domain) == (code, reason, "loom-grpc")
    assert info.metadata["provider_status"] == str(status)
    assert dict(failure.value.trailing_metadata())["loom-attempts"] == str(attempts)
    assert len(upstream.asked) == attempts
    assert "verysecret" not in repr(failure.value)


async def test_an_error_in_any_script_fits_into_the_metadata_that_a_client_takes() -> None:
    words = {"error": {"message": "\N{GRINNING FACE}" * 600, "type": "invalid_request_error"}}
    limits = [("grpc.max_metadata_size", 8192), ("grpc.absolute_max_metadata_size", 8192)]
    async with (
        stand_in(json_answer(words, status=400)) as upstream,
        serving(configuration(upstream.url)) as server,
        grpc.aio.insecure_channel(f"localhost:{server.port}", options=limits) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await type(server.stub)(channel).Complete(HI)

    message = failure.value.details() or ""
    assert (failure.value.code(), message[-2:]) == (grpc.StatusCode.INVALID_ARGUMENT, "\N{GRINNING FACE}…")


async def test_rich_errors_are_what_grpc_status_reads() -> None:
    refuse = json_answer({"error": {"message": "no"}}, status=429, retry_after="40")
    async with stand_in(refuse) as upstream, serving(configuration(upstream.url)) as server:
        call = server.stub.Complete(HI)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call
    status = await rpc_status.aio.from_call(call)

    assert status is not None
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert details(failure.value)[1] == 40.0
    assert len(upstream.asked) == 1, "a wait beyond the retry budget is the caller's to make"


async def test_a_passing_failure_is_asked_again_before_the_first_event() -> None:
    refuse = json_answer({"error": {"message": "busy"}}, status=503)
    async with (
        stand_in(refuse, refuse, json_answer(COMPLETION)) as upstream,
        serving(configuration(upstream.url)) as server,
    ):
        call = server.stub.Complete(HI)
        response = await call

        assert response.message.content == "Hello."
        assert dict(await call.trailing_metadata())["loom-attempts"] == "3"


async def test_an_answer_of_the_other_kind_is_read_all_the_same() -> None:
    async with (
        stand_in(stream_answer(chunk("Hello."), LAST)) as upstream,
        serving(configuration(upstream.url)) as server,
    ):
        assert (await server.stub.Complete(HI)).message.content == "Hello."
        upstream.play(json_answer(COMPLETION))
        events = [event async for event in server.stub.Stream(HI)]

    assert [event.WhichOneof("event") for event in events] == ["started", "text_delta", "completed"]


async def test_a_web_page_in_place_of_an_answer_is_a_bad_response() -> None:
    page = answer("<html>welcome</html>", content_type="text/html")
    async with stand_in(page) as upstream, serving(configuration(upstream.url)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(HI)

    assert details(failure.value)[0].reason == "PROVIDER_BAD_RESPONSE"
    assert "welcome" not in str(failure.value.details())


async def test_a_provider_that_is_not_there_is_unavailable() -> None:
    async with serving(configuration("http://127.0.0.1:9")) as server:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(HI)

    assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
    assert failure.value.details() == "The provider cannot be reached."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xff\xff", "The request is not a loom_grpc.v1.LlmRequest message."),
        (b'{"model": "json"}', "The request is not a loom_grpc.v1.LlmRequest message."),
        (
            b"\x0a\x04mock" + b"\x1a\x04" + b"\x08\x02\x12\x00" + b"\x1a\x05" + b"\x08\x02\x12\x01\xff",
            "messages[1].content: is not valid UTF-8.",
        ),
    ],
)
async def test_bytes_that_are_no_request_are_refused_by_name(data: bytes, words: str) -> None:
    async with serving(configuration()) as server:
        method: Any = server.channel.unary_unary("/loom_grpc.v1.LlmService/Complete")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await method(data)

    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.value.details() == words


async def test_a_message_over_the_limit_is_refused_and_the_next_one_is_served() -> None:
    large = LlmRequest(provider="mock", messages=[Message(role=ROLE_USER, content="x" * 20_000_000)])
    small = LlmRequest(provider="mock", model="mock-echo", messages=[Message(role=ROLE_USER, content="x")])
    async with serving(configuration()) as server:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(large)

        assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "this server takes 16777216 (grpc.max_message_bytes)" in str(failure.value.details())
        assert (await server.stub.Complete(small)).message.content == "x"


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (LlmRequest(), grpc.StatusCode.INVALID_ARGUMENT, "messages: "),
        (LlmRequest(provider="nobody", messages=HI.messages), grpc.StatusCode.INVALID_ARGUMENT, "provider: "),
        (
            LlmRequest(provider="zai", messages=HI.messages),
            grpc.StatusCode.FAILED_PRECONDITION,
            "Z.ai provider is not configured",
        ),
        (LlmRequest(model="no-such-model", messages=HI.messages), grpc.StatusCode.NOT_FOUND, "model: "),
        (
            LlmRequest(provider="mock", temperature=float("nan"), messages=HI.messages),
            grpc.StatusCode.INVALID_ARGUMENT,
            "temperature: ",
        ),
        (
            LlmRequest(provider="mock", max_tokens=-1, messages=HI.messages),
            grpc.StatusCode.INVALID_ARGUMENT,
            "max_tokens: ",
        ),
    ],
)
async def test_a_wrong_request_is_refused_with_the_field_in_the_message(
    request_: LlmRequest, code: grpc.StatusCode, words: str
) -> None:
    async with serving(configuration()) as server:
        for call in (server.stub.Complete(request_), server.stub.CountTokens(request_)):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call
            assert failure.value.code() == code
            assert words in str(failure.value.details())


async def test_models_come_in_pages_and_from_the_provider_itself() -> None:
    listed = {"data": [{"id": "gpt-4o"}, {"id": "gpt-5"}]}
    async with stand_in(json_answer(listed)) as upstream, serving(configuration(upstream.url)) as server:
        first = await server.stub.ListModels(ListModelsRequest(provider="openai", page_size=1))
        second = await server.stub.ListModels(
            ListModelsRequest(provider="openai", page_size=1, page_token=first.next_page_token)
        )

    assert [(model.id, model.is_default) for model in first.models] == [("gpt-4o", True)]
    assert [(model.id, model.is_default) for model in second.models] == [("gpt-5", False)]
    assert second.next_page_token == ""
    assert [asked.path for asked in upstream.asked] == ["/models"]


async def test_a_model_that_only_one_provider_lists_needs_no_provider() -> None:
    listed = {"data": [{"id": "gpt-5"}]}
    async with (
        stand_in(json_answer(listed), json_answer(COMPLETION)) as upstream,
        serving(configuration(upstream.url)) as server,
    ):
        response = await server.stub.Complete(LlmRequest(model="gpt-5", messages=HI.messages))

    assert response.provider == "openai"
    assert upstream.asked[1].json["model"] == "gpt-5"


async def test_a_count_is_marked_as_an_estimate_where_the_provider_cannot_count() -> None:
    async with serving(configuration()) as server:
        counted = await server.stub.CountTokens(HI)

    assert (counted.input_tokens, counted.estimated, counted.provider) == (5, True, "openai")


async def test_callers_who_are_slow_and_hang_up_are_cancelled_and_no_crash() -> None:
    log, callers = Log(), 20
    told = telemetry(log)
    async with stand_in(stream_answer(*[chunk("x" * 4000)] * 20_000, LAST)) as upstream:
        config = configuration(upstream.url)
        async with App(config, {}, told) as app:
            edge = GrpcEdge(config.grpc, app, told, shared_port=False)
            async with grpc.aio.insecure_channel(f"localhost:{await edge.start()}") as channel, asyncio.timeout(20):
                calls = [LlmServiceStub(channel).Stream(HI) for _ in range(callers)]
                await asyncio.gather(*(call.read() for call in calls))
                while any(one.writable.is_set() for one in upstream.connections):  # noqa: ASYNC110 - they wait for the callers
                    await asyncio.sleep(0.01)
                for call in calls:
                    call.cancel()
                await asyncio.gather(*(one.closed.wait() for one in upstream.connections))
            await edge.drain(1)

    assert [(line["event"], line["reason"]) for line in log.lines()] == [("call", "CANCELLED")] * callers
