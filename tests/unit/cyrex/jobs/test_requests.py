"""From a job's row to the engine's request, and from its answer to the row."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cyrex.agents.state import StepInput
from cyrex.agents.turn import AgentLimits, Situation
from cyrex.engine import Completion
from cyrex.errors import UserError
from cyrex.jobs.requests import BASE_NOTE, WrongAdapter, output_of, request_of
from database.models import Job
from helox.render import ChatTemplate, to_messages
from settings import get_settings

TEMPLATE = ChatTemplate(
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def job(data: Any, **values: Any) -> Job:
    return Job(company_id="acme", job_id="j", input_data={"data": data}, use_adapter=True, **values)


LIMITS = AgentLimits(steps=3, tokens=100, seconds=30.0, memories=0)


def prepared(data: Any = "x", prompt: str = "", **done: Any) -> StepInput:
    """What the claim of a job's step has read. Without a prompt no agent is at work."""
    return StepInput(Situation(data, prompt), LIMITS, **done)


def step(**values: Any) -> dict[str, Any]:
    """The view of a step that an agent has done."""
    return {"number": 1, "kind": "call", "prompt_tokens": 5, "completion_tokens": 40, **values}


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
    for data in ({"input": asked}, asked):
        request = request_of(job(data), None, TEMPLATE, prepared(data))
        assert request.prompt == expected
        assert request.grammar is None, "any answer is one"


def test_a_request_carries_the_company_and_the_limits() -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=50)
    request = request_of(job({"input": "x"}, deadline_at=deadline), None, TEMPLATE, prepared())
    assert (request.company, request.adapter) == ("acme", None)
    assert request.max_new_tokens == get_settings().max_new_tokens
    assert request.deadline is not None
    assert 45 < request.deadline - time.monotonic() <= 50
    long = StepInput(Situation("x", choices=["no", "é" * 400]), LIMITS)
    assert request_of(job("x"), None, TEMPLATE, long).max_new_tokens == 800, "each choice fits"
    undated = request_of(job({"input": "x"}), None, TEMPLATE, prepared())
    assert undated.deadline is not None
    allowed = get_settings().job_seconds
    assert allowed - 5 < undated.deadline - time.monotonic() <= allowed


def test_an_agents_step_gets_what_its_limits_leave() -> None:
    deadline, began = (datetime.now(UTC) + timedelta(seconds=s) for s in (50, -10))
    at_work = job({"input": "x"}, deadline_at=deadline, started_at=began)
    request = request_of(at_work, None, TEMPLATE, prepared(prompt="Be kind.", steps=[step()]))
    assert isinstance(request.prompt, str)
    assert request.prompt.startswith("<system>Be kind.<user>")
    assert request.max_new_tokens == LIMITS.tokens - 40
    assert request.deadline is not None
    assert 15 < request.deadline - time.monotonic() <= 20
    # The job's own deadline may be the nearer one.
    at_work.deadline_at = datetime.now(UTC) + timedelta(seconds=8)
    nearer = request_of(at_work, None, TEMPLATE, prepared(prompt="Be kind."))
    assert nearer.deadline is not None
    assert 3 < nearer.deadline - time.monotonic() <= 8


@pytest.mark.parametrize(
    ("limit", "done", "seconds"),
    [
        ("steps", [step(completion_tokens=1)] * 3, 0),
        ("tokens", [step(completion_tokens=100)], 0),
        ("seconds", [], 31),
    ],
)
def test_an_agent_that_has_used_up_a_limit_is_stopped(
    limit: str, done: list[Any], seconds: float
) -> None:
    at_work = job("x", started_at=datetime.now(UTC) - timedelta(seconds=seconds))
    with pytest.raises(UserError) as refused:
        request_of(at_work, None, TEMPLATE, prepared(prompt="Be kind.", steps=done))
    assert (refused.value.code, refused.value.param) == (f"{limit}_exceeded", f"limits.{limit}")


def test_a_job_whose_time_is_up_does_not_begin() -> None:
    late = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(UserError) as refused:
        request_of(job({"input": "x"}, deadline_at=late), None, TEMPLATE, prepared())
    assert refused.value.code == "deadline_exceeded"


def test_an_answer_by_the_base_says_so() -> None:
    output = output_of(job("x"), completion(), prepared())
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
    assert "note" not in output_of(unasked, completion(), prepared())


def test_an_agents_answer_counts_all_of_its_steps() -> None:
    calls = [{"call_id": "c", "status": "completed"}]
    done = prepared(prompt="Be kind.", steps=[step()], calls=calls)
    output = output_of(job("x"), completion(), done)
    assert [(s["number"], s["kind"]) for s in output["steps"]] == [(1, "call"), (2, "answer")]
    assert output["steps"][1]["text"] == output["result"] == "refund"
    assert output["usage"] == {"prompt_tokens": 14, "completion_tokens": 42}
    assert output["tool_results"] == calls


def test_an_answer_by_the_jobs_adapter_is_taken() -> None:
    named = job("x", adapter_id="a", adapter_sha256="s")
    output = output_of(named, completion(adapter_id="a", sha256="s"), prepared())
    assert output["adapter_used"] is True
    assert "note" not in output


@pytest.mark.parametrize("given", [(None, None), ("b", "s"), ("a", "t")])
def test_an_answer_by_any_other_is_refused(given: tuple[str | None, str | None]) -> None:
    named = job("x", adapter_id="a", adapter_sha256="s")
    with pytest.raises(WrongAdapter, match="answered by"):
        output_of(named, completion(adapter_id=given[0], sha256=given[1]), prepared())


def test_an_answer_that_postgres_could_not_store_is_made_storable() -> None:
    output = output_of(job("x"), completion(text="a\x00b\ud800c"), prepared())
    assert "\x00" not in output["result"]
    output["result"].encode()
    assert output["result"].startswith("a")
    assert output["result"].endswith("c")
