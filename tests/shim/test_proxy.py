"""Loom's endpoints over real sockets, before the mock provider, scripted providers and scripted gateways."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import PROVIDER_TIMEOUT, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.v1.llm_service_pb2 import LlmEvent, ThinkingDelta
from tests.frontends.test_loom_request import BODIES
from tests.loop import quickest
from tests.server.serving import COMPLETION, LAST, chunk
from tests.shim.serving import DONE, HI, WAIT_S, Script, configuration, plays, request, shim, text
from tests.stand_in import Connection, json_answer, stand_in, stream_answer

CLOSE_S = 0.05
"""How soon a caller that goes away must have closed the provider's connection."""

ECHO = HI | {"model": "mock-echo"}
WEATHER = {
    "model": "default",
    "messages": [{"role": "user", "content": "call weather"}],
    "tools": [
        {
            "name": "weather",
            "description": "Look up weather",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        }
    ],
}
DONE_DATA = (
    b'{"type":"completed","response":{"message":{"role":"assistant","content":"Hello."},"tool_calls":[],'
    b'"finish_reason":"stop"}}'
)


def openai(url: str, **provider: Any) -> Any:
    """Makes a configuration with OpenAI at the given address."""
    return configuration(providers={"openai": {"api_key": "sk-test", "base_url": url} | provider})


def heads(lines: bytes) -> list[bytes]:
    """Returns the names of an answer's headers in their order."""
    return [line.partition(b":")[0] for line in lines.split(b"\r\n")[1:]]


async def test_an_answer_is_looms_json() -> None:
    async with shim() as server:
        answer = await server.post("/proxy/mock/complete", ECHO)

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == {
        "message": {"role": "assistant", "content": "hi"},
        "tool_calls": [],
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "finish_reason": "stop",
    }


async def test_a_stream_is_looms_to_the_byte() -> None:
    async with shim(gateway=plays(text("Hel"), text("lo.\n"), DONE)) as server:
        answer = await server.raw(request("/proxy/openai/stream", HI, "x-request-id: r-1"))

    head, _, body = answer.partition(b"\r\n\r\n")
    fixed = [line for line in head.split(b"\r\n") if not line.startswith(b"date: ")]
    assert fixed == [
        b"HTTP/1.1 200 OK",
        b"content-type: text/event-stream",
        b"cache-control: no-cache",
        b"x-accel-buffering: no",
        b"loom-request-id: r-1",
        b"x-request-id: r-1",
        b"loom-provider: openai",
        b"loom-model: gpt-4o",
        b"loom-attempts: 1",
        b"connection: close",
        b"transfer-encoding: chunked",
    ]
    frames = [
        b'event: llm\ndata: {"type":"text_delta","content":"Hel"}\n\n',
        b'event: llm\ndata: {"type":"text_delta","content":"lo.\\n"}\n\n',
        b"event: llm\ndata: " + DONE_DATA + b"\n\n",
    ]
    assert body == b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames) + b"0\r\n\r\n"


async def test_the_head_leaves_together_with_the_first_event() -> None:
    reading = asyncio.Event()

    async def play(call: Call, send: Send) -> None:
        await send(text("Hello."))
        await reading.wait()
        await send(DONE)

    async with shim(gateway=Script(play)) as server:
        reader, writer = await server.connect(request("/proxy/openai/stream"))
        first = await reader.read(65536)
        reading.set()
        await reader.read()
        writer.close()

    assert first.endswith(b'event: llm\ndata: {"type":"text_delta","content":"Hello."}\n\n\r\n')


async def test_a_tool_call_is_streamed_and_its_arguments_end_as_a_value() -> None:
    async with shim() as server:
        events = (await server.post("/proxy/mock/stream", WEATHER)).events

    deltas, completed = events[:-1], events[-1]
    spelled = "".join(delta["arguments_fragment"] for delta in deltas)
    assert {(delta["type"], delta["tool_name"]) for delta in deltas} == {("tool_call_delta", "weather")}
    assert {delta["call_id"] for delta in deltas} == {completed["response"]["tool_calls"][0]["id"]}
    assert completed["response"]["tool_calls"][0]["arguments_json"] == orjson.loads(spelled)
    assert list(orjson.loads(spelled)) == ["city"]
    assert completed["response"]["finish_reason"] == "tool_calls"


