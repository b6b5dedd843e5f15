"""Canaries prove that queues are worked; old jobs lose their payloads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "canaries",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_canaries")),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON canaries TO cyrex_operator")
    op.execute("GRANT SELECT ON canaries TO cyrex_web")
    op.add_column(
        "company_automation_jobs",
        sa.Column("payload_removed_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index(
        "ix_company_automation_jobs_payloads",
        "company_automation_jobs",
        ["completed_at"],
        postgresql_where=sa.text("payload_removed_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_company_automation_jobs_payloads", "company_automation_jobs")
    op.drop_column("company_automation_jobs", "payload_removed_at")
    op.drop_table("canaries")
