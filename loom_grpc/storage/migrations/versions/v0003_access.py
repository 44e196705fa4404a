"""Organizations, teams, users, keys and budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0003"
down_revision = "0002"

_LIMITS = "JSON, by the names of the message Limits"
_ROLE = "a number of the enum AccessRole"


def upgrade() -> None:
    """Makes the tables, those first that others refer to."""
    op.create_table("organization", *_named("organization"))
    op.create_table("team", *_named("team"), *_reference("team", "organization"))
    op.create_table(
        "person",
        *_named("person"),
        *_reference("person", "organization"),
        *_reference("person", "team"),
        sa.Column("role", sa.Integer, nullable=False, comment=_ROLE),
    )
    _make_keys()
    _make_budgets()
    revision_table = op.create_table(
        "access_revision",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access_revision"),
    )
    op.bulk_insert(revision_table, [{"id": 1, "number": 0}])


def downgrade() -> None:
    """Removes the tables, those first that refer to others."""
    for name in ("access_revision", "budget", "api_key", "person", "team", "organization"):
        op.drop_table(name)


def _make_keys() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False, comment="of the key's text, which is kept nowhere"),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        *_reference("api_key", "person"),
        *_reference("api_key", "team"),
        *_reference("api_key", "organization"),
        sa.Column("role", sa.Integer, nullable=False, comment=_ROLE),
        sa.Column("allowed", sa.Text, comment="JSON, by the names of the message Allowed"),
        sa.Column("limits", sa.Text, comment=_LIMITS),
        *(sa.Column(name, sa.BigInteger) for name in ("created_us", "expires_us", "revoked_us")),
        sa.Column("replaced_by", sa.Text, nullable=False, comment="the id of the key after it, or empty"),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("sha256", name="uq_api_key_sha256"),
    )


def _make_budgets() -> None:
    op.create_table(
        "budget",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("scope_kind", sa.Text, nullable=False, comment="key, user, team or organization"),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False, comment="day, month or total"),
        sa.Column("cap_nanos", sa.BigInteger, nullable=False, comment="billionths of a dollar"),
        sa.Column("created_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_budget"),
        sa.UniqueConstraint("scope_kind", "scope_id", "period", name="uq_budget_scope_kind_scope_id_period"),
        sa.CheckConstraint("cap_nanos >= 0", name=op.f("ck_budget_cap_nanos")),
    )


def _named(table: str) -> tuple[SchemaItem, ...]:
    """Returns what organizations, teams and users have alike."""
    return (
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("limits", sa.Text, comment=_LIMITS),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def _reference(table: str, other: str) -> tuple[SchemaItem, ...]:
    """Returns the column of a table that may name a row of another, which is called the same."""
    return (
        sa.Column(other, sa.Text),
        sa.ForeignKeyConstraint([other], [f"{other}.id"], name=f"fk_{table}_{other}_{other}"),
    )
