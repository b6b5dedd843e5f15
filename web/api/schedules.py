"""`/company-automation/schedules`: trainings that are requested by the clock."""

from __future__ import annotations

from flask import Response, jsonify

from cyrex.schedules import service
from web.http.auth import company_of, company_or_all, require_company, session_for
from web.http.idempotency import Once, StoredAnswer
from web.http.openapi import SCHEDULES, blueprint, documented
from web.http.paging import page_of
from web.shapes import schedules as shapes
from web.shapes.common import CompanyPage, CreateHeaders

PREFIX = "/company-automation/schedules"
CREATED = 201

api = blueprint("schedules", __name__, PREFIX, SCHEDULES)


@api.post(
    "",
    summary="Create a retraining schedule",
    responses=documented((CREATED, shapes.ScheduleView), creates=True),
)
def create_schedule(header: CreateHeaders, body: shapes.NewSchedule) -> Response:
    """When it is due it requests a training on the company's newest dataset, unless its last
    training has not ended. Times missed while the system was down fire once, together."""
    company_id = company_of(body.company_id)
    once = Once.of_request(header.idempotency_key, company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)

        def create() -> StoredAnswer:
            values = body.model_dump(exclude={"company_id"})
            made = service.create_schedule(session, company_id, **values)
            return StoredAnswer(CREATED, service.schedule_view(made))

        stored, replayed = once.do(session, create)
    return stored.response(replayed, f"{PREFIX}/{stored.answer['schedule_id']}")


@api.get("", summary="List schedules, newest first", responses=documented((200, shapes.Schedules)))
def list_schedules(query: CompanyPage) -> Response:
    company_id = company_or_all(query.company_id)
    with session_for(company_id) as session:
        require_company(session, company_id)
        rows = service.list_schedules(session, company_id, query.limit + 1, query.after)
        shown, next_after = page_of(rows, query.limit, "schedule_id")
        found = [service.schedule_view(row) for row in shown]
    return jsonify({"schedules": found, "next_after": next_after})


@api.get(
    "/<schedule_id>", summary="Look at a schedule", responses=documented((200, shapes.ScheduleView))
)
def get_schedule(path: shapes.SchedulePath) -> Response:
    with session_for(None) as session:
        return jsonify(service.schedule_view(service.get_schedule(session, path.schedule_id)))


@api.get(
    "/<schedule_id>/fires",
    summary="List a schedule's fires",
    responses=documented((200, shapes.Fires)),
)
def list_fires(path: shapes.SchedulePath, query: shapes.FiresQuery) -> Response:
    """Newest first: each due time with its training, or the reason why there was none."""
    with session_for(None) as session:
        rows = service.list_fires(session, path.schedule_id, query.limit)
        found = [service.fire_view(row) for row in rows]
    return jsonify({"schedule_id": path.schedule_id, "fires": found})


@api.patch(
    "/<schedule_id>",
    summary="Change a schedule",
    responses=documented((200, shapes.ScheduleView), creates=True),
)
def update_schedule(path: shapes.SchedulePath, body: shapes.ScheduleChanges) -> Response:
    """A new time counts from now, and so does a schedule that is enabled again."""
    changes = body.model_dump(exclude_none=True)
    with session_for(None) as session:
        row = service.update_schedule(session, path.schedule_id, changes)
        return jsonify(service.schedule_view(row))


@api.delete(
    "/<schedule_id>",
    summary="Delete a schedule",
    responses=documented((200, shapes.ScheduleDeleted)),
)
def delete_schedule(path: shapes.SchedulePath) -> Response:
    """Deletes its history too. A training that it requested goes on."""
    with session_for(None) as session:
        service.delete_schedule(session, path.schedule_id)
    return jsonify({"schedule_id": path.schedule_id, "deleted": True})
