"""`/company-automation/process` and the jobs that it creates."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from flask import Response, current_app, jsonify, request

from cyrex.jobs import service
from cyrex.jobs.fast_path import create_and_admit
from cyrex.jobs.new_job import NewJob
from cyrex.logs import one_line
from database.base import Json
from database.session import DATABASE_ERRORS
from database.transitions import JOB
from settings import get_settings
from web.http.auth import caller, company_of, company_or_all, require_company, session_for
from web.http.idempotency import REPLAYED_HEADER, Once
from web.http.openapi import AUTOMATION, blueprint, documented, refusals
from web.live.handover import hand_over, job_ended, require_broker
from web.live.waiting import WaitingClients, client_gone
from web.shapes import jobs as shapes
from web.shapes.common import CreateHeaders

log = structlog.get_logger()

# Hands a new job over to the broker.
Give = Callable[[], None]

api = blueprint("jobs", __name__, "/company-automation", AUTOMATION)


def job_answer(job: Any) -> Json:
    return _located(service.job_view(job))


def _located(view: Json) -> Json:
    return {**view, "location": f"/company-automation/jobs/{view['job_id']}"}


def has_ended(view: Json) -> bool:
    return view["status"] in JOB.terminal


def waiters() -> WaitingClients:
    found: WaitingClients = current_app.extensions["cyrex.waiters"]
    return found


@api.post(
    "/process",
    summary="Process company data",
    responses=documented((200, shapes.JobView), (202, shapes.JobView), creates=True, limited=True),
)
def process(header: CreateHeaders, body: shapes.ProcessRequest) -> Response:
    """Answers 200 with the job once it has ended, or 202 with its address after `wait` seconds.

    A failed job is answered 200 with status `failed` and its `error`: the request succeeded, the
    job did not. A replay under the same `Idempotency-Key` answers with the job's present state.
    """
    started = time.monotonic()
    company_id = company_of(body.company_id)
    once = Once.of_request(header.idempotency_key, company_id)
    view, give = _create_or_find(once, company_id, body)
    replayed = give is None
    seconds = get_settings().wait_seconds if body.wait is None else body.wait
    if not has_ended(view):
        view = _wait(view, give, seconds=seconds, started=started)
    response = jsonify(view)
    if replayed:
        response.headers[REPLAYED_HEADER] = "true"
    if not has_ended(view):
        response.status_code = 202
        response.headers["Location"] = view["location"]
    return response


def _create_or_find(
    once: Once, company_id: str, body: shapes.ProcessRequest
) -> tuple[Json, Give | None]:
    """The new job and its handover, or (with None) the job of an earlier request of this key."""
    if once.key is not None:
        with session_for(company_id) as session:
            stored = once.seen(session)
            if stored is not None:
                return job_answer(service.get_job(session, stored.answer["job_id"])), None
    require_broker()
    new = NewJob(
        company_id,
        body.data,
        body.task_type,
        body.use_adapter,
        body.metadata,
        body.agent_id,
        body.choices,
    )
    if once.key is None and company_id == caller().company_id:
        taken = create_and_admit(new)
        if taken is not None:
            view, row = taken
            return _located(view), lambda: hand_over("job", company_id, row)
    with session_for(company_id) as session:
        require_company(session, company_id)
        stored = once.begin(session)
        if stored is not None:
            return job_answer(service.get_job(session, stored.answer["job_id"])), None
        job = service.create_job(session, new)
        once.finish(session, 202, {"job_id": job.job_id})
        return job_answer(job), lambda: hand_over("job", company_id)


def _wait(view: Json, give: Give | None, seconds: float, started: float) -> Json:
    """Hand a new job over, and wait: the job once it has ended, or its last known state."""
    job_id, company_id = view["job_id"], view["company_id"]
    latest = view

    def look() -> Json | None:
        nonlocal latest
        try:
            with session_for(company_id) as session:
                latest = job_answer(service.get_job(session, job_id))
        except DATABASE_ERRORS as error:
            # The job is committed: a 503 would make the client request it again.
            log.warning("job_not_read", job_id=job_id, error=one_line(error))
            return None
        return latest if has_ended(latest) else None

    if seconds <= 0:
        if give is not None:
            give()
        return latest
    with waiters().seat(job_id, company_id) as seat:
        # After the seat is taken, so that even a job that ends at once is not missed.
        if give is not None:
            give()
        elif look() is not None:
            return latest
        if seat is not None:
            left = seconds - (time.monotonic() - started)
            seat.wait(look, left, lambda: client_gone(request.environ))
    return latest


@api.get("/jobs", summary="List jobs, newest first", responses=documented((200, shapes.Jobs)))
def list_jobs(query: shapes.JobQuery) -> Response:
    """A page of large jobs is shorter than `limit`; `next_after` says whether there are more."""
    company_id = company_or_all(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        rows, more = service.list_jobs(
            session, limit=query.limit, after=query.after, status=query.status
        )
    next_after = rows[-1].job_id if more else None
    return jsonify({"jobs": [job_answer(row) for row in rows], "next_after": next_after})


@api.get("/jobs/<job_id>", summary="Look at a job", responses=documented((200, shapes.JobView)))
def get_job(path: shapes.JobPath) -> Response:
    with session_for(None) as session:
        view = service.detailed_view(session, service.get_job(session, path.job_id))
    return jsonify(_located(view))


@api.post(
    "/jobs/<job_id>/cancel",
    summary="Cancel a job",
    responses={**documented((200, shapes.JobView)), **refusals(409)},
)
def cancel_job(path: shapes.JobPath) -> Response:
    """A job that no worker has taken is cancelled at once; otherwise its worker drops it. 409 once
    it has ended."""
    with session_for(None) as session:
        view = job_answer(service.cancel_job(session, path.job_id))
    if has_ended(view):
        job_ended(view["job_id"], view["company_id"])
    return jsonify(view)
