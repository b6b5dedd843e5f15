"""A row refers only to rows of its own company: foreign keys over (company_id, id).

Checks of foreign keys go past row-level security, so a single-column key would let one company's
row name another's.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What others refer to. The new unique index finds a company's rows too, so the old one goes.
REFERRED = {
    "company_automation_jobs": "job_id",
    "datasets": "dataset_id",
    "lora_adapters": "adapter_id",
    "training_runs": "request_id",
}
# (table, column, what it refers to, what a deletion does)
REFERENCES = (
    ("adapter_aliases", "champion_id", "lora_adapters", None),
    ("adapter_aliases", "challenger_id", "lora_adapters", None),
    ("company_memory", "job_id", "company_automation_jobs", "SET NULL"),
    ("decisions", "adapter_id", "lora_adapters", "CASCADE"),
    ("examples", "dataset_id", "datasets", "CASCADE"),
    ("feedback", "job_id", "company_automation_jobs", "CASCADE"),
    ("job_steps", "job_id", "company_automation_jobs", "CASCADE"),
    ("tool_calls", "job_id", "company_automation_jobs", "CASCADE"),
    ("training_checkpoints", "request_id", "training_runs", "CASCADE"),
    ("training_events", "request_id", "training_runs", "CASCADE"),
    ("training_runs", "dataset_id", "datasets", None),
)


def upgrade() -> None:
    for table, key in REFERRED.items():
        op.create_unique_constraint(f"uq_{table}_company_id_{key}", table, ["company_id", key])
        op.drop_index(f"ix_{table}_company_id", table)
    for table, column, referred, on_delete in REFERENCES:
        key = REFERRED[referred]
        op.drop_constraint(f"fk_{table}_{column}_{referred}", table, type_="foreignkey")
        op.create_foreign_key(
            f"fk_{table}_company_id_{column}_{referred}",
            table,
            referred,
            ["company_id", column],
            ["company_id", key],
            # Only the reference goes: the row stays its company's.
            ondelete=f"SET NULL ({column})" if on_delete == "SET NULL" else on_delete,
        )


def downgrade() -> None:
    for table, column, referred, on_delete in REFERENCES:
        op.drop_constraint(f"fk_{table}_company_id_{column}_{referred}", table, type_="foreignkey")
        op.create_foreign_key(
            f"fk_{table}_{column}_{referred}",
            table,
            referred,
            [column],
            [REFERRED[referred]],
            ondelete=on_delete,
        )
    for table, key in REFERRED.items():
        op.create_index(f"ix_{table}_company_id", table, ["company_id"])
        op.drop_constraint(f"uq_{table}_company_id_{key}", table, type_="unique")
