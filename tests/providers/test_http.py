"""One request and its answer over real sockets, in every way that it can go well or wrong."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trustme

from loom_grpc.core.errors import (
    INTERNAL,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.providers import _connection, _http
from loom_grpc.providers._http import HttpTransport, Response
from loom_grpc.v1.error_pb2 import ErrorReason
from tests.stand_in import Connection, Script, StandIn, answer, stand_in

MIB = 1024 * 1024


@asynccontextmanager
async def transport(max_connections: int = 100) -> AsyncIterator[HttpTransport]:
    http = HttpTransport(max_connections)
    try:
        yield http
    finally:
        await http.close()


@asynccontextmanager
async def asking(*scripts: Script, max_connections: int = 100) -> AsyncIterator[tuple[StandIn, HttpTransport]]:
    """A stand-in and a transport to ask it with."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(stand_in(*scripts))
        http = await stack.enter_async_context(transport(max_connections))
        yield upstream, http


def raw(*pieces: bytes, close: bool = False, cut: bool = False) -> Script:
    """Scripts bytes as they are, each piece in a packet of its own."""

    async def script(connection: Connection) -> None:
        for piece in pieces:
            connection.transport.write(piece)
            await asyncio.sleep(0)
        if close:
            connection.transport.close()
        if cut:
            connection.cut()

    return script


async def silent(connection: Connection) -> None:
    """Says nothing until the connection is gone."""
    await connection.closed.wait()


async def post(http: HttpTransport, url: str, body: bytes = b"{}") -> Response:
    return await http.open("POST", url, {"content-type": "application/json"}, body, 1.0)


async def read_all(response: Response) -> bytes:
    chunks: list[bytes] = []
    while chunk := await response.read():
        chunks.append(chunk)
    response.close(finished=True)
    return b"".join(chunks)


async def until(told: Callable[[], object]) -> None:
    """Waits, turn by turn of the loop, for what nothing else tells of."""
    async with asyncio.timeout(5):
        while not told():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


async def ask(http: HttpTransport, url: str) -> tuple[int, bytes]:
    response = await post(http, url)
    return response.status, await read_all(response)


async def failure(doing: Awaitable[object]) -> LlmError:
    with pytest.raises(LlmError) as caught:
        await doing
    return caught.value


async def closes_soon(connection: Connection) -> None:
    """Waits for the end of a connection, which has to come within 50 ms."""
    async with asyncio.timeout(0.05):
        await connection.closed.wait()


OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"content-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


# What goes out and what comes in


async def test_a_request_goes_out_as_it_is_meant() -> None:
    async with asking(raw(SIZED)) as (upstream, http):
        response = await http.open(
            "POST", f"{upstream.url}/v1/x?a=b%20c", {"x-key": "k", "X-Other": "o"}, b'{"a":1}', 1
        )
        await read_all(response)
        asked = upstream.asked[0]

    assert (asked.method, asked.path, asked.body) == ("POST", "/v1/x?a=b%20c", b'{"a":1}')
    assert asked.headers == {
        "host": upstream.url.removeprefix("http://"),
        "user-agent": "loom-grpc",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-length": "7",
        "x-key": "k",
        "x-other": "o",
    }


async def test_a_request_without_a_body_says_so_where_it_must() -> None:
    async with asking(raw(SIZED)) as (upstream, http):
        for method in ("GET", "POST"):
            await read_all(await http.open(method, upstream.url, {}, b"", 1))

    assert [asked.headers.get("content-length") for asked in upstream.asked] == [None, "0"]
    assert [asked.path for asked in upstream.asked] == ["/", "/"]


