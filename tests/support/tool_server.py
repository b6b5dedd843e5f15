"""A small real HTTP server that plays a company's tool, well and badly behaved."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.environment import forget_settings

CHUNK = b"x" * 65536
Behaviour = Callable[["Handler"], None]


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    tool: ToolServer
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(raw)), **named}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def trickle(self, text: bytes, seconds: float) -> None:
        """A byte now and then, until the other side goes away."""
        with suppress(OSError):
            while True:
                self.wfile.write(text)
                self.wfile.flush()
                time.sleep(seconds)

    def _serve(self) -> None:
        url = urlsplit(self.path)
        size = int(self.headers.get("Content-Length", 0))
        seen = Seen(
            self.command,
            url.path,
            parse_qs(url.query),
            dict(self.headers),
            self.rfile.read(size),
            time.monotonic(),
        )
        self.tool.seen.append(seen)
        self.close_connection = True
        with suppress(OSError):
            self.tool.routes.get(url.path, self.tool.default)(self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def echo(handler: Handler) -> None:
    seen = handler.tool.seen[-1]
    handler.answer(200, {"method": seen.method, "path": seen.path, "headers": seen.headers})


@dataclass
class ToolServer:
    """`routes` says what each path does; any other path repeats what it was sent."""

    address: str = "127.0.0.1"
    context: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    sent: int = 0
    routes: dict[str, Behaviour] = field(default_factory=dict)
    default: Behaviour = echo

    def __post_init__(self) -> None:
        handler = type("OwnHandler", (Handler,), {"tool": self})
        self._server = ThreadingHTTPServer((self.address, 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if self.context is not None:
            self._server.socket = self.context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}{path}"

    def route(self, path: str, behaviour: Behaviour) -> str:
        self.routes[path] = behaviour
        return self.url(path)

    def answers(self, path: str, status: int, body: Any = b"", **headers: str) -> str:
        return self.route(path, lambda handler: handler.answer(status, body, **headers))

    def endless(self, path: str, declared: int | None = None) -> str:
        """A body that does not end before the other side has had enough; counts what was sent."""

        def pour(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "text/plain")
            if declared is not None:
                handler.send_header("Content-Length", str(declared))
            handler.end_headers()
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            while self.sent < 1 << 30:
                handler.wfile.write(CHUNK)
                self.sent += len(CHUNK)

        return self.route(path, pour)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def bomb(size: int) -> bytes:
    """`size` zeros, as gzip."""
    return gzip.compress(b"\0" * size, compresslevel=6)


@contextmanager
def tool_server(**options: Any) -> Iterator[ToolServer]:
    server = ToolServer(**options)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables for the product's settings, for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        forget_settings()
        yield
    forget_settings()


Resolver = Callable[..., list[Any]]


@contextmanager
def names(**answers: str | list[str]) -> Iterator[list[str]]:
    """A name server: `tool_test="127.0.0.2"` is the host tool.test. A list is one answer a
    look-up, the last one for ever. Yields the look-ups that were made."""
    real: Resolver = socket.getaddrinfo
    asked: list[str] = []
    known = {name.replace("_", "."): answer for name, answer in answers.items()}

    def resolve(host: Any, port: Any, *rest: Any, **named: Any) -> list[Any]:
        if host not in known:
            return real(host, port, *rest, **named)
        answer = known[host]
        if isinstance(answer, list):
            answer = answer[min(asked.count(host), len(answer) - 1)]
        asked.append(host)
        return real(answer, port, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield asked
