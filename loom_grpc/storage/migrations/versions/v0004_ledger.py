"""The records of calls, and what was spent."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_WORDS = (
    *("key_id", "person", "team", "organization", "provider", "model", "session_id", "request_id"),
    "error_reason",
)
_INDEXES = (
    ("started_us",),
    *((name, "id") for name in ("key_id", "person", "session_id")),
    ("request_id",),
)


def upgrade() -> None:
    """Makes the tables."""
    _make_records()
    op.create_table(
        "call_content",
        _word("call_id"),
        sa.Column("started_us", sa.BigInteger, nullable=False, comment="microseconds since 1970"),
        sa.Column("prompt_json", sa.Text, nullable=False),
        sa.Column("answer_json", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("call_id", name="pk_call_content"),
    )
    op.create_index("ix_call_content_started_us", "call_content", ["started_us"])
    op.create_table(
        "call_label",
        *(_word(name) for name in ("call_id", "name", "value")),
        sa.PrimaryKeyConstraint("call_id", "name", name="pk_call_label"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_call_label_name_value_call_id", "call_label", ["name", "value", "call_id"])
    op.create_table(
        "spend",
        _word("scope_kind", comment="key, user, team or organization"),
        _word("scope_id"),
        sa.Column("day", sa.Integer, nullable=False, autoincrement=False, comment="days since 1970, in UTC"),
        sa.Column("nanos", sa.BigInteger, nullable=False, comment="billionths of a dollar"),
        sa.PrimaryKeyConstraint("scope_kind", "scope_id", "day", name="pk_spend"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Removes the tables."""
    for name in ("spend", "call_label", "call_content", "call_record"):
        op.drop_table(name)


def _make_records() -> None:
    op.create_table(
        "call_record",
        _word("id", comment="those of later calls sort behind those of earlier ones"),
        sa.Column("started_us", sa.BigInteger, nullable=False, comment="microseconds since 1970"),
        sa.Column("operation", sa.Integer, nullable=False, comment="the number that audit.proto has for it"),
        *(_word(name) for name in _WORDS),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("input_tokens", "output_tokens", "cache_read_tokens")
        ),
        sa.Column("cost_nanos", sa.BigInteger, comment="NULL when something was used whose price is not known"),
        sa.Column("reported_cost_nanos", sa.BigInteger, comment="NULL when no provider said so"),
        sa.Column("duration_us", sa.BigInteger, nullable=False),
        sa.Column(
            "record", sa.LargeBinary, nullable=False, comment="a CallRecord of audit.proto, without prompt and answer"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_call_record"),
    )
    for columns in _INDEXES:
        op.create_index(f"ix_call_record_{'_'.join(columns)}", "call_record", list(columns))


def _word(name: str, **more: Any) -> sa.Column[str]:
    """Returns a column of text that PostgreSQL compares by the characters' numbers, as SQLite does."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False, **more)
