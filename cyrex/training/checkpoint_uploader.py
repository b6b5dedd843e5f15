"""While a training runs, a thread beside its watch carries each new checkpoint away."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from cyrex.logs import one_line
from cyrex.training.checkpoints import CheckpointGone, put_checkpoint, record
from cyrex.training.service import blob_store
from cyrex.work.lease import Lease
from database import claims
from database.models import TrainingRun
from helox.checkpoint_files import newest_first

log = structlog.get_logger()

LOOK_SECONDS = 0.25
# After a failure: what is full or away stays so for a while.
AGAIN_SECONDS = 5.0


class Carrier:
    """Carries what the trainer publishes in `directory`; as a context manager, to its very end.

    Nothing that it fails at ends the training: the next checkpoint is another chance.
    """

    def __init__(self, run: TrainingRun, lease: Lease, directory: Path) -> None:
        self._run = run
        self._lease = lease
        self._directory = directory
        self._carried = self._newest()  # what was brought, if anything
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go, name="checkpoints", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """A run that did not end well leaves its last checkpoint for whoever goes on."""
        self._stop.set()
        self._thread.join()
        if error is not None and not isinstance(error, claims.Lost):
            self._carry()

    def _go(self) -> None:
        pause = LOOK_SECONDS
        while not self._stop.wait(pause):
            pause = LOOK_SECONDS if self._carry() else AGAIN_SECONDS

    def _newest(self) -> tuple[int, Path, int] | None:
        """(step, folder, the folder's inode): of two with one name, which it is."""
        for step, folder in newest_first(self._directory):
            with suppress(FileNotFoundError):
                return step, folder, folder.stat().st_ino
        return None

    def _carry(self) -> bool:
        """Carry the newest if it is new. False: that failed, and may go well later."""
        newest = self._newest()
        if newest is None or newest == self._carried:
            return True
        step, folder, _ = newest
        try:
            record(self._run, self._lease, step, put_checkpoint(blob_store(), folder))
            self._carried = newest
        except CheckpointGone:
            pass
        except claims.Lost:
            self._stop.set()  # the watch finds the same and ends the child
        except Exception as error:  # the disk, the database, or what nobody thought of
            log.warning("checkpoint_not_carried", step=step, error=one_line(error))
            return False
        return True
