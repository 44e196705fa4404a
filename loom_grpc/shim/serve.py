"""The HTTP server: its socket, certificates, start and drain."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from pathlib import Path
from typing import Final

import uvicorn

from loom_grpc.config import Config, ConfigError, TlsConfig
from loom_grpc.core.kept import ResponseStore
from loom_grpc.core.ports import Gateway
from loom_grpc.shim.app import make_app
from loom_grpc.shim.connection import HttpConnection
from loom_grpc.telemetry import Telemetry

_KEEP_ALIVE_S: Final = 75
"""How long an idle connection stays open: longer than load balancers keep theirs, or they would use one that is just closing."""
_ACCEPTING: Final = 3
"""After so many turns of the event loop a connection that came just now is one of the open ones."""
_FAREWELL_S: Final = 1.0
"""How long calls that were cancelled at the end of the grace get to tell their callers."""


class HttpEdge:
    """The HTTP side of the server, in the running event loop; `kept` keeps responses, which else are in its memory."""

    def __init__(
        self,
        config: Config,
        gateway: Gateway,
        telemetry: Telemetry,
        *,
        shared_port: bool = False,
        kept: ResponseStore | None = None,
    ) -> None:
        self._config = config.http
        self._shared_port = shared_port
        self._draining = False
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(config, gateway, telemetry, lambda: self._draining, kept),
                http=HttpConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
        )

    async def start(self) -> int:
        """Listens and serves; returns the port (0 for a Unix socket). Raises `ConfigError` when the address cannot be had."""
        options = self._server.config
        options.load()
        options.ssl = _tls(self._config.tls) if self._config.tls else None
        listening = _listen(self._config.address, self._shared_port)
        self._server.lifespan = options.lifespan_class(options)
        await self._server.startup([listening])
        self._ticking = asyncio.create_task(self._server.main_loop())  # keeps the header `date` right
        name = listening.getsockname()
        return 0 if isinstance(name, str) else int(name[1])

    async def drain(self, grace_s: float) -> None:
        """Refuses new calls, gives those in flight `grace_s` to finish, cancels the rest and closes everything."""
        self._draining = True
        self._ticking.cancel()
        if self._config.address.startswith("unix:"):
            _path(self._config.address).unlink(missing_ok=True)  # later on it may be that of the next server
        for listener in self._server.servers:
            listener.close()
        for _ in range(_ACCEPTING):
            await asyncio.sleep(0)
        for connection in self.connections():
            connection.shutdown()
        if not await self._done(grace_s):
            for task in self._server.server_state.tasks:
                task.cancel()
            await self._done(_FAREWELL_S)
        for connection in self.connections():
            connection.transport.abort()

    async def _done(self, timeout_s: float) -> bool:
        """Waits until all calls are answered and all connections closed."""
        waiting = {*self._server.server_state.tasks, *(connection.lost for connection in self.connections())}
        if not waiting:
            return True
        _, pending = await asyncio.wait(waiting, timeout=timeout_s)
        return not pending

    def connections(self) -> list[HttpConnection]:
        """Returns the open connections."""
        return [
            connection for connection in self._server.server_state.connections if isinstance(connection, HttpConnection)
        ]


def _listen(address: str, shared_port: bool) -> socket.socket:
    try:
        if address.startswith("unix:"):
            return _bind_unix(_path(address))
        return _bind(address, shared_port)
    except OSError as error:
        raise ConfigError(f"http.address: cannot listen on {address}: {error.strerror or error}") from None


def _bind(address: str, shared_port: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    family, kind, proto, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
        # Otherwise a port that another program serves would only be found out in the background.
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: Path) -> socket.socket:
    """Binds a socket to a path, over one that a server left there when it died."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket() and sock.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink()
        sock.bind(str(path))
        sock.listen()  # or another server that starts would take it for a left one
    except OSError:
        sock.close()
        raise
    return sock


def _path(address: str) -> Path:
    return Path(address.removeprefix("unix:"))


def _tls(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.cert_file, config.key_file)
        if config.client_ca_file:
            context.load_verify_locations(config.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"http.tls: {error.filename or 'certificate and key'}: {error.strerror or error}") from None
    return context
