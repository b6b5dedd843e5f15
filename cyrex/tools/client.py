"""The guarded HTTP client: the only way from the product to a company's tool.

* https and public addresses, unless the operator lists the host (`cyrex.tools.addresses`);
* a name is looked up once, and the connection goes to the address that was checked;
* redirects are followed by hand, each checked like the first URL, and what belongs to the tool
  (its headers, its secrets) stays with the tool's own origin;
* time, size and number of redirects are limited; no proxy, cookie or netrc is ever read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from urllib.parse import urljoin

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from cyrex.tools.addresses import AddressRefused, Target, parse_url
from cyrex.tools.body import BodyRefused, ResponseBody, body_of
from cyrex.tools.connection import CallLimits, TimeBudget, connect, deadline, reason_of

MAX_REDIRECTS = 3
CHUNK_BYTES = 64 * 1024
USER_AGENT = "cyrex-tool/1"
REDIRECTS = (301, 302, 303, 307, 308)
# Sent to every origin: they describe the message and are nobody's secret.
COMMON_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json, text/*;q=0.9, */*;q=0.1",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


@dataclass(frozen=True)
class ToolRequest:
    """`headers` are the tool's own, secrets among them; `idempotency_key` goes everywhere.

    `redirected_by` is the status of the answer that led here, if one did.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    idempotency_key: str | None = None
    redirected_by: int | None = None


@dataclass(frozen=True)
class ToolResponse:
    """The tool's answer, whatever its status."""

    status: int
    body: ResponseBody
    seconds: float
    retry_after: float | None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class ToolFailed(Exception):
    """No usable answer. `answered` is the status, if one came; `sent`: the tool may have acted."""

    def __init__(
        self, code: str, message: str, sent: bool = False, answered: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.sent = sent
        self.answered = answered


def call(
    request: ToolRequest,
    limits: CallLimits | None = None,
    before_send: Callable[[], None] = lambda: None,
) -> ToolResponse:
    """Send `request` and read the answer. Raises `ToolFailed`, and what `before_send` raises.

    `before_send` runs once, connected, before the first byte of the first request goes out.
    """
    limits = limits or CallLimits.of_settings()
    budget = TimeBudget(limits.total)
    for _ in range(MAX_REDIRECTS + 1):
        answer = _one(request, limits, budget, before_send)
        if isinstance(answer, ToolResponse):
            return answer
        request = answer
    raise ToolFailed(
        "too_many_redirects",
        f"the tool redirects more than {MAX_REDIRECTS} times",
        sent=True,
        answered=request.redirected_by,
    )


def _one(
    request: ToolRequest, limits: CallLimits, budget: TimeBudget, before_send: Callable[[], None]
) -> ToolResponse | ToolRequest:
    """One exchange: the answer, or the request that it redirects to."""
    came_by = request.redirected_by
    sent = came_by is not None
    try:
        target = parse_url(request.url)
        connection = connect(target, limits, budget)
    except AddressRefused as error:
        what = "the redirect" if sent else "the endpoint"
        raise ToolFailed("address_refused", f"{what} {error}", sent, came_by) from None
    except (OSError, HTTPError) as error:
        message = f"no connection: {reason_of(error)}"
        raise ToolFailed("not_connected", message, sent, came_by) from None
    try:
        if not sent:
            before_send()
        with deadline(connection, budget):
            return _exchange(connection, target, request, limits, budget)
    finally:
        connection.close()


def _exchange(
    connection: HTTPConnection,
    target: Target,
    request: ToolRequest,
    limits: CallLimits,
    budget: TimeBudget,
) -> ToolResponse | ToolRequest:
    status: int | None = None
    try:
        assert connection.sock is not None
        connection.sock.settimeout(budget.at_most(limits.read))
        connection.request(
            request.method,
            target.path,
            body=request.body,
            headers=_headers(target, request),
            preload_content=False,
            decode_content=False,
        )
        response = connection.getresponse()
        status = response.status
        location = response.headers.get("Location")
        if status in REDIRECTS and location is not None:
            return _redirected(request, target, status, location)
        body = _body(response, limits, budget)
    except BodyRefused as error:
        raise ToolFailed(error.code, str(error), sent=True, answered=status) from None
    except (OSError, HTTPError, HTTPException, ValueError) as error:
        late = budget.left <= 0 or isinstance(error, TimeoutError) or "timed out" in str(error)
        if late:
            message = f"no complete answer within {budget.spent:.1f} s"
            raise ToolFailed("timed_out", message, sent=True, answered=status) from None
        message = f"the connection broke: {reason_of(error)}"
        raise ToolFailed("broken_answer", message, sent=True, answered=status) from None
    return ToolResponse(status, body, budget.spent, _retry_after(response))


def _headers(target: Target, request: ToolRequest) -> dict[str, str]:
    headers = {**COMMON_HEADERS, "Host": target.host_header}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    if request.idempotency_key is not None:
        headers["Idempotency-Key"] = request.idempotency_key
    # The tool's own headers replace these; `cyrex.tools.definition` reserves the rest.
    own = {name.lower() for name in request.headers}
    kept = {name: value for name, value in headers.items() if name.lower() not in own}
    return kept | dict(request.headers)


def _body(response: BaseHTTPResponse, limits: CallLimits, budget: TimeBudget) -> ResponseBody:
    raw = _read(response, limits.response_bytes)
    # A body that ends with its connection looks complete when the connection was cut.
    budget.at_most(limits.read)
    return body_of(response.headers, raw, limits.response_bytes)


def _read(response: BaseHTTPResponse, limit: int) -> bytes:
    """The body as sent, at most `limit` bytes. Raises `BodyRefused`."""
    declared = response.headers.get("Content-Length", "")
    if declared.isascii() and declared.isdigit() and len(declared) > len(str(limit)):
        raise BodyRefused.too_large(limit)
    found = bytearray()
    for chunk in response.stream(CHUNK_BYTES, decode_content=False):
        found += chunk
        if len(found) > limit:
            raise BodyRefused.too_large(limit)
    return bytes(found)


def _redirected(request: ToolRequest, target: Target, status: int, location: str) -> ToolRequest:
    """The next request. Like a browser: 303, and 301 or 302 after a POST, ask with GET."""
    url = urljoin(request.url, location.partition("#")[0])
    if status == 303 or (status in (301, 302) and request.method == "POST"):
        request = replace(request, method="GET", body=None)
    try:
        same = parse_url(url).origin == target.origin
    except AddressRefused:
        same = False  # the next exchange refuses it, with its reason
    headers = request.headers if same else {}
    return replace(request, url=url, headers=headers, redirected_by=status)


def _retry_after(response: BaseHTTPResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
