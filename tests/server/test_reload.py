"""Another configuration while the server runs: under load, on every trigger, and refused."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from loom_grpc.app import App
from loom_grpc.client import ErrorReason, LlmError, LoomClient
from loom_grpc.config import ConfigError, load
from loom_grpc.providers.registry import PROVIDERS
from loom_grpc.server.edge import GrpcEdge
from loom_grpc.server.reload import Reloading
from loom_grpc.server.source import Source
from loom_grpc.shim.serve import HttpEdge
from tests.program import Server, run, served
from tests.server.serving import LAST, chunk
from tests.stand_in import Connection, StandIn, stand_in
from tests.telemetry.lines import Log, telemetry

ADMIN_KEY = "la_BXq7cVn2Lr9TzKp4Wm6Yd1"
CALLERS = 32
RELOADS = 30
WORDS = 8


def speaks(word: str) -> Callable[[Connection], object]:
    """Scripts a provider that says a word again and again, with time between."""

    async def script(connection: Connection) -> None:
        if connection.asked.json.get("stream"):
            await connection.head()
            for _ in range(WORDS):
                await connection.send(chunk(word))
                await asyncio.sleep(0.002)
            await connection.send(LAST)
        else:
            await connection.head(content_type="application/json")
            choice = {"index": 0, "message": {"role": "assistant", "content": word * WORDS}, "finish_reason": "stop"}
            await asyncio.sleep(0.01)
            await connection.send(json.dumps({"id": "1", "model": "m", "choices": [choice]}))
        await connection.end()

    return script


def asks(first: StandIn, second: StandIn) -> str:
    """Writes a configuration with a provider at one address, and a route that asks there and then at the other."""
    return json.dumps(
        {
            "admin": {"api_key": ADMIN_KEY},
            "grpc": {"address": "127.0.0.1:0"},
            "http": {"address": "127.0.0.1:0"},
            "log": {"access": False},
            "providers": {
                "near": {"dialect": "openai", "api_key": "sk-near-0123456789", "base_url": first.url},
                "far": {"dialect": "openai", "api_key": "sk-far-0123456789", "base_url": second.url},
                "mock": {},
            },
            "routes": {"best": {"targets": [{"model": "near/m"}, {"model": "far/m"}]}},
        }
    )


@dataclass
class Running:
    """A server in this process whose configuration is a file."""

    app: App
    file: Path
    reloading: Reloading
    log: Log
    client: LoomClient
    http: str

    async def reload(self, text: str) -> list[str]:
        self.file.write_text(text)
        return await self.reloading.reload()


@asynccontextmanager
async def running(file: Path) -> AsyncIterator[Running]:
    """Serves both edges by a file."""
    log = Log()
    source = Source(file, lambda: load(file, {}, {}, registry=PROVIDERS))
    config = source.read().config
    told = telemetry(log)
    async with App(config, {}, told) as app:
        reloading = Reloading(source, app, told)
        app.reload = reloading.reload
        grpc_edge, http_edge = GrpcEdge(config.grpc, app, told, shared_port=False), HttpEdge(config, app, told)
        target = f"127.0.0.1:{await grpc_edge.start()}"
        http = f"http://127.0.0.1:{await http_edge.start()}"
        reloading.start()
        try:
            async with LoomClient(target, api_key=ADMIN_KEY) as client:
                yield Running(app, file, reloading, log, client, http)
        finally:
            await reloading.close()
            await asyncio.gather(grpc_edge.drain(1), http_edge.drain(1))


async def grpc_unary(server: Running, _session: aiohttp.ClientSession) -> str:
    return (await server.client.complete("hi", model="best")).message.content


async def grpc_stream(server: Running, _session: aiohttp.ClientSession) -> str:
    return "".join([event.text_delta.content async for event in server.client.stream("hi", model="near/m")])


async def http_unary(server: Running, session: aiohttp.ClientSession) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with session.post(f"{server.http}/proxy/near/complete", json=body) as answer:
        text = await answer.text()
        assert answer.status == 200, text
        return str(json.loads(text)["message"]["content"])


async def http_stream(server: Running, session: aiohttp.ClientSession) -> str:
    body = {"model": "best", "messages": [{"role": "user", "content": "hi"}]}
    async with session.post(f"{server.http}/proxy/best/stream", json=body) as answer:
        events = [json.loads(line[6:]) for line in (await answer.text()).splitlines() if line.startswith("data: ")]
    assert events[-1]["type"] == "completed", events
    return "".join(event.get("content", "") for event in events if event["type"] == "text_delta")


async def test_reloads_under_load_lose_no_call_and_leave_nothing_behind(tmp_path: Path) -> None:
    async with stand_in() as a, stand_in() as b:
        a.play(speaks("A"))  # type: ignore[arg-type]
        b.play(speaks("B"))  # type: ignore[arg-type]
        file = tmp_path / "loom.json"
        file.write_text(asks(a, b))
        async with running(file) as server, aiohttp.ClientSession() as session:
            answers: list[str] = []
            busy = True

            async def call(ask: Callable[[Running, aiohttp.ClientSession], AsyncIterator[str]]) -> None:
                while busy:
                    answers.append(await ask(server, session))  # type: ignore[misc]

            kinds = [grpc_unary, grpc_stream, http_unary, http_stream]
            callers = [asyncio.create_task(call(kinds[n % 4])) for n in range(CALLERS)]  # type: ignore[arg-type]
            await a.arrived.wait()
            parts: list[weakref.ref[object]] = []
            tasks, refused = len(asyncio.all_tasks()), 0
            for number in range(RELOADS):
                parts += [weakref.ref(server.app.parts), weakref.ref(server.app.parts.providers["near"])]
                await asyncio.sleep(0.02)
                if number % 3 == 2:
                    with pytest.raises(ConfigError):
                        await server.reload("providers: {near: {dialect: nowhere}}")
                    refused += 1
                else:
                    keys = await server.reload(asks(a, b) if number % 2 else asks(b, a))
                    assert set(keys) <= {"providers.near.base_url", "providers.far.base_url"}
            busy = False
            await asyncio.gather(*callers)
            await server.reload(asks(a, a))  # whose other provider is closed with this
            await asyncio.gather(*(connection.closed.wait() for connection in last_of(b)))
            gc.collect()

            assert refused == RELOADS // 3
            assert len(answers) > 200
            assert set(answers) <= {"A" * WORDS, "B" * WORDS}
            assert {ref() for ref in parts} <= {server.app.parts, None}
            assert len(asyncio.all_tasks()) <= tasks - CALLERS


def last_of(upstream: StandIn) -> list[Connection]:
    """Returns the last request of every connection that was opened."""
    return list({id(connection.transport): connection for connection in upstream.connections}.values())


# The file


def source_of(file: Path) -> Source:
    return Source(file, lambda: load(file, {}, {}, registry=PROVIDERS))


def test_a_file_counts_as_changed_when_its_content_is_another_and_rests(tmp_path: Path) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text("a")
    source = source_of(file)

    assert not source.has_changed()
    file.write_text("")  # an editor at work
    assert not source.has_changed()
    file.write_text("ab")
    assert not source.has_changed()
    assert source.has_changed()
    assert not source.has_changed()


def test_a_file_that_is_only_touched_has_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text("a")
    source = source_of(file)
    os.utime(file, (1, 1))

    assert [source.has_changed() for _ in range(3)] == [False, False, False]


def test_a_file_behind_links_that_are_swapped_has_changed(tmp_path: Path) -> None:
    """As Kubernetes does it: `loom.yaml -> ..data/loom.yaml`, `..data -> ..version`."""
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "loom.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..1")
    file = tmp_path / "loom.yaml"
    file.symlink_to("..data/loom.yaml")
    source = source_of(file)
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")

    assert [source.has_changed() for _ in range(3)] == [False, True, False]


def test_a_file_that_goes_and_comes_back_has_changed_twice(tmp_path: Path) -> None:
    file = tmp_path / "loom.yaml"
    file.write_text("a")
    source = source_of(file)

    file.unlink()
    gone = [source.has_changed() for _ in range(3)]
    file.write_text("a")

    assert (gone, [source.has_changed() for _ in range(3)]) == ([False, True, False], [False, True, False])


def test_a_pipe_is_not_read_a_second_time(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = Source(pipe, lambda: load(None, {}, {}))

    with pytest.raises(ConfigError, match="is no regular file, so it cannot be read a second time"):
        source.renew(source.read().config)


# A process


CONFIG = f'admin: {{api_key: {ADMIN_KEY}}}\nreload: {{poll_s: 0.1}}\nproviders: {{mock: {{default_model: "%s"}}}}\n'
FREE = ("--grpc-address", "127.0.0.1:0", "--no-http")
OWN = [("grpc.use_local_subchannel_pool", 1)]


def lines(server: Server, event: str) -> list[dict[str, object]]:
    fd = server.log.fileno()
    text = os.pread(fd, os.fstat(fd).st_size, 0)  # reading it otherwise would move where the server writes
    parsed = [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
    return [line for line in parsed if line["event"] == event]


async def until(server: Server, event: str, times: int = 1) -> list[dict[str, object]]:
    """Waits until lines with an event are in the log of another process."""
    async with asyncio.timeout(15):
        while len(found := lines(server, event)) < times:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
    return found


async def default_of(server: Server) -> str:
    """Returns which model answers by default, of whichever worker."""
    async with LoomClient(server.grpc_address, options=dict(OWN)) as client:
        return (await client.complete("hi", model="mock/default")).model


@pytest.mark.parametrize("workers", ["1", "3"])
async def test_sighup_reads_the_configuration_again(tmp_path: Path, workers: str) -> None:
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    with served("serve", *FREE, "--workers", workers, cwd=tmp_path, env={"LOOM_RELOAD__WATCH": "false"}) as server:
        before = await default_of(server)
        (tmp_path / "loom.yaml").write_text(CONFIG % "mock-echo")
        server.process.send_signal(signal.SIGHUP)
        told = await until(server, "config_reloaded", int(workers))
        after = {await default_of(server) for _ in range(12)}
        assert server.stop() == 0

    assert (before, after) == ("mock-words", {"mock-echo"})
    assert [line["keys"] for line in told] == [["providers.mock.default_model"]] * int(workers)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_changed_file_is_read_and_a_wrong_one_refused(tmp_path: Path, workers: str) -> None:
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    with served("serve", *FREE, "--workers", workers, cwd=tmp_path) as server:
        (tmp_path / "loom.yaml").write_text(CONFIG % "mock-echo")
        await until(server, "config_reloaded", int(workers))
        (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words" + "provider: {}\n")
        (refused,) = await until(server, "config_refused")
        after = {await default_of(server) for _ in range(6)}
        assert server.stop() == 0

    assert after == {"mock-echo"}
    assert refused["problems"] == ["provider: unknown key; did you mean providers? (file loom.yaml:4)"]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_an_operator_reloads_and_is_told_the_keys_or_every_problem(tmp_path: Path, workers: str) -> None:
    quiet = {"LOOM_RELOAD__WATCH": "false"}
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    with served("serve", *FREE, "--workers", workers, cwd=tmp_path, env=quiet) as server:
        reload = ("reload", "--target", server.grpc_address)
        shown = {"LOOM_ADMIN_KEY": ADMIN_KEY}
        same = await run(*reload, cwd=tmp_path, env=shown)
        (tmp_path / "loom.yaml").write_text(CONFIG % "mock-echo" + "chains: true\n")
        other = await run(*reload, cwd=tmp_path, env=shown)
        (tmp_path / "loom.yaml").write_text(CONFIG % "mock-echo" + "grpc: {drain_grace_s: 1}\nworkers: 9\n")
        fixed = await run(*reload, cwd=tmp_path, env=shown)
        keyless = await run(*reload, cwd=tmp_path, env={"LOOM_ADMIN_KEY": "la_wV8sNn3Fq0JkXb5Rt7Ue2c"})
        assert server.stop() == 0

    assert (same.code, same.out) == (0, "")
    assert (other.code, other.out) == (0, "providers.mock.default_model\nchains\n")
    assert (fixed.code, fixed.out, fixed.err.count("cannot change while the server runs")) == (1, "", 1)
    assert "grpc.drain_grace_s: cannot change while the server runs; restart it to change this key (file" in fixed.err
    assert (keyless.code, "LOOM_ADMIN_KEY" in keyless.err) == (1, True)


async def test_a_server_without_a_file_reads_its_environment_again(tmp_path: Path) -> None:
    with served("serve", *FREE, cwd=tmp_path, env={"LOOM_PROVIDERS__MOCK__DEFAULT_MODEL": "mock-echo"}) as server:
        server.process.send_signal(signal.SIGHUP)
        await until(server, "config_unchanged")
        answered = await default_of(server)
        assert server.stop() == 0

    assert answered == "mock-echo"


async def test_a_worker_that_is_started_later_serves_by_the_new_configuration(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    with served("serve", *FREE, "--workers", "2", cwd=tmp_path) as server:
        (tmp_path / "loom.yaml").write_text(CONFIG % "mock-echo")
        await until(server, "config_reloaded", 2)
        for worker in workers_of(server):
            os.kill(worker, signal.SIGKILL)
        await until(server, "serving", 4)
        after = {await default_of(server) for _ in range(6)}
        assert server.stop() == 0

    assert after == {"mock-echo"}


async def test_a_worker_that_cannot_take_a_configuration_keeps_the_others_from_it_too(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    with served("serve", *FREE, "--workers", "3", cwd=tmp_path) as server:
        text = (CONFIG % "mock-echo").replace("{mock:", "{openai: {api_key: 'file:/nowhere/key'}, mock:")
        (tmp_path / "loom.yaml").write_text(text)
        (refused,) = await until(server, "config_refused")
        after = {await default_of(server) for _ in range(6)}
        assert server.stop() == 0
        reloaded = lines(server, "config_reloaded")

    assert (after, reloaded) == ({"mock-words"}, [])
    assert "providers.openai.api_key: " in str(refused["problems"])


async def test_a_worker_that_dies_over_a_configuration_keeps_the_others_from_it_until_it_is_read_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    with served("serve", *FREE, "--workers", "2", cwd=tmp_path, env={"LOOM_RELOAD__WATCH": "false"}) as server:
        (tmp_path / "loom.yaml").write_text(CONFIG % "mock-echo")
        first, second = workers_of(server)
        for worker in (first, second):
            os.kill(worker, signal.SIGSTOP)
        before_it = written_by(server.process.pid)
        server.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(15):  # until the parent has handed the configuration to one that cannot take it
            while written_by(server.process.pid) < before_it + len(CONFIG):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGCONT)
        (refused,) = await until(server, "config_refused")
        await until(server, "serving", 3)
        before = {await default_of(server) for _ in range(6)}
        server.process.send_signal(signal.SIGHUP)
        await until(server, "config_reloaded", 2)
        after = {await default_of(server) for _ in range(6)}
        assert server.stop() == 0

    assert refused["problems"] == ["the worker that tried the new configuration has died; try once more"]
    assert (before, after) == ({"mock-words"}, {"mock-echo"})


async def test_a_worker_that_hangs_over_a_configuration_does_not_keep_it_from_being_read_again(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    quick = {"LOOM_RELOAD__WATCH": "false", "LOOM_RELOAD__TIMEOUT_S": "0.5"}
    with served("serve", *FREE, "--workers", "2", cwd=tmp_path, env=quick) as server:
        (tmp_path / "loom.yaml").write_text(CONFIG % "mock-echo")
        first, _ = workers_of(server)
        os.kill(first, signal.SIGSTOP)
        server.process.send_signal(signal.SIGHUP)
        (refused,) = await until(server, "config_refused")
        server.process.send_signal(signal.SIGHUP)
        await until(server, "config_reloaded", 1)
        os.kill(first, signal.SIGCONT)
        await until(server, "config_reloaded", 2)
        after = {await default_of(server) for _ in range(6)}
        assert server.stop() == 0

    assert refused["problems"] == ["the worker that tried the new configuration does not answer; try once more"]
    assert after == {"mock-echo"}


async def test_several_workers_lose_no_call_while_they_reload(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    quiet = {"LOOM_RELOAD__WATCH": "false", "LOOM_LOG__ACCESS": "false"}
    with served("serve", *FREE, "--workers", "2", cwd=tmp_path, env=quiet) as server:
        answers: list[str] = []
        busy = True

        async def call(client: LoomClient) -> None:
            while busy:
                answers.append((await client.complete("hi", model="mock/mock-echo")).message.content)
                events = [event async for event in client.stream("hi", model="mock/mock-echo")]
                answers.append(events[-1].completed.response.message.content)

        clients = [LoomClient(server.grpc_address, options=dict(OWN)) for _ in range(8)]
        callers = [asyncio.create_task(call(client)) for client in clients]
        for number in range(10):
            (tmp_path / "loom.yaml").write_text(CONFIG % f"model-{number}")
            server.process.send_signal(signal.SIGHUP)
            await until(server, "config_reloaded", 2 * (number + 1))
        busy = False
        await asyncio.gather(*callers)
        await asyncio.gather(*(client.close() for client in clients))
        assert server.stop() == 0
        assert lines(server, "crashed") == []

    assert len(answers) > 2 * len(clients)
    assert set(answers) == {"hi"}


async def test_sighup_to_the_whole_group_disturbs_no_stream(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text(CONFIG % "mock-words")
    with served("serve", *FREE, "--workers", "2", cwd=tmp_path) as server:
        workers = workers_of(server)
        async with LoomClient(server.grpc_address) as client:
            stream = aiter(client.stream("hi", model="mock/mock-words"))
            events = [await anext(stream)]
            for process in (server.process.pid, *workers):
                os.kill(process, signal.SIGHUP)
            events += [event async for event in stream]
        await until(server, "config_unchanged")

        assert workers_of(server) == workers
        assert server.stop() == 0
    assert events[-1].HasField("completed")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_storm_of_sighups_is_few_reloads_and_keeps_nobody_from_stopping(tmp_path: Path, workers: str) -> None:
    storm = 600
    routes = {f"route-{number}": {"targets": [{"model": "mock/mock-echo"}]} for number in range(60)}
    config = {"providers": {"mock": {}}, "routes": routes}
    (tmp_path / "loom.yaml").write_text(yaml.safe_dump(config))
    with served("serve", *FREE, "--workers", workers, cwd=tmp_path, env={"LOOM_RELOAD__WATCH": "false"}) as server:
        for _ in range(storm):
            server.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.001)
        await until(server, "config_unchanged")

        assert server.stop() == 0
        assert len(lines(server, "config_unchanged")) < storm / 4


async def test_a_shim_outlives_sighup(live_server: Server, tmp_path: Path) -> None:
    with served("shim", "--target", live_server.grpc_address, "--http-address", "127.0.0.1:0", cwd=tmp_path) as shim:
        shim.process.send_signal(signal.SIGHUP)
        async with aiohttp.ClientSession() as session, session.get(f"{shim.http_url}/livez") as answer:
            assert answer.status == 200
        assert shim.stop() == 0


async def test_a_server_that_is_about_to_stop_does_not_reload(tmp_path: Path) -> None:
    file = tmp_path / "loom.json"
    async with stand_in() as upstream:
        file.write_text(asks(upstream, upstream))
        async with running(file) as server:
            await server.reloading.close()
            with pytest.raises(LlmError) as refused:
                await server.reload(asks(upstream, upstream))

    assert refused.value.reason == ErrorReason.ERROR_REASON_DRAINING


def written_by(pid: int) -> int:
    """Returns how many bytes a process has written so far, to whatever it may be (Linux)."""
    found = re.search(r"^wchar: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def workers_of(server: Server) -> list[int]:
    """Returns the ids of the processes that serve."""
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
