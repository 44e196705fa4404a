"""Callers that balance by themselves, as docs/deployment.md tells them to."""

from __future__ import annotations

import re
from pathlib import Path

from loom_grpc.client import LoomClient
from tests.program import ROOT, Server, served

FREE = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def log_of(server: Server) -> str:
    server.log.seek(0)
    return server.log.read().replace(" ", "")


async def test_the_options_of_the_page_send_calls_to_every_address_in_turn(tmp_path: Path) -> None:
    found = re.search(r"\"(grpc\.service_config)\": '([^']+)'", PAGE)
    assert found
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with served("serve", *FREE, cwd=folders[0]) as one, served("serve", *FREE, cwd=folders[1]) as two:
        target = f"ipv4:{one.grpc_address},{two.grpc_address}"
        async with LoomClient(target, options={found[1]: found[2]}) as client:
            for _ in range(12):
                await client.complete("Hello", model="mock-echo")
        stopped = [server.stop() for server in (one, two)]
        calls = [log_of(server).count('"event":"call"') for server in (one, two)]

    assert stopped == [0, 0]
    assert sum(calls) == 12
    assert min(calls) >= 3, "and not all of them to one"
