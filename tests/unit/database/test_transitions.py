"""The table of states: whole in itself, and the only source of every status in the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from database.base import Base, Stepped
from database.transitions import ADAPTER, JOB, MACHINES, TOOL_CALL, TRAINING, Machine, State
from settings import REPOSITORY

machines = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)

# Rows with steps whose life is not in the table, because nothing moves them yet.
WITHOUT_A_LIFE = {"webhook_deliveries"}


@machines
def test_the_model_has_what_the_machine_names(machine: Machine) -> None:
    assert issubclass(machine.model, Stepped)
    assert [column.name for column in machine.model.__table__.primary_key] == [machine.key]


def test_every_row_with_steps_has_a_machine() -> None:
    stepped = {
        mapper.class_.__tablename__
        for mapper in Base.registry.mappers
        if issubclass(mapper.class_, Stepped)
    }
    assert stepped == {m.model.__tablename__ for m in MACHINES.values()} | WITHOUT_A_LIFE


@machines
def test_every_state_is_reached_and_every_life_can_end(machine: Machine) -> None:
    start = machine.states[0].name
    reached = {start}
    while more := {to for name in reached for to in machine.by_name[name].to} - reached:
        reached |= more
    assert reached == set(machine.by_name)
    assert machine.terminal
    for state in machine.states:
        if state.to:
            assert machine.failed in state.to or state.name in machine.terminal


def test_what_people_alone_move_has_ended() -> None:
    assert ADAPTER.terminal == ("ready", "rejected", "failed", "retired", "deleted")
    assert JOB.terminal == ("completed", "failed", "cancelled")
    assert TRAINING.terminal == ("succeeded", "failed", "cancelled")
    assert TOOL_CALL.terminal == ("completed", "failed", "unknown")


@machines
def test_claimable_rows_may_run_and_running_rows_may_fail(machine: Machine) -> None:
    for name in machine.claimable:
        assert machine.running in machine.by_name[name].to
    assert machine.running in machine.claimable, "a step given back must be claimable again"
    assert machine.failed in machine.by_name[machine.running].to
    assert machine.failed in machine.terminal


@machines
def test_admitted_machines_have_the_states_that_admit_writes(machine: Machine) -> None:
    if machine.admitted:
        assert "admitted" in machine.by_name["queued"].to
        assert "admitted" in machine.claimable


@machines
def test_steps_from_and_after_walk_the_chain(machine: Machine) -> None:
    walked, step = [], machine.steps[0]
    while True:
        walked.append(step)
        assert machine.steps_from(step) == machine.steps[len(walked) - 1 :]
        following = machine.after(step)
        if following is None:
            break
        step = following
    assert tuple(walked) == machine.steps


def test_the_chains_are_those_that_the_tasks_are_named_after() -> None:
    assert TRAINING.steps == ("accept", "train", "evaluate", "register", "announce")
    assert ADAPTER.steps == ("fetch", "evaluate", "warm", "decide")
    assert JOB.steps == ("process",)
    assert TOOL_CALL.steps == ("call",)


def test_an_unknown_step_is_an_error() -> None:
    with pytest.raises(ValueError, match="tuple"):
        TRAINING.after("publish")


@machines
def test_sources_is_the_table_read_backwards(machine: Machine) -> None:
    for target in machine.by_name:
        expected = {state.name for state in machine.states if target in state.to}
        assert set(machine.sources(target)) == expected
    assert machine.sources("no such state") == ()


def test_a_cancel_is_for_what_has_not_ended() -> None:
    assert TRAINING.sources("cancelled") == ("requested", "queued", "admitted", "running")
    assert JOB.sources("cancelled") == ("queued", "admitted", "running", "waiting")


def test_a_state_that_leads_nowhere_known_is_refused() -> None:
    with pytest.raises(AssertionError, match="leads to unknown"):
        replace(JOB, states=(State("queued", "API", ("lost",)),))


def calls_and_assignments(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of every string that the code writes as a status."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            written = [word.value for word in node.keywords if word.arg == "status"]
            if name == "Finish":
                written += node.args[:1]
            elif name == "move":
                written += node.args[3:4]
            elif name == "finish":
                written += node.args[4:5]
        elif isinstance(node, ast.Assign):
            targets = [target for target in node.targets if isinstance(target, ast.Attribute)]
            written = [node.value] if any(t.attr == "status" for t in targets) else []
        else:
            continue
        for value in written:
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield node.lineno, part.value


def test_every_status_that_the_code_writes_is_in_the_table() -> None:
    known = {name for machine in MACHINES.values() for name in machine.by_name}
    found: list[tuple[str, str]] = []
    for package in ("cyrex", "tasks", "database"):
        for path in sorted(Path(REPOSITORY, package).rglob("*.py")):
            if path.parts[-2] == "versions" or "engine" in path.parts:
                continue
            for line, status in calls_and_assignments(ast.parse(path.read_text())):
                found.append((f"{path.relative_to(REPOSITORY)}:{line}", status))
    assert [(place, status) for place, status in found if status not in known] == []
    # What the search must not miss.
    written = {status for _, status in found}
    assert {"queued", "requested", "registered", "announced", "admitted"} <= written
    assert {"succeeded", "completed", "cancelled", "ready", "rejected"} <= written
