"""A job and an event are written to no more indices than somebody reads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JOBS = "company_automation_jobs"


def upgrade() -> None:
    for name in ("adapter_id", "lease_owner", "status", "queue", "payloads"):
        op.drop_index(f"ix_{JOBS}_{name}", JOBS)
    op.create_index(
        f"ix_{JOBS}_open",
        JOBS,
        ["company_id", "status", "created_at"],
        postgresql_where=sa.text("status IN ('queued', 'admitted', 'running', 'waiting')"),
    )
    op.create_index(
        f"ix_{JOBS}_held",
        JOBS,
        ["lease_owner"],
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
    )
    op.create_index(
        f"ix_{JOBS}_payloads",
        JOBS,
        ["completed_at"],
        postgresql_where=sa.text("payload_removed_at IS NULL AND completed_at IS NOT NULL"),
    )
    op.drop_index("ix_outbox_published_at", "outbox")
    op.create_index(
        "ix_outbox_published",
        "outbox",
        ["published_at"],
        postgresql_where=sa.text("published_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_outbox_published", "outbox")
    op.create_index("ix_outbox_published_at", "outbox", ["published_at"])
    for name in ("open", "held", "payloads"):
        op.drop_index(f"ix_{JOBS}_{name}", JOBS)
    op.create_index(
        f"ix_{JOBS}_payloads",
        JOBS,
        ["completed_at"],
        postgresql_where=sa.text("payload_removed_at IS NULL"),
    )
    op.create_index(f"ix_{JOBS}_queue", JOBS, ["company_id", "status", "created_at"])
    for column in ("adapter_id", "lease_owner", "status"):
        op.create_index(f"ix_{JOBS}_{column}", JOBS, [column])
