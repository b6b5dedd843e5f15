"""Automation jobs: asked for, bound to an adapter when first claimed, ended, cancelled."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from cyrex.agents import state as agent_state
from cyrex.agents.turn import FinalAnswer
from cyrex.engine import Completion
from cyrex.errors import Conflict, NotFound, UserError
from cyrex.jobs import service as jobs
from cyrex.jobs.new_job import NewJob
from cyrex.work.lease import Lease
from database import claims
from database.base import new_id
from database.models import AdapterAlias, CompanyMemory, Job, JobStep, LoraAdapter, Usage
from database.session import WEB, company_session, operator_session
from database.transitions import JOB
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def acme() -> str:
    return rows.company()


def champion(company_id: str, **values: str) -> str:
    """Make a new adapter the company's champion; returns its id."""
    adapter_id = rows.adapter(company_id, **{"status": "ready", "sha256": "a" * 64, **values})
    with operator_session() as session:
        alias = session.scalar(select(AdapterAlias).where(AdapterAlias.company_id == company_id))
        if alias is None:
            alias = AdapterAlias(alias_id=new_id(), company_id=company_id)
            session.add(alias)
        alias.champion_id = adapter_id
    return adapter_id


def claim(company_id: str, job_id: str) -> Job:
    """What a worker does first: claim, tell of it and resolve the adapter in one transaction."""
    with company_session(company_id) as session:
        attempt = jobs.get_job(session, job_id).attempt
        lease = Lease(JOB, company_id, job_id, "process", attempt, "worker")
        job: Job = lease.claim(session)
        jobs.begin(session, job)
    return job


def give_back(company_id: str, job: Job) -> None:
    with company_session(company_id) as session:
        assert Lease.held(JOB, job).release(session, job, "died")


def test_a_job_is_queued_with_a_deadline(acme: str) -> None:
    with company_session(acme, WEB) as session:
        asked = ["any", {"json": 1}]
        new = NewJob(acme, asked, "sorting", use_adapter=False, metadata={"for": "x"})
        job = jobs.create_job(session, new)
    found = rows.get(Job, job.job_id)
    assert (found.status, found.step, found.source) == ("queued", "process", "api")
    assert found.input_data == {"data": ["any", {"json": 1}]}
    assert (found.job_type, found.use_adapter, found.details) == ("sorting", False, {"for": "x"})
    assert found.deadline_at is None, "its time begins when a worker has it"
    shown = jobs.job_view(found)
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["data"], shown["result"], shown["error"]) == (["any", {"json": 1}], None, None)


def test_the_adapter_is_the_champion_of_the_first_claim(acme: str) -> None:
    champion(acme)
    job_id = rows.job(acme, status="admitted")
    at_claim = champion(acme, sha256="b" * 64)
    job = claim(acme, job_id)
    assert (job.adapter_id, job.adapter_sha256) == (at_claim, "b" * 64)
    give_back(acme, job)
    champion(acme, sha256="c" * 64)
    again = claim(acme, job_id)
    assert (again.adapter_id, again.adapter_sha256) == (at_claim, "b" * 64)
    assert again.started_at == job.started_at


def test_that_there_was_no_adapter_is_remembered_too(acme: str) -> None:
    job_id = rows.job(acme, status="admitted")
    job = claim(acme, job_id)
    assert job.adapter_id is None
    give_back(acme, job)
    champion(acme)
    assert claim(acme, job_id).adapter_id is None


def test_a_job_that_wants_none_gets_none(acme: str) -> None:
    champion(acme)
    job_id = rows.job(acme, status="admitted", use_adapter=False)
    assert claim(acme, job_id).adapter_id is None


def test_another_companys_champion_is_nobodys_else(acme: str) -> None:
    champion(rows.company("globex"))
    assert claim(acme, rows.job(acme, status="admitted")).adapter_id is None


@pytest.mark.parametrize("other", [{"base_model": "x/other"}, {"base_model_revision": "v2"}])
def test_a_champion_of_another_base_is_refused_by_name(acme: str, other: dict[str, str]) -> None:
    adapter_id = champion(acme, **other)
    job_id = rows.job(acme, status="admitted")
    with pytest.raises(UserError, match=adapter_id) as refused:
        claim(acme, job_id)
    assert refused.value.code == "base_model_mismatch"
    assert next(iter(other.values())).rpartition("/")[2] in refused.value.message
    assert rows.get(Job, job_id).adapter_resolved is False


@pytest.mark.parametrize("status", ["queued", "admitted", "running"])
def test_a_job_that_nobody_has_is_cancelled_at_once(acme: str, status: str) -> None:
    job_id = rows.job(acme, status=status)
    with company_session(acme, WEB) as session:
        assert jobs.cancel_job(session, job_id).status == "cancelled"
    found = rows.get(Job, job_id)
    assert (found.status, found.cancel_requested) == ("cancelled", True)
    assert found.completed_at is not None
    created, ended = rows.announced(acme, "company_automation_jobs")
    assert created["data"] == {"job_id": job_id, "status": "queued", "adapter_id": None}
    assert ended["data"] == {"job_id": job_id, "status": "cancelled", "adapter_id": None}
    assert created["type"] == ended["type"] == "job.updated"


def test_a_job_that_a_worker_takes_meanwhile_is_not_called_cancelled(acme: str) -> None:
    job_id = rows.job(acme, status="admitted")
    with company_session(acme, WEB) as session:
        assert jobs.get_job(session, job_id).status == "admitted"
        claim(acme, job_id)
        asked = jobs.cancel_job(session, job_id)
        assert (asked.status, asked.cancel_requested) == ("running", True)
    assert rows.get(Job, job_id).status == "running"


