"""Whether the broker is there: cheap while it is, and prompt when it is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from settings import get_settings
from synapse.streams import connect
from tasks.broker import connection, pulse
from tasks.broker.pulse import Pulse
from tests.support.broker import use_broker
from tests.support.proxy import Proxy
from tests.support.waiting import together

pytestmark = pytest.mark.usefixtures("broker")


@pytest.fixture
def proxy(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The broker's address is one that can be cut."""
    found = Proxy(redis_url)
    monkeypatch.setenv("REDIS_URL", found.url)
    get_settings.cache_clear()
    use_broker(found.url)
    yield found
    found.cut()
    monkeypatch.undo()
    get_settings.cache_clear()
    use_broker(redis_url)


def test_it_is_not_asked_again_within_a_moment(proxy: Proxy) -> None:
    felt = Pulse(connection.broker)
    assert felt.beats()
    before = proxy.bytes_passed
    assert all(felt.beats() for _ in range(50))
    assert proxy.bytes_passed == before
    time.sleep(pulse.BELIEVED_SECONDS)
    assert felt.beats()
    assert proxy.bytes_passed > before


def test_a_broker_that_goes_is_noticed_at_once_and_so_is_its_return(proxy: Proxy) -> None:
    felt = Pulse(connection.broker)
    for _ in range(3):
        assert felt.beats()
        proxy.cut()
        time.sleep(0.05)
        assert not felt.beats()
        proxy.restore()
        assert felt.beats()


def test_a_broker_that_hangs_is_waited_for_once(redis_url: str) -> None:
    client = connect(redis_url)
    process = int(client.info("server")["process_id"])
    felt = Pulse(connection.broker)
    assert felt.beats()
    time.sleep(pulse.BELIEVED_SECONDS)
    os.kill(process, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert together([felt.beats] * 8) == [False] * 8
        assert time.monotonic() - started < 2 * connection.PING_TIMEOUT_SECONDS
    finally:
        os.kill(process, signal.SIGCONT)
    assert felt.beats()
    client.close()


def test_another_client_has_a_connection_of_its_own(proxy: Proxy) -> None:
    felt = Pulse(connection.broker)
    assert felt.beats()
    before = proxy.bytes_passed
    connection.broker.cache_clear()
    assert felt.beats()
    assert proxy.bytes_passed > before, "what the first one heard says nothing of this one"
