"""A failure of the handover does not reach the client."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from tests.support.web import Tenant
from web.shapes.jobs import JobView


def test_a_failure_after_the_commit_is_not_told_as_a_failure(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_what: object) -> int:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr("tasks.broker.handover.publish_all", fail)
    monkeypatch.setattr("tasks.broker.handover.admit_many", fail)
    for key, status in ((None, "admitted"), ("once", "queued")):
        response = acme.api.process(headers={"Idempotency-Key": key} if key else {})
        assert response.status_code == 202
        job = JobView.model_validate(response.json)
        assert acme.api.get(job.location).json["status"] == status  # type: ignore[index]
