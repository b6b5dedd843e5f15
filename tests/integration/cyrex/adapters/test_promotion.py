"""`decide`: the only writer of `adapter_aliases`, by compare-and-swap."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from cyrex.adapters.promotion import AliasMoved, decide
from cyrex.work.lease import Finish, Repeat
from database.models import AdapterAlias, Decision, LoraAdapter
from database.session import company_session, operator_session
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")

# Right or wrong on the same twenty examples.
BETTER = {"scores": [1.0] * 18 + [0.0] * 2, "mean_loss": 0.1, "general_loss": 3.5}
WORSE = {"scores": [1.0] * 4 + [0.0] * 16, "mean_loss": 2.0, "general_loss": 3.0}
SHOWN = [{"question": "q", "expected": "e", "answers": {"base": None, "candidate": "e"}}]


@pytest.fixture
def acme() -> str:
    return rows.company()


def judged(company_id: str, champion_id: str | None, **scores: Any) -> str:
    """An adapter that stands before `decide`, evaluated against this champion."""
    evaluation = {
        "champion_id": champion_id,
        "metric": "label",
        "scores": scores,
        "labels": {"e": {"examples": 20, "base": 0.2, "candidate": 0.9}},
        "side_by_side": SHOWN,
    }
    return rows.adapter(
        company_id, status="announced", step="decide", evaluation=evaluation, details={"seed": 7}
    )


def settle(adapter_id: str) -> LoraAdapter:
    """What `run_step` does with an outcome that ends the row."""
    adapter = rows.get(LoraAdapter, adapter_id)
    outcome = decide(adapter)
    assert isinstance(outcome, Finish)
    commit(adapter, outcome)
    return adapter


def commit(adapter: LoraAdapter, outcome: Finish) -> None:
    with company_session(adapter.company_id) as session:
        row = session.get_one(LoraAdapter, adapter.adapter_id)
        row.status = outcome.status
        row.details = outcome.values["details"]
        assert outcome.in_transaction is not None
        outcome.in_transaction(session, row)


def alias_of(company_id: str) -> AdapterAlias | None:
    with operator_session() as session:
        return session.scalar(select(AdapterAlias).where(AdapterAlias.company_id == company_id))


def decisions(company_id: str) -> list[Decision]:
    with operator_session() as session:
        return list(session.scalars(select(Decision).where(Decision.company_id == company_id)))


def test_a_first_adapter_that_beats_the_base_serves(acme: str) -> None:
    adapter_id = judged(acme, None, candidate=BETTER, base=WORSE)
    settle(adapter_id)
    alias = alias_of(acme)
    assert alias is not None
    assert (alias.champion_id, alias.version) == (adapter_id, 1)
    row = rows.get(LoraAdapter, adapter_id)
    assert row.status == "ready"
    assert "beats the base: 0.900 against the base's 0.200 on 20" in row.details["decision"]
    assert row.details["seed"] == 7, "what was known stays"
    (decision,) = decisions(acme)
    assert (decision.outcome, decision.previous_id) == ("promoted", None)
    evidence = decision.evidence
    assert (evidence["rival"], evidence["metric"], evidence["examples"]) == ("base", "label", 20)
    assert (evidence["candidate"], evidence["rival_score"]) == (0.9, 0.2)
    assert (evidence["better_on"], evidence["worse_on"]) == (14, 0)
    assert evidence["general_loss"] == {"candidate": 3.5, "rival": 3.0}
    assert evidence["labels"]["e"]["candidate"] == 0.9
    assert evidence["side_by_side"] == SHOWN


def test_one_that_loses_is_rejected_and_the_base_goes_on_answering(acme: str) -> None:
    adapter_id = judged(acme, None, candidate=WORSE, base=BETTER)
    settle(adapter_id)
    assert alias_of(acme) is None
    assert rows.get(LoraAdapter, adapter_id).status == "rejected"
    (decision,) = decisions(acme)
    assert decision.outcome == "rejected"


def test_later_ones_are_compared_with_the_champion(acme: str) -> None:
    first = judged(acme, None, candidate=BETTER, base=WORSE)
    settle(first)
    loser = judged(acme, first, candidate=WORSE, champion=BETTER, base=WORSE)
    settle(loser)
    alias = alias_of(acme)
    assert alias is not None
    assert (alias.champion_id, alias.version) == (first, 1)
    winner = judged(acme, first, candidate=BETTER, champion=WORSE, base=BETTER)
    settle(winner)
    alias = alias_of(acme)
    assert alias is not None
    assert (alias.champion_id, alias.version) == (winner, 2)
    assert [d.previous_id for d in decisions(acme)] == [None, first, first]


@pytest.mark.parametrize("evaluated_against", ["another", None])
def test_an_evaluation_against_yesterdays_champion_is_repeated(
    acme: str, evaluated_against: str | None
) -> None:
    settle(judged(acme, None, candidate=BETTER, base=WORSE))
    adapter_id = judged(acme, evaluated_against, candidate=BETTER, base=WORSE, champion=WORSE)
    outcome = decide(rows.get(LoraAdapter, adapter_id))
    assert outcome == Repeat("evaluate", {"evaluation": None})
    assert len(decisions(acme)) == 1


def test_an_evaluation_against_a_champion_that_is_none_any_more_is_repeated(acme: str) -> None:
    adapter_id = judged(acme, "another", candidate=BETTER, champion=WORSE)
    assert isinstance(decide(rows.get(LoraAdapter, adapter_id)), Repeat)


def test_of_two_first_adapters_at_once_one_serves_and_one_judges_again(acme: str) -> None:
    ids = [judged(acme, None, candidate=BETTER, base=WORSE) for _ in range(2)]
    both = [rows.get(LoraAdapter, adapter_id) for adapter_id in ids]
    outcomes = [decide(adapter) for adapter in both]
    assert isinstance(outcomes[0], Finish)
    assert isinstance(outcomes[1], Finish)
    commit(both[0], outcomes[0])
    with pytest.raises(AliasMoved, match=acme):
        commit(both[1], outcomes[1])
    assert rows.get(LoraAdapter, ids[1]).status == "announced", "nothing of it was written"
    assert [d.adapter_id for d in decisions(acme)] == [ids[0]]
    assert isinstance(decide(both[1]), Repeat)


def test_a_champion_that_changes_meanwhile_is_not_overwritten(acme: str) -> None:
    first = judged(acme, None, candidate=BETTER, base=WORSE)
    settle(first)
    adapter = rows.get(LoraAdapter, judged(acme, first, candidate=BETTER, champion=WORSE))
    outcome = decide(adapter)
    assert isinstance(outcome, Finish)
    other = rows.adapter(acme)
    with operator_session() as session:  # a rollback, for example
        session.execute(
            update(AdapterAlias)
            .where(AdapterAlias.company_id == acme)
            .values(champion_id=other, version=AdapterAlias.version + 1)
        )
    with pytest.raises(AliasMoved):
        commit(adapter, outcome)
    alias = alias_of(acme)
    assert alias is not None
    assert alias.champion_id == other
    assert len(decisions(acme)) == 1


def test_one_companys_champion_says_nothing_to_another(acme: str) -> None:
    globex = rows.company("globex")
    settle(judged(globex, None, candidate=BETTER, base=WORSE))
    adapter_id = judged(acme, None, candidate=BETTER, base=WORSE)
    settle(adapter_id)
    theirs, ours = alias_of(globex), alias_of(acme)
    assert theirs is not None
    assert ours is not None
    assert theirs.champion_id != ours.champion_id


EQUAL = {**BETTER, "scores": [0.0] * 2 + [1.0] * 18}


@pytest.mark.parametrize(
    ("promote", "pinned", "serves"),
    [("evidence", False, False), ("always", False, True), ("always", True, False)],
)
def test_without_evidence_the_champion_stays_unless_it_is_asked_for(
    acme: str, promote: str, pinned: bool, serves: bool
) -> None:
    first = judged(acme, None, candidate=BETTER, base=WORSE)
    settle(first)
    with operator_session() as session:
        mine = update(AdapterAlias).where(AdapterAlias.company_id == acme)
        session.execute(mine.values(pinned=pinned))
    request_id = rows.run(acme, status="succeeded", promote=promote)
    second = judged(acme, first, candidate=EQUAL, champion=BETTER, base=WORSE)
    rows.change(LoraAdapter, second, request_id=request_id)
    settle(second)
    alias = alias_of(acme)
    assert alias is not None
    assert alias.champion_id == (second if serves else first)
    decision = decisions(acme)[-1]
    assert decision.outcome == ("promoted" if serves else "rejected")
    assert (decision.evidence["better_on"], decision.evidence["worse_on"]) == (2, 2)


def test_few_examples_and_none_are_no_evidence(acme: str) -> None:
    first = judged(acme, None, candidate=BETTER, base=WORSE)
    settle(first)
    few = {"scores": [1.0] * 5, "mean_loss": 0.1}
    none = {"scores": [0.0] * 5, "mean_loss": 0.2}
    settle(judged(acme, first, candidate=few, champion=none, base=none))
    rows.change(LoraAdapter, first, evaluation={"scores": {"candidate": BETTER}})
    unscored = judged(acme, first)
    rows.change(
        LoraAdapter,
        unscored,
        evaluation={"champion_id": first, "champion_was_scored": True, "scores": {}},
    )
    settle(unscored)
    alias = alias_of(acme)
    assert alias is not None
    assert alias.champion_id == first
    reasons = [decision.reason for decision in decisions(acme)][1:]
    assert "fewer than 10 examples" in reasons[0]
    assert "nothing was held out" in reasons[1]
