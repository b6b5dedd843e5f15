"""A real S3 server that knows its secret, on a folder that a test may look into."""

from __future__ import annotations

import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import requests

from modelkit.s3_client import Bucket
from tests.support.waiting import eventually

ACCESS_KEY, SECRET_KEY = "adapters", "a-secret-of-some-length"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class S3Server:
    """`rclone serve s3` on a folder: a bucket is a folder in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port, self.control_port = free_port(), free_port()
        self._client: Any = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("rclone")), "serve", "s3"]
            + ["--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
            + ["--rc", "--rc-addr", f"127.0.0.1:{self.control_port}", "--rc-no-auth"]
            + ["--config", "/dev/null", str(self.root)],
            stderr=subprocess.DEVNULL,
        )
        for port in (self.port, self.control_port):
            eventually(partial(answers, port), 20, "the S3 server")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def notice(self) -> None:
        """Let the server see what was done to the files behind its back."""
        url = f"http://127.0.0.1:{self.control_port}/vfs/forget"
        requests.post(url, timeout=10).raise_for_status()

    def bucket(self, name: str) -> Bucket:
        bucket = Bucket(name, f"http://127.0.0.1:{self.port}", ACCESS_KEY, SECRET_KEY)
        self.client(bucket).create_bucket(Bucket=name)
        return bucket

    def client(self, bucket: Bucket) -> Any:
        """One for all: making it takes longer than most tests."""
        if self._client is None:
            self._client = bucket.connect()
        return self._client