async def test_extended_streams_begin_with_started_and_show_thinking() -> None:
    thinking = HI | {"model": "mock-think"}
    async with shim() as server:
        plain, extended = await asyncio.gather(
            server.post("/proxy/mock/stream", thinking),
            server.post("/proxy/mock/stream", thinking, loom_events="extended"),
        )

    assert {event["type"] for event in plain.events} == {"text_delta", "completed"}
    assert extended.events[0]["type"] == "started"
    assert {event["type"] for event in extended.events} == {"started", "thinking_delta", "text_delta", "completed"}
    assert extended.events[-1]["response"]["stop_reason"] == "stop"


async def test_a_call_takes_along_what_its_headers_say() -> None:
    script = plays(DONE)
    async with shim(gateway=script) as server:
        answer = await server.post(
            "/proxy/openai/complete",
            authorization="Bearer t",
            baggage="caf\xe9",
            loom_events="Extended, other",
            traceparent="00-a-b-01",
            x_request_id="r-1",
        )

    call = script.calls[0]
    assert call.metadata == {"authorization": "Bearer t", "traceparent": "00-a-b-01", "loom-events": "restarted"}
    assert (call.request_id, call.stream, call.request.provider) == ("r-1", False, "openai")
    assert {name: value for name, value in answer.headers.items() if name.startswith(("loom-", "x-"))} == {
        "loom-request-id": "r-1",
        "x-request-id": "r-1",
        "loom-provider": "openai",
        "loom-model": "gpt-4o",
        "loom-attempts": "1",
        "loom-overhead-ms": answer.headers["loom-overhead-ms"],
    }
    assert float(answer.headers["loom-overhead-ms"]) >= 0


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "caf\xe9"])
async def test_a_request_id_that_is_unfit_is_replaced(given: str) -> None:
    script = plays(DONE)
    async with shim(gateway=script) as server:
        answer = await server.post("/proxy/openai/complete", x_request_id=given)

    made = answer.headers["loom-request-id"]
    assert (len(made), int(made, 16) > 0, script.calls[0].request_id) == (32, True, made)


async def test_a_model_of_any_letters_fits_into_a_header() -> None:
    async def play(call: Call, send: Send) -> None:
        call.provider, call.model = "openai", "modèle-\u4e00"
        await send(DONE)

    async with shim(gateway=Script(play)) as server:
        answer = await server.post("/proxy/openai/complete")

    assert answer.headers["loom-model"] == "mod\\xe8le-\\u4e00"


@pytest.mark.parametrize(
    ("model", "status", "error", "message", "retry_after"),
    [
        ("mock-429", 429, "rate_limited", "LLM rate limited; retry after 1 seconds", "1"),
        ("mock-quota", 429, "rate_limited", "LLM rate limited; try again later", None),
        ("mock-500", 502, "upstream_error", "LLM HTTP error: ", None),
        ("mock-401", 502, "upstream_error", "LLM API error: ", None),
        ("mock-empty", 502, "upstream_error", "Invalid LLM response: ", None),
        ("mock-context", 400, "bad_request", "", None),
        ("nope", 404, "not_found", "", None),
    ],
)
@pytest.mark.parametrize("path", ["complete", "stream"])
async def test_a_failure_before_the_first_event_has_a_status_of_its_own(
    path: str, model: str, status: int, error: str, message: str, retry_after: str | None
) -> None:
    async with shim() as server:
        answer = await server.post(f"/proxy/mock/{path}", HI | {"model": model})

    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json == {"error": error, "message": answer.json["message"]}
    assert answer.json["message"].startswith(message)
    assert answer.headers.get("retry-after") == retry_after


async def test_a_route_is_asked_by_its_name_in_the_path() -> None:
    targets = [{"model": "mock/mock-silent", "first_token_s": 0.1}, {"model": "mock/mock-words"}]
    async with shim(configuration(routes={"smart": {"targets": targets}})) as server:
        answer = await server.post("/proxy/smart/stream", HI)

    assert answer.status == 200
    assert answer.events[-1]["type"] == "completed"
    assert (answer.headers["loom-provider"], answer.headers["loom-model"]) == ("mock", "mock-words")


async def test_an_extended_stream_begins_anew_when_a_target_dies() -> None:
    targets = [{"model": "mock/mock-cut"}, {"model": "mock/mock-words"}]
    async with shim(configuration(routes={"smart": {"targets": targets}})) as server:
        extended = await server.post("/proxy/smart/stream", HI, loom_events="extended")
        plain = await server.post("/proxy/smart/stream", HI)

    kinds = [event["type"] for event in extended.events]
    restarted = extended.events[kinds.index("restarted")]
    text = "".join(
        event["content"] for event in extended.events[kinds.index("restarted") :] if event["type"] == "text_delta"
    )
    assert (kinds[0], kinds.count("started"), kinds[-1]) == ("started", 1, "completed")
    assert (restarted["provider"], restarted["model"], restarted["reason"]) == (
        "mock",
        "mock-words",
        "PROVIDER_UNAVAILABLE",
    )
    assert extended.events[-1]["response"]["message"]["content"] == text
    assert plain.events[-1]["type"] == "error"


