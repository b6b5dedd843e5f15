"""When two bodies are the same request."""

from __future__ import annotations

from web.http.idempotency import digest


def test_the_order_of_fields_and_the_time_to_wait_do_not_matter() -> None:
    first = {"data": {"a": 1, "b": 2}, "wait": 1}
    assert digest(first) == digest({"wait": 30, "data": {"b": 2, "a": 1}})


def test_everything_else_matters() -> None:
    assert digest({"data": {"wait": 1}}) != digest({"data": {"wait": 2}})
    assert digest({"data": 1}) != digest({"data": "1"})
    assert digest({"data": [1, 2]}) != digest({"data": [2, 1]})
