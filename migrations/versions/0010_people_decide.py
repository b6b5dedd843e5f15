"""The API moves the champion when a person asks for it, and writes down that it did."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What the API may do beyond reading.
GRANTS = {"adapter_aliases": "INSERT, UPDATE", "decisions": "INSERT"}


def upgrade() -> None:
    for table, rights in GRANTS.items():
        op.execute(f"GRANT {rights} ON {table} TO cyrex_web")


def downgrade() -> None:
    for table, rights in GRANTS.items():
        op.execute(f"REVOKE {rights} ON {table} FROM cyrex_web")
