"""A job taken in by one round trip is the job that `create_job` makes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from sqlalchemy import event, func, select

from cyrex.errors import UserError
from cyrex.jobs import service as jobs
from cyrex.jobs.fast_path import create_and_admit
from cyrex.jobs.new_job import NewJob
from cyrex.tenants import quotas as limits
from cyrex.tenants.service import lock_company
from cyrex.work.admission import admit_rows, room
from database.base import Json
from database.models import Job, Outbox
from database.session import (
    OPERATOR,
    WEB,
    company_session,
    company_statement,
    get_engine,
    operator_session,
)
from database.transitions import JOB
from settings import get_settings
from tasks.broker.chains import remaining_chain
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")

ASKED: list[Json] = [
    {"data": {"input": "x"}, "metadata": None, "choices": None},
    {"data": ["a", 1.5, None, {"ü": "東京 😀 %s %(x)s \\ ' \" ; --"}], "metadata": {"%": "'"}},
    {"data": "text", "choices": ["yes", "no"], "use_adapter": False, "task_type": "sorting"},
    {"data": False, "metadata": {"deep": {"er": [1]}}},
    {"data": 7},
]
DIFFERENT = {"job_id", "created_at", "updated_at", "published_at"}


@pytest.fixture
def acme() -> str:
    return rows.company()


@pytest.fixture
def sent() -> Iterator[list[str]]:
    """What goes to the database by SQLAlchemy."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        found.append(statement)

    event.listen(get_engine(), "before_cursor_execute", note)
    yield found
    event.remove(get_engine(), "before_cursor_execute", note)


def taken(company_id: str, **asked: Any) -> tuple[Json, Any] | None:
    return create_and_admit(NewJob(company_id, **asked))


def intake(company_id: str, **asked: Any) -> Json | None:
    """The view alone."""
    found = taken(company_id, **asked)
    return found and found[0]


def is_admitted(company_id: str) -> bool:
    """Whether the company's next job goes straight to the broker."""
    found = taken(company_id, data="x")
    assert found is not None
    view, row = found
    stored = rows.get(Job, view["job_id"])
    assert view["status"] == stored.status == ("queued" if row is None else "admitted")
    assert (stored.published_at is None) == (row is None)
    assert stored.publications == (row is not None)
    return row is not None


def _columns(job_id: str) -> Json:
    job = rows.get(Job, job_id)
    return {c.key: getattr(job, c.key) for c in Job.__mapper__.column_attrs}


def _events(job_id: str) -> list[Json]:
    with operator_session() as session:
        found = session.scalars(
            select(Outbox).where(Outbox.envelope["correlation_id"].astext == job_id)
        ).all()
    return [
        {
            "stream": row.stream,
            "company_id": row.company_id,
            "published_at": row.published_at,
            "own": row.envelope["event_id"] == row.event_id,
            "envelope": {
                name: value
                for name, value in row.envelope.items()
                if name not in ("event_id", "occurred_at")
            },
        }
        for row in found
    ]


def _count(company_id: str) -> tuple[int, ...]:
    with operator_session() as session:
        return tuple(
            session.scalar(
                select(func.count()).select_from(model).where(model.company_id == company_id)
            )
            or 0
            for model in (Job, Outbox)
        )


@pytest.mark.parametrize("asked", ASKED)
def test_row_event_and_view_are_those_of_create_job_and_admit(acme: str, asked: Json) -> None:
    found = taken(acme, **asked)
    assert found is not None
    view, row = found
    with company_session(acme, WEB) as session:
        made = jobs.create_job(session, NewJob(acme, **asked))
        (admitted,) = admit_rows(session, JOB, acme)
        session.refresh(made)
        assert remaining_chain(JOB, row).args[2:] == remaining_chain(JOB, admitted).args[2:]
        theirs = jobs.job_view(made)
    mine, other = _columns(view["job_id"]), _columns(made.job_id)
    assert {k: v for k, v in mine.items() if k not in DIFFERENT} == {
        k: v for k, v in other.items() if k not in DIFFERENT
    }
    assert {k: v for k, v in view.items() if k not in DIFFERENT} == {
        k: v for k, v in theirs.items() if k not in DIFFERENT
    }
    assert view["created_at"] == mine["created_at"].isoformat()
    assert jobs.job_view(rows.get(Job, view["job_id"])) == view
    for_mine, for_other = _events(view["job_id"]), _events(made.job_id)
    for each in (*for_mine, *for_other):
        each["envelope"].pop("correlation_id")
        each["envelope"]["data"].pop("job_id")
    assert len(for_mine) == 1
    # A job that was never queued is not said to be.
    assert [each["envelope"]["data"]["status"] for each in for_other] == ["queued", "admitted"]
    assert for_mine == for_other[1:]