async def test_a_large_request_arrives_whole() -> None:
    body = bytes(range(256)) * 4096 * 8
    async with asking(raw(SIZED)) as (upstream, http):
        await read_all(await post(http, upstream.url, body))

    assert upstream.asked[0].body == body


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        pytest.param([SIZED], 200, b"hello", id="sized"),
        pytest.param([SIZED[:9], SIZED[9:40], SIZED[40:-2], SIZED[-2:]], 200, b"hello", id="in pieces"),
        pytest.param([SIZED[i : i + 1] for i in range(len(SIZED))], 200, b"hello", id="byte by byte"),
        pytest.param([OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"], 200, b"hello", id="chunked"),
        pytest.param([OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n"], 200, b"hello", id="trailer"),
        pytest.param([OK + b"\r\nhello"], 200, b"hello", id="to the end of the connection"),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\nhello"], 200, b"hello", id="HTTP/1.0"),
        pytest.param([OK + b"transfer-encoding: identity\r\n\r\nhello"], 200, b"hello", id="identity"),
        pytest.param([OK + b"content-length: 0\r\n\r\n"], 200, b"", id="nothing"),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b"", id="no content"),
        pytest.param([b"HTTP/1.1 503 \r\ncontent-length: 2\r\n\r\nno"], 503, b"no", id="no phrase"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", SIZED], 200, b"hello",
                     id="interim answers"),
        pytest.param([b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"], 302, b"", id="redirect"),
    ],
)  # fmt: skip
async def test_an_answer_is_read_whole(pieces: list[bytes], status: int, body: bytes) -> None:
    async with asking(raw(*pieces, close=True)) as (upstream, http):
        assert await ask(http, upstream.url) == (status, body)
        assert len(upstream.asked) == 1


async def test_headers_have_small_names_and_those_of_one_name_are_joined() -> None:
    head = OK + b"Content-Length: 0\r\nX-A: 1\r\nx-a: 2\r\nX-B:  \xe9 \r\n\r\n"
    async with asking(raw(head)) as (upstream, http):
        response = await post(http, upstream.url)
        response.close(finished=True)

    assert response.headers == {"content-length": "0", "x-a": "1, 2", "x-b": "é"}


async def test_interim_headers_are_not_the_answer_s() -> None:
    async with asking(raw(b"HTTP/1.1 103 Early Hints\r\nretry-after: 9\r\n\r\n" + SIZED)) as (upstream, http):
        response = await post(http, upstream.url)
        await read_all(response)

    assert response.headers == {"content-type": "text/plain", "content-length": "5"}


async def test_what_is_compressed_unasked_stays_as_it_is() -> None:
    packed = gzip.compress(b'{"error":"no"}')
    async with asking(answer(packed, status=400, content_encoding="gzip")) as (upstream, http):
        assert await ask(http, upstream.url) == (400, packed)


async def test_bytes_are_there_as_soon_as_they_come() -> None:
    more = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send("one")
        await more.wait()
        await connection.send("two")
        await connection.end()

    async with asking(script) as (upstream, http):
        response = await post(http, upstream.url)
        first = await response.read()
        more.set()
        rest = await read_all(response)

    assert (first, rest) == (b"one", b"two")


# Connections are kept


async def test_a_connection_serves_call_after_call() -> None:
    async with asking(raw(SIZED)) as (upstream, http):
        for _ in range(5):
            assert await ask(http, upstream.url) == (200, b"hello")

        assert upstream.connected == 1


async def test_calls_at_the_same_time_have_connections_of_their_own() -> None:
    async with asking(raw(SIZED)) as (upstream, http):
        await asyncio.gather(*(ask(http, upstream.url) for _ in range(5)))
        await asyncio.gather(*(ask(http, upstream.url) for _ in range(5)))

        assert upstream.connected == 5


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(raw(OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello"), id="the provider says so"),
        pytest.param(raw(b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"), id="HTTP/1.0"),
        pytest.param(raw(SIZED, close=True), id="the provider closes it"),
        pytest.param(raw(SIZED + SIZED), id="a second answer that nobody asked for"),
        pytest.param(raw(SIZED + b"garbage"), id="garbage behind the answer"),
    ],
)
async def test_a_connection_that_is_spent_serves_no_other_call(script: Script) -> None:
    async with asking(script, raw(SIZED)) as (upstream, http):
        assert await ask(http, upstream.url) == (200, b"hello")
        await closes_soon(upstream.connections[0])
        assert await ask(http, upstream.url) == (200, b"hello")

        assert upstream.connected == 2


async def test_bytes_on_a_free_connection_end_it() -> None:
    async with asking(raw(SIZED)) as (upstream, http):
        await ask(http, upstream.url)
        upstream.connections[0].transport.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await closes_soon(upstream.connections[0])

        assert await ask(http, upstream.url) == (200, b"hello")
        assert upstream.connected == 2


async def test_a_trailer_is_no_header_of_the_next_answer() -> None:
    first = OK + b"transfer-encoding: chunked\r\n\r\n0\r\nretry-after: 9\r\n\r\n"
    async with asking(raw(first), raw(SIZED)) as (upstream, http):
        await ask(http, upstream.url)
        response = await post(http, upstream.url)

        assert await read_all(response) == b"hello"
        assert response.headers == {"content-type": "text/plain", "content-length": "5"}
        assert upstream.connected == 1


async def test_a_connection_that_the_provider_closed_meanwhile_is_replaced() -> None:
    async with asking(raw(SIZED), raw(close=True), raw(SIZED)) as (upstream, http):
        await ask(http, upstream.url)

        # The request meets the end of the connection; nobody has answered it, so it is asked again.
        assert await ask(http, upstream.url) == (200, b"hello")
        assert (upstream.connected, len(upstream.asked)) == (2, 3)


async def test_a_new_connection_that_ends_without_an_answer_is_a_failure() -> None:
    async with asking(raw(close=True)) as (upstream, http):
        error = await failure(post(http, upstream.url))

        assert (error.reason, error.message) == (PROVIDER_UNAVAILABLE, "The connection to the provider broke off.")
        assert len(upstream.asked) == 1


async def test_a_kept_connection_that_breaks_within_an_answer_is_a_failure() -> None:
    async with asking(raw(SIZED), raw(OK[:8], cut=True)) as (upstream, http):
        await ask(http, upstream.url)

        assert (await failure(post(http, upstream.url))).reason == PROVIDER_UNAVAILABLE
        assert len(upstream.asked) == 2


async def test_no_more_connections_are_opened_than_allowed() -> None:
    go_on = asyncio.Event()

    async def script(connection: Connection) -> None:
        await go_on.wait()
        connection.transport.write(SIZED)

    async with asking(script, max_connections=2) as (upstream, http):
        calls = [asyncio.ensure_future(ask(http, upstream.url)) for _ in range(5)]
        await until(lambda: len(upstream.asked) == 2)
        go_on.set()

        assert await asyncio.gather(*calls) == [(200, b"hello")] * 5
        assert upstream.connected == 2


async def test_a_call_that_failed_makes_room_for_the_next() -> None:
    async with asking(raw(cut=True), raw(b"nonsense\r\n\r\n"), silent, raw(SIZED), max_connections=1) as (
        upstream,
        http,
    ):
        await failure(post(http, upstream.url))
        await failure(post(http, upstream.url))
        await cancelled(post(http, upstream.url), upstream, requests=3)

        assert await ask(http, upstream.url) == (200, b"hello")


async def cancelled(doing: Awaitable[object], upstream: StandIn, requests: int = 1) -> None:
    """Cancels what is done once the stand-in has the given number of requests."""
    task = asyncio.ensure_future(doing)
    await until(lambda: len(upstream.asked) == requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Answers that are let go before their end


async def test_an_unfinished_answer_loses_its_connection_at_once() -> None:
    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send("one")
        await connection.closed.wait()

    async with asking(script) as (upstream, http):
        response = await post(http, upstream.url)
        await response.read()
        response.close(finished=False)

        await closes_soon(upstream.connections[0])


async def test_an_answer_that_was_read_whole_keeps_its_connection_whatever_came_of_it() -> None:
    async with asking(raw(SIZED)) as (upstream, http):
        response = await post(http, upstream.url)
        await response.read()
        response.close(finished=False)

        assert await ask(http, upstream.url) == (200, b"hello")
        assert upstream.connected == 1


async def test_a_finished_answer_whose_end_comes_late_keeps_its_connection() -> None:
    let_go, ended = asyncio.Event(), asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send("[DONE]")
        await let_go.wait()
        await connection.send("afterthought")
        await connection.end()
        ended.set()

    async with asking(script, raw(SIZED)) as (upstream, http):
        response = await post(http, upstream.url)
        await response.read()
        response.close(finished=True)
        let_go.set()
        await ended.wait()
        await until(lambda: http._free)  # noqa: SLF001 - nothing else tells that the connection is back

        assert await ask(http, upstream.url) == (200, b"hello")
        assert upstream.connected == 1


async def test_a_finished_answer_without_end_loses_its_connection_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "_LAST_MOMENT_S", 0.05)

    async def script(connection: Connection) -> None:
        await connection.head()
        while not connection.closed.is_set():
            await connection.send(b"x" * 65536)
            await asyncio.sleep(0)

    async with asking(script, raw(SIZED)) as (upstream, http):
        response = await post(http, upstream.url)
        await response.read()
        response.close(finished=True)
        async with asyncio.timeout(1):
            await upstream.connections[0].closed.wait()

        assert await ask(http, upstream.url) == (200, b"hello")
        assert upstream.connected == 2


async def test_closing_ends_every_connection() -> None:
    async with asking(raw(SIZED), silent) as (upstream, http):
        await ask(http, upstream.url)
        waiting = [asyncio.ensure_future(post(http, upstream.url)) for _ in range(2)]
        await until(lambda: len(upstream.asked) == 3)
        await http.close()

        for connection in upstream.connections[1:]:
            await closes_soon(connection)
        for task in waiting:
            assert (await failure(task)).reason == PROVIDER_UNAVAILABLE


# A slow reader


async def test_a_provider_has_to_wait_for_a_slow_reader() -> None:
    size = 16 * MIB
    sent = 0

    async def script(connection: Connection) -> None:
        nonlocal sent
        connection.transport.write(OK + b"content-length: %d\r\n\r\n" % size)
        while sent < size:
            await connection.writable.wait()
            connection.transport.write(b"x" * MIB)
            sent += MIB

    async with asking(script) as (upstream, http):
        response = await post(http, upstream.url)
        await until(lambda: not upstream.connections[0].writable.is_set())
        before = sent
        body = await read_all(response)

    assert len(body) == size
    assert before < size / 2


async def test_a_connection_is_not_held_back_by_an_answer_that_nobody_has_read_yet() -> None:
    size = MIB // 4 + 1
    large = OK + b"content-length: %d\r\n\r\n" % size + b"x" * size
    head, body = SIZED.split(b"hello")[0], b"hello"
    async with asking(raw(large), raw(head, body), max_connections=1) as (upstream, http):
        unread = await post(http, upstream.url)
        async with asyncio.timeout(1):
            assert await ask(http, upstream.url) == (200, b"hello")

        assert len(await read_all(unread)) == size
        assert upstream.connected == 1


# What can go wrong


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        pytest.param(raw(cut=True), PROVIDER_UNAVAILABLE, "The connection to the provider broke off.", id="cut before the head"),
        pytest.param(raw(OK + b"content-", cut=True), PROVIDER_UNAVAILABLE, "The connection to the provider broke off.",
                     id="cut within the head"),
        pytest.param(raw(OK + b"content-", close=True), PROVIDER_UNAVAILABLE, "The connection to the provider broke off.",
                     id="closed within the head"),
        pytest.param(raw(b"SSH-2.0-OpenSSH_9.6\r\n"), PROVIDER_BAD_RESPONSE, "The provider did not answer in HTTP.", id="SSH"),
        pytest.param(raw(b"<html>"), PROVIDER_BAD_RESPONSE, "The provider did not answer in HTTP.", id="a bare page"),
        pytest.param(raw(b"HTTP/1.1 abc\r\n\r\n"), PROVIDER_BAD_RESPONSE, "The provider did not answer in HTTP.", id="no status"),
        pytest.param(raw(OK + b"content-length: x\r\n\r\n"), PROVIDER_BAD_RESPONSE, "The provider did not answer in HTTP.",
                     id="no length"),
        pytest.param(raw(OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"), PROVIDER_BAD_RESPONSE,
                     "The provider did not answer in HTTP.", id="two lengths"),
        pytest.param(raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"), PROVIDER_BAD_RESPONSE,
                     "The provider did not answer in HTTP.", id="another protocol"),
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_a_failure(script: Script, reason: ErrorReason.ValueType, words: str) -> None:
    async with asking(script) as (upstream, http):
        error = await failure(post(http, upstream.url))
        await closes_soon(upstream.connections[0])

    assert (error.reason, error.message) == (reason, words)


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"x" * 65536, id="one header"),
        pytest.param(b"x-header: y\r\n" * 5000, id="many headers"),
        pytest.param(b"\r\n\r\nHTTP/1.1 100 Continue\r\n" * 2000, id="interim answers"),
    ],
)
async def test_a_head_without_end_is_refused(piece: bytes) -> None:
    async def script(connection: Connection) -> None:
        connection.transport.write(b"HTTP/1.1 100 Continue\r\nx: ")
        while not connection.closed.is_set():
            connection.transport.write(piece)
            await connection.writable.wait()
            await asyncio.sleep(0)

    async with asking(script) as (upstream, http):
        error = await failure(post(http, upstream.url))

        assert error.reason == PROVIDER_BAD_RESPONSE
        assert error.message == "The provider's answer has a head of more than 262144 bytes."
        await upstream.connections[0].closed.wait()


@pytest.mark.parametrize(
    ("script", "before"),
    [
        pytest.param(raw(SIZED[:-2], cut=True), b"hel", id="sized, cut"),
        pytest.param(raw(SIZED[:-2], close=True), b"hel", id="sized, closed"),
        pytest.param(raw(OK + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n", cut=True), b"hel", id="chunked, cut"),
        pytest.param(raw(OK + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n", close=True), b"hel", id="chunked, closed"),
        pytest.param(raw(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhel", close=True), b"hel", id="within a chunk"),
    ],
)  # fmt: skip
async def test_an_answer_that_breaks_off_gives_what_came_and_then_fails(script: Script, before: bytes) -> None:
    async with asking(script) as (upstream, http):
        response = await post(http, upstream.url)
        came = await response.read()
        error = await failure(response.read())
        again = await failure(response.read())

    assert came == before
    assert (error.reason, error.message) == (PROVIDER_UNAVAILABLE, "The connection to the provider broke off.")
    assert again is error


async def test_garbage_within_a_body_is_a_bad_response() -> None:
    async with asking(raw(OK + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\nnonsense\r\n")) as (upstream, http):
        response = await post(http, upstream.url)
        assert await response.read() == b"hel"

        assert (await failure(response.read())).reason == PROVIDER_BAD_RESPONSE


async def test_a_closed_port_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with transport() as http:
            error = await failure(post(http, f"http://127.0.0.1:{taken.getsockname()[1]}"))

    assert (error.reason, error.message) == (PROVIDER_UNAVAILABLE, "The provider cannot be reached.")


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue is full, so that the kernel lets further connections wait."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


async def test_a_provider_that_accepts_no_connection_is_given_up_in_time() -> None:
    with deaf_port() as port:
        async with transport() as http:
            error = await failure(http.open("POST", f"http://127.0.0.1:{port}", {}, b"", 0.1))

    assert error.reason == PROVIDER_TIMEOUT
    assert error.message == "The provider did not accept a connection within 0.1 s."


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("/", {"x": "a\r\nx-evil: 1"}),
        ("/", {"x": "a\nb"}),
        ("/", {"x": "a\rb"}),
        ("/a\r\nb", {}),
        ("/ü", {}),
        ("/", {"x": "🎉"}),
    ],
)
async def test_a_header_or_address_that_is_unfit_is_never_sent(url: str, headers: dict[str, str]) -> None:
    async with asking(raw(SIZED)) as (upstream, http):
        error = await failure(http.open("POST", upstream.url + url, headers, b"{}", 1))

        assert (error.reason, upstream.connected) == (INTERNAL, 0)


# Cancelling


async def test_cancelling_closes_the_connection_while_the_head_is_awaited() -> None:
    async with asking(silent) as (upstream, http):
        await cancelled(post(http, upstream.url), upstream)

        await closes_soon(upstream.connections[0])


async def test_cancelling_ends_the_wait_for_a_connection() -> None:
    with deaf_port() as port:
        async with transport() as http:
            task = asyncio.ensure_future(post(http, f"http://127.0.0.1:{port}"))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_cancelling_ends_the_wait_for_room() -> None:
    async with asking(silent, max_connections=1) as (upstream, http):
        first = asyncio.ensure_future(post(http, upstream.url))
        await upstream.arrived.wait()
        second = asyncio.ensure_future(post(http, upstream.url))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await closes_soon(upstream.connections[0])
        upstream.play(raw(SIZED))

        assert await ask(http, upstream.url) == (200, b"hello")


async def test_cancelling_a_read_leaves_the_answer_to_be_closed() -> None:
    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send("one")
        await connection.closed.wait()

    async with asking(script) as (upstream, http):
        response = await post(http, upstream.url)
        await response.read()
        reading = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        response.close(finished=False)

        await closes_soon(upstream.connections[0])


# TLS


class Authority:
    """Signs certificates for the loopback address."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("127.0.0.1").configure_cert(context)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has the authority trusted as an operator does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    _http._tls.cache_clear()  # noqa: SLF001 - what is trusted is read once
    yield
    _http._tls.cache_clear()  # noqa: SLF001


@asynccontextmanager
async def tls_port(context: ssl.SSLContext, serve: Callable[..., Awaitable[None]]) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"{}"):
        writer.write(SIZED)
        if reader.at_eof():
            return


async def serve_politely(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await say_hello(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        writer.close()


@pytest.mark.usefixtures("trusted")
async def test_a_trusted_provider_is_asked_over_tls(authority: Authority) -> None:
    async with tls_port(authority.context(), serve_politely) as url, transport() as http:
        assert await ask(http, url) == (200, b"hello")
        assert await ask(http, url) == (200, b"hello")


async def test_a_provider_that_nobody_vouches_for_is_not_asked(authority: Authority) -> None:
    async with tls_port(authority.context(), serve_politely) as url, transport() as http:
        error = await failure(post(http, url))

    assert error.reason == PROVIDER_UNAVAILABLE
    assert error.message == "The provider cannot be trusted or does not speak TLS."


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_for_another_host_is_not_trusted(authority: Authority) -> None:
    async with tls_port(authority.context(), serve_politely) as url, transport() as http:
        error = await failure(post(http, url.replace("127.0.0.1", "localhost")))

    assert error.reason == PROVIDER_UNAVAILABLE


async def test_a_plain_port_that_is_asked_over_tls_is_unavailable() -> None:
    async with asking(raw(SIZED)) as (upstream, http):
        error = await failure(http.open("POST", upstream.url.replace("http:", "https:"), {}, b"", 0.5))

    assert error.reason in (PROVIDER_UNAVAILABLE, PROVIDER_TIMEOUT)


async def test_a_tls_port_that_is_asked_plainly_is_a_failure(authority: Authority) -> None:
    async with tls_port(authority.context(), serve_politely) as url, transport() as http:
        error = await failure(post(http, url.replace("https:", "http:")))

    assert error.reason in (PROVIDER_BAD_RESPONSE, PROVIDER_UNAVAILABLE)
