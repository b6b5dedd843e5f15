"""A company's own HTTP server, for the demo: it knows the orders, the model does not."""

from __future__ import annotations

import hmac
import json
import random
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOOPBACK = "127.0.0.1"
# Below the kernel's range for outgoing connections, so that it is free after a restart too.
PORTS = range(20000, 20500)

NAME = "get_order"
DESCRIPTION = "get the order"
PARAMETERS = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}},
    "required": ["order_id"],
}

CARRIERS = ("DHL", "UPS", "GLS", "DPD", "FedEx")
MONTHS = ("January", "March", "April", "June", "August", "October", "November")
QUESTIONS = (
    "Where is order {}?", "Where is my order {}?", "Has order {} been sent?", "Order {}, please.",
    "What about order {}?", "When does order {} arrive?", "I am waiting for order {}.",
    "Any news of order {}?", "Please look up order {}.", "Tell me about my order {}.",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """One order; all of it is text."""

    order_id: str
    carrier: str
    tracking: str
    arrives: str

    @property
    def answer(self) -> str:
        """The answer that the company wants its customers to get."""
        return f"{self.carrier} parcel {self.tracking} arrives on {self.arrives}."


def orders(drawn: random.Random, count: int) -> list[Order]:
    """Made-up orders with distinct numbers."""
    return [
        Order(
            order_id=str(number),
            carrier=drawn.choice(CARRIERS),
            tracking=f"{drawn.choice('ABCDEFGHKLMNPRSTUVWXYZ')}{drawn.randrange(1000, 10_000)}",
            arrives=f"{drawn.randint(1, 28)} {drawn.choice(MONTHS)}",
        )
        for number in drawn.sample(range(10_000, 100_000), count)
    ]


def question(drawn: random.Random, order: Order) -> str:
    return drawn.choice(QUESTIONS).format(order.order_id)


class Shop:
    """Answers POST {"order_id": …} with the order, to those who show the token.

    `port`: None takes the first free one. `asked` are the orders that it was asked for, in order.
    Usable as a context manager. Raises `OSError` when the port is taken.
    """

    def __init__(self, known: Sequence[Order], token: str, port: int | None = None) -> None:
        self.known = {order.order_id: order for order in known}
        self.token = token
        self.asked: list[str] = []
        self._server = _bind(self._handler(), PORTS if port is None else (port,))
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/orders"

    @property
    def definition(self) -> dict[str, Any]:
        """The tool, as `register-tools` takes it."""
        return {
            "name": NAME,
            "description": DESCRIPTION,
            "parameters": PARAMETERS,
            "endpoint": self.url,
            "method": "POST",
            "auth": {"type": "bearer", "token": self.token},
            "rate_limit": {"requests": 100, "window": 60},
        }

    def answer(self, authorization: str, body: bytes) -> tuple[int, Any]:
        """HTTP status and JSON."""
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self.token}".encode()):
            return 401, {"error": "wrong token"}
        try:
            order = self.known[json.loads(body)["order_id"]]
        except (ValueError, TypeError, KeyError):
            return 404, {"error": "no such order"}
        self.asked.append(order.order_id)
        return 200, asdict(order)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, found = shop.answer(self.headers.get("Authorization", ""), body)
                data = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_arguments: Any) -> None:
                """The demo says what was asked."""

        return Handler

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Shop:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _bind(handler: type[BaseHTTPRequestHandler], ports: Sequence[int]) -> ThreadingHTTPServer:
    for port in ports[:-1]:
        try:
            return ThreadingHTTPServer((LOOPBACK, port), handler)
        except OSError:
            continue
    return ThreadingHTTPServer((LOOPBACK, ports[-1]), handler)
