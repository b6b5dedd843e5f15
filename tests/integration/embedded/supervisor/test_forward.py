"""Ctrl-C at a real terminal."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from pathlib import Path

from embedded.layout import Layout
from embedded.supervisor import kernel, state
from tests.support.stacks import ELSEWHERE, TABLES, left, wait_for

CTRL_C = b"\x03"


class Terminal:
    """`python -m embedded up` as the foreground job of a terminal."""

    def __init__(self, folder: Path, table: str) -> None:
        self.folder = folder
        arguments = ["-m", "embedded", "up", "--data-dir", str(folder)]
        arguments += ["--table", f"{TABLES}:{table}"]
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, **ELSEWHERE})
        self.text = ""

    def read_until(self, wanted: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"{wanted!r} did not appear in:\n{self.text}"
            if select.select([self._screen], [], [], 0.1)[0]:
                self.text += os.read(self._screen, 4096).decode()

    def press(self, key: bytes) -> None:
        os.write(self._screen, key)

    def hang_up(self) -> None:
        os.close(self._screen)

    def status(self, seconds: float = 30.0) -> int:
        """The exit status, once it has ended."""
        found: list[int] = []

        def ended() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                found.append(os.waitstatus_to_exitcode(status))
            return bool(found)

        assert wait_for(ended, seconds), self.text
        return found[0]


def order(folder: Path) -> list[str]:
    return (folder / "order").read_text().splitlines()


def test_ctrl_c_stops_everything_in_order(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "simple")
    terminal.read_until("Ctrl-C stops all of it")
    assert len(left(tmp_path)) == 4
    terminal.press(CTRL_C)
    terminal.read_until("stopped")
    assert terminal.status() == 0
    assert left(tmp_path) == []
    # Asked once, by the supervisor: the terminal's own signal did not reach them.
    assert order(tmp_path) == [
        f"{name} {what}" for name in ("third", "second", "first") for what in ("asked", "gone")
    ]


def test_a_second_ctrl_c_kills(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "very_stubborn")
    terminal.read_until("Ctrl-C stops all of it")
    terminal.press(CTRL_C)
    time.sleep(0.5)
    assert left(tmp_path)  # it ignores the first
    began = time.monotonic()
    terminal.press(CTRL_C)
    assert terminal.status() == 0
    assert time.monotonic() - began < 30.0
    assert left(tmp_path) == []


def test_ctrl_c_during_the_start(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "hesitant")
    assert wait_for(lambda: starting(tmp_path), 20)
    terminal.press(CTRL_C)
    assert terminal.status() == 0
    assert "Cyrex is up" not in terminal.text
    assert left(tmp_path) == []


def starting(folder: Path) -> bool:
    found = state.read(Layout.at(folder))
    return bool(found and found.processes["hesitant"].pid)


def test_a_closed_terminal_stops_it(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "simple")
    terminal.read_until("Ctrl-C stops all of it")
    found = state.read(Layout.at(tmp_path))
    assert found is not None
    terminal.hang_up()
    terminal.status()
    assert left(tmp_path) == []
    assert not kernel.is_alive(found.supervisor)
