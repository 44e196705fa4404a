"""A Prometheus of the test's own, which scrapes a server and asks it for the alerts of deploy/."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.deploy.installed import DEPLOY, tool, wait_until
from tests.operated import ADMIN_KEY
from tests.ports import free_ports
from tests.program import WAIT_S, Server


@dataclass(frozen=True)
class PrometheusServer:
    """A running Prometheus."""

    url: str

    async def ask(self, query: str) -> Any:
        """Returns the answer to a query, whatever its status."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/api/v1/query", data={"query": query}) as answer,
        ):
            return await answer.json()

    async def names(self) -> set[str]:
        """Returns the names of all series, from a scrape that began after now."""
        before = float((await self.ask("time()"))["data"]["result"][1])
        await self.until_told(f"max(timestamp(target_info)) > bool {before}", "1")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/api/v1/label/__name__/values") as answer,
        ):
            return set((await answer.json())["data"])

    async def until_told(self, query: str, value: str) -> str:
        """Waits until a query has an answer, which it returns."""
        async with asyncio.timeout(WAIT_S):
            while True:
                result = (await self.ask(query))["data"]["result"]
                if result and result[0]["value"][1] == value:
                    return value
                await asyncio.sleep(0.05)


@contextmanager
def prometheus(server: Server, folder: Path) -> Iterator[PrometheusServer]:
    """Runs Prometheus with the configuration of deploy/, which scrapes one server, with its key, and often."""
    (port,) = free_ports(1)
    (folder / "key").write_text(ADMIN_KEY)
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / "prometheus" / "rules.yaml")]
    job = config["scrape_configs"][0]
    job["authorization"]["credentials_file"] = str(folder / "key")
    job["static_configs"] = [{"targets": [server.http_url.removeprefix("http://")]}]
    config["scrape_configs"] = [job]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = [tool("prometheus"), f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=folder, stderr=log) as process,  # noqa: S603
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(f"{url}/-/ready", process, folder / "log")
            yield PrometheusServer(url)
        finally:
            process.terminate()
            process.wait(WAIT_S)
