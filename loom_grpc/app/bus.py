"""The bus that records go over, as the configuration has it."""

from __future__ import annotations

from loom_grpc.config import ConfigError
from loom_grpc.config.audit import BusConfig
from loom_grpc.credentials.secret import Secret, Secrets


def bus_url(bus: BusConfig, secrets: Secrets) -> Secret:
    """Returns where the broker is; raises `ConfigError` for what is no address of one, as far as it is known yet."""
    from loom_grpc.bus.rabbitmq import check_url

    url = secrets.find(bus.url.get_secret_value(), "audit.bus.url")
    try:
        if url.known:
            check_url(url.reveal())
    except ValueError as error:
        raise ConfigError(f"audit.bus.url: {error}") from None
    return url
