"""How Alembic reaches the database: as the login role, which owns the tables."""

from __future__ import annotations

from alembic import context
from sqlalchemy import NullPool, create_engine, text

import database.models
from settings import get_settings

# Any constant will do, as long as every process takes the same lock.
MIGRATION_LOCK = 0x637972
LOCK_TIMEOUT_MS = 10_000


def run() -> None:
    engine = create_engine(get_settings().database_url, poolclass=NullPool)
    # Leaving the block closes the connection, and with it goes the lock, whatever happened.
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=database.models.Base.metadata,
            transaction_per_migration=True,
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
