"""A small client of the HTTP API that outlives restarts of what it talks to.

Every POST carries an `Idempotency-Key`, so a request that is sent again has one effect.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import requests

RETRY_SECONDS = 120.0
PAUSE_SECONDS = 0.3
TIMEOUT_SECONDS = 60.0
RETRIED = (429, 502, 503, 504)
UNFINISHED_TRAINING = ("requested", "queued", "admitted", "running")
UNFINISHED_ADAPTER = ("registered", "announced")


class ApiError(RuntimeError):
    """The API refused. `status` and `body` are its answer."""

    def __init__(self, status: int, body: Any) -> None:
        error = body.get("error", {}) if isinstance(body, dict) else {}
        super().__init__(f"HTTP {status}: {error.get('message', body)}")
        self.status = status
        self.body = body


class Api:
    """Calls one API with one key. Safe to share between threads."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=256))
        self._session.headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, params=query)

    def post(self, path: str, body: Any = None) -> Any:
        return self._send("POST", path, json={} if body is None else body)

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        """The answer's JSON; tries again while the API is away or says so. Raises `ApiError`."""
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        give_up = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                answer = self._session.request(
                    method, self.url + path, headers=headers, timeout=TIMEOUT_SECONDS, **arguments
                )
                if answer.status_code not in RETRIED or time.monotonic() > give_up:
                    break
            except (requests.ConnectionError, requests.Timeout):
                if time.monotonic() > give_up:
                    raise
            time.sleep(PAUSE_SECONDS)
        body = answer.json()
        if not answer.ok:
            raise ApiError(answer.status_code, body)
        return body

    def process(
        self,
        data: Any,
        *,
        company_id: str | None = None,
        use_adapter: bool = True,
        choices: list[str] | None = None,
    ) -> Any:
        """A job's final view: asked for once, then looked at until it has ended."""
        body = {"data": data, "use_adapter": use_adapter, "wait": 30}
        if choices is not None:
            body["choices"] = choices
        if company_id is not None:
            body["company_id"] = company_id
        job = self.post("/company-automation/process", body)
        while job["status"] not in ("completed", "failed", "cancelled"):
            time.sleep(PAUSE_SECONDS)
            job = self.get(job["location"])
        return job
