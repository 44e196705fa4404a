"""Connect and gRPC-Web from callers who get it wrong, or mean ill: each is refused in its own protocol, and the server goes on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.frontends.body import HttpError
from loom_grpc.shim import envelope
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from tests.shim.callers import SERVICE, STREAMS, UNARY, Caller, Told, ask
from tests.shim.serving import DONE, WAIT_S, Script, Shim, configuration, plays, request, shim, text

DATA = ask().SerializeToString()
FRAMED = [
    (method, caller)
    for method, some in (("Complete", UNARY), ("Stream", STREAMS))
    for caller in some
    if not caller.is_bare
]
JSON = [("Complete", caller) for caller in UNARY if caller.is_json] + [
    ("Stream", caller) for caller in STREAMS if caller.is_json
]
EVERY = [("Complete", caller) for caller in UNARY] + [("Stream", caller) for caller in STREAMS]
every_one = pytest.mark.parametrize(("method", "caller"), EVERY, ids=str)


def frame(flags: int, data: bytes, size: int | None = None) -> bytes:
    return struct.pack(">BI", flags, len(data) if size is None else size) + data


def body(caller: Caller, data: bytes) -> bytes:
    """Writes bytes where a message belongs."""
    return data if caller.is_bare else caller.armour(frame(0, data))


def refused(told: Told, message: str, code: int = code_pb2.INVALID_ARGUMENT) -> None:
    assert (told.code, told.info.reason, told.message) == (code, "INVALID_REQUEST", message)


async def goes_on(server: Shim) -> None:
    """Looks whether the server still answers."""
    caller = Caller("application/proto")
    assert (await caller.call(server.client, "Complete", ask())).code == code_pb2.OK


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The body must be a frame with a message; it has 0 bytes, and a frame's head alone 5."),
        (b"\0\0\0\0", "The body must be a frame with a message; it has 4 bytes, and a frame's head alone 5."),
        (frame(0, b"abc", 4), "The frame says that its message has 4 bytes, and 3 follow."),
        (frame(0, b"abc", 2**32 - 1), "The frame says that its message has 4294967295 bytes, and 3 follow."),
        (frame(0, DATA) + b"\0", "The body must be one frame; something follows it."),
        (frame(0, DATA) * 2, "The body must be one frame; something follows it."),
        (
            frame(2, b"{}"),
            "The message's frame has the flags 0x02; those of a request are 0, or 1 when it is compressed.",
        ),
        (
            frame(0x80, b""),
            "The message's frame has the flags 0x80; those of a request are 0, or 1 when it is compressed.",
        ),
        (
            frame(0xFF, DATA),
            "The message's frame has the flags 0xff; those of a request are 0, or 1 when it is compressed.",
        ),
    ],
)
async def test_what_is_no_frame_with_a_message_is_refused(data: bytes, message: str) -> None:
    async with shim(gateway=plays(DONE)) as server:
        for method, caller in FRAMED:
            refused(await caller.post(server.client, method, caller.armour(data)), message)
            await goes_on(server)


def compressed(caller: Caller, data: bytes, encoding: str = "gzip") -> tuple[bytes, dict[str, str]]:
    """Writes a compressed message, and how that is said."""
    if caller.is_bare:
        return data, {"content_encoding": encoding}
    name = "grpc_encoding" if caller.is_web else "connect_content_encoding"
    return caller.armour(frame(1, data)), {name: encoding}


def encoded(caller: Caller) -> bytes:
    return json_format.MessageToJson(ask("hé")).encode() if caller.is_json else ask("hé").SerializeToString()


async def test_a_message_may_be_compressed_by_gzip() -> None:
    script = plays(DONE)
    async with shim(gateway=script) as server:
        for method, caller in EVERY:
            data, headers = compressed(caller, gzip.compress(encoded(caller)))
            told = await caller.post(server.client, method, data, **headers)
            assert told.code == code_pb2.OK

    assert [call.request for call in script.calls] == [ask("hé")] * len(EVERY)


@pytest.mark.parametrize(
    ("data", "encoding", "message", "code"),
    [
        (b"x", "br", "The message is compressed by br; this server takes gzip and identity.", code_pb2.UNIMPLEMENTED),
        (b"not gzip", "gzip", "The message is said to be gzip, and is not.", code_pb2.INVALID_ARGUMENT),
        (
            gzip.compress(DATA)[:-1],
            "gzip",
            "The message is said to be gzip, and does not end where that does.",
            code_pb2.INVALID_ARGUMENT,
        ),
        (
            gzip.compress(DATA) * 2,
            "gzip",
            "The message is said to be gzip, and does not end where that does.",
            code_pb2.INVALID_ARGUMENT,
        ),
        (
            gzip.compress(b"\0" * 10_000_000),
            "gzip",
            "The message is larger than the 20000 bytes that this server takes (http.max_body_bytes).",
            code_pb2.INVALID_ARGUMENT,
        ),
    ],
)
async def test_a_message_that_is_compressed_wrongly_is_refused(
    data: bytes, encoding: str, message: str, code: int
) -> None:
    async with shim(configuration({"max_body_bytes": 20_000}), plays(DONE)) as server:
        for method, caller in EVERY:
            body, headers = compressed(caller, data, encoding)
            refused(await caller.post(server.client, method, body, **headers), message, code)


async def test_a_frame_that_is_compressed_by_no_known_way_is_refused() -> None:
    async with shim(gateway=plays(DONE)) as server:
        for method, caller in FRAMED:
            told = await caller.post(server.client, method, caller.armour(frame(1, gzip.compress(DATA))))
            refused(
                told,
                "The message is compressed by no known way; this server takes gzip and identity.",
                code_pb2.UNIMPLEMENTED,
            )


async def test_frames_in_a_compressed_body_are_refused() -> None:
    async with shim(gateway=plays(DONE)) as server:
        for method, caller in FRAMED:
            body = gzip.compress(caller.encode(ask()))
            told = await caller.post(server.client, method, body, content_encoding="gzip")
            refused(told, "content-encoding: the body must not be compressed.", code_pb2.UNIMPLEMENTED)


@pytest.mark.parametrize(
    ("method", "media_type"),
    [
        ("Complete", "text/plain"),
        ("Complete", "application/connect+proto"),
        ("Complete", "application/grpc"),
        ("Complete", "application/grpc-web+thrift"),
        ("Stream", "application/json"),
        ("Stream", "application/proto"),
        ("Stream", "application/grpc+proto"),
        ("Stream", ""),
    ],
)
async def test_another_media_type_is_refused_with_those_that_there_are(method: str, media_type: str) -> None:
    async with shim(gateway=plays(DONE)) as server:
        told = await Caller("application/proto").post(server.client, method, b"", content_type=media_type)

    known = ", ".join(envelope.UNARY if method == "Complete" else envelope.STREAMS)
    refused(told, f"content-type: must be one of {known}.", code_pb2.UNIMPLEMENTED)
    assert told.http == 415


async def test_the_media_type_may_be_in_capitals_and_have_parameters() -> None:
    async with shim(gateway=plays(DONE)) as server:
        caller = Caller("application/json")
        told = await caller.post(server.client, "Complete", b"{}", content_type="Application/JSON; charset=utf-8")

    assert told.code == code_pb2.OK


async def test_what_is_no_message_is_refused() -> None:
    async with shim(gateway=plays(DONE)) as server:
        for method, caller in EVERY:
            told = await caller.post(server.client, method, body(caller, b"\xff\xff"))
            what = (
                "does not fit: it must be a JSON object"
                if caller.is_json
                else "is not a loom_grpc.v1.LlmRequest message"
            )
            refused(told, f"The request {what}.")
            await goes_on(server)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ('""', "must be a JSON object"),
        ("{", "Failed to load JSON"),
        ("null", "must be a JSON object"),
        ('{"modle": "m"}', 'has no field named "modle"'),
        ('{"model": 1}', "model"),
        ('{"model": "a", "model": "b"}', "model"),
        ('{"messages": [{"role": "ROLE_KING"}]}', "ROLE_KING"),
        ('{"messages": [{"role": "ROLE_USER", "parts": [{"text": "a", "thinking": "b"}]}]}', "oneof"),
        ('{"model": "\\ud800"}', "model"),
        ('{"temperature": "\\ud800"}', "temperature"),
        ('{"\\ud800": 1}', "Failed to parse"),
        ('{"maxTokens": 99999999999}', "maxTokens"),
        ('{"temperature": "warm"}', "temperature"),
        ('{"messages":[' * 50_000, "recursion"),
        ('{"' + "x" * 100_000 + '": 1}', "has no field named"),
    ],
)
async def test_json_that_does_not_fit_is_refused_by_its_field(written: str, says: str) -> None:
    async with shim(gateway=plays(DONE)) as server:
        for method, caller in JSON:
            told = await caller.post(server.client, method, body(caller, written.encode()))
            assert (told.code, told.info.reason) == (code_pb2.INVALID_ARGUMENT, "INVALID_REQUEST")
            assert told.message.startswith("The request does not fit: ")
            assert says in told.message
            assert len(told.message) < 1000


@pytest.mark.parametrize("letters", [b"****", b"AAAA=", b"AAA", b"=", b"AA==AAA", b"AA\r\nAA=="])
async def test_text_that_is_no_base64_is_refused(letters: bytes) -> None:
    caller = Caller("application/grpc-web-text")
    async with shim(gateway=plays(DONE)) as server:
        told = await caller.post(server.client, "Complete", letters)

    assert told.code == code_pb2.INVALID_ARGUMENT
    assert told.message.startswith("The body ")


@pytest.mark.parametrize("sized", [True, False])
async def test_a_body_that_is_too_large_is_refused(sized: bool) -> None:
    async def pieces() -> Any:
        for _ in range(40):
            yield b"A" * 1000

    async with shim(configuration({"max_body_bytes": 10_000}), plays(DONE)) as server:
        for method, caller in EVERY:
            told = await caller.post(server.client, method, b"A" * 40_000 if sized else pieces())
            refused(told, "The body is larger than the 10000 bytes that this server takes (http.max_body_bytes).")
            assert (told.http, told.headers["connection"]) == (413 if caller.is_bare else 200, "close")
            await goes_on(server)


@every_one
async def test_an_upload_that_breaks_off_is_no_call(method: str, caller: Caller) -> None:
    over = asyncio.Event()

    class Noting(Script):
        def conclude(self, call: Call, error: LlmError | None = None, *, cancelled: bool = False) -> None:
            super().conclude(call, error, cancelled=cancelled)
            over.set()

    script = Noting(plays(DONE).play)
    async with shim(gateway=script) as server:
        whole = request(f"{SERVICE}/{method}", caller.encode(ask()))
        data = whole.replace(b"application/json", caller.media_type.encode())[:-1]
        _, writer = await server.connect(data)
        await writer.drain()
        writer.close()
        await asyncio.wait_for(over.wait(), WAIT_S)
        assert [(error, cancelled) for _, error, cancelled in script.concluded] == [(None, True)]
        await goes_on(server)

    assert len(script.calls) == 1


@every_one
async def test_an_upload_that_takes_longer_than_the_deadline_is_told_so(method: str, caller: Caller) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield caller.encode(ask())[:-1]
        await answered.wait()

    answered = asyncio.Event()
    deadline = {"grpc_timeout": "50m"} if caller.is_web else {"connect_timeout_ms": "50"}
    async with shim(gateway=plays(DONE)) as server:
        told = await caller.post(server.client, method, pieces(), **deadline)
        answered.set()
        await goes_on(server)

    assert (told.code, told.info.reason) == (code_pb2.DEADLINE_EXCEEDED, "PROVIDER_TIMEOUT")
    assert told.message == "The request had not arrived whole by the caller's deadline."


async def test_a_caller_who_does_not_read_stops_the_model() -> None:
    stopped = asyncio.Event()

    async def play(call: Any, send: Any) -> None:
        try:
            for _ in range(1000):
                async with asyncio.timeout(0.2):
                    await send(text("x" * 100_000))
        except TimeoutError:
            stopped.set()
            await asyncio.Event().wait()

    script = Script(play)
    caller = Caller("application/connect+proto")
    async with shim(gateway=script) as server:
        data = request(f"{SERVICE}/Stream", caller.encode(ask()))
        _, writer = await server.connect(data.replace(b"application/json", caller.media_type.encode()))
        await asyncio.wait_for(stopped.wait(), WAIT_S)
        writer.transport.abort()
        await asyncio.wait_for(script.cancelled.wait(), WAIT_S)


@given(
    data=st.binary(max_size=200),
    name=st.sampled_from(sorted({*envelope.UNARY, *envelope.STREAMS})),
    encoding=st.sampled_from(["", "gzip"]),
)
def test_any_bytes_are_read_or_refused(data: bytes, name: str, encoding: str) -> None:
    wire = {**envelope.UNARY, **envelope.STREAMS}[name]

    with contextlib.suppress(HttpError, LlmError):
        wire.read(LlmRequest(), data, encoding, 1000)


@given(content=st.text(max_size=60), name=st.sampled_from(["application/json", "application/proto"]))
def test_any_text_gets_through(content: str, name: str) -> None:
    asked = ask(content.encode(errors="replace").decode())
    wire = envelope.UNARY[name]

    assert wire.read(LlmRequest(), Caller(name).encode(asked), "", 0) == asked


def test_text_is_read_wherever_its_padding_is() -> None:
    whole = frame(0, DATA)
    for cut in range(len(whole)):
        letters = base64.b64encode(whole[:cut]) + base64.b64encode(whole[cut:])
        assert envelope.UNARY["application/grpc-web-text"].read(LlmRequest(), letters, "", 0) == ask()
