"""The Celery application. Importing this package loads no task and no model library.

Workers load the task modules (`celeryconfig.imports`); the API only names them
(`tasks.broker.dispatch`).
"""

from __future__ import annotations

import time
from typing import Any

from celery import Celery
from celery.signals import before_task_publish

app = Celery("cyrex")
app.config_from_object("celeryconfig")

# A message's header: when it was sent, in seconds since 1970.
SENT_AT = "cyrex_sent_at"


@before_task_publish.connect
def _date(headers: dict[str, Any] | None = None, **_kwargs: Any) -> None:
    if headers is not None:
        headers[SENT_AT] = time.time()


__all__ = ["SENT_AT", "app"]
