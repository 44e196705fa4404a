"""`loom-grpc serve --workers`: several processes behind one port."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.program import Server, run, served
from tests.server.serving import health_of

FLAGS = ("serve", "--workers", "2", "--grpc-address", "127.0.0.1:0", "--no-http")
OWN = [("grpc.use_local_subchannel_pool", 1)]
"""A connection of its own for each channel, so that any worker may get it."""


def asking(model: str) -> LlmRequest:
    return LlmRequest(provider="mock", model=model, messages=[Message(role=ROLE_USER, content="Hi")])


def workers(server: Server) -> list[int]:
    """Returns the ids of the processes that serve."""
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


async def ask(server: Server) -> str:
    """Makes a call, and waits for a worker if there is none."""
    async with grpc.aio.insecure_channel(server.grpc_address, options=OWN) as channel:
        answer = await LlmServiceStub(channel).Complete(asking("mock-echo"), wait_for_ready=True, timeout=15)
    return answer.message.content


def log_of(server: Server) -> str:
    server.log.seek(0)
    return server.log.read()


async def test_both_workers_answer_behind_one_port(tmp_path: Path) -> None:
    with served(*FLAGS, cwd=tmp_path) as server:
        answers = [await ask(server) for _ in range(30)]
        assert server.stop() == 0
        log = log_of(server)

    assert answers == ["Hi"] * 30
    assert '"event":"call","worker":0' in log
    assert '"event":"call","worker":1' in log


async def test_workers_that_die_are_replaced(tmp_path: Path) -> None:
    with served(*FLAGS, cwd=tmp_path) as server:
        before = workers(server)
        for worker in before:
            os.kill(worker, signal.SIGKILL)

        assert await ask(server) == "Hi"
        assert len(before) == 2
        assert set(workers(server)) & set(before) == set()
        assert server.stop() == 0


async def test_a_signal_to_the_whole_group_lets_streams_finish(tmp_path: Path) -> None:
    with served(*FLAGS, cwd=tmp_path) as server:
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            stream = aiter(LlmServiceStub(channel).Stream(asking("mock-words")))
            await anext(stream)
            for process in (server.process.pid, *workers(server)):
                os.kill(process, signal.SIGTERM)
            kinds = [event.WhichOneof("event") async for event in stream]

        assert kinds[-1] == "completed"
        assert server.process.wait(20) == 0
        assert log_of(server).count('"event":"stopped"') == 2


async def test_a_second_signal_ends_what_does_not_finish(tmp_path: Path) -> None:
    with served(*FLAGS, cwd=tmp_path) as server:
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            stream = aiter(LlmServiceStub(channel).Stream(asking("mock-stall")))
            await anext(stream)
            health = health_of(channel).Watch(health_pb2.HealthCheckRequest())
            statuses = aiter(health)
            await anext(statuses)
            server.process.send_signal(signal.SIGTERM)
            await anext(statuses)
            server.process.send_signal(signal.SIGTERM)

            await asyncio.to_thread(server.process.wait, 10)


async def test_workers_that_cannot_serve_end_the_server(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text("providers: {vertex: {}}\n")

    result = await run(*FLAGS, cwd=tmp_path)

    assert result.code == 1
    assert "project and location are needed" in result.err
    assert "Traceback" not in result.err


async def test_workers_take_the_port_that_a_single_process_has_just_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as former:
        address = f"127.0.0.1:{former.getsockname()[1]}"
        with socket.create_connection(former.getsockname()) as caller:
            former.accept()[0].close()  # who closes first keeps the port from others
            assert caller.recv(1) == b""

    with served("serve", "--workers", "2", "--grpc-address", address, "--no-http", cwd=tmp_path) as server:
        assert server.grpc_address == address
        assert await ask(server) == "Hi"


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ("serve", "--workers", "2", "--no-http", "--grpc-address", f"127.0.0.1:{taken.getsockname()[1]}")
        result = await run(*flags, cwd=tmp_path)

    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "cannot listen on" in result.err
