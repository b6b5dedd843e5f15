"""The rendered tables hold every state and every transition of the code, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from database import states
from database.transitions import (
    HEARTBEAT_EXPIRY_SECONDS,
    HINT_SECONDS,
    JOB,
    MACHINES,
    TOOL_CALL,
    TRAINING,
    Machine,
)
from settings import REPOSITORY

machines = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


def cells(machine: Machine) -> dict[str, list[str]]:
    """The cells of each row of a machine's table, by the state's name."""
    lines = [line for line in states.section(machine).splitlines() if line.startswith("| `")]
    found = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return {row[0].strip("`"): row for row in found}


@machines
def test_every_state_has_its_row_with_all_it_leads_to(machine: Machine) -> None:
    table = cells(machine)
    assert list(table) == [state.name for state in machine.states]
    for state in machine.states:
        named = set(re.findall(r"`(\w+)`", table[state.name][2]))
        again = {machine.revived, machine.restarted} - {None}
        assert named == set(state.to) | (again if state.name == machine.failed else set())
        assert state.moved_by in table[state.name][1]


@machines
def test_the_chain_is_named(machine: Machine) -> None:
    text = states.section(machine)
    assert text.startswith(f"### {machine.title}\n")
    assert " → ".join(f"`{step}`" for step in machine.steps) in text


def test_a_limit_has_its_unit_and_an_end_has_none() -> None:
    assert cells(JOB)["admitted"][3] == f"{HINT_SECONDS:.0f} s"
    assert cells(JOB)["running"][3] == f"{HEARTBEAT_EXPIRY_SECONDS:.0f} s"
    assert cells(JOB)["queued"][3] == ""
    assert cells(TRAINING)["succeeded"][2] == "nothing: it has ended"
    assert cells(TOOL_CALL)["failed"][2] == "nothing: it has ended"


def test_the_command_prints_it_without_any_database() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "database", "states"],
        cwd=REPOSITORY,
        env={"DATABASE_URL": "no database", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == states.markdown()
    assert done.stdout.count("### ") == len(MACHINES)
