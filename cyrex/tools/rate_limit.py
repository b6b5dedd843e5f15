"""How often a company may call a tool: a sliding window in Redis, exact over all processes.

In any `window` seconds at most `requests` calls are let through. The times of those calls are
the state; the server's clock is the only clock. While Redis is away nothing is let through: its
errors are raised, the caller puts the call off, and a tool is never called more often than its
owner said.
"""

from __future__ import annotations

from typing import Protocol

from cyrex.tools.service import Tool
from database.base import new_id

KEY = "cyrex:rate:{company_id}:{name}"

# KEYS[1]: sorted set of the calls let through, by time in microseconds.
# ARGV: requests, window in seconds, the call's id. Returns the microseconds to wait, 0: go.
TAKE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local window = ARGV[2] * 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local requests = tonumber(ARGV[1])
local taken = redis.call('ZCARD', KEYS[1])
if taken < requests then
    redis.call('ZADD', KEYS[1], now, ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[2] * 1000)
    return 0
end
local oldest = redis.call('ZRANGE', KEYS[1], taken - requests, taken - requests, 'WITHSCORES')
return tonumber(oldest[2]) + window - now
"""
MICROSECONDS = 1_000_000


class Scripted(Protocol):
    """The part of a Redis client that is used here."""

    def eval(self, script: str, numkeys: int, *keys_and_args: str) -> object: ...


def take(
    client: Scripted, company_id: str, name: str, requests: int, window: int, call: str
) -> float:
    """Let the call `call` (a name of its own) through: 0.0, or the seconds until it is worth
    asking again. Raises `redis.RedisError`."""
    key = KEY.format(company_id=company_id, name=name)
    waits = client.eval(TAKE, 1, key, str(requests), str(window), call)
    assert isinstance(waits, int)
    return max(waits, 0) / MICROSECONDS


def take_turn(tool: Tool, client: Scripted, call: str | None = None) -> float:
    """0.0: the tool may be called now; else the seconds until it is worth asking again.

    `call` names the call, so that asking twice for one takes one place; None: a call that is made
    at once or not at all. Raises `redis.RedisError`.
    """
    if tool.rate_limit is None:
        return 0.0
    limit = tool.rate_limit
    return take(
        client, tool.company_id, tool.name, limit["requests"], limit["window"], call or new_id()
    )
