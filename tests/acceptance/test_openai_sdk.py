"""The `openai` SDK against the whole stack: what its users do, and what can go wrong meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import psycopg2
import pytest

from demo.client import Api
from embedded import Stack
from tests.acceptance.engines import engine_of
from tests.support.waiting import eventually

MESSAGES: Any = [{"role": "user", "content": "Hello, what do you do about invoices?"}]
# The grammar makes the answer as long as `max_tokens`, whatever the model would say.
ENDLESS: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "numbers",
        "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 100_000},
    },
}
LONG = 1500


@pytest.fixture(scope="module")
def acme(operator: Api) -> Api:
    made = operator.post("/companies", {"company_id": "sdk"})
    return Api(operator.url, made["api_key"])


@pytest.fixture
def client(acme: Api) -> Iterator[openai.OpenAI]:
    key = str(acme._session.headers["Authorization"]).removeprefix("Bearer ")
    # No second try behind the test's back.
    with openai.OpenAI(base_url=f"{acme.url}/v1", api_key=key, max_retries=0) as made:
        yield made


def usage(stack: Stack, company_id: str = "sdk") -> list[tuple[str, int, int]]:
    """(reference, prompt tokens, completion tokens) of a company's conversations."""
    url = stack.environment["DATABASE_URL"].replace("+psycopg2", "")
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE cyrex_operator")
            cursor.execute(
                "SELECT reference, prompt_tokens, completion_tokens FROM usage"
                " WHERE company_id = %s AND kind = 'conversation' ORDER BY created_at",
                (company_id,),
            )
            return list(cursor.fetchall())
    finally:
        connection.close()


