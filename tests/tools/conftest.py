"""The real grpcurl and grpc-health-probe, and servers for them: one for everybody, and one that wants a key and speaks TLS."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.let_in import LetIn, let_in
from tests.needed import needed
from tests.program import Server, served
from tests.tools.serving import Guarded, configuration, for_everybody

_FOLDERS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _tool(name: str) -> str:
    return needed(shutil.which(name, path=_FOLDERS), f"{name} is missing: install Go 1.26 and run scripts/go_tools.sh")


@pytest.fixture
def grpcurl() -> str:
    return _tool("grpcurl")


@pytest.fixture
def grpc_health_probe() -> str:
    return _tool("grpc-health-probe")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for everybody, with the mock and with a pool of one account."""
    with for_everybody(tmp_path_factory.mktemp("live")) as server:
        yield server


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """The same for one test, which may do with it what it likes."""
    with for_everybody(tmp_path) as server:
        yield server


@pytest.fixture
async def caller(tmp_path: Path) -> LetIn:
    return await let_in(tmp_path)


@pytest.fixture
def guarded(tmp_path: Path, caller: LetIn) -> Iterator[Guarded]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    ca.write_bytes(authority.cert_pem.bytes())
    cert.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    grpc = {"address": "localhost:0", "tls": {"cert_file": str(cert), "key_file": str(key)}}
    file = configuration(tmp_path, grpc=grpc, providers={"mock": {}}, **caller.settings)
    with served("serve", "--config", str(file), cwd=tmp_path, env=caller.environ) as server:
        yield Guarded(server.grpc_address, ca, caller)
