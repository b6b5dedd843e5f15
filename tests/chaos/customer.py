"""Who asks: over HTTP, and as an outside program on the streams; asks again until it is heard."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import redis
import requests

from tests.chaos.ledger import Asked, Ledger
from tests.chaos.plan import COMPANIES, IDEMPOTENT, ONCE, Item
from tests.chaos.tools import ToolServer

CHOICES = ["yes", "no"]
COPIES = 3
PATIENCE_SECONDS = 240.0
PAUSE_SECONDS = 0.25
TIMEOUT_SECONDS = 30.0
SILENCE_SECONDS = 240.0
RETRIED = (429, 500, 502, 503, 504)
ORDERS = 10_000
TRAINING = {"num_epochs": 4, "lora_rank": 4, "lora_alpha": 8, "batch_size": 4, "max_length": 64}
EXAMPLES = 24
JOBS, TRAININGS = "company_automation_jobs", "lora_training_requests"
ADAPTERS = "lora_adapter_requests"
ORDER_TOOL = {
    "name": "get_order",
    "description": "get the order",
    "method": "POST",
    "parameters": {
        "type": "object",
        "properties": {"order_id": {"type": "string", "maxLength": 12}},
        "required": ["order_id"],
    },
}


class NotHeard(RuntimeError):
    """The stack did not take a request for as long as a customer may be expected to try."""


class Customer:
    """Asks for items; what the stack has taken is in the ledger. Safe to share between threads."""

    def __init__(self, api: str, key: str, redis_url: str, ledger: Ledger, seed: int) -> None:
        self._api = api
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))
        self._session.headers["Authorization"] = f"Bearer {key}"
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=3, socket_connect_timeout=3)
        self._ledger = ledger
        self._seed = seed

    def settle_in(self, tools: ToolServer) -> None:
        """Create the companies and their tools."""
        for company in COMPANIES:
            self._post("/companies", {"company_id": company}, f"company {company}")
        for company in (ONCE, IDEMPOTENT):
            tool = {**ORDER_TOOL, "endpoint": tools.url(company), "idempotent": company != ONCE}
            body = {"company_id": company, "tools": [tool]}
            self._post("/company-automation/register-tools", body, f"tools {company}")

    def ask(self, item: Item) -> None:
        """Ask for one item until the stack has taken it. Raises `NotHeard`."""
        drawn = random.Random(f"{self._seed} {item.number}")
        {
            "job": self._job,
            "job_twice": self._job_twice,
            "conversation": self._conversation,
            "event": self._event,
            "tool_once": self._tool,
            "tool_idempotent": self._tool,
            "cancelled": self._cancelled,
            "adapter_request": self._adapter_request,
            "poison": self._poison,
            "training": self._training,
            "training_event": self._training_event,
            "training_cancelled": self._training_cancelled,
        }[item.kind](item, drawn)

    def _note(self, item: Item, reference: str, copies: int = 1, answer: str = "") -> None:
        self._ledger.write(
            Asked(item.kind, item.company, item.marker, reference, time.time(), copies, answer)
        )

    def _body(self, item: Item, text: str) -> dict[str, Any]:
        return {
            "company_id": item.company,
            "data": {"input": text},
            "choices": CHOICES,
            "wait": 0,
            "metadata": {"marker": item.marker},
        }

    def _job(self, item: Item, drawn: random.Random) -> None:
        body = self._body(item, f"Is {drawn.randrange(1000)} a number?")
        answer = self._post("/company-automation/process", body, item.marker)
        self._note(item, answer["job_id"])

    def _job_twice(self, item: Item, drawn: random.Random) -> None:
        """The same request again, as after an answer that was lost on its way."""
        self._job(item, random.Random(item.number))
        time.sleep(drawn.uniform(0, 1))
        self._job(item, random.Random(item.number))

    def _conversation(self, item: Item, drawn: random.Random) -> None:
        """Asked again after every error, of which each is a conversation of its own. Silence, as
        long as nothing that lives would be silent, is what must not be."""
        body = {
            "company_id": item.company,
            "model": "base",
            "max_tokens": 3,
            "messages": [{"role": "user", "content": f"Is {drawn.randrange(1000)} a number?"}],
        }
        try:
            answer = self._post("/v1/chat/completions", body, None, seconds=SILENCE_SECONDS)
        except requests.Timeout:
            self._note(item, item.marker, answer="silence")
        else:
            self._note(item, answer["id"])

    def _tool(self, item: Item, _drawn: random.Random) -> None:
        body = self._body(item, f"Get the order {ORDERS + item.number}")
        answer = self._post("/company-automation/process", body, item.marker)
        self._note(item, answer["job_id"])

    def _cancelled(self, item: Item, drawn: random.Random) -> None:
        body = self._body(item, "Is this wanted?")
        job_id = self._post("/company-automation/process", body, item.marker)["job_id"]
        time.sleep(drawn.choice((0, 0, 0.2, 1.0)))
        path = f"/company-automation/jobs/{job_id}/cancel"
        said = self._post(path, {}, f"{item.marker} cancel", refused=(409,))
        self._note(item, job_id, answer=said.get("status", "refused"))

    def _training_body(self, item: Item, drawn: random.Random) -> dict[str, Any]:
        numbers = drawn.sample(range(1000), EXAMPLES)
        lines = [{"input": f"Is {n} even?", "output": CHOICES[n % 2]} for n in numbers]
        return {"training_data": lines, "config": TRAINING}

    def _training(self, item: Item, drawn: random.Random) -> None:
        body = {**self._training_body(item, drawn), "company_id": item.company, "use_qlora": False}
        answer = self._post("/company-automation/train-adapter", body, item.marker)
        self._note(item, answer["request_id"])

    def _training_cancelled(self, item: Item, drawn: random.Random) -> None:
        body = {**self._training_body(item, drawn), "company_id": item.company, "use_qlora": False}
        request_id = self._post("/company-automation/train-adapter", body, item.marker)[
            "request_id"
        ]
        time.sleep(drawn.uniform(0, 8))
        path = f"/company-automation/training/{request_id}/cancel"
        said = self._post(path, {}, f"{item.marker} cancel", refused=(409,))
        self._note(item, request_id, answer=said.get("status", "refused"))

    def _training_event(self, item: Item, drawn: random.Random) -> None:
        body = self._training_body(item, drawn)
        fields = {
            "request_id": item.marker,
            "company_id": item.company,
            "training_data": json.dumps(body["training_data"]),
            "config": json.dumps(body["config"]),
            "use_qlora": "false",
        }
        self._add(item, TRAININGS, fields, drawn)

    def _event(self, item: Item, drawn: random.Random) -> None:
        body = self._body(item, f"Is {drawn.randrange(1000)} a number?")
        data = {name: body[name] for name in ("data", "choices", "metadata")}
        self._add(item, JOBS, _envelope(item, "job.requested", data), drawn)

    def _adapter_request(self, item: Item, drawn: random.Random) -> None:
        data = {"request_id": item.marker}
        self._add(item, ADAPTERS, _envelope(item, "adapter.requested", data), drawn)

    def _poison(self, item: Item, drawn: random.Random) -> None:
        """What can have no effect, for one of three reasons."""
        body = self._body(item, "Does this company exist?")
        unknown = _envelope(item, "job.requested", {"data": body["data"]})
        match item.number % 3:
            case 0:
                self._add(item, JOBS, {**unknown, "company_id": "nobody"}, drawn)
            case 1:
                lines = json.dumps([{"input": "no output"}])
                fields = {"company_id": item.company, "training_data": lines}
                self._add(item, TRAININGS, {"request_id": item.marker, **fields}, drawn)
            case _:
                self._add(item, JOBS, {**unknown, "version": "77"}, drawn, copies=1)

    def _add(
        self,
        item: Item,
        stream: str,
        fields: dict[str, str],
        drawn: random.Random,
        copies: int = COPIES,
    ) -> None:
        """Each event comes `copies` times, a moment apart; more often where Redis did not say."""
        sent = 0
        for copy in range(copies):
            if copy:
                time.sleep(drawn.uniform(0, 0.3))
            sent += self._until_heard(item.marker, lambda: self._xadd(stream, fields))
        self._note(item, item.marker, copies=sent)

    def _xadd(self, stream: str, fields: dict[str, str]) -> Any:
        try:
            return self._redis.xadd(stream, fields)  # type: ignore[arg-type]
        except redis.RedisError:
            return None

    def _until_heard(self, marker: str, attempt: Callable[[], Any]) -> int:
        give_up = time.monotonic() + PATIENCE_SECONDS
        tries = 1
        while attempt() is None:
            if time.monotonic() > give_up:
                raise NotHeard(marker)
            time.sleep(PAUSE_SECONDS)
            tries += 1
        return tries

    def _post(
        self,
        path: str,
        body: Any,
        key: str | None,
        refused: tuple[int, ...] = (),
        seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        """The answer's JSON, asked for (under one Idempotency-Key) until there is one.

        Without a key a request that times out is not sent again: raises `requests.Timeout`.
        """
        answer: Any = None

        def attempt() -> Any:
            nonlocal answer
            headers = {} if key is None else {"Idempotency-Key": key}
            url = self._api + path
            try:
                response = self._session.post(url, json=body, headers=headers, timeout=seconds)
            except requests.ReadTimeout:
                if key is None:
                    raise
                return None
            except requests.RequestException:
                # Whatever breaks off, also in the middle of an answer.
                return None
            if response.status_code in RETRIED:
                return None
            answer = response.json()
            if not response.ok and response.status_code not in refused:
                raise NotHeard(f"{path} {key}: {response.status_code} {answer}")
            return answer

        self._until_heard(f"{path} {key}", attempt)
        return answer


def _envelope(item: Item, kind: str, data: dict[str, Any]) -> dict[str, str]:
    return {
        "event_id": item.marker,
        "type": kind,
        "company_id": item.company,
        "data": json.dumps(data),
    }