def test_plain_answers_streams_and_their_usage(client: openai.OpenAI, stack: Stack) -> None:
    before = len(usage(stack))
    answer = client.chat.completions.create(
        model="champion", messages=MESSAGES, temperature=0, max_completion_tokens=30
    )
    assert answer.model == "base", "the company has no adapter yet"
    assert answer.usage is not None
    stream = client.chat.completions.create(
        model="base",
        messages=MESSAGES,
        temperature=0,
        max_tokens=30,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == answer.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
    rows = eventually(lambda: usage(stack)[before : before + 2], what="the usage")
    expected = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert [row[1:] for row in rows] == [expected] * len(rows)


def test_the_sdks_own_helpers_work(client: openai.OpenAI) -> None:
    listed = [model.id for model in client.models.list()]
    assert listed[:2] == ["champion", "base"]
    assert client.models.retrieve("base").owned_by == "cyrex"
    with client.chat.completions.stream(
        model="base", messages=MESSAGES, temperature=0, max_tokens=20
    ) as stream:
        final = stream.get_final_completion()
    again = client.chat.completions.create(
        model="base",
        messages=[*MESSAGES, final.choices[0].message, {"role": "user", "content": "And then?"}],  # type: ignore[list-item]
        max_tokens=5,
        logprobs=True,
        top_logprobs=2,
    )
    logprobs = again.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert len(logprobs.content[0].top_logprobs) == 2


def test_a_hundred_conversations_at_once(acme: Api, client: openai.OpenAI) -> None:
    async def many() -> list[str | None]:
        async with openai.AsyncOpenAI(
            base_url=client.base_url, api_key=client.api_key, max_retries=2
        ) as asking:

            async def one(number: int) -> str | None:
                messages: Any = [{"role": "user", "content": f"Tell me about order {number % 10}"}]
                stream = await asking.chat.completions.create(
                    model="base", messages=messages, temperature=0, max_tokens=16, stream=True
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            return await asyncio.gather(*(one(number) for number in range(100)))

    answers = asyncio.run(many())
    for number, answer in enumerate(answers):
        assert answer == answers[number % 10], "the same question, greedily"


@pytest.mark.parametrize(
    ("wrong", "kind", "param"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model"),
        ({"n": 3}, openai.BadRequestError, "n"),
        ({"tool_choice": "required"}, openai.BadRequestError, "tool_choice"),
        ({"messages": [{"role": "user"}, {"role": "x"}]}, openai.BadRequestError, None),
        ({"temperature": -1}, openai.BadRequestError, "temperature"),
        ({"extra_body": {"colour": "red"}}, openai.BadRequestError, "colour"),
        ({"messages": [{"role": "user", "content": "x " * 9000}]}, openai.BadRequestError, None),
    ],
)
def test_bad_input_is_the_sdks_own_error(
    client: openai.OpenAI, wrong: dict[str, Any], kind: type[openai.APIStatusError], param: Any
) -> None:
    asked: dict[str, Any] = {"model": "base", "messages": MESSAGES, "max_tokens": 4, **wrong}
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            client.chat.completions.create(**asked, stream=stream)
        assert caught.value.code
        assert param is None or caught.value.param == param
        assert "Traceback" not in str(caught.value)


def test_a_wrong_key_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="cx_nobody_knows").models.list()


def endless(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(
        model="base",
        messages=MESSAGES,
        max_tokens=LONG,
        seed=1,
        response_format=ENDLESS,
        stream=True,
    )


def test_a_client_that_leaves_stops_the_model(client: openai.OpenAI, stack: Stack) -> None:
    known = {row[0] for row in usage(stack)}
    stream = endless(client)
    pieces = [next(stream) for _ in range(5)]
    stream.close()
    rows = eventually(lambda: [row for row in usage(stack) if row[0] not in known], 10, "the usage")
    assert pieces
    assert len(rows) == 1
    assert rows[0][2] < LONG / 3, "it was cancelled, not finished"


def read_until_broken(stream: Any, disturb: Callable[[], Any]) -> openai.APIError:
    """The error that ends a stream which is disturbed after its first pieces."""
    with pytest.raises(openai.APIError) as caught:
        for number, _chunk in enumerate(stream):
            if number == 5:
                disturb()
    return caught.value


def test_an_engine_killed_in_mid_stream_ends_it_with_an_error(
    client: openai.OpenAI, stack: Stack
) -> None:
    error = read_until_broken(endless(client), lambda: engine_of(stack).kill())
    assert isinstance(error.body, dict)
    assert error.body["code"] == "answer_lost"
    # What is asked next waits for the new engine.
    answer = client.chat.completions.create(model="base", messages=MESSAGES, max_tokens=4)
    assert answer.choices


@pytest.mark.slow
def test_a_worker_killed_in_mid_stream_ends_it_and_new_ones_are_answered(
    client: openai.OpenAI, stack: Stack
) -> None:
    started = time.monotonic()
    error = read_until_broken(endless(client), lambda: stack.kill("inference"))
    assert isinstance(error.body, dict)
    assert error.body["code"] == "answer_lost"
    assert time.monotonic() - started < 30
    stack.wait_ready("inference")
    answer = client.chat.completions.create(model="base", messages=MESSAGES, max_tokens=4)
    assert answer.choices


@pytest.mark.slow
def test_a_question_asked_while_the_worker_restarts_is_answered(
    client: openai.OpenAI, stack: Stack
) -> None:
    stack.kill("inference")
    patient = client.with_options(max_retries=5, timeout=120)
    answers: list[Any] = []

    def ask() -> None:
        answers.append(
            patient.chat.completions.create(model="base", messages=MESSAGES, max_tokens=4)
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    stack.wait_ready("inference")
    for thread in threads:
        thread.join(120)
    assert len(answers) == len(threads)


def test_json_is_json(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="base",
        messages=MESSAGES,
        max_tokens=200,
        temperature=0,
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "mood",
                "schema": {
                    "type": "object",
                    "properties": {"mood": {"enum": ["good", "bad"]}, "ok": {"type": "boolean"}},
                    "required": ["mood", "ok"],
                    "additionalProperties": False,
                },
            },
        },
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert found["mood"] in ("good", "bad")
    assert isinstance(found["ok"], bool)
