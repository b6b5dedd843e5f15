"""Row-level security: no company reads or changes what is another's, in any table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from sqlalchemy import Table, delete, func, insert, select, text, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from database.models import ApiKey, Base, Company
from database.session import (
    OPERATOR,
    WEB,
    WORKER,
    UnsafeDatabaseRole,
    company_session,
    dispose,
    get_engine,
    keyless_session,
    operator_session,
)
from embedded import Servers
from settings import get_settings
from tests.support import rows

TABLES = [t for t in Base.metadata.sorted_tables if rows.owner_column(t) is not None]
# Rows of the platform itself.
SHARED = {"canaries", "inbox", "workers"}
# What a role may not even name.
HIDDEN = {(WORKER, "api_keys"), (WORKER, "idempotency_keys")}

every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
every_role = pytest.mark.parametrize("role", [WEB, WORKER])

Made = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def made(database_url: str) -> Made:
    """A row in every table for each of two companies: by company, then by table."""
    return {company_id: rows.fill_every_table(company_id) for company_id in ("ours", "theirs")}


@pytest.fixture(scope="module")
def ours(made: Made) -> str:
    return next(iter(made))


@pytest.fixture(scope="module")
def theirs(made: Made) -> str:
    return list(made)[1]


def reconnect() -> None:
    """After a change of DATABASE_URL."""
    get_settings.cache_clear()
    dispose()


def key_of(table: Table, row: dict[str, Any]) -> Any:
    """The condition that finds exactly this row."""
    return [column == row[column.name] for column in table.primary_key]


def tried(session: Session, statement: Any) -> list[Any] | None:
    """The rows that a statement returns; None where it is not permitted at all. Undone."""
    point = session.begin_nested()
    try:
        return list(session.execute(statement).all())
    except ProgrammingError as error:
        assert error.orig is not None
        assert error.orig.pgcode == "42501", error  # insufficient_privilege
        return None
    finally:
        point.rollback()


def test_every_table_is_split_by_company_or_shared() -> None:
    assert {table.name for table in Base.metadata.sorted_tables} == (
        {table.name for table in TABLES} | SHARED
    )


def test_security_is_forced_on_every_table_of_a_company(made: Made) -> None:
    with operator_session() as session:
        found = session.execute(
            text(
                "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class"
                " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
        )
        unprotected = {name for name, protected in found if not protected}
    assert unprotected == SHARED | {"alembic_version"}


@every_role
@every_table
def test_a_company_reads_its_own_rows_alone(
    role: str, table: Table, made: Made, ours: str, theirs: str
) -> None:
    owner = rows.owner_column(table)
    with company_session(ours, role) as session:
        seen = tried(session, select(owner))
        foreign = tried(session, select(owner).where(*key_of(table, made[theirs][table.name])))
    if (role, table.name) in HIDDEN:
        assert seen is None
    else:
        assert seen is not None
        assert {row[0] for row in seen} == {ours}
        assert foreign == []


@every_role
@every_table
def test_a_company_changes_and_deletes_nothing_of_another(
    role: str, table: Table, made: Made, ours: str, theirs: str
) -> None:
    owner = rows.owner_column(table)
    target = key_of(table, made[theirs][table.name])
    with company_session(ours, role) as session:
        for statement in (
            update(table).where(*target).values({owner.name: ours}).returning(owner),
            update(table).where(*target).values({owner.name: theirs}).returning(owner),
            delete(table).where(*target).returning(owner),
            select(owner).where(*target).with_for_update(),
        ):
            assert not tried(session, statement)
    with operator_session() as session:
        assert (
            session.execute(select(*table.columns).where(*target)).one()._mapping
            == (made[theirs][table.name])
        )


@every_role
@every_table
def test_a_company_writes_nothing_in_anothers_name(
    role: str, table: Table, made: Made, ours: str, theirs: str
) -> None:
    owner = rows.owner_column(table)
    values = {
        name: value
        for name, value in made[theirs][table.name].items()
        if not (table.c[name].identity or table.c[name].computed)
    }
    mine = key_of(table, made[ours][table.name])
    with company_session(ours, role) as session:
        assert tried(session, insert(table).values(values)) is None
        assert tried(session, update(table).where(*mine).values({owner.name: theirs})) is None


@every_table
def test_before_a_key_is_known_nothing_is_seen_or_written(
    table: Table, made: Made, ours: str
) -> None:
    owner = rows.owner_column(table)
    with keyless_session() as session:
        assert not tried(session, select(owner))
        assert not tried(session, update(table).values({owner.name: ours}).returning(owner))
        assert not tried(session, delete(table).returning(owner))


@every_table
def test_the_operator_sees_everybody(table: Table, made: Made) -> None:
    owner = rows.owner_column(table)
    with operator_session() as session:
        assert set(session.scalars(select(owner))) == set(made)
        own = key_of(table, next(iter(made.values()))[table.name])
        assert tried(
            session, update(table).where(*own).values({owner.name: owner}).returning(owner)
        )


@every_table
def test_the_login_role_sees_nothing_outside_a_session(table: Table, made: Made, ours: str) -> None:
    owner = rows.owner_column(table)
    with get_engine().connect() as connection:
        connection.execute(text("SELECT set_config('app.company_id', :id, true)"), {"id": ours})
        assert connection.execute(select(owner)).all() == []
        assert connection.execute(delete(table)).rowcount == 0
        connection.rollback()


def test_a_role_ends_with_its_transaction(made: Made, ours: str) -> None:
    who = text("SELECT current_user, current_setting('app.company_id', true)")
    for open_session, role, company_id in (
        (lambda: company_session(ours), WORKER, ours),
        (lambda: company_session(ours, WEB), WEB, ours),
        (keyless_session, WEB, ""),
        (operator_session, OPERATOR, ""),
    ):
        with open_session() as session:
            assert tuple(session.execute(who).one()) == (role, company_id)
            with session.begin_nested():
                assert session.scalar(who) == role
    with get_engine().connect() as connection:
        name, company_id = connection.execute(who).one()
    assert name not in (WEB, WORKER, OPERATOR)
    assert not company_id


def test_a_failed_session_writes_nothing(made: Made, ours: str) -> None:
    with pytest.raises(RuntimeError, match="stop"), company_session(ours) as session:
        session.execute(update(Company).values(name="changed"))
        raise RuntimeError("stop")
    assert rows.get(Company, ours).name != "changed"


def test_a_session_of_no_company_is_refused() -> None:
    with pytest.raises(ValueError, match="company_id"), company_session(""):
        pytest.fail("the session was opened")


@pytest.fixture
def key(made: Made, ours: str) -> str:
    return str(made[ours]["api_keys"]["prefix"])


def test_the_api_finds_a_key_by_its_prefix_and_no_other_column(key: str, ours: str) -> None:
    find = text("SELECT * FROM find_api_key(:prefix)")
    with keyless_session() as session:
        found = session.execute(find, {"prefix": key}).one()
        assert (found.prefix, found.scope, found.company_id) == (key, "company", ours)
        assert set(found._fields) == {"prefix", "secret_sha256", "scope", "company_id"}
        assert session.execute(find, {"prefix": "%"}).all() == []
        assert session.execute(find, {"prefix": ""}).all() == []


def test_a_revoked_key_is_not_found(key: str) -> None:
    rows.change(ApiKey, key, revoked_at=func.now())
    try:
        with keyless_session() as session:
            find = text("SELECT * FROM find_api_key(:prefix)")
            assert session.execute(find, {"prefix": key}).all() == []
    finally:
        rows.change(ApiKey, key, revoked_at=None)


@pytest.mark.parametrize("function", ["find_api_key", "count_trainings_before"])
def test_the_doors_in_the_wall_are_for_the_api_alone(function: str, ours: str) -> None:
    call = text(f"SELECT * FROM {function}('x')")
    with company_session(ours, WORKER) as session:
        assert tried(session, call) is None
    with company_session(ours, WEB) as session:
        assert tried(session, call) is not None
    with get_engine().connect() as connection, pytest.raises(ProgrammingError, match="denied"):
        connection.execute(call)


def test_the_doors_cannot_be_bent_by_a_search_path(made: Made, ours: str) -> None:
    with operator_session() as session:
        doors = session.execute(
            text(
                "SELECT proname, proconfig, prosecdef FROM pg_proc"
                " WHERE pronamespace = 'public'::regnamespace"
            )
        ).all()
    assert {door.proname for door in doors} == {"find_api_key", "count_trainings_before"}
    for door in doors:
        assert door.prosecdef
        assert door.proconfig == ["search_path=pg_catalog, public"]


def test_no_role_of_the_product_can_log_in_or_bypass(made: Made) -> None:
    with operator_session() as session:
        roles = session.execute(
            text(
                "SELECT rolname, rolcanlogin, rolbypassrls, rolsuper, rolcreaterole FROM pg_roles"
                " WHERE rolname = ANY(:names)"
            ),
            {"names": [WEB, WORKER, OPERATOR]},
        ).all()
    assert len(roles) == 3
    assert not any(flag for role in roles for flag in role[1:])


def test_a_deleted_company_leaves_nothing_behind(made: Made) -> None:
    company_id = "leaving"
    assert rows.fill_every_table(company_id).keys() == made["ours"].keys()
    with operator_session() as session:
        session.execute(delete(Company).where(Company.company_id == company_id))
    with operator_session() as session:
        left = {
            table.name
            for table in TABLES
            if session.scalar(select(func.count()).where(rows.owner_column(table) == company_id))
        }
    # Answers kept for repeated requests name their owner as text, and expire within a day.
    assert left <= {"idempotency_keys"}


@pytest.fixture
def as_role(
    servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], str]]:
    """Point DATABASE_URL at a new login role with these attributes; returns its name."""
    made: list[str] = []
    connection = psycopg2.connect(servers.superuser_url())
    connection.autocommit = True

    def take(attributes: str) -> str:
        name = f"unsafe_{len(made)}"
        made.append(name)
        with connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret' " + attributes).format(
                    sql.Identifier(name)
                )
            )
        _, _, address = os.environ["DATABASE_URL"].rpartition("@")
        monkeypatch.setenv("DATABASE_URL", f"postgresql://{name}:secret@{address}")
        reconnect()
        return name

    yield take
    monkeypatch.undo()
    reconnect()
    with connection.cursor() as cursor:
        for name in made:
            cursor.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    connection.close()


@pytest.mark.parametrize("attributes", ["SUPERUSER", "BYPASSRLS", "IN ROLE cyrex_operator"])
def test_a_login_role_that_security_does_not_bind_is_refused(
    as_role: Callable[[str], str], attributes: str
) -> None:
    name = as_role(attributes)
    for open_session in (operator_session, keyless_session, lambda: company_session("acme")):
        with (
            pytest.raises(UnsafeDatabaseRole, match=f"DATABASE_URL: role '{name}'") as refused,
            open_session() as session,
        ):
            session.execute(text("SELECT 1"))
        assert len(str(refused.value).splitlines()) == 1


def test_a_harmless_login_role_is_not_refused(as_role: Callable[[str], str]) -> None:
    as_role("")
    with get_engine().connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
