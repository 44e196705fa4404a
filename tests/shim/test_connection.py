"""What arrives on a connection that is no good HTTP."""

from __future__ import annotations

import asyncio
import socket

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shim.serving import DONE, HI, WAIT_S, Shim, plays, request, shim

MALFORMED = (
    b'{"error":"bad_request","message":"The HTTP request is malformed; a header may have a control character, '
    b'or the address is not valid."}'
)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a: a\x01b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nx a: b\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /proxy/mock/complete HTTP/1.1\r\nhost: x\r\ncontent-length: 2, 3\r\n\r\n",
        b"POST /proxy/mock/complete HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_looms_shape(data: bytes) -> None:
    async with shim() as server:
        answer = await server.raw(data)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 400 Bad Request",
        b"content-type: application/json",
        b"content-length: %d" % len(MALFORMED),
        b"connection: close",
    ]
    assert body == MALFORMED


@pytest.mark.parametrize("endless", [b"GET /livez HTTP/1.1\r\nx: ", b"GET /livez HTTP/1.1\r\n", b"GET /"])
async def test_a_head_without_an_end_is_refused(endless: bytes) -> None:
    filler = b"a: b\r\n" if endless.endswith(b"\n") else b"x"
    async with shim() as server:
        reader, writer = await server.connect(endless)
        writer.write(filler * (70_000 // len(filler)))
        answer = await asyncio.wait_for(reader.readuntil(b"}"), WAIT_S)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.endswith(
        b'{"error":"header_too_large","message":"The head of the HTTP request is larger than 65536 bytes."}'
    )


async def test_a_large_body_is_no_large_head() -> None:
    body = HI | {"model": "mock-echo", "messages": [{"role": "user", "content": "x" * 300_000}]}
    async with shim() as server:
        answer = await server.raw(request("/proxy/mock/complete", body))

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_head_and_body_arrive_in_one_packet_without_delay() -> None:
    async with shim() as server:
        reader, writer = await server.connect(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        packet = await reader.read(65536)
        delays = [
            connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for connection in server.edge.connections()
        ]
        writer.close()

    assert packet.endswith(b"\r\n\r\nok")
    assert delays
    assert all(delays)


async def test_an_upgrade_that_is_not_known_is_ignored() -> None:
    async with shim() as server:
        answer = await server.raw(
            b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )

    assert answer.startswith(b"HTTP/1.1 200 ")


HEADERS = st.dictionaries(
    st.sampled_from(["x-request-id", "loom-events", "loom-timeout", "traceparent", "content-type", "accept", "origin"]),
    st.binary(max_size=20),
    max_size=3,
)


def http(path: str, headers: dict[str, bytes], body: bytes) -> bytes:
    """Writes a request with whatever headers and body."""
    named = {"host": b"x", "content-type": b"application/json", "connection": b"close"} | headers
    lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in named.items())
    return b"POST /proxy/mock/%b HTTP/1.1\r\ncontent-length: %d\r\n%b\r\n%b" % (path.encode(), len(body), lines, body)


async def status(server: Shim, data: bytes) -> int:
    return int((await server.raw(data)).split(b" ")[1])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(["complete", "stream"]), HEADERS, st.binary(max_size=40))
async def test_whatever_is_sent_the_server_keeps_serving(path: str, headers: dict[str, bytes], body: bytes) -> None:
    async with shim() as server:
        found = await status(server, http(path, headers, body))
        after = await server.get("/livez")

    assert 400 <= found < 500
    assert after.status == 200


CHAT = "/v1/chat/completions"
OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"


def in_chunks(data: bytes) -> bytes:
    """Writes a request with its body as a chunk and the end, after which there may be trailers."""
    head, _, body = data.partition(b"\r\n\r\n")
    head = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
    return head + b"\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(body), body)


async def said(reader: asyncio.StreamReader) -> str:
    """Reads a whole answer and returns what the model says in it."""
    async with asyncio.timeout(WAIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.partition(b"content-length: ")[2].split()[0])
        return str(orjson.loads(await reader.readexactly(size))["choices"][0]["message"]["content"])


async def test_a_request_that_offers_another_protocol_as_javas_client_does_is_answered_by_this_one() -> None:
    sized = request(CHAT, HI | {"model": "mock/mock-echo"}).replace(b"connection: close\r\n", OFFER)
    chunked = in_chunks(sized) + b"\r\n"
    async with shim() as server:
        reader, writer = await server.connect(sized)
        answers = [await said(reader)]
        for letter in sized + chunked:
            writer.write(bytes([letter]))
            await writer.drain()
        answers += [await said(reader), await said(reader)]
        writer.write(chunked + sized)
        answers += [await said(reader), await said(reader)]
        writer.close()

    assert answers == ["hi"] * 5


@pytest.mark.parametrize(("target", "status"), [(b"a:1", b"400"), (b"http://a/b", b"404"), (b"/livez", b"405")])
async def test_nobody_gets_through_to_another_address(target: bytes, status: bytes) -> None:
    async with shim() as server:
        answer = await server.raw(b"CONNECT %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\nGET /" % target)

    assert answer.startswith(b"HTTP/1.1 %b " % status)


async def test_trailers_are_no_headers() -> None:
    script = plays(DONE)
    async with shim(gateway=script) as server:
        await server.raw(in_chunks(request(CHAT)) + b"authorization: Bearer trailer\r\nx-request-id: trailer\r\n\r\n")

    (call,) = script.calls
    assert (call.metadata, call.tenant, call.request_id != "trailer") == ({}, "", True)


@pytest.mark.parametrize("endless", [b"x: ", b""])
async def test_trailers_without_an_end_are_refused(endless: bytes) -> None:
    filler = b"x" if endless else b"a: b\r\n"
    async with shim() as server:
        reader, writer = await server.connect(in_chunks(request(CHAT)) + endless)
        await server.get("/livez")  # so that this has been read
        writer.write(filler * (70_000 // len(filler)))
        answer = await asyncio.wait_for(reader.readuntil(b"}"), WAIT_S)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 431 ")
