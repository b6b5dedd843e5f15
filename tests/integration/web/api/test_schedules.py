"""Retraining schedules over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.web import Api, Tenant, error_of
from web.shapes import schedules as shapes

PATH = "/company-automation/schedules"


def create(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    made = tenant.api.post(PATH, fields or {"cron": "30 2 * * mon", "timezone": "Europe/Berlin"})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = shapes.ScheduleView.model_validate(made.json).model_dump()
    assert made.headers["Location"] == f"{PATH}/{found['schedule_id']}"
    return found


def test_life_of_a_schedule(acme: Tenant) -> None:
    made = create(acme)
    path = f"{PATH}/{made['schedule_id']}"
    assert (made["cron"], made["every_hours"], made["enabled"]) == ("30 2 * * mon", None, True)
    assert made["next_fire_at"].endswith(":30:00+00:00")
    assert acme.api.get(path).json == made
    changed = acme.api.request("PATCH", path, json={"every_hours": 24, "min_new_examples": 50})
    assert changed.status_code == 200, changed.text
    assert changed.json is not None
    assert (changed.json["cron"], changed.json["every_hours"]) == (None, 24)
    off = acme.api.request("PATCH", path, json={"enabled": False}).json
    assert off is not None
    assert off["next_fire_at"] is None
    listed = shapes.Schedules.model_validate(acme.api.get(PATH).json).schedules
    assert [found.schedule_id for found in listed] == [made["schedule_id"]]
    fires = acme.api.get(f"{path}/fires").json
    assert shapes.Fires.model_validate(fires).fires == []
    assert acme.api.delete(path).json == {"schedule_id": made["schedule_id"], "deleted": True}
    error_of(acme.api.get(path), 404, "schedule_not_found")


def test_creating_twice_under_one_key_makes_one(acme: Tenant) -> None:
    headers = {"Idempotency-Key": "schedule-1"}
    one, two = (acme.api.post(PATH, {"every_hours": 24}, headers=headers) for _ in range(2))
    assert one.json == two.json
    assert two.headers["Idempotent-Replayed"] == "true"
    assert len(acme.api.get(PATH).json["schedules"]) == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 3 * * *", "every_hours": 1}, "cron"),
        ({"every_hours": 0}, "every_hours"),
        ({"every_hours": "1"}, "every_hours"),
        ({"every_hours": 1, "timezone": 5}, "timezone"),
        ({"cron": "0 3 * * *", "timezone": "Mars"}, "timezone"),
        ({"every_hours": 1, "config": {"lora_rank": -1}}, "config.lora_rank"),
        ({"every_hours": 1, "min_new_examples": -1}, "min_new_examples"),
        ({"every_hours": 1, "often": True}, "often"),
    ],
)
def test_a_refusal_names_the_field(acme: Tenant, fields: dict[str, Any], param: str) -> None:
    assert error_of(acme.api.post(PATH, fields), 400)["param"] == param
    assert acme.api.get(PATH).json == {"schedules": [], "next_after": None}


def test_anothers_schedule_is_not_there(acme: Tenant, globex: Tenant, operator: Api) -> None:
    path = f"{PATH}/{create(acme)['schedule_id']}"
    error_of(globex.api.get(path), 404)
    error_of(globex.api.request("PATCH", path, json={"enabled": False}), 404)
    error_of(globex.api.delete(path), 404)
    error_of(globex.api.get(f"{path}/fires"), 404)
    assert operator.get(path).status_code == 200
    error_of(operator.post(PATH, {"every_hours": 1}), 400, "company_required")
