"""Valkey from its wheel: its password and its configuration."""

from __future__ import annotations

import pytest
import redis

from embedded import Servers, Stack


def valkey_of(stack: Stack) -> redis.Redis:
    return redis.Redis.from_url(stack.environment["REDIS_URL"], decode_responses=True)


def test_valkey_wants_the_password_and_keeps_what_it_is_given(servers: Servers) -> None:
    url = servers.environment["REDIS_URL"]
    password = servers.layout.secret("valkey")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(url.replace(f":{password}@", "")).ping()
    client = valkey_of(servers)
    for name, value in {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }.items():
        assert client.config_get(name) == {name: value}
