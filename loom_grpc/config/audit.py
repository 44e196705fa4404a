"""The sections and keys of the records of calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from loom_grpc.config.section import Section
from loom_grpc.config.value import Count, Filled, Number, Seconds, SecretRef, Size


class BusConfig(Section):
    """RabbitMQ between servers and the database; `loom-grpc auditor` takes records from there."""

    url: SecretRef = Field(description="Such as `amqp://user:password@host:5672/`.")
    exchange: Filled = Field(default="loom-grpc.audit", description="The exchange that records are published to.")
    queue: Filled = Field(default="loom-grpc.audit", description="The queue that keeps them for the auditor.")
    dead_letter_exchange: Filled = Field(
        default="loom-grpc.audit.dead", description="Where records go that the auditor cannot read."
    )
    dead_letter_queue: Filled = Field(default="loom-grpc.audit.dead", description="The queue that keeps those.")
    prefetch: Count = Field(default=500, description="How many records the auditor takes at once.")


class AuditConfig(Section):
    """The records of calls."""

    enabled: bool | None = Field(
        default=None,
        description="Keeps a record of every call; none: where callers have to show who they are, or a database is set.",
    )
    spool_dir: Path | None = Field(
        default=None,
        description="Where each process keeps records until they are in the database; "
        "without it `loom-grpc/spool` in `$XDG_STATE_HOME` or `~/.local/state`.",
    )
    spool_max_bytes: Size = Field(
        default=2**30,
        description="The most bytes that records take there, in each process; beyond it calls are refused.",
    )
    batch: Count = Field(default=500, description="How many records go on at once.")
    flush_s: Seconds = Field(default=1.0, description="How long a record waits for others, at most, before it goes on.")
    bus: BusConfig | None = Field(default=None, description="Sends records to RabbitMQ instead of the database.")
    content: bool = Field(default=False, description="Keeps prompts and answers too, redacted.")
    content_retention_days: Annotated[float, Number, Field(gt=0, le=36_600)] = Field(
        default=30.0, description="How long prompts and answers are kept."
    )
    retention_days: Annotated[float, Number, Field(gt=0, le=36_600)] = Field(
        default=400.0, description="How long records are kept."
    )
