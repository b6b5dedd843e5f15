"""The tables of states as Markdown, for people: what the code does, from what the code reads."""

from __future__ import annotations

from database.transitions import (
    HEARTBEAT_EXPIRY_SECONDS,
    MACHINES,
    MAX_FAILURES,
    Machine,
    State,
)

COLUMNS = ("State", "Set by", "May become", "After", "The reconciler")


def markdown() -> str:
    """One section a machine, in the order of the code. Ends with a newline."""
    return "\n".join(section(machine) for machine in MACHINES.values())


def section(machine: Machine) -> str:
    """A heading, a sentence on the chain, and the table of one machine."""
    rows = [COLUMNS, *(_cells(machine, state) for state in machine.states)]
    table = [f"| {' | '.join(row)} |" for row in rows]
    table.insert(1, f"|{'---|' * len(COLUMNS)}")
    return "\n".join([f"### {machine.title}", "", _about(machine), "", *table, ""])


def _about(machine: Machine) -> str:
    steps = " → ".join(f"`{step}`" for step in machine.steps)
    claimable = " or ".join(f"`{name}`" for name in machine.claimable)
    chain = "one step" if len(machine.steps) == 1 else "steps"
    return (
        f"Rows of `{machine.model.__tablename__}`; {chain}: {steps}. "
        f"A worker may claim a step while the row is {claimable} and nobody holds its lease; "
        f"a lease ends {HEARTBEAT_EXPIRY_SECONDS:.0f} s after its owner's last heartbeat. "
        f"After {MAX_FAILURES} failures of a step the row is set aside."
    )


def _cells(machine: Machine, state: State) -> tuple[str, ...]:
    following = [f"`{name}`" for name in state.to]
    if state.name == machine.failed:
        again = [machine.revived, machine.restarted]
        following += [f"`{name}` (an operator's replay)" for name in again if name is not None]
    after = f"{state.patience_seconds:.0f} s" if state.patience_seconds is not None else ""
    return (
        f"`{state.name}`",
        state.moved_by,
        ", ".join(following) or "nothing: it has ended",
        after if state.to else "",
        state.reconciler if state.to else "",
    )
