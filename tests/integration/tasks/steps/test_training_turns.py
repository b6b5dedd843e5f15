"""Companies take turns at training, however many runs one of them queues."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore

from cyrex.training.service import position_of
from cyrex.work.lease import Finish
from database.models import TrainingRun
from database.session import company_session
from database.transitions import TRAINING
from tasks.broker import dispatch
from tasks.steps.run import run_step
from tests.support import rows
from tests.support.broker import Broker

pytestmark = pytest.mark.usefixtures("here")


def positions(company_id: str, request_ids: list[str]) -> list[int | None]:
    with company_session(company_id, role="cyrex_web") as session:
        return [
            position_of(session, session.get_one(TrainingRun, request_id))
            for request_id in request_ids
        ]


def work_off(broker: Broker, company_of: dict[str, str]) -> list[str]:
    """What one worker does: the first message of the queue, to its end; the companies served."""
    served: list[str] = []
    done: set[str] = set()
    while True:
        waiting = [row for row, _ in broker.rows("bridge") if row not in done]
        if not waiting:
            return served
        request_id = waiting[0]
        company_id = company_of[request_id]
        with pytest.raises(Ignore):
            run_step(
                TRAINING,
                company_id,
                request_id,
                "accept",
                1,
                lambda _row, _lease: Finish("succeeded"),
            )
        done.add(request_id)
        served.append(company_id)


def test_a_queue_of_one_company_delays_anothers_first_run_by_one(broker: Broker) -> None:
    many, few = rows.company("many"), rows.company("few")
    of_many = [rows.run(many, status="queued") for _ in range(12)]
    dispatch.admit("training", many)
    of_few = [rows.run(few, status="queued") for _ in range(3)]
    dispatch.admit("training", few)
    assert positions(many, of_many[:4]) == [0, 2, 4, 6]
    assert positions(few, of_few) == [1, 3, 5]
    company_of = dict.fromkeys(of_many, many) | dict.fromkeys(of_few, few)
    served = work_off(broker, company_of)
    assert served == [many, few] * 3 + [many] * 9
    assert all(rows.get(TrainingRun, run).status == "succeeded" for run in company_of)


def test_a_company_that_comes_late_is_next(broker: Broker) -> None:
    many, late = rows.company("many"), rows.company("late")
    of_many = [rows.run(many, status="queued") for _ in range(12)]
    dispatch.admit("training", many)
    rows.change(TrainingRun, of_many[0], status="running", lease_owner="w")
    mine = rows.run(late, status="queued")
    assert positions(late, [mine]) == [1], "the one that is at it, and no more"
