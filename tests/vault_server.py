"""A real server that speaks Vault's HTTP API: OpenBao in its development mode, on a free port, with everything in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import hvac
from hvac.exceptions import InvalidRequest

from tests.ports import free_ports

_START_S: Final = 20.0
READER: Final = "reader"
"""A policy that may read everything in the engine `kv`."""


class VaultServer:
    """What a test does to the server, as its administrator."""

    def __init__(self, process: subprocess.Popen[str], url: str, unseal_key: str, ca_file: Path | None) -> None:
        self.process = process
        self.url = url
        self.ca_file = ca_file
        self._unseal_key = unseal_key
        self.admin = hvac.Client(url, token="root", verify=str(ca_file) if ca_file is not None else True)
        self._prepare()

    def enter(self, namespace: str) -> None:
        """Makes a namespace and stays in it."""
        create: Callable[[str], object] = self.admin.sys.create_namespace
        create(namespace)
        self.admin.adapter.namespace = namespace
        self._prepare()

    def _prepare(self) -> None:
        self.admin.sys.enable_secrets_engine("kv", path="kv", options={"version": "2"})
        self.admin.sys.create_or_update_policy(READER, 'path "kv/*" { capabilities = ["read"] }')

    def write(self, path: str, **fields: Any) -> None:
        """Writes a secret's next version into `kv`, which is made ready a moment after it was mounted."""
        self._engine_is_ready()
        self.admin.secrets.kv.v2.create_or_update_secret(path, fields, mount_point="kv")

    def seal(self) -> None:
        seal: Callable[[], object] = self.admin.sys.seal
        seal()

    def unseal(self) -> None:
        """Unseals and waits until the server is active, which it becomes a moment later; hvac returns an object only for that."""
        self.admin.sys.submit_unseal_key(self._unseal_key)
        self._wait(lambda: isinstance(self.admin.sys.read_health_status(method="GET"), dict))

    def token(self, ttl: str = "1h", **more: Any) -> str:
        """Makes a token that may read."""
        auth = self.admin.auth.token.create(policies=[READER], ttl=ttl, **more)["auth"]
        return str(auth["client_token"])

    def revoke(self, token: str) -> None:
        self.admin.auth.token.revoke(token)

    def approle(self, mount: str = "approle", **settings: Any) -> tuple[str, str]:
        """Makes a role and returns its id and its secret id."""
        self.admin.sys.enable_auth_method("approle", path=mount)
        role = self.admin.auth.approle
        role.create_or_update_approle("loom", token_policies=[READER], mount_point=mount, **settings)
        id = role.read_role_id("loom", mount_point=mount)["data"]["role_id"]
        return str(id), str(role.generate_secret_id("loom", mount_point=mount)["data"]["secret_id"])

    def tokens(self) -> list[str]:
        """Returns the accessors of all tokens: each login that has not ended is one."""
        return list(self.admin.auth.token.list_accessors()["data"]["keys"])

    def end_logins(self) -> None:
        """Revokes every token but the administrator's."""
        own = self.admin.auth.token.lookup_self()["data"]["accessor"]
        for accessor in self.tokens():
            if accessor != own:
                self.admin.auth.token.revoke_accessor(accessor)

    def _engine_is_ready(self) -> None:
        def ready() -> bool:
            try:
                self.admin.secrets.kv.v2.read_configuration(mount_point="kv")
            except InvalidRequest:  # it is still being made version 2
                return False
            return True

        self._wait(ready)

    def _wait(self, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + _START_S
        while not ready():
            assert time.monotonic() < until, "the server did not get ready"
            time.sleep(0.01)


@contextmanager
def vault_server(home: Path, *, tls: bool = False) -> Iterator[VaultServer]:
    """Runs a server, which may write into `home`; ends it afterwards."""
    port = free_ports(1)[0]
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    ca_file = home / "vault-ca.pem" if tls else None
    flags = ["-dev", "-dev-no-store-token", "-dev-root-token-id=root", f"-dev-listen-address=127.0.0.1:{port}"]
    flags += ["-dev-tls", f"-dev-tls-cert-dir={home}"] if tls else []
    process = subprocess.Popen(  # noqa: S603 - a locked package's program
        (Path(sys.executable).with_name("bao"), "server", *flags, "-log-level=error"),
        env={**os.environ, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        server: VaultServer | None = None
        try:
            server = VaultServer(process, url, _told(process, "Unseal Key: "), ca_file)
            yield server
        finally:
            if server is not None:
                server.admin.adapter.close()
            process.kill()


def _told(process: subprocess.Popen[str], name: str) -> str:
    """Waits for a line of what the server says when it has started, and returns what follows the name."""
    said = ""
    for line in process.stdout or ():
        if line.startswith(name):
            return line.removeprefix(name).strip()
        said += line
    raise AssertionError(f"the server did not start: {said}")
