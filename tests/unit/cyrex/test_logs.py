from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from cyrex.logs import WithoutTicks, one_line

TICKS = WithoutTicks({"maintenance.reconcile"})


def of_worker(task: str, level: int = logging.INFO) -> logging.LogRecord:
    record = logging.LogRecord("celery.app.trace", level, "", 1, "Task %(name)s", None, None)
    record.data = {"name": task}
    return record


def of_beat(task: str) -> logging.LogRecord:
    words = ("a-name", task)
    return logging.LogRecord("celery.beat", logging.INFO, "", 1, "due %s (%s)", words, None)


@pytest.mark.parametrize("made", [of_worker, of_beat])
def test_ticks_are_kept_out_and_work_is_not(made: Callable[[str], logging.LogRecord]) -> None:
    assert not TICKS.filter(made("maintenance.reconcile"))
    assert TICKS.filter(made("training.train"))


def test_a_tick_that_fails_is_told() -> None:
    assert TICKS.filter(of_worker("maintenance.reconcile", logging.ERROR))


def test_everything_else_passes() -> None:
    for words in ((), ("maintenance.reconcile",), None):
        assert TICKS.filter(logging.LogRecord("web", logging.INFO, "", 1, "x", words, None))
    said = logging.LogRecord("celery.beat", logging.INFO, "", 1, "beat: Starting...", (), None)
    assert TICKS.filter(said)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError("\n  first\r\nsecond"), "ValueError: first"),
        (TimeoutError(), "TimeoutError"),
        (KeyError("a"), "KeyError: 'a'"),
    ],
)
def test_an_error_is_told_on_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line
