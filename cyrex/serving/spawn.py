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

    It is not multiprocessing's spawn, which would run the parent's main module again (Celery's,
    gunicorn's) in the child. Without a place where it may be taken over, it is killed by the
    kernel when the thread that made it ends.
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
                # A group of its own: a terminal's Ctrl-C reaches the parent, which then drains.
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.connection = Connection(ours.detach())
        try:
            self.connection.send(terms)
        except OSError:
            # It died at once; whoever reads from the connection learns that.
            self.kill()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> str:
        """Make sure that it is gone; returns how it ended, for people."""
        self._process.kill()
        code = self._process.wait(REAP_SECONDS)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _environment(config: EngineConfig) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(CODE_FOLDER), os.environ.get("PYTHONPATH")]))
    return {
        # Threads that spin while they wait cost the other processes of the machine dearly.
        "GOMP_SPINCOUNT": "0",
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": str(config.threads),
        "TOKENIZERS_PARALLELISM": "false",
    }
