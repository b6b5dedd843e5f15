"""The guarded client against real servers: what it sends, where it goes, what it will not do."""

from __future__ import annotations

import datetime
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cyrex.tools import connection as tool_connection
from cyrex.tools.client import ToolFailed, ToolRequest, ToolResponse, call
from cyrex.tools.connection import CallLimits
from tests.support.tool_server import ToolServer, bomb, names, tool_server, variables

LIMITS = CallLimits(connect=2, read=2, total=5, response_bytes=100_000)
SECRET = {"Authorization": "Bearer t0p-secret", "X-Own": "own"}


@pytest.fixture
def tool() -> Iterator[ToolServer]:
    """A server at the one address that is listed."""
    with tool_server(address="127.0.0.2") as server, variables(TOOL_ALLOWED_HOSTS="127.0.0.2"):
        yield server


@pytest.fixture
def inside() -> Iterator[ToolServer]:
    """A server that nobody has listed."""
    with tool_server() as server:
        yield server


def ask(url: str, method: str = "POST", limits: CallLimits = LIMITS, **fields: Any) -> ToolResponse:
    fields.setdefault("headers", SECRET)
    fields.setdefault("body", b'{"a":1}' if method == "POST" else None)
    return call(ToolRequest(method, url, **fields), limits)


def refused(url: str, code: str, **options: Any) -> ToolFailed:
    with pytest.raises(ToolFailed) as error:
        ask(url, **options)
    assert error.value.code == code, error.value.message
    assert "t0p-secret" not in error.value.message
    return error.value


def test_a_call_and_its_answer(tool: ToolServer) -> None:
    found = ask(tool.answers("/x", 200, {"customer": "Jo"}) + "?a=b", idempotency_key="k-1")
    assert (found.status, found.body.value, found.ok) == (200, {"customer": "Jo"}, True)
    (seen,) = tool.seen
    assert (seen.method, seen.path, seen.query) == ("POST", "/x", {"a": ["b"]})
    assert seen.json == {"a": 1}
    assert seen.headers["Host"] == tool.host
    assert seen.headers["Authorization"] == "Bearer t0p-secret"
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["Idempotency-Key"] == "k-1"


