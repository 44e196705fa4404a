"""A real collector with the configuration of deploy/, between a server and a tracing system."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from loom_grpc.client import LoomClient
from tests.deploy.installed import DEPLOY, output_of, tool
from tests.ports import free_ports
from tests.program import WAIT_S, served
from tests.telemetry.receiver import receiving

CONFIG = DEPLOY / "otel" / "collector.yaml"
READY = "Everything is ready."


@contextmanager
def collector(backend: str, log: Path) -> Iterator[str]:
    """Runs a collector that sends spans on to a backend, and gives its URL; it logs to a file, with all that it says at its end."""
    (port,) = free_ports(1)
    place = f"--set=receivers.otlp.protocols.grpc.endpoint=127.0.0.1:{port}"
    with (
        log.open("w") as file,
        subprocess.Popen(  # noqa: S603
            [tool("collector"), "--config", CONFIG, place],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OTLP_BACKEND": backend},
        ) as process,
    ):
        assert process.stderr is not None
        try:
            for line in process.stderr:
                file.write(line)
                if READY in line:
                    break
            else:
                file.flush()
                raise AssertionError(log.read_text())
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            file.write(process.communicate(timeout=WAIT_S)[1])


async def test_spans_reach_the_backend_and_metrics_the_exporter_for_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with receiving() as backend:
        with collector(backend.url.removeprefix("http://"), log) as url:
            telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
            with served("serve", "--grpc-address", "127.0.0.1:0", "--no-http", env=telemetry, cwd=tmp_path) as server:
                async with LoomClient(server.grpc_address) as client:
                    await client.complete("Hello", model="mock-echo")
                code = await asyncio.to_thread(server.stop)
            await asyncio.wait_for(backend.arrived.wait(), WAIT_S)
            names = {span.name for span in backend.spans()}
        said = log.read_text()

    assert (code, "chat mock-echo" in names) == (0, True), names
    assert re.search(r'Metrics\t.*"resource metrics": [1-9]', said), said
    assert not re.findall(r".*\t(?:warn|error)\t.*", said)


def test_the_collector_that_is_tried_is_the_one_that_compose_runs() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    version = compose["services"]["collector"]["image"].partition(":")[2]

    assert f"go.opentelemetry.io/collector/otelcol v{version}\n" in (DEPLOY / "tools" / "go.mod").read_text()
    assert output_of("collector", "validate", "--config", CONFIG) == (0, "")
