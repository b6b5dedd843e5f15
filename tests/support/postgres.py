"""The operator's side of Postgres."""

from __future__ import annotations

import psycopg2
from psycopg2 import sql

from embedded import Servers
from settings import get_settings


class Postgres:
    """The test module's database: `cut` ends its connections, `restore` allows new ones."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.database = get_settings().database_url.rpartition("/")[2]

    def cut(self, refuse: bool = False) -> None:
        """End every connection; with `refuse`, take no new one either."""
        if refuse:
            self._run("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        self._run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = "
            + psycopg2.extensions.adapt(self.database).getquoted().decode()
        )

    def restore(self) -> None:
        self._run("ALTER DATABASE {} ALLOW_CONNECTIONS true")

    def _run(self, statement: str) -> None:
        connection = psycopg2.connect(self._servers.superuser_url())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(sql.Identifier(self.database)))
        finally:
            connection.close()