async def test_a_provider_that_is_silent_at_first_is_a_timeout() -> None:
    async with shim() as server:
        answer = await server.post("/proxy/mock/stream", HI | {"model": "mock-silent"})

    assert (answer.status, answer.json) == (504, {"error": "upstream_timeout", "message": "LLM request timed out"})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mock-stall", "Request timed out"),
        ("mock-cut", "HTTP error: "),
        ("mock-truncated", "Invalid response: "),
        ("mock-malformed", "Invalid response: "),
    ],
)
async def test_a_failure_after_the_first_event_is_the_last_event(model: str, message: str) -> None:
    async with shim() as server:
        answer = await server.post("/proxy/mock/stream", HI | {"model": model})

    *deltas, error = answer.events
    assert answer.status == 200
    assert {event["type"] for event in deltas} == {"text_delta"}
    assert error == {"type": "error", "message": error["message"]}
    assert error["message"].startswith(message)


@pytest.mark.parametrize(
    ("provider", "status", "error", "message"),
    [
        ("vertex", 503, "service_unavailable", "Vertex provider is not configured on the server"),
        ("zai", 503, "service_unavailable", "Z.ai provider is not configured on the server"),
        ("nope", 404, "not_found", "provider: there is no provider 'nope'; configured are mock."),
        ("%0a%ff", 404, "not_found", "provider: must not contain control characters."),
    ],
)
async def test_a_provider_that_is_not_there_is_named(provider: str, status: int, error: str, message: str) -> None:
    async with shim() as server:
        answer = await server.raw(request(f"/proxy/{provider}/complete"))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert orjson.loads(body) == {"error": error, "message": message}


