"""What the chaos suite reads of Postgres, in SQL of its own: not with the product's eyes."""

from __future__ import annotations

from typing import Any

import psycopg2

# Kind, table, key; the states in which a row rests for good or until a person acts.
TABLES = {
    "job": ("company_automation_jobs", "job_id", ("completed", "failed", "cancelled")),
    "training": ("training_runs", "request_id", ("succeeded", "failed", "cancelled")),
    "adapter": (
        "lora_adapters",
        "adapter_id",
        ("ready", "rejected", "failed", "retired", "deleted"),
    ),
    "tool": ("tool_calls", "call_id", ("completed", "failed", "unknown")),
}
# States in which the broker has, or should have, a hint of a row.
HINTED = {
    "job": ("admitted", "running"),
    "training": ("admitted", "running"),
    "adapter": ("announced",),
    "tool": ("admitted", "running"),
}
CONNECT_SECONDS = 3


class Rows:
    """A connection that comes back after Postgres has been away."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("postgresql+psycopg2://", "postgresql://")
        self._connection: Any = None

    def all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, as the operator's role sees them. Raises `psycopg2.Error`."""
        fresh = self._connection is None
        try:
            return self._ask(statement, values)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self.close()
            if fresh:
                raise
        # The connection was one to a server that is gone: perhaps there is another by now.
        return self.all(statement, *values)

    def _ask(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg2.connect(self._url, connect_timeout=CONNECT_SECONDS)
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute("SET LOCAL ROLE cyrex_operator")
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def worker_ids(self, process: str) -> list[str]:
        """Of the worker `process` and its pool processes."""
        found = self.all("SELECT worker_id FROM workers WHERE node LIKE %s", f"{process}@%")
        return [str(worker_id) for (worker_id,) in found]

    def with_engines(self) -> set[str]:
        """The inference workers that say that their engine is ready, by process."""
        query = "SELECT split_part(node, '@', 1) FROM workers WHERE (details->>'ready')::bool"
        return {str(name) for (name,) in self.all(query)}

    def engines(self) -> list[tuple[str, str, int]]:
        """(process, worker, pid of its engine) of the inference workers whose engine is ready."""
        query = """
            SELECT split_part(node, '@', 1), worker_id, (details->>'engine_pid')::int FROM workers
            WHERE (details->>'ready')::bool AND details->>'engine_pid' IS NOT NULL ORDER BY 1
        """
        return [(str(name), str(worker), int(pid)) for name, worker, pid in self.all(query)]

    def canaries(self) -> list[tuple[str, float]]:
        """(queue, when a worker last took a message of no other use from it)."""
        query = "SELECT queue, extract(epoch FROM seen_at)::float FROM canaries"
        return [(str(queue), float(at)) for queue, at in self.all(query)]

    def hinted(self) -> list[tuple[str, str]]:
        """(kind, id) of the rows that wait for a worker."""
        found = []
        for kind, (table, key, _resting) in TABLES.items():
            query = f"SELECT {key} FROM {table} WHERE status = ANY(%s) AND lease_owner IS NULL"
            found += [(kind, str(row)) for (row,) in self.all(query, list(HINTED[kind]))]
        return found

    def still_hinted(self, rows: list[tuple[str, str]], since: float) -> int:
        """How many of `rows` wait on, and were not hinted at again since then."""
        count = 0
        for kind, (table, key, _resting) in TABLES.items():
            ids = [row for row_kind, row in rows if row_kind == kind]
            query = (
                f"SELECT count(*) FROM {table} WHERE {key} = ANY(%s) AND status = ANY(%s)"
                " AND lease_owner IS NULL AND published_at <= to_timestamp(%s)"
            )
            count += self.all(query, ids, list(HINTED[kind]), since)[0][0] if ids else 0
        return count

    def progress(self) -> list[str]:
        """What changes while trainings move on within their status: that may take long."""
        query = (
            "SELECT concat_ws(' ', request_id, step, attempt, progress) FROM training_runs"
            " WHERE NOT status = ANY(%s) ORDER BY 1"
        )
        return [str(row) for (row,) in self.all(query, list(TABLES["training"][2]))]

    def open_rows(self) -> list[tuple[str, str, str]]:
        """(kind, id, status) of what has not come to rest."""
        found = []
        for kind, (table, key, resting) in TABLES.items():
            query = f"SELECT {key}, status FROM {table} WHERE NOT status = ANY(%s)"
            found += [(kind, str(row), str(s)) for row, s in self.all(query, list(resting))]
        return found
