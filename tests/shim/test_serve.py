"""The HTTP server's address, certificates and end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from loom_grpc.config import Config, ConfigError
from loom_grpc.core.call import Call, Send
from loom_grpc.shim.serve import HttpEdge
from loom_grpc.telemetry import Telemetry
from tests.shim.serving import DONE, HI, WAIT_S, Script, configuration, plays, request, shim, text

BUSY = {"error": "service_unavailable", "message": "The server is shutting down; call again, another one will answer."}


def edge(config: Config, *, shared_port: bool = False) -> HttpEdge:
    return HttpEdge(config, plays(text("Hel"), DONE), Telemetry(config), shared_port=shared_port)


class Slow:
    """A gateway whose answer waits for the test in its middle."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.script = Script(self.play)

    async def play(self, call: Call, send: Send) -> None:
        await send(text("Hel"))
        await self.go.wait()
        await send(DONE)


async def test_a_stream_in_flight_is_finished_before_the_server_stops() -> None:
    slow = Slow()
    async with shim(gateway=slow.script) as server:
        reader, writer = await server.connect(request("/proxy/openai/stream"))
        await reader.readuntil(b"Hel")
        draining = asyncio.create_task(server.edge.drain(WAIT_S))
        await asyncio.sleep(0)  # the drain begins
        slow.go.set()
        rest = await reader.read()
        await asyncio.wait_for(draining, WAIT_S)
        writer.close()

    assert b'"type":"completed"' in rest
    assert rest.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_came_just_before_the_end_is_closed(turns: int) -> None:
    server = edge(configuration())
    with socket.create_connection(("127.0.0.1", await server.start()), WAIT_S) as peer:
        for _ in range(turns):  # of the event loop, after which the connection is more or less accepted
            await asyncio.sleep(0)

        await server.drain(0)

        assert await asyncio.to_thread(end_of, peer) == b""


def end_of(peer: socket.socket) -> bytes:
    """Waits until the other side has ended the connection."""
    try:
        return peer.recv(1)
    except ConnectionResetError:
        return b""


async def test_a_stream_that_takes_longer_than_the_grace_is_told_and_cancelled() -> None:
    slow = Slow()
    async with shim(gateway=slow.script) as server:
        reader, writer = await server.connect(request("/proxy/openai/stream"))
        await reader.readuntil(b"Hel")
        await asyncio.wait_for(server.edge.drain(0.05), WAIT_S)
        rest = await reader.read()
        writer.close()

    assert slow.script.cancelled.is_set()
    assert rest.endswith(
        b'data: {"type":"error","message":"API error: The server is shutting down; call again, another one will answer."}'
        b"\n\n\r\n0\r\n\r\n"
    )


async def test_a_call_that_has_sent_nothing_when_the_grace_is_over_gets_a_status() -> None:
    async def play(call: Call, send: Send) -> None:
        await asyncio.Event().wait()

    script = Script(play)
    async with shim(gateway=script) as server:
        answering = asyncio.create_task(server.post("/proxy/openai/complete"))
        await script.asked.wait()
        await server.edge.drain(0)
        answer = await answering

    assert (answer.status, answer.json, answer.headers["retry-after"]) == (503, BUSY, "1")


async def test_new_calls_on_old_connections_are_refused_while_draining() -> None:
    slow = Slow()
    async with shim(gateway=slow.script) as server:
        keep = request("/proxy/openai/stream").replace(b"connection: close\r\n", b"")
        reader, writer = await server.connect(keep)
        await reader.readuntil(b"Hel")
        fresh_reader, fresh = await server.connect(keep[:40])
        draining = asyncio.create_task(server.edge.drain(WAIT_S))
        await asyncio.sleep(0)  # the drain begins
        with pytest.raises(aiohttp.ClientConnectionError):
            await server.get("/readyz")
        slow.go.set()
        await reader.read()
        await draining
        fresh.close()
        writer.close()
        unanswered = await fresh_reader.read()

    assert unanswered == b""


async def test_idle_connections_do_not_hold_the_server_up() -> None:
    async with shim() as server:
        reader, writer = await server.connect(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"ok")
        await asyncio.wait_for(server.edge.drain(WAIT_S), 1)
        assert await reader.read() == b""
        writer.close()


