"""The one error shape."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from flask import Flask
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cyrex.errors import Conflict, UserError
from web.http.errors import path_of, refuse_invalid, register_errors
from web.shapes.common import Error


@pytest.fixture
def app() -> Flask:
    app = Flask("errors")
    register_errors(app)
    return app


def answer_to(app: Flask, error: Exception) -> Any:
    def fail() -> str:
        raise error

    app.add_url_rule("/fail", view_func=fail)
    response = app.test_client().get("/fail")
    Error.model_validate(response.json)
    return response


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UserError("bad", "no", param="x"), 400, "bad"),
        (Conflict("again", "no"), 409, "again"),
        (OperationalError("SELECT secret", {}, Exception("refused")), 503, "database_unavailable"),
        (PoolTimeout("QueuePool limit"), 503, "database_busy"),
        (redis.ConnectionError("refused"), 503, "broker_unavailable"),
        (ProgrammingError("SELECT secret", {}, Exception("oops")), 500, "internal_error"),
        (ZeroDivisionError("secret"), 500, "internal_error"),
    ],
)
def test_every_error_has_the_shape_and_tells_no_secret(
    app: Flask, error: Exception, status: int, code: str
) -> None:
    response = answer_to(app, error)
    assert response.status_code == status
    assert response.json["error"]["code"] == code
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert ("Retry-After" in response.headers) is (status == 503)


def test_an_unknown_route_and_a_wrong_method_have_it_too(app: Flask) -> None:
    app.add_url_rule("/here", view_func=lambda: "yes")
    missing: Any = app.test_client().get("/nowhere")
    assert (missing.status_code, missing.json["error"]["code"]) == (404, "route_not_found")
    wrong: Any = app.test_client().post("/here")
    assert (wrong.status_code, wrong.json["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["Allow"]


def test_a_field_is_named_by_its_path() -> None:
    assert path_of(("training_data", 3, "output")) == "training_data[3].output"
    assert path_of(()) is None


def test_all_findings_are_listed_and_the_first_is_named() -> None:
    class Wanted(BaseModel):
        a: int
        b: list[int]

    with pytest.raises(ValidationError) as caught:
        Wanted.model_validate({"b": [1, "x"]})
    with pytest.raises(UserError) as refused:
        refuse_invalid(caught.value)
    assert refused.value.param == "a"
    assert [found["param"] for found in refused.value.details] == ["a", "b[1]"]
