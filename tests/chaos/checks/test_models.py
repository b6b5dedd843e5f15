"""Planted among trainings and adapters: each fault by its kind."""

from __future__ import annotations

import time

from cyrex.datasets import blob_store
from database.models import (
    Decision,
    TrainingRun,
)
from database.session import operator_session
from tests.chaos.ledger import Asked
from tests.chaos.world import World, found
from tests.support import rows as made


def test_registry_and_rows_must_name_each_other(world: World) -> None:
    world.adapter()
    world.versions.append((world.company, 77, "b" * 64))
    assert world.counts() == found(orphans=1)
    world.versions.clear()
    assert world.counts() == found(lost=1)


def test_an_adapter_decided_twice_is_doubled(world: World) -> None:
    adapter_id = world.adapter()
    with operator_session() as session:
        of = {"company_id": world.company, "adapter_id": adapter_id}
        session.add(Decision(**of, outcome="rejected", reason="worse"))
    assert world.counts() == found(doubled=1)


def test_a_training_without_its_adapter_is_lost(world: World) -> None:
    request_id = made.run(world.company, status="succeeded")
    world.asked.append(Asked("training", world.company, request_id, request_id, time.time()))
    world.blobs = blob_store()
    assert world.counts()["lost"] == 1
    made.change(TrainingRun, request_id, status="failed", error={"code": "gave_up"})
    assert world.counts()["lost"] == 1
