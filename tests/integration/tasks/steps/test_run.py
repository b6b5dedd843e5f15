"""`run_step`: claim, work, settle; and every way in which a step can end badly."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery.exceptions import Ignore
from sqlalchemy.orm import Session

from cyrex.errors import UserError
from cyrex.jobs import service as jobs
from cyrex.work.lease import Advance, Finish, GivenBack, Lease, Outcome, Repeat
from database import claims
from database.models import AdapterAlias, Job, LoraAdapter, TrainingRun
from database.session import company_session, operator_session
from database.transitions import ADAPTER, JOB, MACHINES, TRAINING
from tasks import app
from tasks.broker import dispatch
from tasks.steps.run import run_step, step
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.broker import Broker, use_broker
from tests.support.postgres import Postgres
from tests.support.waiting import eventually, together

pytestmark = pytest.mark.usefixtures("here")

Work = Callable[[Any, Lease], Outcome]


def run(request_id: str, company_id: str, work: Work, **named: Any) -> None:
    """Run the step that a training stands before, as its task would."""
    row = rows.get(TrainingRun, request_id)
    run_step(TRAINING, company_id, request_id, row.step, row.attempt, work, **named)


def ends(request_id: str, company_id: str, work: Work, **named: Any) -> TrainingRun:
    """`run` a step whose chain stops there; returns the row as it is then."""
    with pytest.raises(Ignore):
        run(request_id, company_id, work, **named)
    found: TrainingRun = rows.get(TrainingRun, request_id)
    return found


def failing(error: Exception) -> Work:
    def work(_row: Any, _lease: Lease) -> Outcome:
        raise error

    return work


@pytest.fixture
def training(acme: str) -> str:
    return rows.claimable(TRAINING, acme)


def test_a_step_done_well_lets_the_chain_go_on(acme: str, training: str, broker: Broker) -> None:
    seen = []

    def work(row: TrainingRun, lease: Lease) -> Outcome:
        seen.append((row.status, row.lease_owner == lease.owner))
        return Advance({"metrics": {"loss": 1.0}})

    run(training, acme, work)
    assert seen == [("running", True)]
    found = rows.get(TrainingRun, training)
    assert (found.step, found.lease_owner, found.attempt) == ("train", None, 1)
    assert found.metrics == {"loss": 1.0}
    assert broker.sent("training") == [], "the chain itself brings the next task"


def test_work_sees_the_claim_in_its_own_sessions(acme: str, training: str) -> None:
    def work(_row: TrainingRun, lease: Lease) -> Outcome:
        assert rows.get(TrainingRun, training).lease_owner == lease.owner
        assert lease.renew(progress={"step": 1}).cancel_requested is False
        return Advance()

    run(training, acme, work)
    assert rows.get(TrainingRun, training).progress == {"step": 1}


@pytest.mark.parametrize("lost", ["another attempt", "another step", "leased", "ended", "unknown"])
def test_a_claim_that_is_lost_does_no_work(acme: str, training: str, lost: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "another attempt": {"attempt": 2},
        "another step": {"step": "evaluate"},
        "leased": {"lease_owner": "somebody", "status": "running"},
        "ended": {"status": "cancelled"},
        "unknown": {},
    }
    rows.change(TrainingRun, training, **changes[lost])
    before = rows.columns(rows.get(TrainingRun, training))
    row_id = "nobody" if lost == "unknown" else training
    never = failing(AssertionError("work was done without a claim"))
    with pytest.raises(Ignore):
        run_step(TRAINING, acme, row_id, "accept", 1, never)
    assert rows.columns(rows.get(TrainingRun, training)) == before


def test_of_two_messages_for_one_step_one_is_void(acme: str, training: str) -> None:
    done = []

    def once() -> bool:
        def work(_row: Any, _lease: Lease) -> Outcome:
            done.append(1)
            return Advance()

        try:
            run_step(TRAINING, acme, training, "accept", 1, work)
        except Ignore:
            return False
        return True

    assert sorted(together([once] * 4)) == [False, False, False, True]
    assert len(done) == 1


def test_what_a_person_can_mend_fails_the_row_at_once(
    acme: str, training: str, broker: Broker
) -> None:
    error = UserError("bad_line", "line 3: output: is missing", "training_data[2].output")
    found = ends(training, acme, failing(error))
    assert (found.status, found.lease_owner, found.failures) == ("failed", None, 0)
    assert found.error == error.as_json()
    assert found.finished_at is not None
    assert rows.events(training).count("failed") == 1, "who follows the run hears of it, once"
    assert rows.dead_letters(training) == []
    assert broker.sent("bridge") == []


def test_a_refusal_at_the_claim_fails_the_row_and_does_no_work(acme: str, training: str) -> None:
    def refuse(_session: Session, row: TrainingRun) -> None:
        row.progress = {"half": "done"}
        raise UserError("base_model_mismatch", "another base is served")

    never = failing(AssertionError("work was done"))
    found = ends(training, acme, never, on_claim=refuse)
    assert found.status == "failed"
    assert found.error["code"] == "base_model_mismatch"
    assert found.progress == {}, "what the claim had begun is undone"


def test_a_failure_gives_the_step_to_another_at_once(
    acme: str, training: str, broker: Broker
) -> None:
    found = ends(training, acme, failing(ValueError("odd\ntraceback")))
    assert (found.status, found.step, found.lease_owner) == ("running", "accept", None)
    assert (found.attempt, found.failures) == (2, 1)
    assert found.history[0]["reason"] == "ValueError: odd"
    (message,) = broker.sent("bridge")
    assert message.task == "training.accept"
    assert message.arguments == (acme, training, "accept", 2)
    assert message.then == tuple(f"training.{step}" for step in TRAINING.steps[1:])


def test_the_third_failure_is_the_last(acme: str, training: str, broker: Broker) -> None:
    for number in (1, 2, 3):
        assert "failed" not in rows.events(training)
        found = ends(training, acme, failing(ValueError(f"odd {number}")))
    assert found.status == "failed"
    assert found.error["code"] == "gave_up"
    assert found.finished_at is not None
    assert rows.events(training).count("failed") == 1
    (letter,) = rows.dead_letters(training)
    assert [entry["reason"] for entry in letter.history] == [
        "ValueError: odd 1",
        "ValueError: odd 2",
        "ValueError: odd 3",
    ]
    assert broker.rows("bridge") == [(training, 2), (training, 3)], "no fourth try"


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 100_000])
def test_a_failure_may_say_anything(acme: str, training: str, text: str) -> None:
    found = ends(training, acme, failing(RuntimeError(text)))
    assert (found.lease_owner, found.attempt, found.failures) == (None, 2, 1)
    assert len(found.history[0]["reason"]) < 10_000


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_a_refusal_may_say_anything(acme: str, training: str, text: str) -> None:
    found = ends(training, acme, failing(UserError("odd", text)))
    assert (found.status, found.error["code"]) == ("failed", "odd")


def test_a_worker_that_leaves_counts_no_failure(acme: str, training: str, broker: Broker) -> None:
    found = ends(training, acme, failing(GivenBack("the worker is leaving")))
    assert (found.attempt, found.failures, found.lease_owner) == (2, 0, None)
    assert broker.rows("bridge") == [(training, 2)]


@pytest.mark.parametrize(
    "outage",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ConnectionRefusedError("the registry is away"),
        redis.ConnectionError("the broker is away"),
    ],
)
def test_what_is_away_counts_no_failure_and_is_tried_later(
    acme: str, training: str, broker: Broker, outage: Exception
) -> None:
    found = ends(training, acme, failing(outage))
    assert (found.status, found.attempt, found.failures) == ("running", 2, 0)
    assert found.lease_owner is None
    assert found.published_at is not None, "not due at once"
    assert broker.sent("bridge") == []


def test_the_outcome_and_what_belongs_to_it_are_one_transaction(acme: str, training: str) -> None:
    def in_transaction(_session: Session, row: TrainingRun) -> None:
        row.progress = {"half": "done"}
        raise ValueError("the second half failed")

    found = ends(
        training, acme, lambda _row, _lease: Advance({"metrics": {"x": 1}}, in_transaction)
    )
    assert (found.step, found.failures) == ("accept", 1)
    assert (found.metrics, found.progress) == ({}, {})


@pytest.mark.parametrize("outcome", [Advance(), Finish("succeeded"), Repeat("accept")])
def test_a_worker_that_was_fenced_changes_nothing(
    acme: str, training: str, outcome: Outcome, broker: Broker
) -> None:
    after: dict[str, Any] = {}

    def work(row: TrainingRun, lease: Lease) -> Outcome:
        with company_session(acme) as session:
            lease.release(session, row, "worker lost")
            assert Lease(TRAINING, acme, training, "accept", 2, "its successor").claim(session)
        after.update(rows.columns(rows.get(TrainingRun, training)))
        return outcome

    ends(training, acme, work)
    assert rows.columns(rows.get(TrainingRun, training)) == after
    assert broker.sent("bridge") == []


def test_a_fenced_worker_that_fails_is_not_counted(acme: str, training: str) -> None:
    def work(row: TrainingRun, lease: Lease) -> Outcome:
        with company_session(acme) as session:
            lease.release(session, row, "worker lost")
        lease.renew()
        raise AssertionError("the lease was still held")

    found = ends(training, acme, work)
    assert (found.failures, found.attempt, len(found.history)) == (1, 2, 1)


def test_an_end_lets_the_companys_next_one_in(acme: str, training: str, broker: Broker) -> None:
    waiting = rows.run(acme, status="queued")
    other = rows.run(rows.company("globex"), status="queued")
    found = ends(training, acme, lambda _row, _lease: Finish("succeeded"))
    assert found.status == "succeeded"
    assert rows.get(TrainingRun, waiting).status == "admitted"
    assert broker.rows("bridge") == [(waiting, 1)]
    assert rows.get(TrainingRun, other).status == "queued"


def test_a_step_that_no_longer_holds_is_done_again(acme: str, broker: Broker) -> None:
    adapter_id = rows.claimable(ADAPTER, acme, step="decide", evaluation={"scores": {}})
    with pytest.raises(Ignore):
        run_step(
            ADAPTER,
            acme,
            adapter_id,
            "decide",
            1,
            lambda _row, _lease: Repeat("evaluate", {"evaluation": None}),
        )
    found = rows.get(LoraAdapter, adapter_id)
    assert (found.step, found.attempt, found.evaluation) == ("evaluate", 2, None)
    (message,) = broker.sent("training")
    assert message.arguments == (acme, adapter_id, "evaluate", 2)
    assert message.then == ("adapter.warm", "adapter.decide")


def test_a_connection_that_is_lost_at_the_end_costs_one_more_try(
    acme: str, training: str, postgres: Postgres
) -> None:
    def in_transaction(_session: Session, _row: TrainingRun) -> None:
        postgres.cut()

    found = ends(training, acme, lambda _row, _lease: Advance(in_transaction=in_transaction))
    assert (found.step, found.attempt, found.lease_owner) == ("accept", 2, None)


def test_a_database_that_takes_no_end_gets_it_when_it_is_back(
    acme: str,
    training: str,
    here: Presence,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.2)

    def work(_row: TrainingRun, _lease: Lease) -> Outcome:
        postgres.cut(refuse=True)
        return Advance()

    with pytest.raises(Ignore):
        run_step(TRAINING, acme, training, "accept", 1, work)
    postgres.restore()
    freed = eventually(
        lambda: (row := rows.get(TrainingRun, training)).lease_owner is None and row,
        what="the lease is freed",
    )
    assert (freed.status, freed.attempt, freed.published_at) == ("running", 2, None)
    assert freed.failures == 0, "nothing was wrong with the row"


def test_a_broker_that_is_away_at_the_end_stops_nobody(
    acme: str, training: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = rows.run(acme, status="queued")

    url = str(dispatch.app.conf.broker_url)
    use_broker("redis://127.0.0.1:1/0")
    try:
        found = ends(training, acme, lambda _row, _lease: Finish("succeeded"))
    finally:
        use_broker(url)
    assert found.status == "succeeded"
    assert rows.get(TrainingRun, waiting).status == "admitted"


def test_a_jobs_adapter_is_resolved_in_the_transaction_of_its_claim(acme: str) -> None:
    job_id = rows.claimable(JOB, acme)
    seen = []

    def work(job: Job, _lease: Lease) -> Outcome:
        seen.append((job.adapter_resolved, rows.get(Job, job_id).adapter_resolved))
        return Finish("completed", {"output_data": {"result": "x"}})

    with pytest.raises(Ignore):
        run_step(
            JOB,
            acme,
            job_id,
            "process",
            1,
            work,
            on_claim=jobs.begin,
        )
    assert seen == [(True, True)]
    found = rows.get(Job, job_id)
    assert (found.status, found.output_data) == ("completed", {"result": "x"})
    assert found.started_at <= found.completed_at
    assert rows.told(job_id) == ["queued", "running", "completed"]


def test_a_job_whose_champion_is_of_another_base_fails_by_name(acme: str) -> None:
    job_id = rows.claimable(JOB, acme)
    adapter_id = rows.adapter(acme, base_model="x/other")
    with operator_session() as session:
        session.add(AdapterAlias(alias_id=job_id, company_id=acme, champion_id=adapter_id))
    never = failing(AssertionError("work was done"))
    with pytest.raises(Ignore):
        run_step(JOB, acme, job_id, "process", 1, never, jobs.begin)
    found = rows.get(Job, job_id)
    assert (found.status, found.error["code"]) == ("failed", "base_model_mismatch")
    assert adapter_id in found.error["message"]
    assert found.completed_at is not None
    assert rows.told(job_id) == ["queued", "failed"]


def test_only_the_step_that_failed_counts(acme: str) -> None:
    request_id = rows.claimable(TRAINING, acme, failures=2)
    run(request_id, acme, lambda _row, _lease: Advance())
    found = ends(request_id, acme, failing(ValueError("odd")))
    assert (found.status, found.failures, found.step) == ("running", 1, "train")


def test_a_step_is_a_task_of_its_own_name(acme: str, training: str) -> None:
    ended: list[str] = []
    done: list[str] = []

    def work(row: TrainingRun, lease: Lease) -> Outcome:
        done.append(row.request_id)
        assert not lease.should_stop()
        return Advance()

    name = f"{TRAINING.kind}.accept"
    ours = app.tasks.pop(name, None)
    try:
        task = step(TRAINING, "accept", afterwards=ended.append)(work)
        assert app.tasks[name].name == name
        task(acme, training, "accept", 1)
        with pytest.raises(Ignore):
            task(acme, training, "accept", 1)
    finally:
        app.tasks.pop(name, None)
        if ours is not None:
            app.tasks[name] = ours
    assert done == [training]
    assert ended == [training, training], "also when the claim is lost"
    assert rows.get(TrainingRun, training).step == "train"


def test_every_step_of_every_table_has_its_task() -> None:
    app.loader.import_default_modules()
    steps = {f"{machine.kind}.{name}" for machine in MACHINES.values() for name in machine.steps}
    assert steps <= set(app.tasks)
    assert all(set(machine.queues) == set(machine.steps) for machine in MACHINES.values())


def test_a_step_that_the_table_does_not_have_is_refused() -> None:
    with pytest.raises(AssertionError, match="training has no step bake"):
        step(TRAINING, "bake")
