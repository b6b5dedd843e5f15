"""The guarded updates that every step makes, built once each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Executable, bindparam, func, update

from database.transitions import MACHINES, Machine


def updating(
    machine: Machine, row_id: Any, guard: list[ColumnElement[bool]], values: dict[str, Any]
) -> Executable:
    model: Any = machine.model
    return (
        update(model)
        .where(getattr(model, machine.key) == row_id, *guard)
        .values(updated_at=func.now(), **values)
        .returning(model)
        # The database alone says which row has changed: what the session holds may be older.
        .execution_options(populate_existing=True, synchronize_session=False)
    )


@lru_cache
def claiming(kind: str) -> Executable:
    """Built once: it begins every step."""
    machine = MACHINES[kind]
    model: Any = machine.model
    guard = [
        model.status.in_(machine.claimable),
        model.step == bindparam("of_step"),
        model.attempt == bindparam("of_attempt"),
        model.lease_owner.is_(None),
    ]
    taken = {"status": machine.running, "lease_owner": bindparam("for_owner"), "publications": 0}
    return updating(machine, bindparam("of_row"), guard, taken)


@lru_cache
def writing(kind: str, names: tuple[str, ...]) -> Executable:
    """Write while holding the lease. Parameters: of_row, of_attempt, of_owner, `to_` each name."""
    return writing_also(kind, names, {})


def writing_also(
    kind: str, names: tuple[str, ...], fixed: dict[str, ColumnElement[Any]]
) -> Executable:
    """`writing`, with expressions, which make it a statement of its own each time."""
    machine = MACHINES[kind]
    model: Any = machine.model
    guard = [
        model.status == machine.running,
        model.attempt == bindparam("of_attempt"),
        model.lease_owner == bindparam("of_owner"),
    ]
    values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in names}
    return updating(machine, bindparam("of_row"), guard, values | fixed)