@pytest.mark.parametrize(
    ("body", "headers", "status", "error", "message"),
    [
        (b"", {}, 400, "bad_request", "The body is empty; a JSON object is needed."),
        (b"[]", {}, 422, "unprocessable_entity", "The body must be a JSON object."),
        (b'{"model": "\xff"}', {}, 400, "bad_request", "The body is not valid UTF-8 (byte 11)."),
        (HI | {"max_tokens": "4"}, {}, 422, "unprocessable_entity", "max_tokens: must be an integer of 32 bits."),
        (HI | {"max_tokens": 0}, {}, 400, "bad_request", "max_tokens: must be 1 or more."),
        (HI | {"messages": []}, {}, 400, "bad_request", "messages: at least one message is needed."),
        (HI, {"content_type": "text/plain"}, 415, "unsupported_media_type", "content-type: must be application/json."),
        (
            HI,
            {"content_encoding": "gzip"},
            415,
            "unsupported_media_type",
            "content-encoding: the body must not be compressed.",
        ),
        (HI, {"loom_timeout": "soon"}, 400, "bad_request", "loom-timeout: must be a number of seconds greater than 0."),
        (HI, {"loom_timeout": "0"}, 400, "bad_request", "loom-timeout: must be a number of seconds greater than 0."),
        (HI, {"loom_timeout": "inf"}, 400, "bad_request", "loom-timeout: must be a number of seconds greater than 0."),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(
    body: Any, headers: dict[str, str], status: int, error: str, message: str
) -> None:
    async with shim() as server:
        answer = await server.post("/proxy/mock/complete", body, **headers)
        after = await server.post("/proxy/mock/complete", ECHO)

    assert (answer.status, answer.json) == (status, {"error": error, "message": message})
    assert answer.headers["loom-request-id"]
    assert after.status == 200


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.loom+json"])
async def test_any_json_type_is_taken(kind: str) -> None:
    async with shim() as server:
        answer = await server.post("/proxy/mock/complete", ECHO, content_type=kind)

    assert answer.status == 200


TOO_LARGE = {
    "error": "payload_too_large",
    "message": "The body is larger than the 100000 bytes that this server takes (http.max_body_bytes).",
}


async def test_a_body_over_the_limit_is_refused_and_the_caller_can_read_so() -> None:
    async with shim(configuration({"max_body_bytes": 100_000})) as server:
        answer = await server.post("/proxy/mock/complete", io.BytesIO(bytes(20_000_000)))

    assert (answer.status, answer.json) == (413, TOO_LARGE)
    assert answer.headers["connection"] == "close"


async def test_a_body_over_the_limit_is_refused_before_it_is_sent_where_its_length_is_told() -> None:
    async with shim(configuration({"max_body_bytes": 100_000})) as server:
        head = "POST /proxy/mock/complete HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100001\r\n"
        reader, writer = await server.connect(f"{head}expect: 100-continue\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"}"), WAIT_S)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_without_a_length_is_counted() -> None:
    async def chunks() -> Any:
        for _ in range(11):
            yield b" " * 10_000

    async with shim(configuration({"max_body_bytes": 100_000})) as server:
        headers = {"content-type": "application/json"}
        async with server.client.post("/proxy/mock/complete", data=chunks(), headers=headers) as response:
            answer = (response.status, await response.json())

    assert answer == (413, TOO_LARGE)


async def test_a_body_of_the_limit_is_taken() -> None:
    async with shim(configuration({"max_body_bytes": 100_000})) as server:
        answer = await server.post("/proxy/mock/complete", b" " * 100_000)

    assert answer.status == 400


async def test_a_silent_model_is_bridged_by_comments_and_may_still_fail() -> None:
    silence = asyncio.Event()

    async def play(call: Call, send: Send) -> None:
        await silence.wait()
        raise LlmError(PROVIDER_TIMEOUT, "Too late.")

    async with shim(configuration({"keepalive_comment_s": 0.01}), Script(play)) as server:
        reader, writer = await server.connect(request("/proxy/openai/stream"))
        head = await reader.readuntil(b"\r\n\r\n")
        comments = await reader.readexactly(len(b"e\r\n: keep-alive\n\n\r\n") * 2)
        silence.set()
        rest = await reader.read()
        writer.close()

    assert head.startswith(b"HTTP/1.1 200 ")
    assert comments == b"e\r\n: keep-alive\n\n\r\n" * 2
    assert rest.endswith(b'event: llm\ndata: {"type":"error","message":"Request timed out"}\n\n\r\n0\r\n\r\n')


async def test_no_comment_comes_while_the_model_speaks() -> None:
    async with shim(configuration({"keepalive_comment_s": 0.2})) as server:
        answer = await server.post("/proxy/mock/stream", HI)

    assert b": keep-alive" not in answer.body
    assert len(answer.events) > 30


@pytest.mark.parametrize("path", ["complete", "stream"])
async def test_a_caller_who_goes_away_closes_the_providers_connection_at_once(path: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        await connection.closed.wait()

    async def go_away() -> float:
        async with stand_in(script) as upstream, shim(openai(upstream.url)) as server:
            reader, writer = await server.connect(request(f"/proxy/openai/{path}", HI | {"model": "gpt-4o"}))
            await asyncio.wait_for(upstream.arrived.wait(), WAIT_S)
            if path == "stream":
                await asyncio.wait_for(reader.readuntil(b"Hel"), WAIT_S)
            began = time.perf_counter()
            writer.close()
            await asyncio.wait_for(upstream.connections[0].closed.wait(), WAIT_S)
            return time.perf_counter() - began

    assert await quickest(go_away) < CLOSE_S


async def test_a_caller_who_goes_away_during_a_silence_is_noticed() -> None:
    async def play(call: Call, send: Send) -> None:
        await asyncio.Event().wait()

    script = Script(play)
    async with shim(configuration({"keepalive_comment_s": 0.01}), script) as server:
        reader, writer = await server.connect(request("/proxy/openai/stream"))
        await reader.readuntil(b": keep-alive")
        writer.close()
        await asyncio.wait_for(script.cancelled.wait(), WAIT_S)


async def test_a_caller_who_does_not_read_stops_the_model() -> None:
    stopped = asyncio.Event()

    async def play(call: Call, send: Send) -> None:
        with contextlib.suppress(TimeoutError):
            for _ in range(1000):
                async with asyncio.timeout(0.2):
                    await send(text("x" * 100_000))
            return
        stopped.set()
        await asyncio.Event().wait()

    script = Script(play)
    async with shim(gateway=script) as server:
        reader, writer = await server.connect(request("/proxy/openai/stream"))
        await reader.readuntil(b"xxx")
        await asyncio.wait_for(stopped.wait(), WAIT_S)
        writer.transport.abort()
        await asyncio.wait_for(script.cancelled.wait(), WAIT_S)


async def test_the_callers_deadline_reaches_the_provider() -> None:
    async def script(connection: Connection) -> None:
        await connection.closed.wait()

    async with stand_in(script) as upstream, shim(openai(upstream.url)) as server:
        began = time.perf_counter()
        answer = await server.post("/proxy/openai/complete", HI | {"model": "gpt-4o"}, loom_timeout="0.2")
        took_s = time.perf_counter() - began

    assert (answer.status, answer.json["error"]) == (504, "upstream_timeout")
    assert 0.2 <= took_s < 1


async def test_a_conversation_with_tools_reaches_the_provider_whole() -> None:
    call = {"id": "c1", "tool_name": "weather", "arguments_json": {"id": 12345678901234567890123}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "weather"},
    ]
    async with stand_in(json_answer(COMPLETION)) as upstream, shim(openai(upstream.url)) as server:
        answer = await server.post("/proxy/openai/complete", WEATHER | {"messages": messages, "system": "Be brief."})

    sent = upstream.asked[0]
    assert answer.json["message"] == {"role": "assistant", "content": "Hello."}
    assert [message["role"] for message in sent.json["messages"]] == ["system", "user", "assistant", "tool"]
    assert b'"arguments":"{\\"id\\":12345678901234567890123}"' in sent.body


async def test_a_stream_of_a_provider_arrives_event_by_event() -> None:
    script = stream_answer(chunk("Hel"), chunk("lo."), LAST)
    async with stand_in(script) as upstream, shim(openai(upstream.url)) as server:
        events = (await server.post("/proxy/openai/stream", HI | {"model": "gpt-4o"})).events

    assert events[-1] == {
        "type": "completed",
        "response": {
            "message": {"role": "assistant", "content": "Hello."},
            "tool_calls": [],
            "finish_reason": "stop",
        },
    }
    assert "".join(event["content"] for event in events[:-1]) == "Hello."


async def test_several_calls_go_over_one_connection() -> None:
    async with shim() as server:
        reader, writer = await server.connect(
            request("/proxy/mock/stream", ECHO).replace(b"connection: close\r\n", b"") * 3
        )
        for _ in range(3):
            await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), WAIT_S)
        writer.close()


