"""The state file of a stack: what is written is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded.layout import Layout
from embedded.supervisor.state import Phase, ProcessState, StackState, Status, read


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout.at(tmp_path)
    made.make_folders()
    return made


def test_a_state_that_is_written_is_read(layout: Layout) -> None:
    processes = {
        "web": ProcessState(Status.READY, 12, 1, "http://127.0.0.1:8080"),
        "upgrade": ProcessState(Status.DONE),
    }
    state = StackState(guard=1, supervisor=2, phase=Phase.READY, processes=processes)
    state.write(layout)
    assert read(layout) == state


@pytest.mark.parametrize("content", [None, "", "half of {"])
def test_no_state(layout: Layout, content: str | None) -> None:
    if content is not None:
        layout.state.write_text(content)
    assert read(layout) is None
