"""The gRPC server: its options, services, health and certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from loom_grpc.config import ConfigError, GrpcConfig, TlsConfig
from loom_grpc.core.ports import Gateway
from loom_grpc.server import admin_service, health, llm_service
from loom_grpc.server.admin_service import AdminEdge
from loom_grpc.server.guard import Guard
from loom_grpc.server.health import Health
from loom_grpc.server.llm_service import LlmEdge
from loom_grpc.server.rpc import Entrance
from loom_grpc.telemetry import Telemetry

_SERVICES: Final = (llm_service.NAME, admin_service.NAME)
_TRANSPORT_SLACK: Final = 4
"""gRPC itself refuses only messages this many times larger than the limit; up to there our own error says what is wrong."""
_NOTICE_S: Final = 0.2
"""How long those who watch health get to leave before the server stops: grpcio then cancels the calls that it has not handed over yet,
so that they end in CANCELLED (github.com/grpc/grpc/issues/41785, seen 2026-11-21)."""
_AGAIN_S: Final = 1.0
"""After a mistake the health of providers is followed again after this."""
_LAST_WORD_S: Final = 0.5
"""How long before the end of the grace calls that are still under way are ended, so that their callers hear why."""


Providers = Callable[[], AsyncGenerator[Mapping[str, bool], None]]
"""Yields of each provider whether it can be asked, at once and after every change."""


class GrpcEdge:
    """The gRPC side of the server; `providers` are those whose health it tells besides its own."""

    def __init__(
        self,
        config: GrpcConfig,
        gateway: Gateway,
        telemetry: Telemetry,
        *,
        shared_port: bool,
        providers: Providers | None = None,
    ) -> None:
        self._config = config
        self._shared_port = shared_port
        self._gateway = gateway
        self._telemetry = telemetry
        self._providers = providers
        self._entrance, self._closed = (
            Entrance(config.max_message_bytes, gateway.gatekeeper, closed=closed) for closed in (False, True)
        )
        self._health = Health(_SERVICES, providers_of=llm_service.NAME)
        self._following: asyncio.Task[None] | None = None
        self._port = 0
        self._drained = False
        self._server = self._make_server(self._entrance)

    async def start(self) -> int:
        """Listens and serves; returns the port (0 for a Unix socket). Raises `ConfigError` when the address cannot be had."""
        self._port = self._bind(self._server, self._config.address)
        await self._tell_health()
        await self._server.start()
        return self._port

    async def drain(self, grace_s: float) -> None:
        """Turns health to NOT_SERVING, asks connections to go, and gives calls in flight `grace_s` to finish; the rest ends in DRAINING.

        Whoever connects from now on, as probes do, is told that the server drains.
        """
        if self._drained:
            return  # a second stop of a stopped server crashes grpcio 1.85
        self._drained = True
        if self._following is not None:
            self._following.cancel()
        self._entrance.drain()
        notice_s = min(_NOTICE_S, grace_s) if self._health.is_watched else 0
        self._health.drain()
        await asyncio.sleep(notice_s)
        # Made before the port is free, which is then for no longer than it takes to have it again.
        doorkeeper = self._make_server(self._closed) if grace_s else None
        left_s = grace_s - notice_s
        ending = asyncio.get_running_loop().call_later(left_s - min(_LAST_WORD_S, left_s / 2), self._entrance.end)
        stopping = asyncio.create_task(self._server.stop(left_s))
        await asyncio.sleep(0)  # by its first step the server that stops has let go of the port
        if doorkeeper is not None and self._takes_port(doorkeeper):
            await doorkeeper.start()
            await stopping
            await doorkeeper.stop(0)
        await stopping
        ending.cancel()

    async def _tell_health(self) -> None:
        """Tells how the providers are, and goes on telling in the background."""
        if self._providers is None:
            self._health.tell({})
            return
        states = self._providers()
        self._health.tell(await anext(states))
        self._following = asyncio.create_task(self._follow(self._providers, states))

    async def _follow(self, providers: Providers, states: AsyncGenerator[Mapping[str, bool], None]) -> None:
        while True:
            try:
                async with aclosing(states):
                    async for state in states:
                        self._health.tell(state)
            except Exception as error:  # noqa: BLE001 - a background loop goes on, whatever happens to one of its rounds
                self._telemetry.crashed(None, error)
            await asyncio.sleep(_AGAIN_S)
            states = providers()

    def _takes_port(self, doorkeeper: grpc.aio.Server) -> bool:
        """Tells whether the server for those who connect to one that stops, and so takes no connections, has the port of that one."""
        host, colon, port = self._config.address.rpartition(":")
        if self._config.address.startswith("unix:"):
            return False  # the server that stops removes the socket, whosever it is by then
        try:
            self._bind(doorkeeper, f"{host}{colon}{self._port if port == '0' else port}")
        except ConfigError:
            return False  # another one may have the port by now, and answers for itself
        return True

    def _bind(self, server: grpc.aio.Server, address: str) -> int:
        tls = self._config.tls
        try:
            if tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, _credentials(tls))
        except RuntimeError:
            raise ConfigError(f"grpc.address: cannot listen on {address}; another program may have it") from None

    def _make_server(self, entrance: Entrance) -> grpc.aio.Server:
        server = grpc.aio.server(options=_options(self._config, self._shared_port))
        edges = (edge(self._gateway, self._telemetry, entrance) for edge in (LlmEdge, AdminEdge))
        server.add_generic_rpc_handlers([edge.handlers() for edge in edges])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [*_SERVICES, health.NAME]
        guard: Any = Guard(server, self._gateway.gatekeeper, entrance)
        if self._config.channelz:
            from grpc_channelz.v1 import channelz, channelz_pb2_grpc

            channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), guard)
            names.append("grpc.channelz.v1.Channelz")
        if self._config.reflection:
            servicer = reflection.aio.ReflectionServicer([*names, reflection.SERVICE_NAME])
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, guard)  # type: ignore[no-untyped-call]
        return server


def _options(config: GrpcConfig, shared_port: bool) -> list[tuple[str, int]]:
    """Returns the channel arguments (grpc.github.io/grpc/core/group__grpc__arg__keys.html, seen 2026-11-21).

    gRPC sets TCP_NODELAY by itself.
    """
    ages = {
        "grpc.max_connection_age_ms": config.max_connection_age_s,
        "grpc.max_connection_age_grace_ms": config.max_connection_age_grace_s,
    }
    return [
        *((name, round(age_s * 1000)) for name, age_s in ages.items() if age_s is not None),
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
