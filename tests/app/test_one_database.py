"""What a server has open: one database for all that it keeps, and nothing after a start that failed."""

from __future__ import annotations

import gc
import io
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from loom_grpc.app import App
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.principal import Shown
from loom_grpc.storage.database import Database
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1 import admin_service_pb2 as pb
from tests.state import held

ADMIN_KEY = "EgNVbTqRZXz3L0fBwC7yHk9sJdPa5vMu"


def server(folder: Path, *, shared: Path | None = None, **sections: Any) -> App:
    """Makes a server that has not started, with its state in a folder."""
    base = {"providers": {"mock": {}}, "admin": {"api_key": ADMIN_KEY}, "log": {"level": "error"}}
    config = Config.model_validate(base | sections)
    return App(config, {"XDG_STATE_HOME": str(folder)}, Telemetry(config, stream=io.BytesIO()), shared)


def databases() -> int:
    return sum(type(thing) is Database for thing in gc.get_objects())


@pytest.mark.parametrize("has_url", [True, False], ids=["configured", "usual"])
async def test_accounts_keys_and_records_share_one_database_which_is_closed_in_the_end(
    tmp_path: Path, has_url: bool
) -> None:
    url: dict[str, Any] = {
        "database": {"url": f"sqlite:///{tmp_path}/loom-grpc/loom.db"},
        "credentials": {"encryption_key": Fernet.generate_key().decode()},
    }
    gc.collect()
    before = databases()
    async with server(tmp_path, access={"enabled": True}, **(url if has_url else {})) as app:
        office = app.office(Shown())
        for question in (pb.ListKeysRequest(), pb.ListCallsRequest()):
            await office.perform(question)

        assert (databases() - before, "loom.db" in held(tmp_path)) == (1, True)

    assert held(tmp_path) == set()


async def test_a_server_that_keeps_nothing_has_no_database(tmp_path: Path) -> None:
    gc.collect()
    before = databases()
    async with server(tmp_path):
        assert (databases() - before, held(tmp_path)) == (0, set())


async def test_a_start_that_fails_lets_go_of_all_files(tmp_path: Path) -> None:
    jwt = {"issuer": "http://issuer.example.org", "audience": ["us"]}
    (tmp_path / "shared").mkdir()
    with pytest.raises(ConfigError, match="must begin with https://"):
        async with server(tmp_path, shared=tmp_path / "shared", access={"enabled": True, "jwt": jwt}):
            pass

    assert (tmp_path / "shared" / "throttle").exists()
    assert held(tmp_path) == set()
