"""The tables. What changes here needs a revision in `migrations/versions`, and a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, MetaData, Table, Text

METADATA: Final = MetaData(
    naming_convention={
        # A constraint can be changed later only by its name, which SQLite and PostgreSQL would choose differently.
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables. Times are seconds since 1970."""

ACCOUNT_CREDENTIAL: Final = Table(
    "account_credential",
    METADATA,
    Column("provider", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False, comment="for people: api_key or oauth"),
    Column("secret", Text, nullable=False, comment="encrypted"),
    Column("updated_at", Double, nullable=False),
)
"""The accounts that were added while a server ran."""

ACCOUNT_HOLD: Final = Table(
    "account_hold",
    METADATA,
    Column("provider", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Double, nullable=False, comment="by the database's clock"),
)
"""Which accounts are held, also such as do not exist yet."""

ACCOUNT_RECORD: Final = Table(
    "account_record",
    METADATA,
    Column("provider", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("condition", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("last_error_at", Double, nullable=False),
    Column("switched_at", Double, nullable=False),
    Column("is_burst", Boolean, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
)
"""How accounts fare."""

ACCOUNT_REVISION: Final = Table(
    "account_revision",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
"""One row, whose number rises with every change of an account or a record."""

KEPT_RESPONSE: Final = Table(
    "kept_response",
    METADATA,
    Column("tenant", Text, primary_key=True, comment="a digest of what the caller showed of itself"),
    Column("id", Text, primary_key=True),
    Column("previous", Text, nullable=False, comment="the id of the response before it, or empty"),
    Column("content", Text, nullable=False, comment="input and response, encrypted where there is a key"),
    Column("expires_at", Double, nullable=False, index=True),
)
"""The responses that callers of the Responses API may come back to."""

OAUTH_LOGIN: Final = Table(
    "oauth_login",
    METADATA,
    Column(
        "state_hash", Text, primary_key=True, comment="SHA-256 of the state, which alone would let a login be taken"
    ),
    Column("secret", Text, nullable=False, comment="encrypted"),
    Column("expires_at", Double, nullable=False),
)
"""The logins under way."""
