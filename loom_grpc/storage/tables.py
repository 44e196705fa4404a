"""The tables. What changes here needs a revision in `migrations/versions`, and a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

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
"""All tables. Times are seconds since 1970, and microseconds since 1970 where the name says so."""

ACCESS_REVISION: Final = Table(
    "access_revision",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
"""One row, whose number rises with every change of a key, a user, a team, an organization or a budget."""

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

ORGANIZATION: Final = Table(
    "organization",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("limits", Text, comment="JSON, by the names of the message Limits"),
    Column("disabled", Boolean, nullable=False),
    Column("created_us", BigInteger),
)
"""The organizations."""

TEAM: Final = Table(
    "team",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("organization", Text, ForeignKey("organization.id")),
    Column("display_name", Text, nullable=False),
    Column("limits", Text, comment="JSON, by the names of the message Limits"),
    Column("disabled", Boolean, nullable=False),
    Column("created_us", BigInteger),
)
"""The teams."""

PERSON: Final = Table(
    "person",  # `user` is a word of SQL's own
    METADATA,
    Column("id", Text, primary_key=True),
    Column("organization", Text, ForeignKey("organization.id")),
    Column("team", Text, ForeignKey("team.id")),
    Column("display_name", Text, nullable=False),
    Column("role", Integer, nullable=False, comment="a number of the enum AccessRole"),
    Column("limits", Text, comment="JSON, by the names of the message Limits"),
    Column("disabled", Boolean, nullable=False),
    Column("created_us", BigInteger),
)
"""The users."""

API_KEY: Final = Table(
    "api_key",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("sha256", LargeBinary, nullable=False, unique=True, comment="of the key's text, which is kept nowhere"),
    Column("prefix", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("person", Text, ForeignKey("person.id")),
    Column("team", Text, ForeignKey("team.id")),
    Column("organization", Text, ForeignKey("organization.id")),
    Column("role", Integer, nullable=False, comment="a number of the enum AccessRole"),
    Column("allowed", Text, comment="JSON, by the names of the message Allowed"),
    Column("limits", Text, comment="JSON, by the names of the message Limits"),
    Column("created_us", BigInteger),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("replaced_by", Text, nullable=False, comment="the id of the key after it, or empty"),
)
"""The keys of callers."""

BUDGET: Final = Table(
    "budget",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("scope_kind", Text, nullable=False, comment="key, user, team or organization"),
    Column("scope_id", Text, nullable=False),
    Column("period", Text, nullable=False, comment="day, month or total"),
    Column("cap_nanos", BigInteger, nullable=False, comment="billionths of a dollar"),
    Column("created_us", BigInteger),
    UniqueConstraint("scope_kind", "scope_id", "period"),
    CheckConstraint("cap_nanos >= 0", name="cap_nanos"),
)
"""What may be spent; what was is in the ledger's tables."""

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
