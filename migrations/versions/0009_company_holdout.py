"""A company's hold-out spans its trainings; people pin, continue and promote."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS: dict[str, tuple[str, ...]] = {
    "datasets": ("validation_sha256", "merged_sha256"),
    "examples": ("conversation_sha256",),
    "training_runs": ("continue_from",),
}
FLAGS = {"datasets": "replaces", "adapter_aliases": "pinned"}
# What has split a company's questions is asked by (company, question).
INDICES = {
    "ix_examples_company_question": ["company_id", "input_sha256"],
    "ix_examples_company_conversation": ["company_id", "conversation_sha256"],
}
OLD_INDEX = "ix_examples_input_sha256"


def upgrade() -> None:
    for table, names in COLUMNS.items():
        for name in names:
            op.add_column(table, sa.Column(name, sa.Text))
    for table, name in FLAGS.items():
        flag = sa.Column(name, sa.Boolean, nullable=False, server_default="false")
        op.add_column(table, flag)
    promote = sa.Column("promote", sa.Text, nullable=False, server_default="evidence")
    op.add_column("training_runs", promote)
    op.create_check_constraint("promote", "training_runs", "promote IN ('evidence', 'always')")
    for name, columns in INDICES.items():
        op.create_index(name, "examples", columns)
    op.drop_index(OLD_INDEX, "examples")


def downgrade() -> None:
    op.create_index(OLD_INDEX, "examples", ["input_sha256"])
    for name in INDICES:
        op.drop_index(name, "examples")
    op.drop_constraint(op.f("ck_training_runs_promote"), "training_runs")
    op.drop_column("training_runs", "promote")
    for table, name in FLAGS.items():
        op.drop_column(table, name)
    for table, names in COLUMNS.items():
        for name in names:
            op.drop_column(table, name)
