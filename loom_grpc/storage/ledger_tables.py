"""The tables of the ledger: what was called, and what was spent."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text

from loom_grpc.storage.tables import METADATA

_WORD: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that both databases compare by its characters' numbers, and that PostgreSQL can index: what is longer than a few hundred
characters is cut before it comes here."""

CALL_RECORD: Final = Table(
    "call_record",
    METADATA,
    Column("id", _WORD, primary_key=True, comment="those of later calls sort behind those of earlier ones"),
    Column("started_us", BigInteger, nullable=False, comment="microseconds since 1970"),
    Column("operation", Integer, nullable=False, comment="the number that audit.proto has for it"),
    Column("key_id", _WORD, nullable=False),
    Column("person", _WORD, nullable=False),
    Column("team", _WORD, nullable=False),
    Column("organization", _WORD, nullable=False),
    Column("provider", _WORD, nullable=False),
    Column("model", _WORD, nullable=False),
    Column("session_id", _WORD, nullable=False),
    Column("request_id", _WORD, nullable=False),
    Column("error_reason", _WORD, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cost_nanos", BigInteger, comment="NULL when something was used whose price is not known"),
    Column("reported_cost_nanos", BigInteger, comment="NULL when no provider said so"),
    Column("duration_us", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False, comment="a CallRecord of audit.proto, without prompt and answer"),
    Index(None, "started_us"),
    Index(None, "key_id", "id"),
    Index(None, "person", "id"),
    Index(None, "session_id", "id"),
    Index(None, "request_id"),
)
"""A row for each call. The columns are for filters and sums; the record has everything.

Teams and organizations have so many calls each that an index by time serves them as well; each index costs every record 4 µs (SQLite).
"""

CALL_CONTENT: Final = Table(
    "call_content",
    METADATA,
    Column("call_id", _WORD, primary_key=True),
    Column("started_us", BigInteger, nullable=False, index=True, comment="microseconds since 1970"),
    Column("prompt_json", Text, nullable=False),
    Column("answer_json", Text, nullable=False),
)
"""What was said, of calls whose content is kept."""

CALL_LABEL: Final = Table(
    "call_label",
    METADATA,
    Column("call_id", _WORD, primary_key=True),
    Column("name", _WORD, primary_key=True),
    Column("value", _WORD, nullable=False),
    Index(None, "name", "value", "call_id"),
    sqlite_with_rowid=False,
)
"""What callers attribute calls to."""

SPEND: Final = Table(
    "spend",
    METADATA,
    Column("scope_kind", _WORD, primary_key=True, comment="key, user, team or organization"),
    Column("scope_id", _WORD, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False, comment="days since 1970, in UTC"),
    Column("nanos", BigInteger, nullable=False, comment="billionths of a dollar"),
    sqlite_with_rowid=False,
)
"""What was spent, which stays known when the records are gone."""
