"""`loom-grpc auditor`: takes records of calls from RabbitMQ into the database."""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import AsyncExitStack

import uvloop

from loom_grpc.cli import configuration
from loom_grpc.cli.output import FAILED
from loom_grpc.config import Config, ConfigError
from loom_grpc.config.audit import BusConfig
from loom_grpc.server.process import make_telemetry, outlive_terminal, stop_signal


def run(arguments: argparse.Namespace) -> int:
    """Takes records until SIGTERM or SIGINT."""
    outlive_terminal()
    try:
        config = configuration.read(arguments).config
        bus = _bus(config)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_audit(config, bus, arguments.metrics_address))
    except ConfigError as failure:
        configuration.report(failure)
        return FAILED
    return 0


async def _audit(config: Config, bus: BusConfig, metrics_address: str) -> None:
    from loom_grpc.app.bus import bus_url
    from loom_grpc.app.ledgers import make_ledger
    from loom_grpc.app.pruning import Pruning
    from loom_grpc.app.secret import make_secrets
    from loom_grpc.auditor.auditor import audit
    from loom_grpc.auditor.metrics import metrics_served
    from loom_grpc.auditor.report import Report

    stop = stop_signal()
    telemetry = make_telemetry(config)
    async with AsyncExitStack() as stack:
        await telemetry.start()
        stack.push_async_callback(telemetry.close)
        secrets = make_secrets(config, os.environ, telemetry)
        stack.push_async_callback(secrets.close)
        url = bus_url(bus, secrets)
        await secrets.start()
        ledger = make_ledger(config, secrets, os.environ)
        stack.push_async_callback(ledger.close)
        pruning = Pruning(ledger, config.audit, telemetry)
        stack.push_async_callback(pruning.close)
        pruning.start()
        fields = {}
        if metrics_address:
            fields["metrics_port"] = await stack.enter_async_context(metrics_served(metrics_address, telemetry))
        telemetry.log.info("auditing", queue=bus.queue, **fields)
        await audit(bus, url.reveal, ledger, stop, Report(telemetry))
        telemetry.log.info("stopped")


def _bus(config: Config) -> BusConfig:
    """Returns where records come from; raises `ConfigError` unless there is something to take them from and to."""
    problems = []
    if config.audit.bus is None:
        problems.append("audit.bus.url: is not set, so servers write their records to the database themselves")
    if config.database.url is None:
        problems.append("database.url: is not set, and the auditor writes records to the database that servers share")
    if config.audit.bus is None or problems:
        raise ConfigError(*problems)
    return config.audit.bus