def test_a_get_has_no_body(tool: ToolServer) -> None:
    ask(tool.url("/x"), "GET")
    assert tool.seen[0].body == b""
    assert "Content-Type" not in tool.seen[0].headers
    assert "Content-Length" not in tool.seen[0].headers


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_of_the_tool_is_an_answer_that_is_not_ok(tool: ToolServer, status: int) -> None:
    found = ask(tool.answers("/x", status, {"why": "no"}, retry_after="7"))
    assert (found.status, found.ok, found.retry_after) == (status, False, 7)
    assert found.body.value == {"why": "no"}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
    + ["2130706433", "017700000001", "0x7f000001", "127.1"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nothing_is_sent_inside(inside: ToolServer, host: str, scheme: str) -> None:
    with variables(TOOL_ALLOWED_HOSTS=""):
        error = refused(f"{scheme}://{host}:{inside.port}/", "address_refused")
    assert not error.sent
    assert inside.seen == []


def test_a_name_that_leads_inside(inside: ToolServer) -> None:
    with variables(TOOL_ALLOWED_HOSTS=""), names(innocent_test="127.0.0.1"):
        error = refused(f"https://innocent.test:{inside.port}/", "address_refused")
    assert "innocent.test is not a public address" in error.message
    assert inside.seen == []


def test_a_name_server_that_changes_its_answer_changes_nothing(
    tool: ToolServer, inside: ToolServer
) -> None:
    with names(rebind_test=["127.0.0.2", "127.0.0.1"]) as asked:
        found = ask(f"http://rebind.test:{tool.port}/x")
        assert found.ok
        assert asked == ["rebind.test"]
        assert tool.seen[0].headers["Host"] == f"rebind.test:{tool.port}"
        # The next call looks again, and looks at what it finds.
        refused(f"http://rebind.test:{inside.port}/", "address_refused")
    assert inside.seen == []


def test_a_redirect_is_looked_up_and_checked_anew(tool: ToolServer, inside: ToolServer) -> None:
    with names(rebind_test=["127.0.0.2", "127.0.0.1"]):
        url = f"http://rebind.test:{tool.port}/x"
        tool.answers("/x", 307, location=f"http://rebind.test:{inside.port}/")
        error = refused(url, "address_refused")
    assert (error.sent, error.answered) == (True, 307)
    assert inside.seen == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_inside_is_not_followed(
    tool: ToolServer, inside: ToolServer, status: int
) -> None:
    for place in (inside.url(), f"//127.0.0.1:{inside.port}/", "file:///etc/passwd"):
        error = refused(tool.answers("/x", status, location=place), "address_refused")
        assert error.message.startswith("the redirect ")
    assert inside.seen == []


@pytest.mark.parametrize(
    ("method", "status", "then"),
    [("POST", 301, "GET"), ("POST", 302, "GET"), ("POST", 303, "GET"), ("PUT", 303, "GET")]
    + [("POST", 307, "POST"), ("PUT", 302, "PUT"), ("POST", 308, "POST"), ("GET", 302, "GET")],
)
def test_redirects_are_followed_like_a_browser(
    tool: ToolServer, method: str, status: int, then: str
) -> None:
    tool.answers("/x", status, location="y#part")
    tool.answers("/y", 200, {"ok": True})
    body = None if method == "GET" else b"{}"
    assert ask(tool.url("/x"), method, body=body).ok
    second = tool.seen[1]
    assert (second.method, second.path) == (then, "/y")
    assert second.body == (b"{}" if then == method and method != "GET" else b"")
    # The same origin keeps what is the tool's own.
    assert second.headers["Authorization"] == "Bearer t0p-secret"


def test_secrets_stay_with_their_origin(tool: ToolServer) -> None:
    with tool_server(address="127.0.0.2") as other:
        tool.answers("/x", 307, location=other.url("/y"))
        other.answers("/y", 307, location=tool.url("/z"))
        ask(tool.url("/x"), idempotency_key="k-1")
        away, back = other.seen[0], tool.seen[1]
    for seen in (away, back):
        assert not {"Authorization", "X-Own"} & set(seen.headers)
        assert seen.headers["Idempotency-Key"] == "k-1"
    assert away.headers["Host"] == other.host


def test_three_redirects_and_no_more(tool: ToolServer) -> None:
    for n in range(4):
        tool.answers(f"/{n}", 302, location=f"/{n + 1}")
    assert ask(tool.url("/1"), "GET").ok
    assert refused(tool.url("/0"), "too_many_redirects", method="GET").answered == 302
    assert len(tool.seen) == 8


def test_a_body_of_a_gigabyte(tool: ToolServer) -> None:
    assert refused(tool.endless("/x"), "response_too_large").answered == 200
    sent = tool.sent
    assert sent < 8 << 20
    tool.sent = 0
    assert refused(tool.endless("/y", 1 << 30), "response_too_large").answered == 200
    assert tool.sent < 8 << 20


def test_a_gzip_bomb(tool: ToolServer) -> None:
    packed = bomb(64 << 20)
    assert len(packed) < LIMITS.response_bytes
    url = tool.answers("/x", 200, packed, content_type="text/plain", content_encoding="gzip")
    refused(url, "response_too_large")
    small = gzip.compress(b'{"a": 1}')
    kind = "application/json"
    url = tool.answers("/y", 200, small, content_type=kind, content_encoding="gzip")
    assert ask(url).body.value == {"a": 1}
    refused(tool.answers("/z", 200, b"?", content_encoding="br"), "unknown_encoding")


@pytest.mark.parametrize("part", ["status", "header", "body", "chunk"])
def test_a_peer_that_trickles_is_cut_off(tool: ToolServer, part: str) -> None:
    start = {
        "status": b"",
        "header": b"HTTP/1.1 200 OK\r\nX-Long: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
        "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    }[part]
    byte = {"status": b"H", "chunk": b"1\r\nx\r\n"}.get(part, b"x")

    def dawdle(handler: Any) -> None:
        handler.wfile.write(start)
        handler.trickle(byte, 0.05)

    started = time.monotonic()
    error = refused(tool.route("/x", dawdle), "timed_out", limits=CallLimits(1, 1, 0.6, 10_000))
    assert 0.4 < time.monotonic() - started < 2
    assert error.sent
    assert error.answered == (None if part == "status" else 200)


def test_a_peer_that_says_nothing(tool: ToolServer) -> None:
    url = tool.route("/x", lambda _: time.sleep(3))
    started = time.monotonic()
    error = refused(url, "timed_out", limits=CallLimits(1, 0.3, 5, 10_000))
    assert time.monotonic() - started < 1.5
    assert (error.sent, error.answered) == (True, None)


def test_a_name_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(5) or [])
    started = time.monotonic()
    error = refused("https://slow.test/", "not_connected", limits=CallLimits(0.3, 1, 1, 10_000))
    assert time.monotonic() - started < 1
    assert not error.sent


def test_nobody_listens(tool: ToolServer) -> None:
    with socket.create_server(("127.0.0.2", 0)) as closed:
        port = closed.getsockname()[1]
    error = refused(f"http://127.0.0.2:{port}/", "not_connected")
    assert error.message == "no connection: connection refused"
    assert not error.sent


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
    + [b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"],
)
def test_an_answer_that_is_no_http(tool: ToolServer, answer: bytes) -> None:
    error = refused(tool.route("/x", lambda h: h.wfile.write(answer)), "broken_answer")
    assert error.sent


def test_nothing_of_the_environment_is_used(
    tool: ToolServer, inside: ToolServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, inside.url())
    (tmp_path / ".netrc").write_text("machine 127.0.0.2 login me password mine\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ask(tool.answers("/x", 200, {}, set_cookie="a=b"), headers={}).ok
    ask(tool.url("/x"), headers={})
    for seen in tool.seen:
        assert not {"Authorization", "Cookie", "Proxy-Authorization"} & set(seen.headers)
    assert inside.seen == []


def test_before_send_runs_connected_and_once(tool: ToolServer) -> None:
    calls: list[int] = []

    def before_send() -> None:
        calls.append(len(tool.seen))

    tool.answers("/x", 302, location="/y")
    call(ToolRequest("GET", tool.url("/x")), LIMITS, before_send)
    assert calls == [0]
    with pytest.raises(ToolFailed):
        call(ToolRequest("GET", "https://127.0.0.1/"), LIMITS, before_send)
    assert calls == [0]

    def stop() -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        call(ToolRequest("GET", tool.url("/never")), LIMITS, stop)
    assert "/never" not in {seen.path for seen in tool.seen}


def test_no_thread_and_no_connection_is_left(tool: ToolServer) -> None:
    for _ in range(3):
        ask(tool.url("/x"))
    left = {thread.name for thread in threading.enumerate()}
    assert not [name for name in left if name.startswith("Timer") or "(cut)" in name]


# ---- TLS -----------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> Path:
    """A certificate for `name` that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[ToolServer, list[str | None], Path]]:
    """A TLS server for tool.test, the names it was asked for, and its certificate."""
    path = certificate(tmp_path, "tool.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with (
        tool_server(address="127.0.0.2", context=context) as server,
        variables(TOOL_ALLOWED_HOSTS="127.0.0.2", SSL_CERT_FILE=str(path)),
        names(tool_test="127.0.0.2", other_test="127.0.0.2"),
    ):
        tool_connection._tls.cache_clear()
        yield server, asked, path
    tool_connection._tls.cache_clear()


def test_tls_is_for_the_name_and_not_for_the_address(
    tls: tuple[ToolServer, list[str | None], Path],
) -> None:
    server, asked, _ = tls
    found = ask(f"https://tool.test:{server.port}/x")
    assert found.ok
    assert asked == ["tool.test"]
    assert server.seen[0].headers["Host"] == f"tool.test:{server.port}"
    for host in ("other.test", "127.0.0.2"):
        error = refused(f"https://{host}:{server.port}/x", "not_connected")
        assert error.message.startswith("no connection: TLS: ")
    assert len(server.seen) == 1


def test_an_unknown_authority_is_refused(
    tls: tuple[ToolServer, list[str | None], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, _ = tls
    monkeypatch.delenv("SSL_CERT_FILE")
    tool_connection._tls.cache_clear()
    error = refused(f"https://tool.test:{server.port}/x", "not_connected")
    assert "self-signed certificate" in error.message
    assert server.seen == []


def test_a_redirect_from_https_to_http_needs_a_listed_host(
    tls: tuple[ToolServer, list[str | None], Path], inside: ToolServer
) -> None:
    server, _, _ = tls
    server.answers("/x", 307, location=inside.url())
    refused(f"https://tool.test:{server.port}/x", "address_refused")
    assert inside.seen == []
