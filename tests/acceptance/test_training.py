"""A training that is cancelled, and one that waits for a registry which is away."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from demo.client import UNFINISHED_TRAINING, Api
from demo.main_job import messages
from embedded import Stack

WAIT_SECONDS = 90.0


def request(api: Api, examples: int, **config: Any) -> str:
    data = [{"input": m.text, "output": m.label("acme")} for m in messages(examples)]
    body = {"training_data": data, "config": config, "use_qlora": False}
    answer = api.post("/company-automation/train-adapter", body)
    return str(answer["links"]["self"])


def until(api: Api, path: str, condition: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        run = api.get(path)
        if condition(run):
            return run
        time.sleep(0.2)
    raise AssertionError(f"it did not come to that: {run}")


def test_cancel_stops_a_running_training(new_company: Callable[[str], Api]) -> None:
    api = new_company(f"cancel-{uuid.uuid4().hex[:6]}")
    running = request(api, 200, num_epochs=100)
    waiting = request(api, 20, num_epochs=1)
    until(api, running, lambda run: run["progress"].get("step"))
    assert api.get(waiting)["position"] == 1
    assert api.post(f"{waiting}/cancel")["status"] == "cancelled"
    asked = time.monotonic()
    api.post(f"{running}/cancel")
    ended = until(api, running, lambda run: run["status"] not in UNFINISHED_TRAINING)
    assert ended["status"] == "cancelled"
    assert time.monotonic() - asked < 15
    assert api.get("/company-automation/adapters")["adapters"] == []


def test_training_waits_for_the_registry(stack: Stack, new_company: Callable[[str], Api]) -> None:
    api = new_company(f"registry-{uuid.uuid4().hex[:6]}")
    models = stack.layout.root / "registry" / "models"
    models.mkdir(parents=True, exist_ok=True)
    aside = models.with_name("aside")
    models.rename(aside)
    try:
        models.write_text("in the registry's place")
        path = request(api, 40, num_epochs=1)
        waiting = until(api, path, lambda run: run["step"] == "register" and run["attempt"] > 1)
        assert waiting["status"] == "running"
    finally:
        models.unlink()
        aside.rename(models)
    ended = until(api, path, lambda run: run["status"] not in UNFINISHED_TRAINING)
    assert ended["status"] == "succeeded"
