"""From a job's row to the engine's request, and from its answer to the row."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cyrex.engine import Completion
from cyrex.errors import UserError
from cyrex.prompts import BASE_NOTE, output_of, request_of
from database.models import Job
from helox.render import ChatTemplate, to_messages
from settings import get_settings

TEMPLATE = ChatTemplate(
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def job(data: Any, **values: Any) -> Job:
    return Job(company_id="acme", job_id="j", input_data={"data": data}, use_adapter=True, **values)


def completion(**values: Any) -> Completion:
    return Completion(
        **{
            "text": "refund",
            "tokens": [1, 2],
            "logprobs": [0.0, -0.7],
            "finish_reason": "stop",
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "adapter_id": None,
            "sha256": None,
            **values,
        }
    )


@pytest.mark.parametrize("asked", ["where is my order?", {"order": 7, "due": None}, ["a", 1]])
def test_a_job_is_asked_what_training_asked(asked: Any) -> None:
    trained = to_messages({"input": asked, "output": "refund"}).messages[:-1]
    expected = TEMPLATE.render(trained, add_generation_prompt=True)
    assert request_of(job({"input": asked}), None, TEMPLATE).prompt == expected
    assert request_of(job(asked), None, TEMPLATE).prompt == expected


def test_a_request_carries_the_company_and_the_limits() -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=50)
    request = request_of(job({"input": "x"}, deadline_at=deadline), None, TEMPLATE)
    assert (request.company, request.adapter) == ("acme", None)
    assert request.max_new_tokens == get_settings().max_new_tokens
    assert request.deadline is not None
    assert 45 < request.deadline - time.monotonic() <= 50
    assert request_of(job({"input": "x"}), None, TEMPLATE).deadline is None


def test_a_job_whose_time_is_up_does_not_begin() -> None:
    late = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(UserError) as refused:
        request_of(job({"input": "x"}, deadline_at=late), None, TEMPLATE)
    assert refused.value.code == "deadline_exceeded"


def test_an_answer_by_the_base_says_so() -> None:
    output = output_of(job("x"), completion())
    assert (output["result"], output["adapter_used"], output["note"]) == (
        "refund",
        False,
        BASE_NOTE,
    )
    assert output["usage"] == {"prompt_tokens": 9, "completion_tokens": 2}
    assert output["tool_results"] == []
    assert output["confidence"] == pytest.approx((1 + 0.4966) / 2, abs=1e-3)
    unasked = job("x")
    unasked.use_adapter = False
    assert "note" not in output_of(unasked, completion())


def test_an_answer_by_the_jobs_adapter_is_taken() -> None:
    named = job("x", adapter_id="a", adapter_sha256="s")
    output = output_of(named, completion(adapter_id="a", sha256="s"))
    assert output["adapter_used"] is True
    assert "note" not in output


@pytest.mark.parametrize("given", [(None, None), ("b", "s"), ("a", "t")])
def test_an_answer_by_any_other_is_refused(given: tuple[str | None, str | None]) -> None:
    named = job("x", adapter_id="a", adapter_sha256="s")
    with pytest.raises(AssertionError, match="answered by"):
        output_of(named, completion(adapter_id=given[0], sha256=given[1]))


def test_an_answer_that_postgres_could_not_store_is_made_storable() -> None:
    output = output_of(job("x"), completion(text="a\x00b\ud800c"))
    assert "\x00" not in output["result"]
    output["result"].encode()
    assert output["result"].startswith("a")
    assert output["result"].endswith("c")
