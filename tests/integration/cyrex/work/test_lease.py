"""Claims, leases and fencing, with real transactions side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from cyrex.work import lease as lease_module
from cyrex.work.lease import Finish, GivenBack, Lease
from database import claims
from database.models import Agent, TrainingRun
from database.session import company_session, operator_session
from database.transitions import JOB, MACHINES, MAX_FAILURES, TRAINING, Machine
from tests.support import rows
from tests.support.waiting import together

every_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
CLAIMERS = 6


@pytest.fixture(autouse=True)
def database(database_url: str) -> None:
    pass


@pytest.fixture
def acme() -> str:
    return rows.company()


def claim(machine: Machine, company_id: str, key: str, owner: str = "first", **other: Any) -> Any:
    wanted = {"step": machine.steps[0], "attempt": 1, **other}
    with company_session(company_id) as session:
        lease = Lease(machine, company_id, key, wanted["step"], wanted["attempt"], owner)
        return lease.claim(session)


@every_machine
def test_of_many_claimers_exactly_one_wins(machine: Machine, acme: str) -> None:
    for _ in range(3):
        key = rows.claimable(machine, acme)
        owners = [f"worker-{n}" for n in range(CLAIMERS)]
        won = together([partial(claim, machine, acme, key, owner) for owner in owners])
        (winner,) = [row for row in won if row is not None]
        row = rows.row_of(machine, key)
        assert row.lease_owner == winner.lease_owner
        assert row.status == machine.running
        assert row.attempt == 1


@every_machine
def test_a_claim_must_name_the_step_and_the_attempt(machine: Machine, acme: str) -> None:
    key = rows.claimable(machine, acme, attempt=3)
    before = rows.columns(rows.row_of(machine, key))
    assert claim(machine, acme, key, attempt=2) is None
    assert claim(machine, acme, key, attempt=4) is None
    assert claim(machine, acme, key, step="another", attempt=3) is None
    assert claim(machine, acme, "no such row", attempt=3) is None
    assert rows.columns(rows.row_of(machine, key)) == before
    assert claim(machine, acme, key, attempt=3) is not None
    assert claim(machine, acme, key, "second", attempt=3) is None


@every_machine
def test_only_claimable_states_are_claimed(machine: Machine, acme: str) -> None:
    for state in machine.by_name:
        key = rows.claimable(machine, acme, status=state)
        found = claim(machine, acme, key)
        assert (found is not None) is (state in machine.claimable), state


def test_another_companys_row_is_not_claimed(acme: str) -> None:
    key = rows.claimable(JOB, acme)
    assert claim(JOB, rows.company("globex"), key) is None
    assert rows.row_of(JOB, key).lease_owner is None


def test_a_claim_forgets_the_hints_that_led_to_it(acme: str) -> None:
    key = rows.claimable(JOB, acme, publications=4)
    assert claim(JOB, acme, key).publications == 0


Write = Callable[[Session, Lease], Any]


def _write(session: Session, lease: Lease) -> Any:
    return lease.write(session, error={"code": "stale"})


def _advance(session: Session, lease: Lease) -> Any:
    return lease.advance(session, error={"code": "stale"})


def _repeat(session: Session, lease: Lease) -> Any:
    return lease.repeat(session, lease.machine.steps[0])


def _finish(session: Session, lease: Lease) -> Any:
    return lease.finish(session, lease.machine.failed)


@pytest.mark.parametrize("write", [_write, _advance, _repeat, _finish])
@pytest.mark.parametrize("lost", ["taken over", "given back", "ended"])
def test_a_stale_owner_changes_nothing(write: Write, lost: str, acme: str) -> None:
    key = rows.claimable(TRAINING, acme)
    stale = claim(TRAINING, acme, key, "first")
    with company_session(acme) as session:
        if lost == "ended":
            Lease.held(TRAINING, stale).finish(session, "cancelled")
        else:
            assert Lease.held(TRAINING, stale).release(session, stale, "slow")
    if lost == "taken over":
        assert claim(TRAINING, acme, key, "second", attempt=2)
    before = rows.columns(rows.row_of(TRAINING, key))

    with pytest.raises(claims.Lost, match=key), company_session(acme) as session:
        write(session, Lease.held(TRAINING, stale))
    with company_session(acme) as session:
        assert Lease.held(TRAINING, stale).release(session, stale, "late") is None
    assert rows.columns(rows.row_of(TRAINING, key)) == before
    assert rows.dead_letters(key) == []


@pytest.mark.parametrize("write", [_write, _advance, _finish])
def test_nobody_writes_with_anothers_lease(write: Write, acme: str) -> None:
    key = rows.claimable(TRAINING, acme)
    row = claim(TRAINING, acme, key, "first")
    with pytest.raises(claims.Lost), company_session(acme) as session:
        write(session, replace(Lease.held(TRAINING, row), owner="second"))
    assert rows.row_of(TRAINING, key).lease_owner == "first"


def test_a_fenced_write_takes_its_transaction_with_it(acme: str) -> None:
    key = rows.claimable(TRAINING, acme)
    stale = claim(TRAINING, acme, key, "first")
    with company_session(acme) as session:
        Lease.held(TRAINING, stale).release(session, stale, "slow")
    with pytest.raises(claims.Lost), company_session(acme) as session:
        session.add(Agent(agent_id="stray", company_id=acme, name="stray"))
        Lease.held(TRAINING, stale).advance(session)
    with operator_session() as session:
        assert session.get(Agent, "stray") is None


def test_the_owner_writes_and_keeps_the_lease(acme: str) -> None:
    key = rows.claimable(TRAINING, acme)
    row = claim(TRAINING, acme, key)
    with company_session(acme) as session:
        Lease.held(TRAINING, row).write(session, progress={"step": 3})
    found = rows.row_of(TRAINING, key)
    assert found.progress == {"step": 3}
    assert (found.lease_owner, found.attempt) == ("first", 1)
    assert found.updated_at >= row.updated_at


def holding(acme: str, **how: Any) -> Lease:
    """A lease of a training run that has been claimed."""
    lease = Lease(TRAINING, acme, rows.claimable(TRAINING, acme), "accept", 1, "first", **how)
    with company_session(acme) as session:
        assert lease.claim(session) is not None
    return lease


def test_a_step_goes_on_while_nobody_stops_it(acme: str) -> None:
    lease = holding(acme)
    assert not lease.should_stop(lambda: {"progress": {"step": 3}})
    assert rows.row_of(TRAINING, lease.row_id).progress == {"step": 3}


def test_a_step_stops_when_its_row_is_cancelled(acme: str) -> None:
    lease = holding(acme)
    rows.change(TrainingRun, lease.row_id, cancel_requested=True)
    assert lease.should_stop()
    assert lease.stopped() == Finish("cancelled")


def test_a_step_is_given_back_when_its_worker_leaves(acme: str) -> None:
    lease = holding(acme, leaving=lambda: True)
    assert lease.should_stop()
    with pytest.raises(GivenBack, match="leaving"):
        lease.stopped()


def test_a_step_that_lost_its_row_hears_of_it_when_it_asks(acme: str) -> None:
    lease = holding(acme)
    rows.change(TrainingRun, lease.row_id, attempt=2)
    with pytest.raises(claims.Lost):
        lease.should_stop()


def test_a_step_may_ask_often_and_writes_seldom(acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = holding(acme)
    written: list[int] = []

    def news() -> dict[str, Any]:
        written.append(1)
        return {}

    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 3600.0)
    assert [lease.should_stop(news) for _ in range(5)] == [False] * 5
    rows.change(TrainingRun, lease.row_id, cancel_requested=True)
    assert lease.should_stop(news), "a cancel is seen at once"
    assert written == [1]


def test_advance_stands_before_the_next_step(acme: str) -> None:
    key = rows.claimable(TRAINING, acme, failures=2, published_at=None)
    row = claim(TRAINING, acme, key)
    with company_session(acme) as session:
        Lease.held(TRAINING, row).advance(session, metrics={"loss": 1.0})
    found = rows.row_of(TRAINING, key)
    assert (found.status, found.step, found.lease_owner) == ("running", "train", None)
    assert (found.attempt, found.failures) == (1, 0), "a step's deaths are its own"
    assert found.published_at is not None
    assert found.metrics == {"loss": 1.0}
    assert claim(TRAINING, acme, key, step="train") is not None


def test_repeat_goes_back_under_a_new_attempt(acme: str) -> None:
    machine = MACHINES["adapter"]
    key = rows.claimable(machine, acme, step="decide")
    row = claim(machine, acme, key, step="decide")
    with company_session(acme) as session:
        Lease.held(machine, row).repeat(session, "evaluate", evaluation=None)
    found = rows.row_of(machine, key)
    assert (found.step, found.attempt, found.lease_owner) == ("evaluate", 2, None)
    assert claim(machine, acme, key, step="decide") is None, "the old chain's tail dies"
    assert claim(machine, acme, key, step="evaluate", attempt=2) is not None


@every_machine
def test_finish_ends_the_row_and_frees_it(machine: Machine, acme: str) -> None:
    key = rows.claimable(machine, acme)
    row = claim(machine, acme, key)
    with company_session(acme) as session:
        Lease.held(machine, row).finish(session, machine.failed, error={"code": "x"})
    found = rows.row_of(machine, key)
    assert (found.status, found.lease_owner) == (machine.failed, None)
    assert claim(machine, acme, key) is None


def fail(machine: Machine, company_id: str, key: str, reason: str, **how: Any) -> Any:
    """Claim the row as it is, and give it back."""
    row = rows.row_of(machine, key)
    owner = f"worker-{row.attempt}"
    row = claim(machine, company_id, key, owner, step=row.step, attempt=row.attempt)
    with company_session(company_id) as session:
        return Lease.held(machine, row).release(session, row, reason, **how)


@every_machine
def test_a_step_given_back_is_for_the_next_at_once(machine: Machine, acme: str) -> None:
    key = rows.claimable(machine, acme)
    fail(machine, acme, key, "out of memory")
    found = rows.row_of(machine, key)
    assert (found.status, found.step) == (machine.running, machine.steps[0])
    assert (found.attempt, found.failures, found.lease_owner) == (2, 1, None)
    assert found.published_at is None, "nobody has told the broker of this attempt"
    (entry,) = found.history
    assert entry["reason"] == "out of memory"
    assert (entry["attempt"], entry["owner"], entry["step"]) == (1, "worker-1", found.step)
    assert entry["at"]


@every_machine
def test_the_third_failure_sets_the_row_aside_with_its_history(machine: Machine, acme: str) -> None:
    key = rows.claimable(machine, acme)
    for number in range(1, MAX_FAILURES):
        fail(machine, acme, key, f"death {number}")
        assert rows.row_of(machine, key).status == machine.running
        assert rows.dead_letters(key) == []
    fail(machine, acme, key, "the last death")

    found = rows.row_of(machine, key)
    assert found.status == machine.failed
    assert found.lease_owner is None
    assert found.error["code"] == "gave_up"
    assert "the last death" in found.error["message"]
    (letter,) = rows.dead_letters(key)
    assert (letter.kind, letter.company_id, letter.reason) == (
        machine.kind,
        acme,
        "the last death",
    )
    assert letter.payload == {"step": machine.steps[0], "attempt": MAX_FAILURES}
    assert [entry["attempt"] for entry in letter.history] == [1, 2, 3]
    assert [entry["reason"] for entry in letter.history] == ["death 1", "death 2", "the last death"]
    assert letter.history == found.history


def test_leaving_in_good_order_is_no_failure(acme: str) -> None:
    key = rows.claimable(TRAINING, acme)
    for number in range(1, 2 * MAX_FAILURES):
        fail(TRAINING, acme, key, "the worker is leaving", counts=False)
        found = rows.row_of(TRAINING, key)
        assert (found.status, found.failures) == ("running", 0)
        assert (found.attempt, len(found.history)) == (number + 1, number)
    assert rows.dead_letters(key) == []


def test_a_try_that_shall_wait_is_not_due_at_once(acme: str) -> None:
    key = rows.claimable(TRAINING, acme)
    pauses = []
    for _ in range(3):
        fail(TRAINING, acme, key, "the disk is full", counts=False, wait=True)
        found = rows.row_of(TRAINING, key)
        assert found.published_at is not None
        pauses.append(found.publications)
    assert pauses == sorted(set(pauses)), "each pause is longer than the one before"


def test_two_who_free_the_same_orphan_count_one_failure(acme: str) -> None:
    key = rows.claimable(JOB, acme, lease_owner="gone", status="running")

    def free() -> int:
        with operator_session() as session:
            owned = claims.owned_by(session, JOB, "gone")
            return sum(
                Lease.held(JOB, row).release(session, row, "worker lost") is not None
                for row in owned
            )

    assert sorted(together([free] * 4)) == [0, 0, 0, 1]
    found = rows.row_of(JOB, key)
    assert (found.failures, found.attempt, len(found.history)) == (1, 2, 1)


def moves(machine: Machine) -> dict[str, Callable[[Session, Any], Any]]:
    """Everything that changes a status or a step, by name."""

    def moved(target: str) -> Callable[[Session, Any], Any]:
        return lambda s, row: claims.move(s, machine, getattr(row, machine.key), target)

    def lease(row: Any, owner: str = "owner") -> Lease:
        return replace(Lease.held(machine, row), owner=owner)

    def lost(change: Callable[[Session, Any], Any]) -> Callable[[Session, Any], Any]:
        def attempt(session: Session, row: Any) -> Any:
            try:
                return change(session, row)
            except claims.Lost:
                return None

        return attempt

    found: dict[str, Callable[[Session, Any], Any]] = {
        **{f"move to {name}": moved(name) for name in machine.by_name},
        "claim": lambda s, row: lease(row, "other").claim(s),
        "release": lambda s, row: lease(row).release(s, row, "x"),
        "repeat": lost(lambda s, row: lease(row).repeat(s, machine.steps[0])),
    }
    if len(machine.steps) > 1:
        found["advance"] = lost(lambda s, row: lease(row).advance(s))
    for target in machine.by_name[machine.running].to:
        if target != machine.running:
            found[f"finish {target}"] = lost(
                lambda s, row, target=target: lease(row).finish(s, target)
            )
    return found


@every_machine
@pytest.mark.parametrize("failures", [0, MAX_FAILURES - 1])
def test_no_change_leaves_the_table(machine: Machine, failures: int, acme: str) -> None:
    key = rows.claimable(machine, acme, failures=failures)
    model: Any = machine.model
    with company_session(acme) as session:
        for state, owner in product(machine.by_name, (None, "owner")):
            if owner is not None and state != machine.running:
                continue  # a lease is only ever held on a running row
            for name, change in moves(machine).items():
                with session.begin_nested() as point:
                    session.execute(
                        update(model)
                        .where(getattr(model, machine.key) == key)
                        .values(status=state, lease_owner=owner)
                    )
                    row = session.get_one(model, key, populate_existing=True)
                    changed = change(session, row)
                    session.refresh(row)
                    after = row.status
                    point.rollback()
                case = f"{name} from {state} (owned by {owner})"
                allowed = machine.by_name[state].to
                if changed is None:
                    assert after == state, case
                else:
                    assert after in allowed, case
                if name.startswith("move") and owner is None:
                    assert (changed is not None) == (name.removeprefix("move to ") in allowed), case
                if owner is not None and name.startswith("move"):
                    assert changed is None, f"{case}: its owner's"
