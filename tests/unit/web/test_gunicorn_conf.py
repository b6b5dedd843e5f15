"""gunicorn's settings: what the API's modules rely on."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from web import gunicorn_conf
from web.live import waiting


def test_each_process_builds_its_own_application() -> None:
    # No module of `web` checks for a fork.
    assert gunicorn_conf.preload_app is False


def test_waits_end_when_the_worker_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_is_stopping", bool)
    worker = SimpleNamespace(alive=True)
    gunicorn_conf.post_worker_init(worker)
    woken = threading.Event()
    woken.set()
    assert waiting.Seat(woken).wait(lambda: "ended", 5) == "ended"
    worker.alive = False
    assert waiting.Seat(woken).wait(lambda: "ended", 5) is None
