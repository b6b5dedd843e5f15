"""Queries over the whole database, for tests."""

from __future__ import annotations

from sqlalchemy import func, select, text

from database.base import Base
from database.session import get_engine, operator_session


def row_counts() -> dict[str, int]:
    """Rows of every table."""
    with operator_session() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }


def idle_transactions() -> int:
    """Connections of the database that are idle in a transaction."""
    # As the login role: other roles cannot see the state of its sessions.
    with get_engine().connect() as connection:
        return int(
            connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
                )
            )
            or 0
        )
