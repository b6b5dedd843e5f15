"""Checkpoints have a size, schedules a history, tool calls the name under which they were sent;
a training's position is that in the fair order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Companies take turns, and each company's runs keep their order: the n-th run of one stands
# before the (n+1)-th of any other.
FAIR_ORDER = """
CREATE OR REPLACE FUNCTION count_trainings_before(wanted text)
RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH unfinished AS (
        SELECT r.request_id, r.created_at, row_number() OVER (
            PARTITION BY r.company_id ORDER BY r.created_at, r.request_id
        ) AS turn
        FROM public.training_runs AS r
        WHERE r.status IN ('requested', 'queued', 'admitted', 'running')
    )
    SELECT count(*) FROM unfinished AS u, unfinished AS w
    WHERE w.request_id = wanted
    AND (u.turn, u.created_at, u.request_id) < (w.turn, w.created_at, w.request_id)
$$
"""
ORDER_OF_ARRIVAL = """
CREATE OR REPLACE FUNCTION count_trainings_before(wanted text)
RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT count(*) FROM public.training_runs AS r
    WHERE r.status IN ('requested', 'queued', 'admitted', 'running')
    AND (r.created_at, r.request_id) < (
        SELECT w.created_at, w.request_id FROM public.training_runs AS w
        WHERE w.request_id = wanted
    )
$$
"""


def _replace(function: str) -> None:
    """It belongs to the operator, who may otherwise create nothing."""
    op.execute("GRANT CREATE ON SCHEMA public TO cyrex_operator")
    op.execute("SET LOCAL ROLE cyrex_operator")
    op.execute(function)
    op.execute("RESET ROLE")
    op.execute("REVOKE CREATE ON SCHEMA public FROM cyrex_operator")


def upgrade() -> None:
    op.add_column(
        "training_checkpoints",
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.create_index("ix_training_checkpoints_sha256", "training_checkpoints", ["sha256"])
    op.add_column("tool_calls", sa.Column("sent_under", sa.Text(), nullable=True))
    _upgrade_schedules()
    _create_fires()
    _replace(FAIR_ORDER)


def _upgrade_schedules() -> None:
    table = "retraining_schedules"
    op.alter_column(table, "cron", nullable=True)
    for column in (
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("every_hours", sa.Integer(), nullable=True),
        sa.Column("min_new_examples", sa.Integer(), server_default="0", nullable=False),
        sa.Column("use_qlora", sa.Boolean(), server_default="true", nullable=False),
    ):
        op.add_column(table, column)
    op.create_check_constraint(
        op.f("ck_retraining_schedules_cron_or_hours"),
        table,
        "(cron IS NULL) <> (every_hours IS NULL)",
    )
    op.create_unique_constraint(
        "uq_retraining_schedules_company_id_schedule_id", table, ["company_id", "schedule_id"]
    )
    op.drop_index("ix_retraining_schedules_company_id", table)
    op.drop_index("ix_retraining_schedules_next_fire_at", table)
    op.create_index(
        "ix_retraining_schedules_due",
        table,
        ["next_fire_at"],
        postgresql_where=sa.text("enabled"),
    )


def _create_fires() -> None:
    op.create_table(
        "schedule_fires",
        sa.Column("schedule_id", sa.Text(), nullable=False),
        sa.Column("fire_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("company_id", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('requested', 'skipped')", name=op.f("ck_schedule_fires_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["company_id"],
            ["companies.company_id"],
            name=op.f("fk_schedule_fires_company_id_companies"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "schedule_id"],
            ["retraining_schedules.company_id", "retraining_schedules.schedule_id"],
            name=op.f("fk_schedule_fires_company_id_schedule_id_retraining_schedules"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "request_id"],
            ["training_runs.company_id", "training_runs.request_id"],
            name=op.f("fk_schedule_fires_company_id_request_id_training_runs"),
            ondelete="SET NULL (request_id)",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "fire_at", name=op.f("pk_schedule_fires")),
    )
    op.create_index("ix_schedule_fires_company_id", "schedule_fires", ["company_id"])
    op.create_index("ix_schedule_fires_request_id", "schedule_fires", ["request_id"])
    mine = "company_id = current_setting('app.company_id', true)"
    op.execute("ALTER TABLE schedule_fires ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY company ON schedule_fires TO cyrex_web, cyrex_worker"
        f" USING ({mine}) WITH CHECK ({mine})"
    )
    op.execute(
        "CREATE POLICY operator ON schedule_fires TO cyrex_operator USING (true) WITH CHECK (true)"
    )
    op.execute("GRANT SELECT ON schedule_fires TO cyrex_web")
    op.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON schedule_fires TO cyrex_worker, cyrex_operator"
    )


def downgrade() -> None:
    _replace(ORDER_OF_ARRIVAL)
    op.drop_table("schedule_fires")
    _downgrade_schedules()
    op.drop_column("tool_calls", "sent_under")
    op.drop_index("ix_training_checkpoints_sha256", "training_checkpoints")
    op.drop_column("training_checkpoints", "size_bytes")


def _downgrade_schedules() -> None:
    table = "retraining_schedules"
    op.drop_index("ix_retraining_schedules_due", table)
    op.create_index("ix_retraining_schedules_next_fire_at", table, ["next_fire_at"])
    op.create_index("ix_retraining_schedules_company_id", table, ["company_id"])
    op.drop_constraint("uq_retraining_schedules_company_id_schedule_id", table, type_="unique")
    op.drop_constraint(op.f("ck_retraining_schedules_cron_or_hours"), table, type_="check")
    # What fires by the hour cannot be told in the older form.
    op.execute("DELETE FROM retraining_schedules WHERE cron IS NULL")
    for column in ("use_qlora", "min_new_examples", "every_hours", "name"):
        op.drop_column(table, column)
    op.alter_column(table, "cron", nullable=False)
