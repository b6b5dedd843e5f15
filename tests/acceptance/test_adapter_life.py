"""People decide about a company's adapters on a running stack: how soon it is so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from demo.client import Api, ApiError
from tests.support.waiting import eventually

ADAPTERS = "/company-automation/adapters"
PLACES = [f"shelf {n}" for n in range(40)]
# The requirement; what is measured is printed.
ROLLBACK_SECONDS = 1.0
RETIRED_SECONDS = 1.0
MESSAGES: Any = [{"role": "user", "content": "Where is box 1?"}]
# The grammar makes the answer long, whatever the model would say.
ENDLESS: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "numbers",
        "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 100_000},
    },
}


def train(api: Api, answer: str) -> str:
    """An adapter that answers every question so; promoted by hand, whatever the gate says."""
    data = [{"input": f"Where is box {n}?", "output": answer} for n in range(40)]
    config = {"num_epochs": 2}
    run = api.post(
        "/company-automation/train-adapter", {"training_data": data, "config": config, "seed": 1}
    )
    path = run["links"]["self"]

    def ended() -> Any:
        now = api.get(path)
        assert now["status"] not in ("failed", "cancelled"), now["error"]
        return now["adapter_status"] in ("ready", "rejected") and now

    adapter_id = str(eventually(ended, 300, "the adapter")["adapter_id"])
    if not api.get(f"{ADAPTERS}/{adapter_id}")["champion"]:
        api.post(f"{ADAPTERS}/{adapter_id}/promote")
    return adapter_id


def model(api: Api) -> str:
    """The adapter that answers when the champion is asked."""
    asked = {"model": "champion", "messages": MESSAGES, "max_tokens": 2}
    return str(api.post("/v1/chat/completions", asked)["model"])


def stream(api: Api, adapter_id: str, began: threading.Event) -> tuple[float, str]:
    """A long answer: when it ended (monotonic), and by what error."""
    key = str(api._session.headers["Authorization"]).removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key=key, max_retries=0) as client:
        try:
            for _ in client.chat.completions.create(
                model=adapter_id,
                messages=MESSAGES,
                max_tokens=1500,
                stream=True,
                response_format=ENDLESS,
            ):
                began.set()
        except openai.APIError as error:
            return time.monotonic(), str(error)
    return time.monotonic(), ""


@pytest.mark.slow
def test_rollback_and_retirement_hold_within_a_second(
    new_company: Callable[[str], Api], capsys: pytest.CaptureFixture[str]
) -> None:
    api = new_company("people-decide")
    first = train(api, "It is in the cellar.")
    assert model(api) == first
    second = train(api, "It is in the attic.")
    assert model(api) == second
    seconds = []
    for target in (first, second, first):
        started = time.monotonic()
        api.post(f"{ADAPTERS}/{target}/rollback")
        assert model(api) == target, "the first answer after the rollback"
        seconds.append(time.monotonic() - started)
    job = api.process({"input": "Where is box 2?"})
    assert job["adapter_id"] == first

    began = threading.Event()
    ended: list[tuple[float, str]] = []
    asking = threading.Thread(target=lambda: ended.append(stream(api, second, began)))
    asking.start()
    assert began.wait(60)
    api.post(f"{ADAPTERS}/{second}/retire")
    retired = time.monotonic()
    asking.join(60)
    ((ended_at, error),) = ended
    assert "was retired and answers no more" in error
    with pytest.raises(ApiError) as refused:
        api.post("/v1/chat/completions", {"model": second, "messages": MESSAGES})
    assert refused.value.status == 404
    assert model(api) == first, "others answer as before"
    with capsys.disabled():
        rolled = ", ".join(f"{each:.2f}" for each in seconds)
        print(f"\nrollback to its first answer: {rolled} s; retired: {ended_at - retired:.2f} s")
    assert min(seconds) < ROLLBACK_SECONDS
    assert ended_at - retired < RETIRED_SECONDS
