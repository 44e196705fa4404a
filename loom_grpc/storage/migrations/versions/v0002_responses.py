"""Responses that callers may come back to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "kept_response",
        sa.Column("tenant", sa.Text, nullable=False, comment="a digest of what the caller showed of itself"),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False, comment="the id of the response before it, or empty"),
        sa.Column("content", sa.Text, nullable=False, comment="input and response, encrypted where there is a key"),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_kept_response"),
    )
    op.create_index("ix_kept_response_expires_at", "kept_response", ["expires_at"])


def downgrade() -> None:
    """Removes the table."""
    op.drop_table("kept_response")
