from __future__ import annotations

import math
import pickle
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from cyrex.engine import (
    AdapterKey,
    AdapterRef,
    Cancelled,
    Completion,
    EngineClosed,
    EngineConfig,
    Handle,
    PromptTooLong,
    Request,
    RequestRefused,
    Sampling,
)

REF = AdapterRef("acme", "a1", "0" * 64, "/adapters/a1", "1" * 64)


def completion(sha256: str | None = None) -> Completion:
    return Completion("hi", [5, 1], [math.log(0.5), 0.0], "stop", 3, 2, None, sha256)


def test_plain_data_costs_no_model_library() -> None:
    script = (
        "import sys, cyrex.engine, cyrex.serving;"
        "print({'torch', 'transformers', 'peft', 'numpy', 'safetensors'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert output.stdout == "set()\n"


def test_an_adapter_of_another_company_is_refused() -> None:
    with pytest.raises(RequestRefused, match="another company"):
        Request("bolt", REF, "hello")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("company", ""),
        ("prompt", ""),
        ("prompt", []),
        ("prompt", "half \ud800 a pair"),
        ("max_new_tokens", 0),
        ("deadline", math.nan),
        ("stop", ("",)),
        ("stop", tuple("abcdefghijklmnopqrstuvwxyz")),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: Any) -> None:
    values: dict[str, Any] = {"company": "acme", "adapter": None, "prompt": "hello", field: value}
    with pytest.raises(RequestRefused, match=field):
        Request(**values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", 1e9),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.inf),
        ("presence_penalty", -2.1),
        ("frequency_penalty", math.nan),
        ("seed", -1),
        ("seed", 2**63),
        ("top_logprobs", -1),
        ("top_logprobs", 21),
    ],
)
def test_a_sampling_field_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestRefused, match=field):
        Sampling(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("dtype", "int3"), ("device", "tpu"), ("threads", 0), ("max_batch", 0), ("max_context", 1)],
)
def test_a_config_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        EngineConfig("base", **{field: value})


@pytest.mark.parametrize("path", ["/no/such/folder", "./no-such-folder", "a/b/c"])
def test_a_base_model_folder_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(FileNotFoundError, match=path):
        EngineConfig(path).check_base_model()
    EngineConfig("mistralai/Mistral-7B-v0.1").check_base_model()


def test_the_same_id_with_other_bytes_is_another_adapter() -> None:
    other = AdapterRef("acme", "a1", "2" * 64, "/adapters/a1", "3" * 64)
    assert REF.key == AdapterKey("acme", "a1", "0" * 64) != other.key


def test_requests_and_errors_cross_a_process_boundary() -> None:
    request = Request("acme", REF, [1, 2], stop=("x",), deadline=1.0)
    assert pickle.loads(pickle.dumps(request)) == request
    error = pickle.loads(pickle.dumps(PromptTooLong("prompt: 9 tokens")))
    assert type(error) is PromptTooLong
    assert str(error) == "prompt: 9 tokens"
    assert EngineClosed.retryable
    assert not PromptTooLong.retryable


def test_confidence_is_the_mean_probability() -> None:
    assert completion().confidence == pytest.approx(0.75)


def test_a_deadline_is_on_the_monotonic_clock() -> None:
    now = time.monotonic()
    assert Request("acme", None, "x", deadline=now - 1).is_late()
    assert not Request("acme", None, "x", deadline=now + 60).is_late()
    assert not Request("acme", None, "x").is_late()


def test_a_handle_keeps_its_first_outcome() -> None:
    handle = Handle(Request("acme", None, "x"))
    with pytest.raises(TimeoutError):
        handle.result(0)
    seen: list[bool] = []
    handle.add_done_callback(lambda done: seen.append(done.done()))
    handle.resolve(completion())
    handle.fail(Cancelled("too late"))
    handle.cancel()
    assert handle.result(0) == completion() == handle.outcome()
    assert not handle.cancelled
    assert seen == [True]


def test_a_handle_that_failed_raises_and_tells() -> None:
    handle = Handle(Request("acme", None, "x"))
    threading.Timer(0.01, handle.fail, [Cancelled("cancelled")]).start()
    with pytest.raises(Cancelled):
        handle.result(5)
    assert isinstance(handle.outcome(), Cancelled)


def test_cancelling_twice_tells_the_engine_once() -> None:
    told: list[int] = []
    handle = Handle(Request("acme", None, "x"), on_cancel=lambda: told.append(1))
    handle.cancel()
    handle.cancel()
    assert told == [1]


def test_an_answer_of_another_adapter_is_never_handed_over() -> None:
    handle = Handle(Request("acme", REF, "x"))
    with pytest.raises(AssertionError):
        handle.resolve(completion(sha256="2" * 64))
    assert not handle.done()
