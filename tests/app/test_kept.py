"""Responses that are kept outlast the process that answered, and are the same in all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from tests.program import served
from tests.shim.serving import configuration, shim

FREE = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")


def ask(url: str, **more: Any) -> Any:
    """Asks on a connection of its own, so that any worker may answer."""
    body = {"model": "mock-think", "input": "hi", **more}
    answer = httpx.post(f"{url}/v1/responses", json=body, headers={"authorization": "Bearer sk-caller"}, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.json()


def status(url: str, id: str, key: str = "sk-caller") -> int:
    return httpx.get(f"{url}/v1/responses/{id}", headers={"authorization": f"Bearer {key}"}, timeout=20).status_code


def write(folder: Path, **more: Any) -> str:
    file = folder / "loom.json"
    file.write_text(json.dumps({"providers": {"mock": {}}, **more}))
    return str(file)


def database(folder: Path) -> dict[str, Any]:
    return {
        "database": {"url": f"sqlite:///{folder}/loom.db"},
        "credentials": {"encryption_key": Fernet.generate_key().decode()},
    }


@pytest.mark.parametrize("stored", ["in the workers' file", "in a database"])
def test_every_worker_goes_on_from_a_response_that_one_has_kept(tmp_path: Path, stored: str) -> None:
    more = database(tmp_path) if stored == "in a database" else {}
    with served("serve", "--config", write(tmp_path, **more), *FREE, "--workers", "2", cwd=tmp_path) as server:
        response = ask(server.http_url)
        found = [status(server.http_url, response["id"]) for _ in range(12)]
        for _ in range(6):
            response = ask(server.http_url, previous_response_id=response["id"])
        strangers = [status(server.http_url, response["id"], "sk-other") for _ in range(3)]

    assert found == [200] * 12
    assert strangers == [404] * 3


def test_a_response_in_a_database_outlasts_the_server(tmp_path: Path) -> None:
    config = write(tmp_path, **database(tmp_path))
    with served("serve", "--config", config, *FREE, cwd=tmp_path) as server:
        response = ask(server.http_url)
    with served("serve", "--config", config, *FREE, cwd=tmp_path) as server:
        again = ask(server.http_url, previous_response_id=response["id"])

    assert again["previous_response_id"] == response["id"]


async def test_a_store_that_is_down_stops_only_the_calls_that_need_it(tmp_path: Path) -> None:
    (tmp_path / "loom.db").mkdir()  # which no database can be in
    async with shim(configuration(**database(tmp_path))) as edge:
        answered = await edge.post("/v1/responses", {"model": "mock-words", "input": "hi"})
        needs_it = {"model": "mock-words", "input": "hi", "previous_response_id": "resp_1"}
        refused = await edge.post("/v1/responses", needs_it)
        looked = await edge.get("/v1/responses/resp_1")
        log = edge.log.getvalue()

    assert answered.status == 200
    assert [refused.status, looked.status] == [503, 503]
    assert refused.json == {
        "error": {
            "message": "The responses that this server keeps cannot be read at the moment; try again.",
            "type": "server_error",
            "param": None,
            "code": "storage_unavailable",
        }
    }
    assert b"response_not_kept" in log
