"""Sessions. Each transaction takes a role and, for company-scoped work, one company's id.

The login role owns the tables, but row-level security is forced on it and no policy admits it:
a statement outside these sessions sees no company's rows at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DisconnectionError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from database.base import to_json
from settings import get_settings

WEB = "cyrex_web"
WORKER = "cyrex_worker"
OPERATOR = "cyrex_operator"

# Raised while the database is away; the driver's own errors come from a new connection's checks.
DATABASE_ERRORS = (SQLAlchemyError, psycopg2.Error)

ASSUME = text("SELECT set_config('role', :role, true), set_config('app.company_id', :id, true)")
# The same in the driver's own notation, for a statement that travels with it. A plan that is made
# once is made for the table as it grows, not for the small one that it is when the plan is made.
ASSUME_FIRST = (
    "SELECT set_config('role', %(assume_role)s, true),"
    " set_config('app.company_id', %(assume_id)s, true),"
    " set_config('enable_seqscan', 'off', true); "
)

POOL_SIZE = 16
POOL_OVERFLOW = 112
CONNECT_TIMEOUT_SECONDS = 3
RESTED_SECONDS = 0.5
POOL_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_MS = 30_000
# A client that dies inside a transaction must not hold its locks for long.
IDLE_TRANSACTION_TIMEOUT_MS = 60_000


class UnsafeDatabaseRole(RuntimeError):
    """DATABASE_URL names a role that row-level security does not bind."""


@lru_cache(maxsize=1)
def get_engine() -> Engine:
    """The process's connection pool. Fork-safe only after `dispose()` in the child."""
    engine = create_engine(
        get_settings().database_url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # An error must not carry companies' data into a log.
        hide_parameters=True,
        json_serializer=to_json,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "cyrex",
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
            f" -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_TIMEOUT_MS}",
            # A broken network must not leave a process waiting for hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )
    event.listen(engine, "connect", _refuse_unsafe_role)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _refuse_dead)
    return engine


def _note_use(connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()
    # Undo the autocommit of `company_statement`. The pool's own `isolation_level` would cost one
    # more round trip.
    if connection is not None and not connection.closed and connection.autocommit:
        connection.autocommit = False


def _refuse_dead(connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that has rested whether it still lives; the pool then finds another.

    To ask each one each time would cost as much as the statement that it is wanted for.
    """
    if time.monotonic() - record.info.get("used", time.monotonic()) < RESTED_SECONDS:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg2.Error as error:
        raise DisconnectionError("a connection that has rested is dead") from error


def _refuse_unsafe_role(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolname, rolsuper, rolbypassrls, EXISTS (SELECT FROM pg_roles AS ours"
            " WHERE ours.rolname = ANY(%s) AND pg_has_role(current_user, ours.oid, 'USAGE'))"
            " FROM pg_roles WHERE rolname = current_user",
            ([WEB, WORKER, OPERATOR],),
        )
        name, superuser, bypass, inherits = cursor.fetchone()
    connection.rollback()
    if superuser or bypass or inherits:
        raise UnsafeDatabaseRole(
            f"DATABASE_URL: role {name!r} is a superuser, has BYPASSRLS or inherits one of cyrex's "
            "roles, so row-level security would not separate the companies; use a role without"
        )


def database_complaint(error: OperationalError | UnsafeDatabaseRole) -> str:
    """One line, for a command's user."""
    if isinstance(error, UnsafeDatabaseRole):
        return str(error)
    first_line, _, _ = str(error.orig).strip().partition("\n")
    return f"DATABASE_URL: {first_line}"


def dispose(close: bool = True) -> None:
    """Forget the pool: after a fork (with `close=False`) or when DATABASE_URL has changed."""
    if get_engine.cache_info().currsize:
        get_engine().dispose(close=close)
    get_engine.cache_clear()


class _ScopedSession(Session):
    """Takes the role and the company in its `info` whenever it begins a transaction."""


@event.listens_for(_ScopedSession, "after_begin")
def _assume(session: Session, _transaction: Any, connection: Connection) -> None:
    connection.execute(ASSUME, session.info["scope"])


@contextmanager
def _session(role: str, company_id: str) -> Iterator[Session]:
    scope = {"role": role, "id": company_id}
    with (
        _ScopedSession(get_engine(), expire_on_commit=False, info={"scope": scope}) as session,
        session.begin(),
    ):
        yield session


@contextmanager
def company_session(company_id: str, role: str = WORKER) -> Iterator[Session]:
    """One transaction that sees and writes the rows of one company only. Commits at the end."""
    if not company_id:
        raise ValueError("company_id: must not be empty")
    with _session(role, company_id) as session:
        yield session


@dataclass(frozen=True)
class PreparedStatement:
    """A statement that each connection reads and plans once.

    types: its parameters, in order, each named as `%(name)s`. before: statements that run first in
    its transaction, each of which sees what was committed until then.
    """

    name: str
    types: Mapping[str, str]
    statement: str
    before: str = ""

    def preparation(self) -> str:
        places = {name: f"${n}" for n, name in enumerate(self.types, 1)}
        return (
            f"PREPARE {self.name} ({', '.join(self.types.values())}) AS {self.statement % places}"
        )

    def execution(self) -> str:
        return f"{self.before}EXECUTE {self.name}({', '.join(f'%({n})s' for n in self.types)})"


def company_statement(
    company_id: str, role: str, statement: str | PreparedStatement, parameters: Mapping[str, Any]
) -> Sequence[Any] | None:
    """One statement as a transaction of its own, in one round trip; its first row.

    `statement` names its parameters as `%(name)s`. Role, company and statement travel together:
    Postgres runs several statements of one message in one transaction, which it ends with them,
    and undoes when one of them fails. It sees and writes the rows of one company only.
    Raises the driver's own errors, `psycopg2.OperationalError` for a connection that was lost.
    """
    if not company_id:
        raise ValueError("company_id: must not be empty")
    return _statement(company_id, role, statement, parameters)


def keyless_statement(
    statement: str | PreparedStatement, parameters: Mapping[str, Any]
) -> Sequence[Any] | None:
    """`company_statement` of the API before it knows who calls: sees no company's rows."""
    return _statement("", WEB, statement, parameters)


def _statement(
    company_id: str, role: str, statement: str | PreparedStatement, parameters: Mapping[str, Any]
) -> Sequence[Any] | None:
    scope = {"assume_role": role, "assume_id": company_id}
    # The pool's connection without SQLAlchemy's, which costs as much as the driver's work.
    held = get_engine().raw_connection()
    driver: Any = held.dbapi_connection
    try:
        # The driver sends what it is given, and no BEGIN or COMMIT around it.
        driver.autocommit = True
        with driver.cursor() as cursor:
            if isinstance(statement, PreparedStatement):
                if statement.name not in held.info:
                    # Without parameters: a % in it is one.
                    cursor.execute(statement.preparation())
                    held.info[statement.name] = True
                statement = statement.execution()
            cursor.execute(ASSUME_FIRST + statement, {**parameters, **scope})
            row: Sequence[Any] | None = cursor.fetchone()
            return row
    except psycopg2.Error as error:
        if driver.closed:
            held.invalidate(error)
            raise psycopg2.OperationalError(str(error)) from error
        raise
    finally:
        held.close()


@contextmanager
def keyless_session() -> Iterator[Session]:
    """One transaction of the API before it knows who calls: sees no company's rows."""
    with _session(WEB, "") as session:
        yield session


@contextmanager
def operator_session() -> Iterator[Session]:
    """One transaction of the relay, the bridge, the reconciler or an operator: sees all rows."""
    with _session(OPERATOR, "") as session:
        yield session
