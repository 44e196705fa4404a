"""LLMock: providers that break on command and then judge how their client took it (pypi.org/project/llmock, seen 2026-11-21)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from operator import itemgetter
from threading import Thread
from typing import IO, Any, Final

import aiohttp

Behaviour = dict[str, Any]
"""What some of the next requests meet, in LLMock's own JSON."""

BASE_PATHS: Final = {"openai": "/v1", "anthropic": "/anthropic", "gemini": "/gemini"}
"""Where each provider begins, without what its dialect adds."""

_LISTENING: Final = re.compile(r"Uvicorn running on (http://\S+)")


class LlmockServer:
    """What a test does to the server, and what the server says of its client."""

    def __init__(self, url: str, admin: aiohttp.ClientSession) -> None:
        self.url = url
        self._admin = admin

    async def script(self, *behaviours: Behaviour) -> None:
        """Queues what the next requests meet."""
        async with self._admin.post("/_llmock/scenario", json={"behaviors": behaviours}) as response:
            assert response.status == 201, await response.text()

    async def findings(self) -> list[dict[str, Any]]:
        """Returns what LLMock blames its client for, errors and warnings; a strict verdict is that there is nothing.

        A malformed stream that LLMock had sent to its end before it could notice that its client was gone counts as one that the client was
        content with, and what comes after it as another call. That it was read on counts only where LLMock's own notes say nothing else:
        that the stream was left, or that the client asked again.
        """
        async with self._admin.get("/_llmock/verdict") as response:
            findings: list[dict[str, Any]] = (await response.json())["findings"]
        records = sorted(await self.records(), key=itemgetter("seq"))
        left = {record["seq"] for record in records if not record["completed"]}
        latest = {(record["provider"], record["model"]): record["seq"] for record in records}
        answered = {record["seq"] for record in records if record["seq"] < latest[record["provider"], record["model"]]}
        return [
            finding
            for finding in findings
            if finding["code"] != "malformed_chunk_ignored" or not (left | answered).issuperset(finding["requests"])
        ]

    async def records(self) -> list[dict[str, Any]]:
        """Returns what LLMock noted of every request, once those that are under way have ended."""
        async with self._admin.get("/_llmock/requests") as response:
            records: list[dict[str, Any]] = (await response.json())["requests"]
            return records

    async def attempts(self) -> dict[tuple[str, str], int]:
        """Counts the requests by provider and model."""
        return dict(Counter((record["provider"], record["model"]) for record in await self.records()))

    async def reset(self) -> None:
        """Forgets everything."""
        async with self._admin.post("/_llmock/reset") as response:
            assert response.status == 200


@contextmanager
def llmock_process(*flags: str) -> Iterator[str]:
    """Runs LLMock on a free port and returns its address; ends it afterwards."""
    process = subprocess.Popen(  # noqa: S603 - a locked package's program
        (sys.executable, "-m", "llmock.cli", "serve", "--port", "0", *flags),
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            url = _address(process.stderr)
            Thread(target=process.stderr.read, daemon=True).start()  # so that it never waits for a reader
            yield url
        finally:
            process.kill()


@asynccontextmanager
async def llmock_server(url: str) -> AsyncIterator[LlmockServer]:
    """Talks to a running LLMock beside its client."""
    async with aiohttp.ClientSession(url) as admin:
        yield LlmockServer(url, admin)


def _address(log: IO[str]) -> str:
    """Waits for the line that tells where the server listens."""
    said = ""
    for line in log:
        if found := _LISTENING.search(line):
            return found[1]
        said += line
    raise AssertionError(f"LLMock did not start: {said}")