def test_a_job_that_a_worker_has_is_asked_to_stop(acme: str) -> None:
    job_id = rows.job(acme, status="admitted")
    claim(acme, job_id)
    with company_session(acme, WEB) as session:
        jobs.cancel_job(session, job_id)
    found = rows.get(Job, job_id)
    assert (found.status, found.cancel_requested, found.lease_owner) == ("running", True, "worker")
    assert rows.told(job_id) == ["queued", "running"], "its end is its owner's to tell"


@pytest.mark.parametrize("status", JOB.terminal)
def test_an_ended_job_is_not_cancelled(acme: str, status: str) -> None:
    job_id = rows.job(acme, status=status)
    with company_session(acme, WEB) as session, pytest.raises(Conflict, match=status):
        jobs.cancel_job(session, job_id)
    assert rows.get(Job, job_id).cancel_requested is False


def test_a_job_is_its_companys_alone(acme: str) -> None:
    job_id = rows.job(acme)
    with company_session(rows.company("globex"), WEB) as session:
        for look in (jobs.get_job, jobs.cancel_job):
            with pytest.raises(NotFound):
                look(session, job_id)
        assert jobs.list_jobs(session) == ([], False)


def test_jobs_are_listed_newest_first_and_by_status(acme: str) -> None:
    made = [rows.job(acme) for _ in range(4)]
    rows.change(Job, made[0], status="completed")
    with company_session(acme, WEB) as session:
        first, more = jobs.list_jobs(session, limit=3)
        rest, no_more = jobs.list_jobs(session, limit=3, after=first[-1].job_id)
        done, _ = jobs.list_jobs(session, status="completed")
        assert jobs.list_jobs(session, limit=4)[1] is False
    assert [job.job_id for job in first + rest] == made[::-1]
    assert (more, no_more) == (True, False)
    assert [job.job_id for job in done] == made[:1]


def test_a_page_of_large_jobs_is_short(acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PAGE_BYTES", 10_000)
    made = [rows.job(acme) for _ in range(9)]
    for job_id in made[:6]:
        answers = [{"result": "x" * 4_000}]
        rows.change(Job, job_id, output_data={"tool_results": answers}, status="completed")
    seen: list[list[str]] = []
    after, more = None, True
    while more:
        with company_session(acme, WEB) as session:
            page, more = jobs.list_jobs(session, limit=9, after=after)
        seen.append([job.job_id for job in page])
        after = seen[-1][-1]
    assert seen == [made[:2:-1], made[2::-1]]


ANSWER = Completion(
    text="answer",
    tokens=[5, 6],
    logprobs=[-0.1, -0.3],
    finish_reason="stop",
    prompt_tokens=7,
    completion_tokens=2,
    adapter_id=None,
    sha256=None,
)


def record(session: Session, job: Job) -> None:
    """What a worker does last: end the job, and store its answer in the same transaction."""
    ended: Job = Lease.held(JOB, job).finish(session, "completed")
    agent_state.record_answer(session, ended, FinalAnswer(ANSWER.text), ANSWER)


def test_an_answer_is_recorded_and_metered_once(acme: str) -> None:
    job_id = rows.job(acme, status="admitted")
    first = claim(acme, job_id)
    with pytest.raises(RuntimeError, match="died"), company_session(acme) as session:
        record(session, first)
        raise RuntimeError("its worker died before the commit")
    give_back(acme, first)
    second = claim(acme, job_id)
    with company_session(acme) as session:
        record(session, second)
    for late in (first, second):  # its worker died after the commit, or was believed dead
        with pytest.raises(claims.Lost), company_session(acme) as session:
            record(session, late)
    with operator_session() as session:
        (step,) = session.scalars(select(JobStep).where(JobStep.job_id == job_id))
        (usage,) = session.scalars(select(Usage).where(Usage.company_id == acme))
        (memory,) = session.scalars(select(CompanyMemory).where(CompanyMemory.company_id == acme))
    assert (step.number, step.kind, usage.reference) == (1, "answer", job_id)
    assert memory.job_id == job_id
    assert step.content == {"text": "answer", "finish_reason": "stop"}
    assert step.confidence == pytest.approx(ANSWER.confidence)
    assert (usage.prompt_tokens, usage.completion_tokens) == (7, 2)


def test_the_end_of_a_job_is_told_in_the_transaction_that_ends_it(acme: str) -> None:
    job_id = rows.job(acme, status="admitted")
    job = claim(acme, job_id)
    with pytest.raises(RuntimeError, match="stop"), company_session(acme) as session:
        jobs.end(session, Lease.held(JOB, job).finish(session, "completed"))
        raise RuntimeError("stop")
    assert rows.get(Job, job_id).status == "running"
    assert rows.told(job_id) == ["queued", "running"]
    with company_session(acme) as session:
        jobs.end(session, Lease.held(JOB, job).finish(session, "completed"))
    assert rows.get(Job, job_id).completed_at is not None
    assert rows.told(job_id) == ["queued", "running", "completed"]
    for envelope in rows.announced(acme, "company_automation_jobs"):
        assert envelope["correlation_id"] == job_id


def test_an_adapter_of_this_company_only_is_named(acme: str) -> None:
    adapter_id = champion(acme)
    job = claim(acme, rows.job(acme, status="admitted"))
    assert rows.get(LoraAdapter, str(job.adapter_id)).company_id == acme
    assert job.adapter_id == adapter_id
