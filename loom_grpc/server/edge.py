"""The gRPC server: its options, services, health and certificates."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from loom_grpc.config import ConfigError, GrpcConfig, TlsConfig
from loom_grpc.core.ports import Gateway
from loom_grpc.server import admin_service, llm_service
from loom_grpc.server.admin_service import AdminEdge
from loom_grpc.server.guard import Guard
from loom_grpc.server.llm_service import LlmEdge
from loom_grpc.server.rpc import Entrance
from loom_grpc.telemetry import Telemetry

_SERVICES: Final = (llm_service.NAME, admin_service.NAME)
_HEALTH: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_LAST_WORD_S: Final = 0.1
_TRANSPORT_SLACK: Final = 4
"""gRPC itself refuses only messages this many times larger than the limit; up to there our own error says what is wrong."""


class GrpcEdge:
    """The gRPC side of the server."""

    def __init__(self, config: GrpcConfig, gateway: Gateway, telemetry: Telemetry, *, shared_port: bool) -> None:
        self._config = config
        self._gatekeeper = gateway.gatekeeper
        self._entrance = Entrance(config.max_message_bytes, gateway.gatekeeper)
        self._edges = (LlmEdge(gateway, telemetry, self._entrance), AdminEdge(gateway, telemetry, self._entrance))
        self._health = _Health()
        self._drained = False
        self._server = grpc.aio.server(options=_options(config, shared_port))
        self._add_services()

    async def start(self) -> int:
        """Listens and serves; returns the port (0 for a Unix socket). Raises `ConfigError` when the address cannot be had."""
        port = self._bind()
        await self._server.start()
        for name in ("", *_SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def drain(self, grace_s: float) -> None:
        """Turns health to NOT_SERVING, refuses new calls, and gives those in flight `grace_s` to finish before they are cancelled."""
        if self._drained:
            return  # a second stop of a stopped server crashes grpcio 1.85
        self._drained = True
        self._entrance.drain()
        await self._health.enter_graceful_shutdown()
        self._health.ending.set()
        await self._server.stop(grace_s)

    def _bind(self) -> int:
        address, tls = self._config.address, self._config.tls
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, _credentials(tls))
        except RuntimeError:
            raise ConfigError(f"grpc.address: cannot listen on {address}; another program may have it") from None

    def _add_services(self) -> None:
        self._server.add_generic_rpc_handlers([edge.handlers() for edge in self._edges])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*_SERVICES, _HEALTH]
        guard: Any = Guard(self._server, self._gatekeeper)
        if self._config.channelz:
            from grpc_channelz.v1 import channelz, channelz_pb2_grpc

            channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), guard)
            names.append("grpc.channelz.v1.Channelz")
        if self._config.reflection:
            servicer = reflection.aio.ReflectionServicer([*names, reflection.SERVICE_NAME])
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, guard)  # type: ignore[no-untyped-call]


class _Health(health.aio.HealthServicer):
    """Health whose watchers are let go when the server drains; otherwise each would hold it up for the whole grace time."""

    def __init__(self) -> None:
        super().__init__()
        self.ending = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - gRPC's name
        """Tells a service's status and every change of it until the server drains, NOT_SERVING as the last."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        ending = asyncio.ensure_future(self.ending.wait())
        try:
            await asyncio.wait((watching, ending), return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait((watching,), timeout=_LAST_WORD_S)
            for watched in done:
                watched.result()
        finally:
            watching.cancel()
            ending.cancel()


def _options(config: GrpcConfig, shared_port: bool) -> list[tuple[str, int]]:
    """Returns the channel arguments (grpc.github.io/grpc/core/group__grpc__arg__keys.html, seen 2026-11-21).

    gRPC sets TCP_NODELAY by itself.
    """
    return [
        ("grpc.max_receive_message_length", min(config.max_message_bytes * _TRANSPORT_SLACK, 2**31 - 1)),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", round(config.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(config.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Callers may ping as often as every 5 s, also while nothing is going on.
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ("grpc.http2.max_ping_strikes", 0),
        # Without this two servers would share a port unnoticed, each getting half of the calls.
        ("grpc.so_reuseport", int(shared_port)),
    ]


def _credentials(tls: TlsConfig) -> grpc.ServerCredentials:
    try:
        pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
        callers = tls.client_ca_file.read_bytes() if tls.client_ca_file else None
    except OSError as error:
        raise ConfigError(f"grpc.tls: {error.filename}: {error.strerror}") from None
    return grpc.ssl_server_credentials([pair], callers, require_client_auth=callers is not None)
