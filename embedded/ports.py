"""The ports of a stack: chosen at its first start, remembered, held until they are used."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from embedded.layout import write_private

LOOPBACK = "127.0.0.1"
# Below the range that the kernel gives to outgoing connections (32768 and up), so that a port
# which we remember is not in use by chance at the next start.
PREFERRED = {"web": 8080, "flower": 5555, "postgres": 15432, "valkey": 16379}
TRIES = 500


class NoFreePort(RuntimeError):
    """Every port tried is in use."""


class Ports:
    """`reserve` finds a port and listens on it, so that nobody else takes it; `release` lets go."""

    def __init__(self, remembered: Path) -> None:
        self._file = remembered
        self._numbers: dict[str, int] = {}
        self._held: dict[str, socket.socket] = {}
        if remembered.exists():
            self._numbers = json.loads(remembered.read_text())

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def reserve(self, name: str) -> str | None:
        """Take the remembered port, else the preferred one, else the next that is free.

        Returns a note when the port is not the one that a person would expect.
        """
        wanted = self._numbers.get(name, PREFERRED[name])
        for number in range(wanted, wanted + TRIES):
            held = _listen(number)
            if held is None:
                continue
            self._held[name] = held
            if self._numbers.get(name) != number:
                self._numbers[name] = number
                write_private(self._file, json.dumps(self._numbers, indent=2) + "\n")
            return None if number == wanted else f"port {wanted} is taken: {name} uses {number}"
        raise NoFreePort(f"{name}: no free port from {wanted} to {wanted + TRIES - 1}")

    def release(self, name: str) -> None:
        """Let go of the port, right before the process that serves it starts."""
        held = self._held.pop(name, None)
        if held is not None:
            held.close()

    def release_all(self) -> None:
        for name in list(self._held):
            self.release(name)


def _listen(number: int) -> socket.socket | None:
    held = socket.socket()
    # As the servers do: connections that ended a minute ago do not count as taken.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((LOOPBACK, number))
        held.listen(1)
    except OSError:
        held.close()
        return None
    return held
