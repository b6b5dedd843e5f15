"""What is particular to a kind of row is said for every kind, in one place each."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cyrex.recovery.kinds import KINDS
from database.models import Job
from database.transitions import MACHINES, Machine
from settings import Settings

machines = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def test_every_kind_has_its_end_and_its_replay() -> None:
    assert set(KINDS) == set(MACHINES)


@machines
def test_a_kind_that_has_no_way_back_refuses_every_replay(machine: Machine) -> None:
    refusal = KINDS[machine.kind].refusal(machine.model())
    assert (refusal is None) == (machine.revived is not None)


@machines
def test_what_a_replayed_row_begins_with_are_columns_of_it(machine: Machine) -> None:
    assert set(KINDS[machine.kind].fresh) <= set(machine.model.__mapper__.columns.keys())


def test_a_job_whose_data_is_gone_is_not_replayed() -> None:
    gone = Job(payload_removed_at=datetime.now(UTC))
    assert "deleted" in str(KINDS["job"].refusal(gone))


@machines
def test_the_limits_of_a_kind_are_settings(machine: Machine) -> None:
    if machine.broker_limit is not None:
        assert Settings.model_fields[machine.broker_limit].annotation is int
    if machine.open_limit is not None:
        assert Settings.model_fields[machine.open_limit.setting].annotation is int
    assert machine.admitted == (machine.broker_limit is not None)