def test_a_company_has_no_more_with_the_broker_than_it_may(
    acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 3
    monkeypatch.setattr("cyrex.work.admission.limit_of", lambda machine: most)
    assert [is_admitted(acme) for _ in range(most + 2)] == [True] * most + [False] * 2
    assert is_admitted(rows.company()), "another company's"


def test_a_job_that_is_put_off_takes_no_place(acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyrex.work.admission.limit_of", lambda machine: 1)
    later = rows.ago(-60)
    rows.job(acme, status="admitted", published_at=later)
    with company_session(acme) as session:
        assert room(session, JOB, acme) == 1, "as `admit` counts"
    assert is_admitted(acme)
    assert not is_admitted(acme), "the place is taken"


def test_nobody_overtakes_what_is_queued(acme: str) -> None:
    with company_session(acme, WEB) as session:
        jobs.create_job(session, NewJob(acme, "x"))
    assert not is_admitted(acme)


def test_while_another_fills_the_companys_places_nobody_waits_for_it(acme: str) -> None:
    with company_session(acme, WEB) as session:
        assert lock_company(session, acme)
        assert not is_admitted(acme)
    other = rows.company()
    assert is_admitted(other)


def test_many_at_once_do_not_slip_past_the_limit(
    acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, asked = 3, 24
    monkeypatch.setattr("cyrex.work.admission.limit_of", lambda machine: most)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: taken(acme, data=n), range(asked)))
    admitted = [each[0]["job_id"] for each in found if each is not None and each[1] is not None]
    assert 1 <= len(admitted) <= most
    with operator_session() as session:
        stored = session.scalars(
            select(Job.job_id).where(Job.company_id == acme, Job.status == "admitted")
        ).all()
    assert sorted(stored) == sorted(admitted)
    assert _count(acme) == (asked, asked)


def test_it_is_one_round_trip(acme: str, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    intake(acme, data="x")
    sent.clear()

    def noted(*arguments: Any) -> Any:
        sent.append("company_statement")
        return company_statement(*arguments)

    monkeypatch.setattr("cyrex.jobs.fast_path.company_statement", noted)
    assert intake(acme, data="x") is not None
    assert sent == ["company_statement"]


@pytest.mark.parametrize(
    "wrong",
    [{"task_type": "a b"}, {"choices": []}, {"choices": ["a", "a"]}, {"choices": [" "]}],
)
def test_what_create_job_refuses_is_refused(acme: str, wrong: Json) -> None:
    before = _count(acme)
    with pytest.raises(UserError) as mine:
        intake(acme, data="x", **wrong)
    with pytest.raises(UserError) as other, company_session(acme, WEB) as session:
        jobs.create_job(session, NewJob(acme, "x", **wrong))
    assert (mine.value.code, mine.value.message) == (other.value.code, other.value.message)
    assert _count(acme) == before


def test_near_the_limit_nothing_is_written(acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    far = 3
    monkeypatch.setenv("OPEN_JOBS_PER_COMPANY", str(limits.NEAR + far))
    get_settings.cache_clear()
    try:
        ended = rows.job(acme, status="completed")
        made = [intake(acme, data=n) for n in range(far)]
        assert all(made), "what has ended is not counted"
        before = _count(acme)
        assert intake(acme, data="x") is None
        assert _count(acme) == before
        assert intake(rows.company(), data="x") is not None, "another company's"
        monkeypatch.setenv("OPEN_JOBS_PER_COMPANY", str(limits.NEAR))
        get_settings.cache_clear()
        assert intake(rows.company(), data="x") is None
        assert rows.get(Job, ended).status == "completed"
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_a_company_that_does_not_exist_gets_no_row() -> None:
    with pytest.raises(psycopg2.Error):
        intake("nobody", data="x")
    assert _count("nobody") == (0, 0)


# What it stands on.


def test_a_statement_sees_one_company_only(acme: str) -> None:
    other = rows.company()
    rows.job(other)
    count = "SELECT count(*) FROM company_automation_jobs"
    assert company_statement(acme, WEB, count, {}) == (0,)
    mine = rows.job(acme)
    found = company_statement(acme, WEB, "SELECT job_id FROM company_automation_jobs", {})
    assert found == (mine,)
    write = (
        "INSERT INTO outbox (event_id, company_id, stream, envelope)"
        " VALUES (%(i)s, %(c)s, %(i)s, '{}')"
    )
    with pytest.raises(psycopg2.Error, match="row-level security"):
        company_statement(acme, WEB, write, {"i": f"{acme}-x", "c": other})
    with pytest.raises(ValueError, match="company_id"):
        company_statement("", WEB, count, {})


def test_role_and_company_end_with_the_statement(acme: str) -> None:
    company_statement(acme, WEB, "SELECT 1", {})
    with get_engine().connect() as connection:
        # The pool hands out the connection that it took back last.
        driver: Any = connection.connection.dbapi_connection
        assert not driver.autocommit
        found = connection.exec_driver_sql(
            "SELECT current_user, current_setting('app.company_id', true)"
        ).one()
    assert found[0] not in (WEB, OPERATOR)
    assert not found[1]


def test_a_statement_that_fails_leaves_nothing_and_its_connection_can_be_used(acme: str) -> None:
    jobs_before = _count(acme)
    broken = (
        "WITH one AS (INSERT INTO outbox (event_id, company_id, stream, envelope)"
        " VALUES ('half', %(company)s, 's', '{}') RETURNING id) SELECT 1 / (id - id) FROM one"
    )
    for _ in range(3):
        with pytest.raises(psycopg2.Error) as failed:
            company_statement(acme, WEB, broken, {"company": acme})
        assert acme not in str(failed.value), "an error holds no company's data"
    assert _count(acme) == jobs_before
    assert intake(acme, data="x") is not None
    with company_session(acme, WEB) as session:
        jobs.create_job(session, NewJob(acme, "x"))
    assert _count(acme)[0] == jobs_before[0] + 2


def test_a_connection_that_is_lost_is_replaced(acme: str) -> None:
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    for _ in range(2):
        with pytest.raises(psycopg2.OperationalError):
            # No role but the login's own, which may end its own processes.
            company_statement(acme, "none", end, {})
        assert intake(acme, data="x") is not None
