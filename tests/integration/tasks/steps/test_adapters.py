"""The tasks of an announced adapter, as a worker runs them."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore
from sqlalchemy import select

from database.models import AdapterAlias, LoraAdapter
from database.session import operator_session
from database.transitions import ADAPTER
from tasks.steps import adapters
from tests.support import rows

pytestmark = pytest.mark.usefixtures("here")

EVALUATION = {
    "champion_id": None,
    "metric": "exact",
    "scores": {
        "base": {"scores": [0.0] * 40, "mean_loss": 2.0},
        "candidate": {"scores": [1.0] * 40, "mean_loss": 0.2},
    },
}


def test_a_package_that_is_nowhere_ends_the_chain_by_name(acme: str) -> None:
    adapter_id = rows.claimable(ADAPTER, acme, adapter_path="nowhere")
    with pytest.raises(Ignore):
        adapters.fetch(acme, adapter_id, "fetch", 1)
    found = rows.get(LoraAdapter, adapter_id)
    assert (found.status, found.error["code"]) == ("failed", "package_not_found")


def test_a_receipt_that_holds_is_not_made_again(acme: str) -> None:
    receipt = {**EVALUATION, "sha256": "a" * 64}
    adapter_id = rows.claimable(ADAPTER, acme, step="evaluate", sha256="a" * 64, evaluation=receipt)
    adapters.evaluate(acme, adapter_id, "evaluate", 1)
    found = rows.get(LoraAdapter, adapter_id)
    assert (found.step, found.evaluation, found.lease_owner) == ("warm", receipt, None)


def test_the_decision_is_made_once(acme: str) -> None:
    adapter_id = rows.claimable(ADAPTER, acme, step="decide", evaluation=EVALUATION)
    for _ in range(2):
        with pytest.raises(Ignore):
            adapters.decide(acme, adapter_id, "decide", 1)
    assert rows.get(LoraAdapter, adapter_id).status == "ready"
    with operator_session() as session:
        alias = session.scalars(select(AdapterAlias).where(AdapterAlias.company_id == acme)).one()
    assert (alias.champion_id, alias.version) == (adapter_id, 1)
