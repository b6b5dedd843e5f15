"""The application with nothing behind it: request ids, and liveness."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from web import create_app


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app().test_client()


def test_answers_carry_a_request_id_and_keep_a_sane_one(client: FlaskClient) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", client.get("/healthz").headers["x-request-id"])
    kept = client.get("/healthz", headers={"x-request-id": "trace-1.a_B"})
    assert kept.headers["x-request-id"] == "trace-1.a_B"
    odd = client.get("/healthz", headers={"x-request-id": 'a"b c'})
    assert odd.headers["x-request-id"] != 'a"b c'


def test_liveness_needs_no_other_part_and_no_key(client: FlaskClient) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})
    assert response.headers["Cache-Control"] == "no-store"
