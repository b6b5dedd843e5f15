"""From a committed row to the broker: checked before anything is written, never fatal after."""

from __future__ import annotations

import structlog

from synapse.outbox import wake
from tasks.dispatch import admit, announce_end, broker, broker_ready
from web.errors import DATABASE_ERRORS, broker_unavailable

log = structlog.get_logger()


def require_broker() -> None:
    """Raise a 503 while the broker is down, before anything is written."""
    if not broker_ready():
        raise broker_unavailable()


def hand_over(kind: str, company_id: str) -> None:
    """Give the broker what the company may have there. The rows are committed: what fails here is
    made good by the reconciler, and the client must not be told that nothing was done."""
    try:
        admit(kind, company_id)
    except DATABASE_ERRORS as error:
        log.warning("not_handed_over", kind=kind, error=str(error).splitlines()[0])


def wake_relay() -> None:
    """The outbox has something new: do not wait for the relay's next look."""
    wake(broker())


def job_ended(job_id: str, company_id: str) -> None:
    """A job was cancelled: tell who waits for it, and let the company's next one in."""
    wake_relay()
    announce_end(job_id)
    hand_over("job", company_id)
