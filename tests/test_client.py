"""The client against a real gRPC server on a real socket whose answers the tests write."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import trustme
from google.rpc import error_details_pb2

import loom_grpc
import loom_grpc.client
from loom_grpc.client import (
    LlmError,
    LlmEvent,
    LlmRequest,
    LoomClient,
    Message,
    Model,
    Part,
    ToolCall,
    ToolDefinition,
    assistant,
    document,
    image,
    system,
    tool,
    tool_result,
    user,
)
from loom_grpc.core import errors
from loom_grpc.v1.llm_service_pb2 import CountTokensResponse, Error, ListModelsRequest, ListModelsResponse
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_TOOL, ROLE_USER, Media
from tests.scripted import (
    ANSWER,
    COMPLETED,
    STARTED,
    WAIT_S,
    Context,
    Script,
    aborts,
    answers,
    info,
    plays,
    serving,
    stays,
    text,
)


@pytest.fixture
async def server() -> AsyncIterator[Script]:
    async with serving() as script:
        yield script


@pytest.fixture
async def client(server: Script) -> AsyncIterator[LoomClient]:
    async with LoomClient(server.target) as client:
        yield client


async def events_of(client: LoomClient) -> tuple[list[LlmEvent], LlmError | None]:
    events: list[LlmEvent] = []
    try:
        async for event in client.stream("hi"):
            events.append(event)  # noqa: PERF401 # what came before an error counts too
    except LlmError as error:
        return events, error
    return events, None


def facts(error: LlmError | None) -> tuple[str, str, float | None, dict[str, str]]:
    assert error is not None
    return error.name, error.message, error.retry_after, error.metadata


# Requests


async def test_a_prompt_becomes_the_last_user_message(client: LoomClient, server: Script) -> None:
    server.play = answers(ANSWER)

    answer = await client.complete(
        "And now?", provider="mock", model="m", system="Be brief.", messages=[user("Hi"), assistant("Hello")]
    )

    assert answer == ANSWER
    assert server.requests == [
        LlmRequest(
            provider="mock",
            model="m",
            messages=[
                Message(role=ROLE_SYSTEM, content="Be brief."),
                Message(role=ROLE_USER, content="Hi"),
                Message(role=ROLE_ASSISTANT, content="Hello"),
                Message(role=ROLE_USER, content="And now?"),
            ],
        )
    ]


async def test_fields_go_out_as_given(client: LoomClient, server: Script) -> None:
    server.play = plays(STARTED, COMPLETED)

    async for _ in client.stream("Hi", max_tokens=5, temperature=0, stop=["x"], labels={"team": "a"}):
        pass

    assert server.requests == [
        LlmRequest(messages=[user("Hi")], max_tokens=5, temperature=0, stop=["x"], labels={"team": "a"})
    ]


async def test_a_request_goes_out_as_it_is(client: LoomClient, server: Script) -> None:
    server.play = answers(CountTokensResponse(input_tokens=3))
    request = LlmRequest(model="m", messages=[user("Hi")])

    counted = await client.count_tokens(request)

    assert counted == CountTokensResponse(input_tokens=3)
    assert server.requests == [request]


async def test_a_request_and_fields_together_are_refused(client: LoomClient) -> None:
    with pytest.raises(TypeError, match=r"give an LlmRequest or its fields, not both: model$"):
        await client.complete(LlmRequest(), model="m")


async def test_all_pages_of_models_are_read(client: LoomClient, server: Script) -> None:
    pages = {
        "": ListModelsResponse(models=[Model(id="a"), Model(id="b")], next_page_token="2"),
        "2": ListModelsResponse(models=[Model(id="c")]),
    }

    async def play(request: ListModelsRequest, context: Context) -> ListModelsResponse:
        return pages[request.page_token]

    server.play = play

    models = await client.list_models("mock")

    assert models == [Model(id="a"), Model(id="b"), Model(id="c")]
    assert [request.provider for request in server.requests] == ["mock", "mock"]


def test_messages_have_short_forms() -> None:
    call = ToolCall(id="call_1", tool_name="weather")
    png = Part(image=Media(data=b"\x89PNG", media_type="image/png"))

    assert system("Be brief.") == Message(role=ROLE_SYSTEM, content="Be brief.")
    assert user("Look:", image(b"\x89PNG", "image/png")) == Message(role=ROLE_USER, parts=[Part(text="Look:"), png])
    assert image("https://example.com/a.png") == Part(image=Media(url="https://example.com/a.png"))
    assert document(b"%PDF", "application/pdf", name="a.pdf") == Part(
        document=Media(data=b"%PDF", media_type="application/pdf", name="a.pdf")
    )
    assert tool_result(call, "3 °C") == Message(role=ROLE_TOOL, content="3 °C", tool_call_id="call_1", name="weather")
    assert tool_result(call, "no such city", is_error=True).is_error
    assert tool("weather", "Looks up weather", {"type": "object"}) == ToolDefinition(
        name="weather", description="Looks up weather", input_schema_json='{"type": "object"}'
    )
    assert tool("t", "", '{"type":"object"}').input_schema_json == '{"type":"object"}'


# Metadata and time


async def test_key_and_metadata_go_with_every_call(server: Script) -> None:
    server.play = answers(ANSWER)

    async with LoomClient(server.target, api_key="k-1", metadata={"X-Team": "a"}, timeout_s=60) as client:
        await client.complete("Hi", metadata={"x-request-id": "r-1"})

    assert server.metadata["authorization"] == "Bearer k-1"
    assert server.metadata["x-team"] == "a"
    assert server.metadata["x-request-id"] == "r-1"
    assert str(server.metadata["user-agent"]).startswith(f"loom-grpc-python/{loom_grpc.__version__} ")
    assert server.time_remaining is not None
    assert 50 < server.time_remaining < 61


async def test_a_calls_own_time_limit_wins(server: Script) -> None:
    server.play = plays(COMPLETED)

    async with LoomClient(server.target, timeout_s=60) as client, client.stream("Hi", timeout_s=20) as stream:
        async for _ in stream:
            pass

    assert server.time_remaining is not None
    assert 10 < server.time_remaining < 21


@pytest.mark.parametrize("key", ["", "k\n", "k 1", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match=r"^api_key: must be printable ASCII without spaces or line breaks$"):
        LoomClient(api_key=key)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"x y": "a"}, "metadata: 'x y' is not a name for text"),
        ({"x-bin": "a"}, "metadata: 'x-bin' is not a name for text"),
        ({"": "a"}, "metadata: '' is not a name for text"),
        ({"x": "ü"}, "metadata: the value of x must be printable ASCII"),
        ({"x": "a\n"}, "metadata: the value of x must be printable ASCII"),
    ],
)
async def test_metadata_that_cannot_be_sent_is_refused(
    client: LoomClient, metadata: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        await client.complete("Hi", metadata=metadata)


def test_the_key_is_not_in_the_representation() -> None:
    assert repr(LoomClient("example.com:443", api_key="k-1")) == "LoomClient('example.com:443')"


# Streams


async def test_a_stream_hands_out_every_event_and_keeps_the_answer(client: LoomClient, server: Script) -> None:
    server.play = plays(STARTED, text("h"), text("i"), COMPLETED)

    async with client.stream("Hi") as stream:
        events = [event async for event in stream]

    assert events == [STARTED, text("h"), text("i"), COMPLETED]
    assert stream.response == ANSWER


async def test_a_finished_stream_waits_for_the_call_to_end_and_has_trailers(client: LoomClient, server: Script) -> None:
    release = asyncio.Event()

    async def play(request: Any, context: Context) -> None:
        await context.write(COMPLETED)
        await release.wait()
        context.set_trailing_metadata((("loom-request-id", "r-1"),))

    server.play = play

    async with client.stream("Hi") as stream:
        await anext(stream)
        ending = asyncio.ensure_future(anext(stream, None))
        for _ in range(3):
            await asyncio.sleep(0)
        waited = not ending.done()
        release.set()
        await ending

    assert waited
    assert await stream.trailers() == {"loom-request-id": "r-1"}
    assert not server.cancelled.is_set()


async def test_a_stream_that_ends_without_completed_fails(client: LoomClient, server: Script) -> None:
    server.play = plays(STARTED, text("h"))

    events, error = await events_of(client)

    assert events == [STARTED, text("h")]
    assert facts(error) == ("PROVIDER_BAD_RESPONSE", "The server's answer ended without being complete.", None, {})


async def test_an_error_event_is_raised_with_what_the_status_adds(client: LoomClient, server: Script) -> None:
    last = LlmEvent(error=Error(reason=errors.PROVIDER_UNAVAILABLE, message="It broke.", partial=ANSWER))
    server.play = aborts(
        grpc.StatusCode.UNAVAILABLE,
        "It broke.",
        info("PROVIDER_UNAVAILABLE", provider="mock", detail="x"),
        events=(STARTED, text("h"), last),
    )

    events, error = await events_of(client)

    assert events == [STARTED, text("h")]
    assert facts(error) == ("PROVIDER_UNAVAILABLE", "It broke.", None, {"provider": "mock", "detail": "x"})
    assert error is not None
    assert error.partial == ANSWER


async def test_an_error_event_counts_although_the_status_is_ok(client: LoomClient, server: Script) -> None:
    last = LlmEvent(error=Error(reason=errors.RATE_LIMITED, message="Too fast."))
    last.error.retry_after.FromMilliseconds(1500)
    server.play = plays(STARTED, last)

    events, error = await events_of(client)

    assert events == [STARTED]
    assert facts(error) == ("RATE_LIMITED", "Too fast.", 1.5, {})
    assert error is not None
    assert error.partial is None


async def test_a_reason_of_a_newer_server_is_an_internal_error(client: LoomClient, server: Script) -> None:
    event = Error(message="New.")
    event.MergeFromString(b"\x08\x63")  # reason 99
    server.play = plays(STARTED, LlmEvent(error=event))

    _, error = await events_of(client)

    assert facts(error) == ("INTERNAL", "New.", None, {})


async def test_iterating_after_the_end_ends_at_once(client: LoomClient, server: Script) -> None:
    server.play = plays(STARTED)
    stream = client.stream("Hi")
    with pytest.raises(LlmError):
        async for _ in stream:
            pass

    assert [event async for event in stream] == []


# Cancelling


async def test_breaking_out_of_the_loop_cancels_the_call(client: LoomClient, server: Script) -> None:
    server.play = stays

    async for event in client.stream("Hi"):
        if event.HasField("text_delta"):
            break

    await asyncio.wait_for(server.cancelled.wait(), WAIT_S)


async def test_leaving_the_block_cancels_the_call(client: LoomClient, server: Script) -> None:
    server.play = stays

    async with contextlib.aclosing(client.stream("Hi")) as stream:
        await anext(stream)

    await asyncio.wait_for(server.cancelled.wait(), WAIT_S)
    assert [event async for event in stream] == []


async def test_cancelling_from_elsewhere_ends_the_loop(client: LoomClient, server: Script) -> None:
    server.play = stays
    stream = client.stream("Hi")
    events = []

    async for event in stream:
        events.append(event)
        if event.HasField("text_delta"):
            asyncio.get_running_loop().call_soon(stream.cancel)

    assert events == [STARTED, text("hello")]
    await asyncio.wait_for(server.cancelled.wait(), WAIT_S)


async def test_cancelling_the_reading_task_cancels_the_call(client: LoomClient, server: Script) -> None:
    server.play = stays
    said = asyncio.Event()

    async def read() -> None:
        async for _ in client.stream("Hi"):
            said.set()

    task = asyncio.create_task(read())
    await said.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.cancelled.wait(), WAIT_S)


async def test_cancelling_a_waiting_task_cancels_the_unary_call(client: LoomClient, server: Script) -> None:
    begun = asyncio.Event()

    async def play(request: Any, context: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    server.play = play
    task = asyncio.create_task(client.complete("Hi"))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.cancelled.wait(), WAIT_S)


# Failures


async def test_a_status_with_details_becomes_the_error_that_it_tells_of(client: LoomClient, server: Script) -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(30_500)
    details = info("PROVIDER_RATE_LIMITED", provider="mock", message="m", retry_after="r")
    server.play = aborts(grpc.StatusCode.RESOURCE_EXHAUSTED, "Slow down.", details, retry)

    with pytest.raises(LlmError) as caught:
        await client.complete("Hi")

    metadata = {"provider": "mock", "message": "m", "retry_after": "r"}
    assert facts(caught.value) == ("PROVIDER_RATE_LIMITED", "Slow down.", 30.5, metadata)


async def test_every_reason_arrives(client: LoomClient, server: Script) -> None:
    arrived = []
    for reason in errors.TABLE:
        server.play = aborts(grpc.StatusCode.ABORTED, "No.", info(errors.reason_name(reason)))
        with pytest.raises(LlmError) as caught:
            await client.complete("Hi")
        arrived.append(caught.value.reason)

    assert arrived == list(errors.TABLE)


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (grpc.StatusCode.CANCELLED, "PROVIDER_UNAVAILABLE", "The server at {} cancelled the call (why)."),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "The server at {} refused the request (why)."),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "The server at {} refused the call (why)."),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", "The server at {} wants credentials (why)."),
        (grpc.StatusCode.UNIMPLEMENTED, "INTERNAL", "The server at {} does not have this method (why)."),
        (grpc.StatusCode.UNKNOWN, "INTERNAL", "The call to the server at {} failed (why)."),
    ],
)
async def test_a_status_of_something_else_is_named_for_what_it_is(
    client: LoomClient, server: Script, code: grpc.StatusCode, name: str, message: str
) -> None:
    server.play = aborts(code, "why", info("PROVIDER_TIMEOUT", domain="example.com"))

    with pytest.raises(LlmError) as caught:
        await client.complete("Hi")

    assert facts(caught.value) == (
        name,
        message.format(client.target),
        None,
        {"target": client.target, "grpc_code": code.name},
    )


async def test_details_that_cannot_be_read_do_not_hide_the_failure(client: LoomClient, server: Script) -> None:
    async def play(request: Any, context: Context) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "why", (("grpc-status-details-bin", b"\xff\xff"),))

    server.play = play

    with pytest.raises(LlmError, match=r"^The call to the server at 127\.0\.0\.1:\d+ failed \(why\)\.$"):
        await client.complete("Hi")


async def test_a_passed_time_limit_is_a_timeout(client: LoomClient, server: Script) -> None:
    async def play(request: Any, context: Context) -> None:
        await asyncio.Event().wait()

    server.play = play

    with pytest.raises(LlmError) as caught:
        await client.complete("Hi", timeout_s=0.05)

    assert facts(caught.value)[:2] == ("PROVIDER_TIMEOUT", "The answer did not come within the time limit.")


async def test_an_answer_over_the_limit_is_an_invalid_request(server: Script) -> None:
    server.play = answers(ANSWER)

    async with LoomClient(server.target, options={"grpc.max_receive_message_length": 4}) as client:
        with pytest.raises(
            LlmError, match=r"^A message or its metadata is too large \(.*larger than max.*\)\.$"
        ) as caught:
            await client.complete("Hi")

    assert caught.value.name == "INVALID_REQUEST"


async def test_metadata_over_the_limit_is_an_invalid_request(client: LoomClient) -> None:
    with pytest.raises(LlmError, match=r"^A message or its metadata is too large \(.*\)\.$") as caught:
        await client.complete("Hi", metadata={"x": "a" * 20_000})

    assert caught.value.name == "INVALID_REQUEST"


async def test_a_missing_server_is_named(unused_tcp_port: int) -> None:
    target = f"127.0.0.1:{unused_tcp_port}"
    async with LoomClient(target) as client:
        _, streamed = await events_of(client)
        with pytest.raises(LlmError) as caught:
            await client.list_models()

    for error in (streamed, caught.value):
        assert error is not None
        assert error.name == "PROVIDER_UNAVAILABLE"
        assert error.message.startswith(f"There is no connection to the server at {target} (")
        assert error.metadata == {"target": target, "grpc_code": "UNAVAILABLE"}


# TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


async def test_mutual_tls_by_credentials(authority: trustme.CA) -> None:
    ours, theirs = authority.issue_cert("localhost"), authority.issue_cert("caller")
    chain = b"".join(blob.bytes() for blob in ours.cert_chain_pems)
    root = authority.cert_pem.bytes()
    served = grpc.ssl_server_credentials([(ours.private_key_pem.bytes(), chain)], root, require_client_auth=True)
    shown = grpc.ssl_channel_credentials(root, theirs.private_key_pem.bytes(), theirs.cert_chain_pems[0].bytes())

    async with serving(served) as server:
        server.play = answers(ANSWER)
        async with LoomClient(server.target, tls=shown) as client, LoomClient(server.target, tls=True) as stranger:
            answer = await client.complete("Hi")
            with pytest.raises(LlmError, match="There is no connection to the server"):
                await stranger.complete("Hi")

    assert answer == ANSWER


# The package


def test_the_client_needs_none_of_the_servers_packages() -> None:
    code = "import sys, loom_grpc.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()  # noqa: S603

    servers = (
        "aiohttp opentelemetry orjson pydantic pydantic_settings rich starlette structlog typer uvicorn uvloop yaml"
    )
    assert not set(loaded) & set(servers.split())
    assert "grpc" in loaded


def test_everything_public_is_there() -> None:
    assert loom_grpc.client.__all__ == sorted(loom_grpc.client.__all__, key=_isort_key)
    assert all(hasattr(loom_grpc.client, name) for name in loom_grpc.client.__all__)


def _isort_key(name: str) -> tuple[int, str]:
    """Orders constants before classes before functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
