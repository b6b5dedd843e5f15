from __future__ import annotations

import pytest

from cyrex.errors import Conflict, NotFound, TooMany, Unavailable, UserError


@pytest.mark.parametrize(
    ("kind", "status"),
    [(UserError, 400), (NotFound, 404), (Conflict, 409), (TooMany, 429), (Unavailable, 503)],
)
def test_each_kind_has_its_status(kind: type[UserError], status: int) -> None:
    assert kind("code", "what is wrong").status == status
    assert kind("code", "what is wrong", status=418).status == 418


def test_json_has_details_only_where_there_are_some() -> None:
    plain = UserError("code", "what is wrong", "field")
    assert plain.as_json() == {"code": "code", "message": "what is wrong", "param": "field"}
    assert UserError("code", "m", details=[]).as_json()["details"] == []
    assert str(plain) == "what is wrong"
