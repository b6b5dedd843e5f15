from __future__ import annotations

import pytest
from redis import Redis

from synapse.streams import (
    CHANNELS,
    CONNECT_TIMEOUT_SECONDS,
    CONSUMED,
    SOCKET_TIMEOUT_SECONDS,
    connect,
    require_bytes,
)

URL = "redis://localhost:1/0"


def test_a_client_repeats_nothing_and_waits_not_for_ever() -> None:
    options = connect(URL).connection_pool.connection_kwargs
    assert options["socket_timeout"] == SOCKET_TIMEOUT_SECONDS
    assert options["socket_connect_timeout"] == CONNECT_TIMEOUT_SECONDS
    assert options["retry"]._retries == 0


def test_a_client_that_decodes_is_refused() -> None:
    require_bytes(connect(URL))
    with pytest.raises(ValueError, match="decodes"):
        require_bytes(Redis.from_url(URL, decode_responses=True))


def test_each_channel_is_named_once() -> None:
    assert len(set(CHANNELS)) == len(CHANNELS)
    assert set(CONSUMED) < set(CHANNELS)
