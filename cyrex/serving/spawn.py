"""One child process and the socket to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from cyrex.engine import EngineConfig
from cyrex.serving.wire import Terms

CODE_FOLDER = Path(__file__).resolve().parents[2]
REAP_SECONDS = 10.0


class Child:
    """A fresh interpreter that runs `cyrex.serving.child`.

    multiprocessing's spawn would run the parent's main module (Celery's, gunicorn's) again in the
    child. If `terms` have no place for a takeover, the kernel kills the child when the thread that
    made it ends.
    """

    def __init__(self, terms: Terms) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "cyrex.serving.child",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(terms.config),
                # A process group of its own: Ctrl-C reaches the parent alone, which drains.
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.connection = Connection(ours.detach())
        try:
            self.connection.send(terms)
        except OSError:
            # It died at once; reading from the connection says so.
            self.kill()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> str:
        """Kill it and wait for its end; returns how it ended, for the log."""
        self._process.kill()
        code = self._process.wait(REAP_SECONDS)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _environment(config: EngineConfig) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(CODE_FOLDER), os.environ.get("PYTHONPATH")]))
    return {
        # OpenMP threads that spin while they wait slow the machine's other processes.
        "GOMP_SPINCOUNT": "0",
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": str(config.threads),
        "TOKENIZERS_PARALLELISM": "false",
    }
