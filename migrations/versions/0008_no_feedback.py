"""The table of people's feedback goes: nothing ever wrote or read it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MINE = "company_id = current_setting('app.company_id', true)"


def upgrade() -> None:
    op.drop_table("feedback")


def downgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("feedback_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("correction", postgresql.JSONB(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("company_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id"],
            ["companies.company_id"],
            name="fk_feedback_company_id_companies",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "job_id"],
            ["company_automation_jobs.company_id", "company_automation_jobs.job_id"],
            name="fk_feedback_company_id_job_id_company_automation_jobs",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("feedback_id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_company_id", "feedback", ["company_id"])
    op.create_index("ix_feedback_job_id", "feedback", ["job_id"])
    op.execute("ALTER TABLE feedback ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY company ON feedback TO cyrex_web, cyrex_worker"
        f" USING ({MINE}) WITH CHECK ({MINE})"
    )
    op.execute(
        "CREATE POLICY operator ON feedback TO cyrex_operator USING (true) WITH CHECK (true)"
    )
    for role in ("cyrex_operator", "cyrex_web", "cyrex_worker"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON feedback TO {role}")
