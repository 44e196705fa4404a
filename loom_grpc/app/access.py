"""What decides who may call and how much, made of the configuration."""

from __future__ import annotations

import secrets as chance
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loom_grpc.app.doors import Doors
from loom_grpc.app.store import usual_file
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.directory import Directory
from loom_grpc.core.quota import Meter, MeterError
from loom_grpc.credentials.secret import Secret, Secrets
from loom_grpc.quota.meter import TableMeter
from loom_grpc.quota.run import open_run
from loom_grpc.quota.throttle import Throttle
from loom_grpc.telemetry import Telemetry

if TYPE_CHECKING:
    from loom_grpc.storage.database import Database

_COUNTERS: Final = "counters"
_THROTTLE: Final = "throttle"
_SNAPSHOT: Final = "access.snapshot"


def make_meter(
    config: Config,
    secrets: Secrets,
    environ: Mapping[str, str],
    shared: Path | None,
    number: int,
    telemetry: Telemetry,
    *,
    is_check: bool,
) -> Meter:
    """Makes the counters: in Redis, or of all workers, which share a folder, or of the one process; raises `ConfigError`.

    For a check they are in memory, and take over from nobody.
    """
    try:
        if config.limits.redis_url is not None:
            return _shared_meter(config, config.limits.redis_url.get_secret_value(), secrets, shared, number, telemetry)
        if config.access.is_on and not is_check:  # so that there may be budgets, which a restart must not forget
            run = shared.name if shared is not None else chance.token_hex(8)
            folder = usual_file(environ).with_name(_COUNTERS)
            return open_run(folder, run, number, config.workers, time.time())
        return _local_meter(config, shared, number)
    except MeterError as error:
        raise ConfigError(f"limits: {error}") from None


def _local_meter(config: Config, shared: Path | None, number: int) -> TableMeter:
    return TableMeter(shared / _COUNTERS if shared is not None else None, number, owners=config.workers)


def _shared_meter(
    config: Config, reference: str, secrets: Secrets, shared: Path | None, number: int, telemetry: Telemetry
) -> Meter:
    """Makes counters that all hosts share, and those of this one for the time when Redis is away."""
    from loom_grpc.quota.fallback import FallbackMeter
    from loom_grpc.quota.redis import USE, RedisMeter

    url = secrets.find(reference, "limits.redis_url")
    try:
        if url.known:
            USE.make_client(url.reveal())
    except ValueError as error:
        raise ConfigError(f"limits.redis_url: {error}") from None
    first = RedisMeter(
        url.reveal, on_trouble=telemetry.limits_unavailable, on_recovery=telemetry.limits_work_again, clock=time.time
    )
    return FallbackMeter(first, _local_meter(config, shared, number), config.spending.without_redis)


def make_doors(
    config: Config,
    environ: Mapping[str, str],
    shared: Path | None,
    database: Database | None,
    meter: Meter,
    admin_key: Callable[[], Secret | None],
    telemetry: Telemetry,
) -> Doors:
    """Makes what decides about callers; raises `ConfigError`. Nothing is read yet."""
    rules = config.access.throttle
    path = shared / _THROTTLE if shared is not None else None
    try:
        throttle = Throttle(path, rules.failures, rules.window_s, rules.block_s, rules.max_block_s)
    except MeterError as error:
        raise ConfigError(f"access.throttle: {error}") from None
    kept = usual_file(environ).with_name(_SNAPSHOT) if config.access.is_on else None
    try:
        return Doors(config, _make_directory(config, database), kept, throttle, admin_key, meter, telemetry)
    except BaseException:
        throttle.close()
        raise


def _make_directory(config: Config, database: Database | None) -> Directory | None:
    """Makes the directory of keys, users and budgets; None where callers need not show who they are."""
    if database is None or not config.access.is_on:
        return None
    from loom_grpc.storage.directory import DatabaseDirectory

    return DatabaseDirectory(database)
