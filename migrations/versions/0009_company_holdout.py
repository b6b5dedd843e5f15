"""A company's hold-out spans its trainings; people pin, continue and promote."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = (
    ("datasets", sa.Column("validation_sha256", sa.Text)),
    ("datasets", sa.Column("replaces", sa.Boolean, nullable=False, server_default="false")),
    ("datasets", sa.Column("merged_sha256", sa.Text)),
    ("examples", sa.Column("conversation_sha256", sa.Text)),
    ("training_runs", sa.Column("continue_from", sa.Text)),
    ("training_runs", sa.Column("promote", sa.Text, nullable=False, server_default="evidence")),
    ("adapter_aliases", sa.Column("pinned", sa.Boolean, nullable=False, server_default="false")),
)
# What has split a company's questions is asked by (company, question).
INDICES = {
    "ix_examples_company_question": ["company_id", "input_sha256"],
    "ix_examples_company_conversation": ["company_id", "conversation_sha256"],
}
OLD_INDEX = "ix_examples_input_sha256"


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, column.copy())
    op.create_check_constraint("promote", "training_runs", "promote IN ('evidence', 'always')")
    for name, columns in INDICES.items():
        op.create_index(name, "examples", columns)
    op.drop_index(OLD_INDEX, "examples")


def downgrade() -> None:
    op.create_index(OLD_INDEX, "examples", ["input_sha256"])
    for name in INDICES:
        op.drop_index(name, "examples")
    op.drop_constraint(op.f("ck_training_runs_promote"), "training_runs")
    for table, column in reversed(COLUMNS):
        op.drop_column(table, column.name)
