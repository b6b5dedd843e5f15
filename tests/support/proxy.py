"""A TCP proxy, so that a test can make a server unreachable."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Proxy:
    """A TCP proxy in front of a server: `cut` acts like the server going down, until `restore`."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        assert target.hostname and target.port
        self._target = (target.hostname, target.port)
        self._open: set[socket.socket] = set()
        self.bytes_passed = 0
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = url.replace(f":{target.port}", f":{self.port}")

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
                self._open |= {client, server}
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.bytes_passed += len(data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def restore(self) -> None:
        self._listener = self._listen(self.port)
