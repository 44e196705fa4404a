"""Accounts, how they fare, and logins under way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "account_credential",
        *_ref(),
        sa.Column("kind", sa.Text, nullable=False, comment="for people: api_key or oauth"),
        sa.Column("secret", sa.Text, nullable=False, comment="encrypted"),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("provider", "id", name="pk_account_credential"),
    )
    op.create_table(
        "account_hold",
        *_ref(),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.Double, nullable=False, comment="by the database's clock"),
        sa.PrimaryKeyConstraint("provider", "id", name="pk_account_hold"),
    )
    op.create_table(
        "oauth_login",
        sa.Column(
            "state_hash",
            sa.Text,
            nullable=False,
            comment="SHA-256 of the state, which alone would let a login be taken",
        ),
        sa.Column("secret", sa.Text, nullable=False, comment="encrypted"),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("state_hash", name="pk_oauth_login"),
    )
    _make_records()


def downgrade() -> None:
    """Removes the tables."""
    for name in ("account_revision", "account_record", "oauth_login", "account_hold", "account_credential"):
        op.drop_table(name)


def _make_records() -> None:
    op.create_table(
        "account_record",
        *_ref(),
        sa.Column("condition", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.Column("last_error_at", sa.Double, nullable=False),
        sa.Column("switched_at", sa.Double, nullable=False),
        sa.Column("is_burst", sa.Boolean, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("requests", "errors", "input_tokens", "output_tokens")
        ),
        sa.PrimaryKeyConstraint("provider", "id", name="pk_account_record"),
    )
    revision_table = op.create_table(
        "account_revision",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_account_revision"),
    )
    op.bulk_insert(revision_table, [{"id": 1, "number": 0}])


def _ref() -> tuple[sa.Column[str], sa.Column[str]]:
    return sa.Column("provider", sa.Text, nullable=False), sa.Column("id", sa.Text, nullable=False)
