"""The ports of a stack: chosen at its first start, remembered, and claimed while it runs."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import zlib
from pathlib import Path

from embedded.layout import write_private

LOOPBACK = "127.0.0.1"
# Ports that people type are fixed; the servers' are spread out, so that several stacks seldom
# meet. All are below the kernel's range for outgoing connections (32768 and up), where a port
# that we remember could be in use by chance at the next start.
PREFERRED = {"web": 8080, "flower": 5555}
SERVERS = {"postgres": range(12000, 16000), "valkey": range(16000, 20000)}
TRIES = 500


class NoFreePort(RuntimeError):
    """Every port tried is in use."""


class Ports:
    """The numbers by name. `reserve` sees to it that one can be used, by this stack alone."""

    def __init__(self, remembered: Path) -> None:
        self._file = remembered
        self._numbers: dict[str, int] = {}
        self._claims: list[socket.socket] = []
        # Absent, or left empty by a machine that lost its power: others will do.
        with contextlib.suppress(FileNotFoundError, ValueError):
            self._numbers = json.loads(remembered.read_text())

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def reserve(self, name: str) -> str | None:
        """Take the remembered port, else the preferred one, else the next that is free.

        Returns a note when the port is not the one that a person would expect.
        Raises `NoFreePort`.
        """
        wanted = self._numbers.get(name) or self._preferred(name)
        for number in range(wanted, wanted + TRIES):
            if self._claim(number) and _is_free(number):
                break
        else:
            raise NoFreePort(f"{name}: no free port from {wanted} to {wanted + TRIES - 1}")
        expected = self._numbers.get(name) or PREFERRED.get(name, number)
        if self._numbers.get(name) != number:
            self._numbers[name] = number
            self.remember()
        return None if number == expected else f"port {wanted} is taken: {name} uses {number}"

    def remember(self) -> None:
        write_private(self._file, json.dumps(self._numbers, indent=2) + "\n")

    def _preferred(self, name: str) -> int:
        if name in PREFERRED:
            return PREFERRED[name]
        numbers = SERVERS[name]
        return numbers[zlib.crc32(str(self._file).encode()) % (len(numbers) - TRIES)]

    def _claim(self, number: int) -> bool:
        """Keep other stacks off a port in the seconds before its server listens.

        An abstract socket name ends with its process and is seen where the port is: in this
        network namespace. Held as long as this object.
        """
        if sys.platform != "linux":
            return True
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0cyrex-port-{number}")
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections that ended a minute ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, number))
            probe.listen(1)
        except OSError:
            return False
    return True
