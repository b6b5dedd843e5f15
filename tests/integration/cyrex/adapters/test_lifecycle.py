"""People decide: promote, roll back, pin, unpin, retire, delete. On the real database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from cyrex.adapters import decisions as history
from cyrex.adapters import lifecycle
from cyrex.adapters import service as adapters
from cyrex.adapters.promotion import decide
from cyrex.errors import Conflict, NotFound, UserError
from cyrex.jobs import service as jobs
from cyrex.work.lease import Finish
from database.models import AdapterAlias, Decision, LoraAdapter, TrainingRun, Worker
from database.session import WEB, company_session
from database.transitions import ADAPTER
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")
BY = "abcd1234"


@pytest.fixture
def acme() -> str:
    return rows.company()


def act(company_id: str, name: str, *arguments: Any) -> Decision:
    """What the API does: one transaction in its role."""
    with company_session(company_id, role=WEB) as session:
        decision: Decision = getattr(lifecycle, name)(session, *arguments, BY)
        return decision


def adapter(company_id: str, status: str = "ready", **values: Any) -> str:
    return rows.adapter(company_id, status=status, sha256="0" * 64, **values)


def reign(company_id: str, count: int) -> list[str]:
    """Adapters that were the champion one after the other."""
    ids = [adapter(company_id) for _ in range(count)]
    for adapter_id in ids:
        act(company_id, "promote", adapter_id)
    return ids


def champion(company_id: str) -> str | None:
    with company_session(company_id) as session:
        row = adapters.champion_row(session, company_id)
        return row.adapter_id if row is not None else None


def refused(company_id: str, code: str, name: str, *arguments: Any) -> UserError:
    before = champion(company_id), len(decisions(company_id))
    with pytest.raises(UserError) as caught:
        act(company_id, name, *arguments)
    assert caught.value.code == code, caught.value.message
    assert (champion(company_id), len(decisions(company_id))) == before
    return caught.value


def decisions(company_id: str) -> list[Decision]:
    with company_session(company_id) as session:
        return history.list_decisions(session, company_id)


def status(adapter_id: str) -> str:
    return str(rows.get(LoraAdapter, adapter_id).status)


def test_a_person_promotes_what_the_gate_rejected(acme: str) -> None:
    first, second = adapter(acme), adapter(acme, "rejected")
    act(acme, "promote", first)
    decision = act(acme, "promote", second)
    assert champion(acme) == second
    assert status(second) == status(first) == "ready"
    assert (decision.outcome, decision.previous_id) == ("promoted", first)
    assert (decision.reason, decision.evidence) == ("by a person", {"api_key": BY})


@pytest.mark.parametrize("state", ["registered", "announced", "failed", "retired"])
def test_what_cannot_answer_is_not_promoted(acme: str, state: str) -> None:
    error = refused(acme, "adapter_not_ready", "promote", adapter(acme, state))
    assert state in error.message
    assert error.status == 409


def test_unknown_deleted_and_anothers_are_not_found(acme: str) -> None:
    for adapter_id in ("none", adapter(acme, "deleted"), adapter(rows.company())):
        for name in ("promote", "pin", "unpin"):
            assert isinstance(refused(acme, "adapter_not_found", name, adapter_id), NotFound)


def test_one_of_another_base_is_refused_by_name(acme: str) -> None:
    error = refused(acme, "base_model_mismatch", "promote", adapter(acme, base_model="x/other"))
    assert "x/other" in error.message
    assert error.status == 409


def test_one_of_other_weights_than_the_workers_is_refused(acme: str) -> None:
    rows.change(Worker, rows.worker("inference@base"), details={"base_sha256": "1" * 64})
    refused(acme, "base_model_mismatch", "promote", adapter(acme, base_sha256="2" * 64))
    act(acme, "promote", adapter(acme, base_sha256="1" * 64))


def test_the_champion_is_not_promoted_again(acme: str) -> None:
    (first,) = reign(acme, 1)
    refused(acme, "already_champion", "promote", first)


def test_back_to_any_of_the_last_three_champions(acme: str) -> None:
    ids = reign(acme, 5)
    for wanted in (ids[1], ids[3], ids[2]):
        decision = act(acme, "rollback", acme, wanted)
        assert champion(acme) == wanted
        assert decision.outcome == "rolled_back"
        act(acme, "promote", ids[4])


def test_no_further_back_and_never_to_what_did_not_answer(acme: str) -> None:
    ids = reign(acme, 5)
    for wanted in (ids[0], adapter(acme), adapter(acme, "rejected")):
        error = refused(acme, "not_an_earlier_champion", "rollback", acme, wanted)
        assert error.details == [ids[3], ids[2], ids[1]]
        assert all(adapter_id in error.message for adapter_id in error.details)
    assert ids[3] in refused(acme, "already_champion", "rollback", acme, ids[4]).message
    act(acme, "retire", ids[3], False)
    refused(acme, "adapter_not_ready", "rollback", acme, ids[3])
    act(acme, "rollback", acme, ids[0])


def test_back_by_one_does_not_come_back_to_what_was_left(acme: str) -> None:
    first, second, third = reign(acme, 3)
    assert act(acme, "rollback", acme, None).adapter_id == second
    assert act(acme, "rollback", acme, None).adapter_id == first
    refused(acme, "no_earlier_champion", "rollback", acme, None)
    fourth = adapter(acme)
    act(acme, "promote", fourth)
    assert act(acme, "rollback", acme, None).adapter_id == first
    assert champion(acme) == first
    assert status(third) == "ready"


def test_what_was_champion_before_the_first_decision_counts(acme: str) -> None:
    old = adapter(acme)
    with company_session(acme) as session:
        session.add(AdapterAlias(company_id=acme, champion_id=old))
    act(acme, "promote", adapter(acme))
    assert act(acme, "rollback", acme, None).adapter_id == old


def test_a_rollback_reaches_what_is_queued(acme: str) -> None:
    first, _second = reign(acme, 2)
    job_id = rows.job(acme)
    act(acme, "rollback", acme, first)
    with company_session(acme) as session:
        job = jobs.get_job(session, job_id)
        jobs.resolve_adapter(session, job)
        assert job.adapter_id == first


def test_a_pinned_champion_stays(acme: str) -> None:
    first, second = reign(acme, 2)
    refused(acme, "not_the_champion", "pin", first)
    refused(acme, "not_pinned", "unpin", second)
    assert act(acme, "pin", second).outcome == "pinned"
    refused(acme, "already_pinned", "pin", second)
    for name, arguments in (("promote", (first,)), ("rollback", (acme, first))):
        assert second in refused(acme, "pinned", name, *arguments).message
    with company_session(acme) as session:
        assert adapters.pinned_ids(session, acme) == {second}
    assert act(acme, "unpin", second).outcome == "unpinned"
    act(acme, "promote", first)


def test_the_gate_does_not_replace_a_pinned_champion(acme: str) -> None:
    (first,) = reign(acme, 1)
    act(acme, "pin", first)
    scores = {"candidate": {"exact_match": 0.9, "mean_loss": 0.1}}
    evaluation = {"champion_id": first, "scores": scores}
    candidate = adapter(acme, "announced", step="decide", evaluation=evaluation)
    outcome = decide(rows.get(LoraAdapter, candidate))
    assert isinstance(outcome, Finish)
    assert outcome.status == "rejected"


def test_a_retired_one_answers_no_more(acme: str) -> None:
    first, second = reign(acme, 2)
    decision = act(acme, "retire", first, False)
    assert (decision.outcome, decision.previous_id) == ("retired", second)
    assert status(first) == "retired"
    refused(acme, "adapter_not_ready", "retire", first, False)
    refused(acme, "adapter_not_ready", "promote", first)


def test_the_champion_is_retired_only_by_force(acme: str) -> None:
    (first,) = reign(acme, 1)
    act(acme, "pin", first)
    for name in ("retire", "delete"):
        assert refused(acme, "adapter_is_champion", name, first, False).param == "force"
    act(acme, "retire", first, True)
    assert champion(acme) is None
    second = adapter(acme)
    act(acme, "promote", second)
    with company_session(acme) as session:
        assert adapters.pinned_ids(session, acme) == set()


@pytest.mark.parametrize("state", ADAPTER.sources("deleted"))
def test_a_deleted_one_keeps_its_version_and_nothing_else(acme: str, state: str) -> None:
    data = {"config": {"lora_rank": 4}, "details": {"a": 1}, "evaluation": {"side_by_side": [1]}}
    adapter_id = adapter(acme, state, **data)
    assert act(acme, "delete", adapter_id, False).outcome == "deleted"
    row = rows.get(LoraAdapter, adapter_id)
    assert (row.status, row.config, row.details, row.evaluation) == ("deleted", {}, {}, None)
    with company_session(acme) as session:
        with pytest.raises(NotFound, match="was deleted"):
            adapters.get_adapter(session, adapter_id)
        assert adapters.list_adapters(session, acme) == []
        assert [a.adapter_id for a in adapters.list_adapters(session, acme, "deleted")] == [
            adapter_id
        ]
        assert adapters.next_version(session, acme) == row.version + 1
    refused(acme, "adapter_not_found", "delete", adapter_id, False)


@pytest.mark.parametrize("state", ["registered", "announced"])
def test_one_on_its_way_is_not_deleted(acme: str, state: str) -> None:
    refused(acme, "adapter_not_ready", "delete", adapter(acme, state), True)


def test_one_that_a_training_goes_on_from_is_not_deleted(acme: str) -> None:
    adapter_id = adapter(acme)
    run_id = rows.run(acme, continue_from=adapter_id)
    assert run_id in refused(acme, "adapter_in_use", "delete", adapter_id, True).message
    rows.change(TrainingRun, run_id, status="succeeded")
    act(acme, "delete", adapter_id, False)


def test_decisions_are_listed_by_pages(acme: str) -> None:
    first, second = reign(acme, 2)
    act(acme, "pin", second)
    with company_session(acme) as session:
        found = history.list_decisions(session, acme)
        assert [d.outcome for d in found] == ["pinned", "promoted", "promoted"]
        assert [d.adapter_id for d in history.list_decisions(session, acme, first)] == [first]
        page = history.list_decisions(session, acme, limit=2, after=found[0].decision_id)
        assert [d.decision_id for d in page] == [d.decision_id for d in found[1:]]
        assert history.list_decisions(session, rows.company()) == []


def test_of_two_first_champions_one_wins(acme: str) -> None:
    """Without an alias there is nothing to lock: the insertion decides."""
    first, second = adapter(acme), adapter(acme)
    with company_session(acme, role=WEB) as session:
        row = adapters.get_adapter(session, first)
        act(acme, "promote", second)
        with pytest.raises(Conflict) as caught:
            lifecycle._make_champion(session, row, None, "promoted", BY)
        assert caught.value.code == "champion_moved"
    assert champion(acme) == second
    with company_session(acme) as session:
        assert session.scalar(select(AdapterAlias.version)) == 1
