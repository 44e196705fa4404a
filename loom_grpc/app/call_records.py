"""The records of calls, from the spool of this process to where they are kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loom_grpc.app.bus import bus_url
from loom_grpc.app.destination import destination
from loom_grpc.app.ledgers import keeps_records
from loom_grpc.app.pruning import Pruning
from loom_grpc.app.store import usual_file
from loom_grpc.catalogue import Catalogue
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.errors import LlmError
from loom_grpc.core.ledger import Ledger, Sink, SpoolError
from loom_grpc.core.tariff import Tariff
from loom_grpc.credentials.secret import Secrets
from loom_grpc.processors.recording import Content, Recorder
from loom_grpc.telemetry import Telemetry

if TYPE_CHECKING:
    from loom_grpc.app.courier import Courier
    from loom_grpc.storage.spool import FileSpool

_FOLDER: Final = "spool"


class CallRecords:
    """Records calls where that is wanted, from `start` on, and else only prices them.

    `make_ledger` gives where records go without a bus, and `catalogue` what is known of models now.
    """

    def __init__(
        self,
        config: Config,
        secrets: Secrets,
        environ: Mapping[str, str],
        make_ledger: Callable[[], Ledger],
        catalogue: Callable[[], Catalogue],
        telemetry: Telemetry,
    ) -> None:
        self._config = config
        self._secrets = secrets
        self._environ = environ
        self._make_ledger = make_ledger
        self._catalogue = catalogue
        self._telemetry = telemetry
        self.is_on = keeps_records(config)
        self._folder: Path = config.audit.spool_dir or usual_file(environ).with_name(_FOLDER)
        content = self._make_content() if config.audit.content else None
        self._spool: FileSpool | None = None
        self._mark: int | None = None
        self._sink: Sink | None = None
        self._courier: Courier | None = None
        self._pruning: Pruning | None = None
        self.recorder = Recorder(
            None,
            self._tariff,
            new_id=new_id,
            timer=time.perf_counter,
            content=content,
            on_charges=telemetry.charged,
        )

    async def start(self) -> None:
        """Begins to send records on; raises `ConfigError` when another server uses the spool, or has left records there."""
        if not self.is_on:
            return
        from loom_grpc.app.courier import Courier

        audit, told = self._config.audit, self._telemetry
        # First: what waits in a file that another process has open cannot be counted.
        self._mark = self._mark_spool()
        self._spool = self._make_spool()
        self.recorder.keep_in(self._spool)
        told.troubles.watch_spool(self._spool.state, self._spool.age_s, audit.spool_max_bytes)
        self._sink = self._make_sink()
        self._courier = Courier(
            self._spool,
            self._sink,
            batch=audit.batch,
            flush_s=audit.flush_s,
            on_trouble=told.records_wait,
            on_recovery=told.records_go_on,
            on_unreadable=told.record_unreadable,
        )
        self._courier.when_sent(told.records_sent)
        self._courier.start()
        if audit.bus is None:
            self._pruning = Pruning(self._make_ledger(), audit, told)
            self._pruning.start()

    async def close(self) -> None:
        """Sends what is left, as far as it goes soon; the rest waits for the next start."""
        if self._pruning is not None:
            await self._pruning.close()
        if self._courier is not None:
            await self._courier.close()
        if self._sink is not None:
            await self._sink.close()
        if self._spool is not None:
            self._spool.close()
        if self._mark is not None:
            os.close(self._mark)
            self._mark = None

    def _tariff(self, provider: str, model: str) -> Tariff | None:
        return self._catalogue().tariff(provider, model)

    def _make_spool(self) -> FileSpool:
        from loom_grpc.storage.spool import FileSpool

        told = self._telemetry
        try:
            return FileSpool(
                self._folder,
                self._config.audit.spool_max_bytes,
                time.time,
                on_trouble=told.spool_unusable,
                on_recovery=told.spool_works_again,
                on_damage=told.spool_damaged,
            )
        except SpoolError as error:
            raise ConfigError(f"audit.spool_dir: {error}") from None

    def _mark_spool(self) -> int:
        from loom_grpc.storage.spool_mark import mark

        try:
            return mark(self._folder, destination(self._config, self._secrets, self._environ))
        except SpoolError as error:
            raise ConfigError(f"audit.spool_dir: {error}") from None
        except LlmError as error:  # nobody knows where records go
            raise ConfigError(f"audit.bus.url: {error.message}") from None

    def _make_content(self) -> Content:
        from loom_grpc.processors.content import Contents

        return Contents(self._telemetry.blacken)

    def _make_sink(self) -> Sink:
        bus = self._config.audit.bus
        if bus is None:
            from loom_grpc.storage.ledger_sink import LedgerSink

            return LedgerSink(self._make_ledger())
        from loom_grpc.bus.rabbitmq import RabbitSink

        return RabbitSink(bus_url(bus, self._secrets).reveal, bus)


def new_id(began_s: float) -> str:
    """Returns an id of 32 letters, of which the first 12 are the milliseconds since 1970, so that ids sort by time."""
    return f"{int(began_s * 1000):012x}{os.urandom(10).hex()}"
