"""A thread that stores each new checkpoint of a running training in the blob store."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from cyrex.datasets import blob_store
from cyrex.logs import one_line
from cyrex.training.checkpoints import CheckpointGone, put_checkpoint, record
from cyrex.work.lease import Lease
from database import claims
from database.models import TrainingRun
from helox.checkpoint_files import newest_first

log = structlog.get_logger()

LOOK_SECONDS = 0.25
# After a failure: a full or absent store stays so for a while.
RETRY_SECONDS = 5.0


class CheckpointUploader:
    """Uploads what the trainer writes to `directory`, while its context lasts.

    A failure never ends the training: the next checkpoint is tried again.
    """

    def __init__(self, run: TrainingRun, lease: Lease, directory: Path) -> None:
        self._run = run
        self._lease = lease
        self._directory = directory
        self._uploaded = self._newest()  # the one that was fetched, if any
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
        """After a failure the last checkpoint is uploaded too, for the next attempt."""
        self._stop.set()
        self._thread.join()
        if error is not None and not isinstance(error, claims.Lost):
            self._upload()

    def _go(self) -> None:
        pause = LOOK_SECONDS
        while not self._stop.wait(pause):
            pause = LOOK_SECONDS if self._upload() else RETRY_SECONDS

    def _newest(self) -> tuple[int, Path, int] | None:
        """(step, folder, the folder's inode): of two with one name, which it is."""
        for step, folder in newest_first(self._directory):
            with suppress(FileNotFoundError):
                return step, folder, folder.stat().st_ino
        return None

    def _upload(self) -> bool:
        """Upload the newest if it is new. False: it failed and may succeed later."""
        newest = self._newest()
        if newest is None or newest == self._uploaded:
            return True
        step, folder, _ = newest
        try:
            record(self._run, self._lease, step, put_checkpoint(blob_store(), folder))
            self._uploaded = newest
        except CheckpointGone:
            pass
        except claims.Lost:
            self._stop.set()  # the watch finds the same and ends the child
        except Exception as error:  # the disk, the database, or anything else
            log.warning("checkpoint_not_uploaded", step=step, error=one_line(error))
            return False
        return True
