"""`admit`: never more of a company's rows in the broker than its limit, in order of arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from cyrex.agents import state as agent_state
from cyrex.work.admission import admit_rows, limit_of
from cyrex.work.lease import Lease
from database.models import Job
from database.session import company_session, operator_session
from database.transitions import JOB, TOOL_CALL, TRAINING
from settings import get_settings
from tests.support import rows
from tests.support.waiting import together

pytestmark = pytest.mark.usefixtures("database_url")

LIMIT = 3


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("JOBS_IN_BROKER", str(LIMIT))
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def acme() -> str:
    return rows.company()


def admit(company_id: str) -> list[str]:
    with company_session(company_id) as session:
        return [row.job_id for row in admit_rows(session, JOB, company_id)]


def statuses(company_id: str) -> Counter[str]:
    with operator_session() as session:
        return Counter(session.scalars(select(Job.status).where(Job.company_id == company_id)))


def end(company_id: str, job_id: str) -> None:
    with company_session(company_id) as session:
        lease = Lease(JOB, company_id, job_id, "process", 1, "worker")
        lease.claim(session)
        lease.finish(session, "completed")


def test_the_limits_are_the_settings() -> None:
    assert limit_of(JOB) == LIMIT
    assert limit_of(TRAINING) == 1
    assert limit_of(TOOL_CALL) == 8


def test_the_oldest_go_first_up_to_the_limit(acme: str) -> None:
    jobs = [rows.job(acme) for _ in range(5)]
    assert sorted(admit(acme)) == jobs[:LIMIT]
    assert admit(acme) == []
    row = rows.get(Job, jobs[0])
    assert (row.status, row.step, row.attempt) == ("admitted", "process", 1)
    assert row.published_at is not None
    assert rows.get(Job, jobs[3]).published_at is None
    end(acme, jobs[1])
    assert admit(acme) == [jobs[3]]


def test_arrival_counts_and_not_the_name_that_an_outsider_gave(acme: str) -> None:
    jobs = []
    for job_id in ("zzz", None, "000", None):
        with company_session(acme) as session:
            from cyrex.jobs.new_job import NewJob
            from cyrex.jobs.service import create_job

            named = {"job_id": f"{job_id}-{acme}"} if job_id else {}
            jobs.append(create_job(session, NewJob(acme, {"input": "x"}, **named)).job_id)
    assert sorted(admit(acme)) == sorted(jobs[:LIMIT])


def test_a_running_row_takes_a_place_and_an_ended_one_does_not(acme: str) -> None:
    for status in ("running", "admitted", "completed", "failed", "cancelled"):
        rows.job(acme, status=status)
    jobs = [rows.job(acme) for _ in range(3)]
    assert admit(acme) == jobs[:1]


def test_companies_do_not_count_against_each_other(acme: str) -> None:
    globex = rows.company("globex")
    for _ in range(5):
        rows.job(acme)
    theirs = rows.job(globex)
    assert len(admit(acme)) == LIMIT
    assert admit(globex) == [theirs]


def test_admitting_at_once_never_exceeds_the_limit(acme: str) -> None:
    for _ in range(10):
        rows.job(acme)
    admitted = [job_id for found in together([lambda: admit(acme)] * 8) for job_id in found]
    assert len(admitted) == len(set(admitted)) == LIMIT
    assert statuses(acme) == {"admitted": LIMIT, "queued": 7}


def test_completions_at_once_let_in_as_many_as_went(acme: str) -> None:
    for _ in range(9):
        rows.job(acme)
    inside = admit(acme)

    def finish(job_id: str) -> list[str]:
        end(acme, job_id)
        return admit(acme)

    together([lambda job_id=job_id: finish(job_id) for job_id in inside])
    admit(acme)
    assert statuses(acme) == {"completed": LIMIT, "admitted": LIMIT, "queued": 3}


def test_a_rolled_back_admission_admits_nobody(acme: str) -> None:
    job_id = rows.job(acme)
    with pytest.raises(RuntimeError, match="stop"), company_session(acme) as session:
        assert admit_rows(session, JOB, acme)
        raise RuntimeError("stop")
    assert rows.get(Job, job_id).status == "queued"


def test_a_retried_row_keeps_its_step(acme: str) -> None:
    request_id = rows.run(acme, status="queued", step="evaluate")
    with company_session(acme) as session:
        (row,) = admit_rows(session, TRAINING, acme)
    assert (row.request_id, row.step) == (request_id, "evaluate")


def test_a_job_that_resumes_keeps_to_the_limit_and_is_the_next(acme: str) -> None:
    waiting = rows.job(acme, status="waiting")
    jobs = [rows.job(acme) for _ in range(LIMIT + 1)]
    inside = admit(acme)
    with operator_session() as session:
        assert agent_state.resume(session, waiting) is None, "all places are taken"
    assert statuses(acme) == {"admitted": LIMIT, "queued": 2}
    assert rows.get(Job, waiting).attempt == 2
    end(acme, inside[0])
    assert admit(acme) == [waiting], "it is older than what waits"
    assert rows.told(waiting)[-2:] == ["queued", "admitted"]
    end(acme, inside[1])
    assert admit(acme) == jobs[LIMIT:]


def test_a_job_that_resumes_while_there_is_room_goes_on_at_once(acme: str) -> None:
    waiting = rows.job(acme, status="waiting")
    with operator_session() as session:
        resumed = agent_state.resume(session, waiting)
    assert resumed is not None
    assert (resumed.status, resumed.attempt) == ("admitted", 2)
    with operator_session() as session:
        assert agent_state.resume(session, waiting) is None, "it does not wait any more"


def test_jobs_that_resume_at_once_never_exceed_the_limit(acme: str) -> None:
    waiting = [rows.job(acme, status="waiting") for _ in range(8)]

    def resume(job_id: str) -> None:
        with operator_session() as session:
            agent_state.resume(session, job_id)

    together([lambda job_id=job_id: resume(job_id) for job_id in waiting])
    assert statuses(acme) == {"admitted": LIMIT, "queued": 8 - LIMIT}


def test_an_unknown_company_has_nothing_to_admit(acme: str) -> None:
    assert admit("nobody") == []
    with company_session(acme) as session:
        assert admit_rows(session, JOB, rows.company("globex")) == [], "another company's session"
