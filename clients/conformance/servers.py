"""The real servers, started by their own program."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any, Final

import trustme
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from loom_grpc.client import ApiKey, CallFilter, CallRecord, LoomClient, User

ROOT: Final = Path(__file__).parents[2]
_START_S: Final = 30
_RECORD_S: Final = 10
_QUICK: Final[dict[str, Any]] = {
    "providers": {"mock": {"retry": {"max_attempts": 1}, "timeouts": {"first_token_s": 2, "idle_s": 1}}},
    "grpc": {"address": "127.0.0.1:0"},
    "http": {"enabled": False},
}
"""Fails as soon as a model has shown how; but slow ones have their time."""


@dataclass(frozen=True)
class Papers:
    """Certificates: of an authority that the servers have theirs from, and of one that they do not know."""

    own: str
    other: str
    certificate: str
    key: str

    def of(self, kind: str | None) -> dict[str, str] | None:
        """Returns what a case's `tls` stands for, as a runner is given it."""
        if kind is None:
            return None
        extra = {"cert": self.certificate, "key": self.key} if kind == "certificate" else {}
        return {"ca": self.other if kind == "other" else self.own, **extra}


@dataclass(frozen=True)
class Servers:
    """The addresses of the real servers by the names that cases use, and what callers need."""

    targets: dict[str, str]
    papers: Papers
    key: str
    admin: LoomClient

    async def record(self, request_id: str) -> CallRecord:
        """Waits for the record of a call; raises `TimeoutError`."""
        async with asyncio.timeout(_RECORD_S):
            while True:
                async for record in self.admin.admin().list_calls(CallFilter(request_id=request_id)):
                    return record
                await asyncio.sleep(0.05)  # the record is written behind the call, and nobody is told


@asynccontextmanager
async def real_servers() -> AsyncIterator[Servers]:
    """Starts one server in the clear, one with TLS, one that wants certificates and one that wants keys."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        papers = _issue(folder)
        admin_key = f"la_{secrets.token_urlsafe(24)}"
        async with (
            _served(folder / "plain", {}) as plain,
            _served(folder / "tls", {"grpc": {"tls": _tls(folder)}}) as tls,
            _served(folder / "mutual", {"grpc": {"tls": _tls(folder, "client_ca_file")}}) as mutual,
            _served(folder / "locked", _locked(admin_key)) as locked,
        ):
            targets = {"plain": await plain, "tls": await tls, "mutual": await mutual, "locked": await locked}
            async with LoomClient(targets["locked"], api_key=admin_key, timeout_s=10) as admin:
                await admin.admin().create_user(User(id="ada"))
                created = await admin.admin().create_key(ApiKey(user="ada"))
                yield Servers(targets, papers, created.secret, admin)


def _issue(folder: Path) -> Papers:
    """Makes the certificates and writes those that the servers read."""
    own, other = trustme.CA(), trustme.CA()
    server, caller = own.issue_cert("127.0.0.1", "localhost"), own.issue_cert("ada.example.com")
    own.cert_pem.write_to_path(folder / "ca.pem")
    server.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    server.private_key_pem.write_to_path(folder / "key.pem")
    certificate = caller.cert_chain_pems[0].bytes().decode()
    return Papers(
        own.cert_pem.bytes().decode(), other.cert_pem.bytes().decode(), certificate, _pkcs8(caller.private_key_pem)
    )


def _pkcs8(key: trustme.Blob) -> str:
    """Writes a private key in the form that every language reads; Java's gRPC reads no other."""
    private = load_pem_private_key(key.bytes(), None)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _tls(folder: Path, *more: str) -> dict[str, str]:
    files = {"cert_file": "cert.pem", "key_file": "key.pem", "client_ca_file": "ca.pem"}
    return {name: str(folder / files[name]) for name in ("cert_file", "key_file", *more)}


def _locked(admin_key: str) -> dict[str, Any]:
    """Every language shows wrong keys from one address, which is not to be refused for it."""
    access = {"enabled": True, "throttle": {"failures": 100_000}}
    return {"access": access, "admin": {"api_key": admin_key}}


@asynccontextmanager
async def _served(folder: Path, more: dict[str, Any]) -> AsyncIterator[asyncio.Task[str]]:
    """Starts a server with a configuration of its own and yields its address to be; the others start meanwhile."""
    _configure(folder, more)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loom_grpc.cli", "serve", "--config", "loom.yaml"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            cwd=folder,
            env={**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        )
        address = asyncio.create_task(_address(process, log))
        try:
            yield address
        finally:
            address.cancel()
            if process.returncode is None:
                process.terminate()
            await process.communicate()


def _configure(folder: Path, more: dict[str, Any]) -> None:
    folder.mkdir()
    config = {**_QUICK, **more, "grpc": {**_QUICK["grpc"], **more.get("grpc", {})}}
    (folder / "loom.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


async def _address(process: asyncio.subprocess.Process, log: IO[bytes]) -> str:
    """Reads the address off a server's greeting."""
    assert process.stdout is not None
    async with asyncio.timeout(_START_S):
        async for line in process.stdout:
            if found := re.match(rb"  gRPC +(\S+)", line):
                return found[1].decode()
    log.seek(0)
    raise RuntimeError(f"a server did not start: {log.read().decode()}")
