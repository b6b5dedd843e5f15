"""A Celery application for the supervisor's tests: its worker says when it consumes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready

app = Celery("broker", broker=os.environ["REDIS_URL"])


@worker_ready.connect
def say_so(**_arguments: Any) -> None:
    Path(os.environ["CYREX_READY_FILE"]).touch()
