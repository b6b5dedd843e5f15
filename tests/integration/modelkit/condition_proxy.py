"""An HTTP proxy that adds to an S3 server what it lacks: `If-None-Match: *` on PUT."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REFUSAL = b"<Error><Code>PreconditionFailed</Code><Message>it exists</Message></Error>"
# Of one connection, or (the handler has answered it) not for the server behind.
NOT_PASSED_ON = {"connection", "expect", "transfer-encoding", "content-length"}


class ConditionProxy:
    """Listens on `port`. `refused`: how many creations found that something stands there."""

    def __init__(self, upstream_port: int) -> None:
        self.refused = 0
        self._created: set[str] = set()
        self._creating = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("If-None-Match") != "*":
                    self._pass_on(body)
                    return
                with outer._creating:
                    if self.path in outer._created:
                        outer.refused += 1
                        self._answer(412, {"Content-Type": "application/xml"}, REFUSAL)
                    elif self._pass_on(body) == 200:
                        outer._created.add(self.path)

            def do_GET(self) -> None:
                self._pass_on(b"")

            do_DELETE = do_HEAD = do_GET

            def do_POST(self) -> None:
                self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def _pass_on(self, body: bytes) -> int:
                connection = http.client.HTTPConnection("127.0.0.1", upstream_port, timeout=30)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in NOT_PASSED_ON}
                headers["Content-Length"] = str(len(body))
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read())
                connection.close()
                return answer.status

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in NOT_PASSED_ON:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silence: the tests say what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
