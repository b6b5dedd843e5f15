"""A step of a chain as a task: claim the row, do the work, write the outcome under the lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis
import structlog
from celery.exceptions import Ignore
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from cyrex.errors import UserError
from cyrex.logs import one_line
from cyrex.recovery.kinds import end
from cyrex.work.admission import admit_rows
from cyrex.work.lease import (
    Advance,
    Finish,
    GivenBack,
    Hint,
    Lease,
    OnClaim,
    Outcome,
    Pause,
    Repeat,
    Work,
)
from database.claims import Lost
from database.session import company_session
from database.transitions import Machine
from tasks import app
from tasks.broker import dispatch
from tasks.workers.presence import presence
from tasks.workers.signals import leaving

log = structlog.get_logger()

# Errors of a disk, registry, database or broker that is away or full.
OUTAGES = (OSError, OperationalError, redis.RedisError)
# With the pauses between them, most of a day; a longer outage counts as a failure.
MAX_POSTPONEMENTS = 60


StepTask = Callable[[str, str, str, int], None]


def step(
    machine: Machine,
    name: str,
    *,
    on_claim: OnClaim | None = None,
    afterwards: Callable[[str], None] | None = None,
    drains: bool = False,
) -> Callable[[Work], StepTask]:
    """Make the task `kind.name` of a function that does one step's work on a claimed row.

    The task's arguments are (company, row, step, attempt). `afterwards` is given the row's id
    however the task ends. `drains`: a worker that leaves lets the work end by itself.
    """
    assert name in machine.steps, f"{machine.kind} has no step {name}"
    stays: dict[str, Any] = {} if drains else {"leaving": leaving.is_set}

    def decorate(work: Work) -> StepTask:
        @app.task(name=f"{machine.kind}.{name}")
        def task(company_id: str, row_id: str, step: str, attempt: int) -> None:
            try:
                run_step(machine, company_id, row_id, step, attempt, work, on_claim, **stays)
            finally:
                if afterwards is not None:
                    afterwards(row_id)

        return task

    return decorate


def run_step(
    machine: Machine,
    company_id: str,
    row_id: str,
    step: str,
    attempt: int,
    work: Work,
    on_claim: OnClaim | None = None,
    **how: Any,
) -> None:
    """Run `work` as the owner of (row, step, attempt).

    `on_claim` joins the transaction in which the row is claimed; what it returns is the lease's
    `claimed`. `how`: further fields of the lease. Raises `Ignore`, which stops the chain, when the
    claim is lost or the chain does not go on.
    """
    owner = presence().worker_id
    lease = Lease(machine, company_id, row_id, step, attempt, owner, **how)
    row, refusal = _claim(lease, on_claim)
    if row is None:
        raise Ignore()
    named = structlog.contextvars.bound_contextvars(**{f"{machine.kind}_id": row_id, "step": step})
    with named, presence().at_work():
        outcome = _work(lease, row, work, refusal)
    if not isinstance(outcome, Advance):
        raise Ignore()


def _claim(lease: Lease, on_claim: OnClaim | None) -> tuple[Any | None, UserError | None]:
    """The claimed row, and why `on_claim` refused it; None: the claim is lost."""
    try:
        with company_session(lease.company_id) as session:
            row = lease.claim(session)
            if row is not None and on_claim is not None:
                lease.claimed = on_claim(session, row)
            return row, None
    except UserError as error:
        refusal = error
    # The writes of `on_claim` are rolled back, and the claim with them.
    with company_session(lease.company_id) as session:
        return lease.claim(session), refusal


def _work(lease: Lease, row: Any, work: Work, refusal: UserError | None) -> Outcome | None:
    """Do the work and settle it. None: the lease was lost or given back."""
    try:
        try:
            if refusal is not None:
                raise refusal
            outcome = work(row, lease)
        except UserError as error:
            log.info("step_refused", code=error.code, reason=error.message)
            outcome = Finish(lease.machine.failed, {"error": error.as_json()})
        _settle(lease, outcome)
        return outcome
    except Lost as lost:
        log.info("lease_lost", reason=str(lost))
    except GivenBack as reason:
        _give_back(lease, row, str(reason), counts=False)
    except OUTAGES as error:
        # An outage: nothing is wrong with the row, and an early try would not help.
        log.warning("step_postponed", error=one_line(error))
        given_up = len(row.history) >= MAX_POSTPONEMENTS
        _give_back(lease, row, one_line(error), counts=given_up, wait=True)
    except Exception as error:
        log.exception("step_failed")
        _give_back(lease, row, one_line(error))
    return None


def _settle(lease: Lease, outcome: Outcome) -> None:
    """Write the outcome; a row that ends makes room for the company's next."""
    machine = lease.machine
    hints: list[Any] = []
    others: Sequence[Hint] = ()
    with company_session(lease.company_id) as session:
        match outcome:
            case Advance(values, in_transaction):
                changed = lease.advance(session, **values)
                if in_transaction is not None:
                    in_transaction(session, changed)
            case Repeat(step, values):
                hints.append(lease.repeat(session, step, **values))
            case Pause(status, paused, values):
                changed = lease.pause(session, status, **values)
                others = paused(session, changed)
                if machine.admitted:
                    hints += admit_rows(session, machine, lease.company_id)
            case Finish(status, values, in_transaction, _):
                changed = lease.finish(session, status, **values)
                if in_transaction is not None:
                    in_transaction(session, changed)
                others = end(session, machine, changed)
                if machine.admitted:
                    hints += admit_rows(session, machine, lease.company_id)
    dispatch.publish(machine, hints)
    dispatch.publish_all(others)
    if isinstance(outcome, Finish) and outcome.after_commit is not None:
        _attempt(outcome.after_commit)


def _attempt(after_commit: Callable[[], None]) -> None:
    """Run what follows the committed end; nothing of the row depends on it."""
    try:
        after_commit()
    except Exception as error:
        log.warning("after_commit_failed", error=one_line(error))


def _give_back(
    lease: Lease,
    row: Any,
    reason: str,
    counts: bool = True,
    wait: bool = False,
) -> None:
    """Free the step for another try at once, or end the row when it has failed too often."""
    machine = lease.machine
    others: Sequence[Hint] = ()
    try:
        with company_session(lease.company_id) as session:
            changed = lease.release(session, row, reason, counts, wait)
            ended = changed is not None and changed.status in machine.terminal
            if ended:
                others = end(session, machine, changed)
    except SQLAlchemyError as error:
        log.warning("release_postponed", error=one_line(error))
        presence().release_later(lease, row, reason, counts)
        return
    if changed is not None and not ended and not wait:
        dispatch.publish(machine, [changed])
    dispatch.publish_all(others)
