"""An outage is two lines in the log, however long it is."""

from __future__ import annotations

import logging
import threading
import time

import pytest
import redis

from synapse.outage import FIRST_WAIT_SECONDS, Outage


def test_one_line_when_it_goes_and_one_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    stop.set()  # so that nothing is waited for
    outage = Outage("relay", stop)
    with caplog.at_level(logging.INFO, logger="synapse.outage"):
        outage.over()
        for _ in range(5):
            outage.failed(redis.ConnectionError("refused"))
        outage.over()
        outage.over()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "refused" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_defect_shows_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    stop.set()
    try:
        raise KeyError("x")
    except KeyError as error:
        Outage("relay", stop).failed(error)
    assert "Traceback" in caplog.text


def test_waits_grow_and_stop_ends_them() -> None:
    stop = threading.Event()
    outage = Outage("relay", stop)
    began = time.monotonic()
    outage.failed(OSError("away"))
    outage.failed(OSError("away"))
    assert time.monotonic() - began >= 3 * FIRST_WAIT_SECONDS
    stop.set()
    began = time.monotonic()
    for _ in range(100):
        outage.failed(OSError("away"))
    assert time.monotonic() - began < 1
