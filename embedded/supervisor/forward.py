"""Run one process in the foreground and pass on to it the signals that we get."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping
from types import FrameType

from embedded.supervisor import kernel


def run(
    start: Callable[[], subprocess.Popen[bytes]],
    passed_on: Mapping[signal.Signals, signal.Signals | None],
) -> int:
    """Wait for what `start` starts; returns its exit status as a shell shows it.

    `passed_on`: for each signal that must not end this process, what the other is sent; None is
    for one that it gets by itself. Those ignored since before (nohup, a background job) stay so.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[signal.Signals] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        other = passed_on[signal.Signals(number)]
        if other is None:
            return
        if process is None:
            early.append(other)
        else:
            kernel.send(process.pid, other)

    for number in passed_on:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
    process = start()
    for number in early:
        kernel.send(process.pid, number)
    status = process.wait()
    return status if status >= 0 else 128 - status
