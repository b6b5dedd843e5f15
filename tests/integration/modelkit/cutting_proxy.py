"""A TCP proxy that breaks connections off after so many bytes, and counts what passes."""

from __future__ import annotations

import contextlib
import re
import socket
import threading

CHUNK_BYTES = 16_384


class CuttingProxy:
    """Listens on `port`; `cut_after`: bytes of one answer until its connection breaks (or None)."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.cut_after: int | None = None
        self.passed = 0
        self.ranges: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                upstream = socket.create_connection(("127.0.0.1", self._upstream_port))
                for task in (self._requests, self._answers):
                    threading.Thread(target=task, args=(client, upstream), daemon=True).start()

    def _requests(self, client: socket.socket, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                self.ranges += [m.decode() for m in re.findall(rb"(?i)\r\nrange: (\S+)", data)]
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)

    def _answers(self, client: socket.socket, upstream: socket.socket) -> None:
        sent = 0
        with contextlib.suppress(OSError), client, upstream:
            while data := upstream.recv(CHUNK_BYTES):
                client.sendall(data)
                sent += len(data)
                self.passed += len(data)
                if self.cut_after is not None and sent >= self.cut_after:
                    client.shutdown(socket.SHUT_RDWR)
                    return