@pytest.mark.parametrize("path", ["complete", "stream"])
async def test_an_answer_without_an_end_is_a_failure(path: str) -> None:
    async with shim(gateway=plays(LlmEvent(thinking_delta=ThinkingDelta(content="hm")))) as server:
        answer = await server.post(f"/proxy/openai/{path}")

    assert (answer.status, answer.json) == (
        502,
        {"error": "upstream_error", "message": "Invalid LLM response: The answer ended before it was complete."},
    )


async def test_a_stream_without_an_end_gets_one() -> None:
    async with shim(gateway=plays(text("Hel"))) as server:
        events = (await server.post("/proxy/openai/stream")).events

    assert events == [
        {"type": "text_delta", "content": "Hel"},
        {"type": "error", "message": "Invalid response: The answer ended before it was complete."},
    ]


async def test_nothing_follows_the_end() -> None:
    async def play(call: Call, send: Send) -> None:
        await send(DONE)
        raise LlmError(PROVIDER_UNAVAILABLE, "Too late.")

    async with shim(gateway=Script(play)) as server:
        answer = await server.post("/proxy/openai/stream")

    assert answer.body == b"event: llm\ndata: " + DONE_DATA + b"\n\n"


@pytest.mark.parametrize("path", ["complete", "stream"])
async def test_a_crash_is_logged_and_told_without_its_words(path: str) -> None:
    async def play(call: Call, send: Send) -> None:
        raise ZeroDivisionError("secret")

    async with shim(gateway=Script(play)) as server:
        answer = await server.post(f"/proxy/openai/{path}", x_request_id="r-1")
        log = server.log.getvalue()

    assert (answer.status, answer.json) == (
        500,
        {
            "error": "internal_error",
            "message": "The server failed; its log has the details under the request id.",
        },
    )
    assert b"ZeroDivisionError" in log
    assert b"r-1" in log


@settings(max_examples=60, deadline=None)
@given(BODIES, st.sampled_from(["complete", "stream"]))
async def test_no_body_is_the_servers_fault(body: Any, path: str) -> None:
    async with shim() as server:
        answer = await server.post(f"/proxy/mock/{path}", body)
        log = server.log.getvalue()

    assert answer.status in (200, 400, 404, 422)
    assert b"crashed" not in log
