"""Tool calls say when they were sent; a company may delete what is remembered of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tool_calls", sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_company_memory_company_id_memory_id", "company_memory", ["company_id", "memory_id"]
    )
    op.execute("GRANT DELETE ON company_memory TO cyrex_web")


def downgrade() -> None:
    op.execute("REVOKE DELETE ON company_memory FROM cyrex_web")
    op.drop_index("ix_company_memory_company_id_memory_id", "company_memory")
    op.drop_column("tool_calls", "sent_at")
