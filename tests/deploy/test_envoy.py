"""Envoy, really: gRPC, gRPC-Web and Connect through it, long streams, and servers that leave."""

from __future__ import annotations

import asyncio
import signal
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from google.protobuf.json_format import MessageToDict
from yarl import URL

from loom_grpc.client import LlmError, LlmEvent, LlmRequest, LoomClient, user
from loom_grpc.v1.llm_service_pb2 import LlmResponse
from tests.deploy.envoy import CONFIG, ORIGIN, Envoy, configuration, envoy_before, placed
from tests.deploy.installed import output_of
from tests.program import Server, served

FREE = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
ECHO = LlmRequest(model="mock-echo", messages=[user("Hello")])
COMPLETE, STREAM = "/loom_grpc.v1.LlmService/Complete", "/loom_grpc.v1.LlmService/Stream"


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    with (
        served("serve", *FREE, cwd=tmp_path_factory.mktemp("server")) as one,
        served("serve", *FREE, cwd=tmp_path_factory.mktemp("server")) as two,
        envoy_before([one, two], tmp_path_factory.mktemp("envoy")) as running,
    ):
        yield running


def client_of(envoy: Envoy) -> LoomClient:
    return LoomClient(envoy.target, tls=envoy.credentials())


def session_of(envoy: Envoy) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cadata=envoy.ca.decode())
    return aiohttp.ClientSession(envoy.url, connector=aiohttp.TCPConnector(ssl=context))


def framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        flag, size = struct.unpack(">BI", body[:5])
        found.append((flag, body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def test_envoy_takes_the_configuration_without_a_doubt(tmp_path: Path) -> None:
    placed(tmp_path, [], 8443, 9901, trustme.CA())
    file = tmp_path / "as_it_is.yaml"
    file.write_text(CONFIG.read_text(encoding="utf-8").replace("/etc/envoy/tls", str(tmp_path)))
    code, said = output_of("envoy", "--mode", "validate", "--config-path", file)

    assert code == 0, said
    assert "[warning]" not in said, said


def test_nothing_in_it_limits_or_repeats_a_stream() -> None:
    manager = configuration()["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    routes = [route["route"] for route in host["routes"] if "route" in route]

    assert (manager["stream_idle_timeout"], manager["request_timeout"]) == ("0s", "0s")
    assert [route["timeout"] for route in routes] == ["0s"] * len(routes)
    assert "retry_policy" not in CONFIG.read_text(encoding="utf-8")


async def test_grpc_goes_through_with_its_stream_and_its_trailers(envoy: Envoy) -> None:
    async with client_of(envoy) as client:
        answer = await client.complete("Hello", model="mock-echo")
        async with client.stream("Hello", model="mock-words") as stream:
            events: list[LlmEvent] = [event async for event in stream]
            trailers = await stream.trailers()

    assert (answer.message.content, events[-1].WhichOneof("event")) == ("Hello", "completed")
    assert trailers["loom-provider"] == "mock"


async def test_an_event_is_there_before_the_next_one(envoy: Envoy) -> None:
    async with client_of(envoy) as client, client.stream("Hello", model="mock-slow", max_tokens=2) as stream:
        began = asyncio.get_running_loop().time()
        times = [asyncio.get_running_loop().time() - began async for _ in stream]

    assert times[-1] - times[1] > 0.4, "half a second lies between two words"


async def test_errors_keep_their_details(envoy: Envoy) -> None:
    async with client_of(envoy) as client:
        with pytest.raises(LlmError) as failure:
            await client.complete("Hello", model="mock-quota")

    assert (failure.value.name, "request_id" in failure.value.metadata) == ("PROVIDER_QUOTA_EXCEEDED", True)


async def test_a_callers_deadline_is_kept(envoy: Envoy) -> None:
    async with client_of(envoy) as client:
        with pytest.raises(LlmError) as failure:
            await client.complete("Hello", model="mock-slow", timeout_s=0.3)

    assert failure.value.name == "PROVIDER_TIMEOUT"


async def test_grpc_web_is_made_grpc_of(envoy: Envoy) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    async with session_of(envoy) as session:
        async with session.post(COMPLETE, data=framed(ECHO.SerializeToString()), headers=headers) as answer:
            whole = frames(await answer.read())
        async with session.post(STREAM, data=framed(ECHO.SerializeToString()), headers=headers) as answer:
            *events, (flag, trailers) = frames(await answer.read())

    assert LlmResponse.FromString(whole[0][1]).message.content == "Hello"
    assert LlmEvent.FromString(events[-1][1]).completed.response.message.content == "Hello"
    assert flag == 0x80
    assert b"grpc-status:0" in trailers
    assert b"loom-provider:mock" in trailers


async def test_a_page_that_is_named_may_call_and_another_may_not(envoy: Envoy) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-grpc-web,authorization",
    }
    called = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    allowed: dict[str, list[str | None]] = {}
    async with session_of(envoy) as session:
        for origin in (ORIGIN, "https://other.example.com"):
            async with session.options(COMPLETE, headers={"origin": origin} | asked) as answer:
                allowed[origin] = [answer.headers.get("access-control-allow-origin")]
            body = framed(ECHO.SerializeToString())
            async with session.post(COMPLETE, data=body, headers={"origin": origin} | called) as answer:
                allowed[origin].append(answer.headers.get("access-control-allow-origin"))

    assert allowed == {ORIGIN: [ORIGIN, ORIGIN], "https://other.example.com": [None, None]}


async def test_a_page_may_send_and_read_every_header_and_delete(envoy: Envoy) -> None:
    asked = {"access-control-request-method": "DELETE", "access-control-request-headers": "authorization,loom-cache"}
    async with session_of(envoy) as session:
        async with session.options("/v1/responses/some", headers={"origin": ORIGIN} | asked) as answer:
            headers, methods = listed(answer, "allow-headers"), listed(answer, "allow-methods")
        called = {"content-type": "application/proto", "connect-protocol-version": "1", "origin": ORIGIN}
        async with session.post(COMPLETE, data=ECHO.SerializeToString(), headers=called) as answer:
            exposed, told = listed(answer, "expose-headers"), "trailer-loom-request-id" in answer.headers

    assert headers == {"authorization", "*"}, "which * does not stand for"
    assert methods == {"GET", "POST", "DELETE"}
    assert (exposed, told) == ({"*"}, True)


def listed(answer: aiohttp.ClientResponse, name: str) -> set[str]:
    """Returns what a header of CORS lists."""
    return set(answer.headers[f"access-control-{name}"].split(","))


@pytest.mark.parametrize(
    "path", ["/loom_grpc.v1.AdminService/ListAccounts", "/api/admin/mock/accounts", "/api%2fadmin/mock/accounts"]
)
async def test_no_page_of_another_origin_may_administer(envoy: Envoy, path: str) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    called = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    async with session_of(envoy) as session:
        async with session.options(URL(path, encoded=True), headers={"origin": ORIGIN} | asked) as answer:
            allowed = answer.headers.get("access-control-allow-origin")
        async with session.post(
            URL(path, encoded=True), data=framed(b""), headers={"origin": ORIGIN} | called
        ) as answer:
            shown = answer.headers.get("access-control-allow-origin")

    assert (allowed, shown) == (None, None)


async def test_administration_by_grpc_goes_through(envoy: Envoy) -> None:
    async with client_of(envoy) as client:
        with pytest.raises(LlmError) as failure:
            await client.admin("wrong").list_accounts("mock")

    assert (failure.value.name, "request_id" in failure.value.metadata) == ("PERMISSION_DENIED", True)


def test_nobodys_page_may_call_until_it_is_named() -> None:
    manager = configuration()["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]

    assert host["typed_per_filter_config"]["envoy.filters.http.cors"]["allow_origin_string_match"] == []


async def test_connect_is_answered_by_the_server(envoy: Envoy) -> None:
    async with session_of(envoy) as session:
        request: Any = {"model": "mock-echo", "messages": [{"role": "ROLE_USER", "content": "Hello"}]}
        async with session.post(COMPLETE, json=request, headers={"connect-protocol-version": "1"}) as answer:
            as_json = await answer.json()
        headers = {"content-type": "application/proto", "connect-protocol-version": "1"}
        async with session.post(COMPLETE, data=ECHO.SerializeToString(), headers=headers) as answer:
            as_proto = MessageToDict(LlmResponse.FromString(await answer.read()))

    assert as_json["message"]["content"] == as_proto["message"]["content"] == "Hello"


async def test_other_apis_go_through_and_metrics_do_not(envoy: Envoy) -> None:
    body = {"model": "mock/mock-echo", "messages": [{"role": "user", "content": "Hello"}]}
    async with session_of(envoy) as session:
        async with session.post("/v1/chat/completions", json=body) as answer:
            completion = await answer.json()
        async with session.get("/metrics") as answer:
            metrics = answer.status

    assert (completion["choices"][0]["message"]["content"], metrics) == ("Hello", 404)


async def test_failing_providers_do_not_cost_a_server_its_place(envoy: Envoy) -> None:
    async with client_of(envoy) as client:
        for _ in range(24):
            with pytest.raises(LlmError):
                await client.complete("Hello", model="mock-empty")
        answer = await client.complete("Hello", model="mock-echo")

    assert (answer.message.content, envoy.ejections()) == ("Hello", 0)


async def test_a_server_that_drains_gets_no_calls_and_ends_its_stream(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "envoy")]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        one, two = (stack.enter_context(served("serve", *FREE, cwd=folder)) for folder in folders[:2])
        envoy = stack.enter_context(envoy_before([one, two], folders[2]))
        async with client_of(envoy) as client:
            busy = asyncio.create_task(_all_of(client, "mock-slow", 6))
            leaving = await _busy_one(envoy, [one, two])
            leaving.process.send_signal(signal.SIGTERM)
            await _unwell(envoy, leaving)
            answers = [await client.complete("Hello", model="mock-echo") for _ in range(20)]
            events = await busy
        code = leaving.process.wait(20)

    assert [answer.message.content for answer in answers] == ["Hello"] * 20
    assert (events[-1].WhichOneof("event"), code) == ("completed", 0)


async def test_an_envoy_that_drains_lets_its_streams_end(tmp_path: Path) -> None:
    with (
        served("serve", *FREE, cwd=tmp_path) as server,
        envoy_before([server], tmp_path) as envoy,
    ):
        async with aiohttp.ClientSession(envoy.admin) as admin, client_of(envoy) as client:
            busy = asyncio.create_task(_all_of(client, "mock-slow", 6))
            await _busy_one(envoy, [server])
            async with admin.post("/drain_listeners?graceful") as answer:
                drains = answer.status
            async with admin.get("/stats?filter=callers.downstream_rq_active") as answer:
                during = await answer.text()
            events = await busy
            async with admin.get("/stats?filter=callers.downstream_rq_active") as answer:
                after = await answer.text()

    assert (drains, events[-1].WhichOneof("event")) == (200, "completed")
    assert (during, after) == tuple(f"http.callers.downstream_rq_active: {number}\n" for number in (1, 0))


async def _all_of(client: LoomClient, model: str, words: int) -> list[LlmEvent]:
    return [event async for event in client.stream("Hello", model=model, max_tokens=words)]


async def _busy_one(envoy: Envoy, servers: list[Server]) -> Server:
    """Waits until one of the servers has a call."""
    async with asyncio.timeout(10):
        while not (ports := [_port(host) for host in envoy.hosts("grpc") if _active(host)]):  # noqa: ASYNC110 - Envoy tells nobody
            await asyncio.sleep(0.01)
    return next(server for server in servers if server.grpc_address.endswith(f":{ports[0]}"))


async def _unwell(envoy: Envoy, server: Server) -> None:
    """Waits until Envoy has found out that a server drains."""
    async with asyncio.timeout(10):
        while not any(  # noqa: ASYNC110 - Envoy tells nobody
            "failed_active_health_check" in host["health_status"]
            for host in envoy.hosts("grpc")
            if server.grpc_address.endswith(f":{_port(host)}")
        ):
            await asyncio.sleep(0.01)


def _port(host: dict[str, Any]) -> int:
    port: int = host["address"]["socket_address"]["port_value"]
    return port


def _active(host: dict[str, Any]) -> int:
    return next((int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == "rq_active"), 0)


async def test_a_caller_without_tls_is_refused(envoy: Envoy) -> None:
    async with LoomClient(envoy.target, timeout_s=5) as client:
        with pytest.raises(LlmError) as failure:
            await client.complete("Hello", model="mock-echo")

    assert failure.value.name == "PROVIDER_UNAVAILABLE"
