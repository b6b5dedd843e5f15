"""The rate limit over many processes: never too often in any window, and never without Redis."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cyrex.tools.rate_limit import KEY, take
from settings import REPOSITORY

CALLER = """
import sys, time, redis
from cyrex.tools.rate_limit import take
url, name, until = sys.argv[1], sys.argv[2], time.time() + float(sys.argv[3])
client = redis.Redis.from_url(url)
call = 0
while time.time() < until:
    call += 1
    if take(client, "acme", "t", 5, 1, f"{name}-{call}") == 0:
        print(client.time()[0] + client.time()[1] / 1e6)
    time.sleep(0.005)
"""


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        connected.flushdb()
        yield connected


def test_requests_then_a_wait_until_the_oldest_is_a_window_ago(client: redis.Redis) -> None:
    for n in range(3):
        assert take(client, "acme", "t", 3, 1, f"c{n}") == 0
    wait = take(client, "acme", "t", 3, 1, "c3")
    assert 0.8 < wait <= 1
    time.sleep(wait)
    assert take(client, "acme", "t", 3, 1, "c3") == 0
    assert client.pttl(KEY.format(company_id="acme", name="t")) <= 1000


def test_companies_and_tools_have_limits_of_their_own(client: redis.Redis) -> None:
    assert take(client, "acme", "t", 1, 60, "c") == 0
    assert take(client, "globex", "t", 1, 60, "c") == 0
    assert take(client, "acme", "u", 1, 60, "c") == 0
    assert take(client, "acme", "t", 1, 60, "d") > 59


def test_a_limit_that_is_lowered_counts_what_was_let_through(client: redis.Redis) -> None:
    for n in range(5):
        assert take(client, "acme", "t", 5, 1, f"c{n}") == 0
        time.sleep(0.02)
    # Four of the five must be a second old before there is room for a second one.
    assert 1 - 5 * 0.06 < take(client, "acme", "t", 2, 1, "x") <= 1


def test_three_processes_stay_within_any_window(client: redis.Redis, redis_url: str) -> None:
    callers = [
        subprocess.Popen(
            [sys.executable, "-c", CALLER, redis_url, f"p{n}", "2.5"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    times = sorted(float(line) for caller in callers for line in caller.communicate()[0].split())
    assert len(times) >= 10
    # The script's clock stood a moment before each of these was printed.
    for first, sixth in zip(times, times[5:], strict=False):
        assert sixth - first > 0.95


def test_without_redis_nothing_is_let_through() -> None:
    away = redis.Redis(port=1, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0))
    with pytest.raises(redis.RedisError):
        take(away, "acme", "t", 1, 1, "c")