async def test_a_caller_who_never_reads_is_cut_off_after_the_grace() -> None:
    async def play(call: Call, send: Send) -> None:
        while True:
            await send(text("x" * 100_000))

    async with shim(gateway=Script(play)) as server:
        reader, writer = await server.connect(request("/proxy/openai/stream"))
        await reader.readuntil(b"xxx")
        await asyncio.wait_for(server.edge.drain(0.05), WAIT_S)
        left = server.edge.connections()
        writer.transport.abort()

    assert left == []


async def test_an_address_in_use_is_a_configuration_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            await edge(configuration({"address": address})).start()

    assert str(caught.value) == f"http.address: cannot listen on {address}: Address already in use"


async def test_a_host_that_is_not_there_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"^http\.address: cannot listen on nowhere\.invalid:80: "):
        await edge(configuration({"address": "nowhere.invalid:80"})).start()


async def test_two_servers_share_an_address_only_when_they_mean_to() -> None:
    first = edge(configuration(), shared_port=True)
    address = f"127.0.0.1:{await first.start()}"
    second = edge(configuration({"address": address}), shared_port=True)
    await second.start()
    with pytest.raises(ConfigError):
        await edge(configuration({"address": address})).start()
    await first.drain(0)
    await second.drain(0)


async def test_an_ipv6_address_is_served() -> None:
    server = edge(configuration({"address": "[::1]:0"}))
    port = await server.start()
    async with aiohttp.ClientSession() as client, client.get(f"http://[::1]:{port}/livez") as response:
        assert await response.text() == "ok"
    await server.drain(0)


async def test_a_unix_socket_is_served_and_a_left_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "loom.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    config = configuration({"address": f"unix:{path}"})
    server = edge(config)

    port = await server.start()
    with pytest.raises(ConfigError):
        await edge(config).start()
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
        client.post("http://localhost/proxy/openai/stream", json=HI) as response,
    ):
        body = await response.read()
    await server.drain(0)

    assert port == 0
    assert body.count(b"event: llm\n") == 2
    assert not path.exists()


async def test_a_unix_socket_is_taken_over_from_a_server_that_finishes_its_calls(tmp_path: Path) -> None:
    path = tmp_path / "loom.sock"
    slow, config = Slow(), configuration({"address": f"unix:{path}"})
    leaving = HttpEdge(config, slow.script, Telemetry(config))
    await leaving.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request("/proxy/openai/stream"))
    await reader.readuntil(b"Hel")
    draining = asyncio.create_task(leaving.drain(WAIT_S))
    await asyncio.sleep(0)  # the drain begins
    coming = edge(config)
    await coming.start()

    slow.go.set()
    await reader.read()
    await asyncio.wait_for(draining, WAIT_S)
    writer.close()
    is_there = path.is_socket()
    await coming.drain(0)

    assert is_there
    assert not path.exists()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for index, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(tmp_path / "cert.pem", append=index > 0)
    return {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def fetch(port: int, context: ssl.SSLContext) -> bytes:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"https://localhost:{port}/proxy/openai/stream", json=HI, ssl=context) as response,
    ):
        return await response.read()


async def test_tls_is_served(authority: trustme.CA, tls: dict[str, Any]) -> None:
    server = edge(configuration({"tls": tls}))
    port = await server.start()
    body = await fetch(port, trusting(authority))
    await server.drain(0)

    assert body.count(b"event: llm\n") == 2


async def test_mutual_tls_serves_those_with_a_certificate_alone(
    authority: trustme.CA, tls: dict[str, Any], tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = edge(configuration({"tls": tls | {"client_ca_file": str(tmp_path / "ca.pem")}}))
    port = await server.start()
    known, strange = trusting(authority), trusting(authority)
    authority.issue_cert("caller").configure_cert(known)
    trustme.CA().issue_cert("caller").configure_cert(strange)

    body = await fetch(port, known)
    for stranger in (strange, trusting(authority)):
        with pytest.raises(aiohttp.ClientError):
            await fetch(port, stranger)
    await server.drain(0)

    assert body.count(b"event: llm\n") == 2


async def test_certificates_that_cannot_be_read_are_a_configuration_error(tls: dict[str, Any], tmp_path: Path) -> None:
    missing = tls | {"cert_file": str(tmp_path / "none.pem")}
    garbage = tls | {"key_file": __file__}

    with pytest.raises(ConfigError, match=r"^http\.tls: .*No such file or directory"):
        await edge(configuration({"tls": missing})).start()
    with pytest.raises(ConfigError, match=r"^http\.tls: "):
        await edge(configuration({"tls": garbage})).start()
