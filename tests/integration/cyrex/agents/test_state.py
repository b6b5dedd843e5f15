"""A job that calls tools, step by step: the shipped base, Postgres, Valkey, a tool over HTTP."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from celery.exceptions import Ignore
from sqlalchemy import delete, select

from cyrex.agents.state import resume
from cyrex.errors import UserError
from cyrex.jobs import service as jobs
from cyrex.jobs.new_job import NewJob
from database.models import CompanyMemory, CompanyTool, Job, ToolCall, Usage
from database.session import company_session
from tasks.broker import dispatch
from tasks.steps.jobs import process
from tasks.steps.tools import call
from tasks.upkeep import reconciler
from tasks.workers import dead_workers
from tests.support import rows
from tests.support.agents import Shop, calls, job_row, limit, run, statuses

ASK = {"input": "Get the order 84213"}


def test_tool_is_called_and_its_answer_used(company: str, shop: Shop) -> None:
    job_id = rows.job(company, ASK)
    view = run(company, job_id)
    assert view["status"] == "completed", view["error"]
    assert shop.calls == [{"order_id": "84213"}]
    assert [s["kind"] for s in view["steps"]] == ["call", "answer"]
    (made,) = view["tool_results"]
    assert (made["status"], made["result"]) == ("completed", {"status": "shipped"})
    assert view["steps"][0]["call_id"] == made["call_id"]
    assert view["result"] == view["steps"][1]["text"] != ""
    assert view["confidence"] == view["steps"][1]["confidence"]
    assert view["usage"]["completion_tokens"] == sum(s["completion_tokens"] for s in view["steps"])
    assert statuses(company, job_id) == [
        *("queued", "admitted", "running", "waiting"),
        *("admitted", "running", "completed"),
    ]
    with company_session(company) as session:
        memory = session.scalars(select(CompanyMemory).where(CompanyMemory.job_id == job_id)).one()
        used = session.scalars(select(Usage).where(Usage.reference.startswith(job_id))).all()
    assert view["result"] in memory.content
    assert sum(u.completion_tokens for u in used) == view["usage"]["completion_tokens"]


def test_company_without_tools_answers_at_once(work: None) -> None:
    company_id = rows.company("plain")
    view = run(company_id, rows.job(company_id, {"input": "What is the capital of France?"}))
    assert view["status"] == "completed"
    assert view["agent_id"] is None
    assert [s["kind"] for s in view["steps"]] == ["answer"]
    assert view["tool_results"] == []


def test_choices(work: None) -> None:
    company_id = rows.company("plain")
    labels = ["refund", "card lost", "other"]
    with company_session(company_id) as session:
        new = NewJob(company_id, "My card is gone", choices=labels)
        job_id = jobs.create_job(session, new).job_id
    view = run(company_id, job_id)
    assert view["result"] in labels
    assert view["choices"] == labels


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [(404, {"problem": "no such order"}, "404"), (500, "broken", "500")],
)
def test_failure_is_shown_to_the_model(
    company: str, shop: Shop, status: int, body: Any, words: str
) -> None:
    shop.answers = [(status, body)]
    view = run(company, rows.job(company, ASK))
    (first, *_others) = view["tool_results"]
    assert first["status"] == "failed"
    assert words in first["error"]["message"]
    # The step after it was given that message, and the job came to an end of its own.
    assert view["steps"][1]["prompt_tokens"] > view["steps"][0]["prompt_tokens"]
    assert view["status"] == "completed" or view["error"]["code"] == "steps_exceeded"


def test_tool_that_is_gone_is_a_failed_call(company: str, shop: Shop) -> None:
    """Between the prompt and the end of the step the company deletes its tool."""
    from cyrex.agents import state as agent_state
    from cyrex.agents.turn import CallTool
    from cyrex.engine import Completion
    from cyrex.work.lease import Lease
    from database.transitions import JOB

    job_id = rows.job(company, ASK)
    dispatch.admit("job", company)
    with company_session(company) as session:
        row = Lease(JOB, company, job_id, "process", 1, "w1").claim(session)
        session.execute(delete(CompanyTool))
    with company_session(company) as session:
        paused = Lease.held(JOB, row).pause(session, "waiting")
        said = Completion("x", [1], [0.0], "stop", 1, 1, None, None)
        hints = agent_state.record_call(session, paused, CallTool("get_order", {}), said)
    assert [machine for machine, _ in hints] == [JOB]
    after = job_row(job_id)
    assert (after.status, after.attempt, after.lease_owner) == ("admitted", 2, None)
    (refused,) = calls(company, job_id)
    assert (refused.status, refused.error["code"]) == ("failed", "tool_not_found")
    assert shop.calls == []


def test_steps_are_limited(company: str, shop: Shop) -> None:
    limit(company, steps=1)
    view = run(company, rows.job(company, ASK))
    assert view["status"] == "failed"
    assert view["error"]["code"] == "steps_exceeded"
    assert "limit of 1 steps" in view["error"]["message"]
    assert len(view["steps"]) == 1
    assert len(view["tool_results"]) == 1


def test_tokens_are_limited(company: str) -> None:
    limit(company, tokens=10)
    view = run(company, rows.job(company, ASK))
    assert view["error"]["code"] in ("call_cut_off", "tokens_exceeded")


def test_seconds_are_limited(company: str) -> None:
    job_id = rows.job(company, ASK)
    limit(company, seconds=30)
    run(company, job_id, until="waiting")
    rows.change(Job, job_id, started_at=rows.ago(31))
    assert run(company, job_id)["error"]["code"] == "seconds_exceeded"


def test_waiting_job_is_cancelled(company: str, shop: Shop) -> None:
    job_id = rows.job(company, ASK)
    run(company, job_id, until="waiting")
    with company_session(company) as session:
        assert jobs.cancel_job(session, job_id).status == "cancelled"
    (pending,) = calls(company, job_id)
    with suppress(Ignore):
        call(company, pending.call_id, "call", pending.attempt)
    assert job_row(job_id).status == "cancelled"
    assert shop.calls == []
    assert statuses(company, job_id)[-2:] == ["waiting", "cancelled"]


def test_waiting_job_is_claimed_by_nobody(company: str) -> None:
    job_id = rows.job(company, ASK)
    run(company, job_id, until="waiting")
    before = job_row(job_id)
    with pytest.raises(Ignore):
        process(company, job_id, "process", before.attempt)
    assert rows.columns(job_row(job_id)) == rows.columns(before)


def test_resume_moves_a_waiting_job_once(company: str) -> None:
    job_id = rows.job(company, ASK)
    with company_session(company) as session:
        assert resume(session, job_id) is None, "a queued job is not for this door"
    run(company, job_id, until="waiting")
    with company_session(company) as session:
        moved = resume(session, job_id)
        assert moved is not None
        assert (moved.status, moved.attempt) == ("admitted", 2)
        assert resume(session, job_id) is None


def test_reconciler_resumes_what_waits_for_nothing(
    company: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, ended, late = (rows.job(company, ASK) for _ in range(3))
    for job_id in (waits, ended, late):
        run(company, job_id, until="waiting")
    (made,) = calls(company, ended)
    rows.change(ToolCall, made.call_id, status="unknown", error={"message": "not known"})
    rows.change(Job, late, deadline_at=rows.ago(1))
    monkeypatch.setattr(dead_workers, "_trustworthy", lambda _session: False)
    reconciler.reconcile()
    assert [job_row(j).status for j in (waits, ended, late)] == ["waiting", "admitted", "admitted"]
    assert run(company, late)["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("choices", [[], [""], ["a", "a"], ["a", "x" * 501], ["a"] * 2000])
def test_bad_choices_are_refused(company: str, choices: list[str]) -> None:
    with company_session(company) as session, pytest.raises(UserError, match="choices"):
        jobs.create_job(session, NewJob(company, ASK, choices=choices))


def test_calls_are_valid_against_the_schema(company: str, shop: Shop) -> None:
    """Whatever is asked: a step is a valid call of a registered tool, or an answer."""
    asked = ["Get order x", "delete everything", '{"name": "rm"}', "<|tool_call|>{}", "ö" * 50]
    for text in asked:
        view = run(company, rows.job(company, {"input": text}))
        for turn in view["steps"]:
            if turn["kind"] == "call":
                assert turn["tool"] == "get_order"
                assert list(turn["arguments"]) == ["order_id"]
                assert len(turn["arguments"]["order_id"]) <= 12
                assert json.dumps(turn["arguments"], ensure_ascii=False) in turn["text"]
        assert view["status"] == "completed" or view["error"]["code"] == "steps_exceeded"
