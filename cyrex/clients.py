"""The shared parts of the two Python services: their threads, waiting, access to the servers.

They speak to Postgres and Redis directly, as a worker does: a process that has the addresses in
the settings is trusted like an operator. Nothing here blocks the event loop: calls to a server run
in a thread, and waiting for another process's work sleeps in the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.tenants.service import check_company_id
from database.models import Company
from database.session import company_session, operator_session
from synapse.outbox import wake
from synapse.streams import connect

Found = TypeVar("Found")

# The asyncio default pool has few threads, and other libraries wait in them.
THREADS = 16
FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.25


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="cyrex-client")


async def in_thread(work: Callable[[], Found]) -> Found:
    """Run `work`, which waits for a server, beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), work)


async def until(look: Callable[[], Found | None], seconds: float) -> Found | None:
    """The first result of `look` (called in a thread) that is not None; None after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        found = await in_thread(look)
        if found is not None or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def check_servers() -> None:
    """Raise what the database or Redis raises when it does not answer."""
    with operator_session() as session:
        session.execute(text("SELECT 1"))
    with connect() as redis:
        redis.ping()


def ensure_company(company_id: str) -> None:
    """Create the company if it is not there. Raises `UserError` for an id that cannot be one."""
    check_company_id(company_id)
    with operator_session() as session:
        session.execute(
            insert(Company)
            .values(company_id=company_id, name=company_id, context={})
            .on_conflict_do_nothing()
        )


def written(company_id: str, work: Callable[[Session], Found]) -> Found:
    """Run `work` in one transaction of the company, then wake the relay for what it announced."""
    with company_session(company_id) as session:
        found = work(session)
    with connect() as redis:
        wake(redis)
    return found


class Shared:
    """One service for the whole process, initialised by its first caller."""

    def __init__(self, make: Callable[[], Any], start: Callable[[Any], Awaitable[None]]) -> None:
        self._make = make
        self._start = start
        self._service: Any = None

    async def get(self) -> Any:
        if self._service is None:
            service = self._make()
            await self._start(service)
            # Two may have started one each: both are whole, and one of them stays.
            self._service = self._service or service
        return self._service
