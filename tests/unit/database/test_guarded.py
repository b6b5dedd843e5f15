from __future__ import annotations

import pytest
from sqlalchemy.dialects import postgresql

from database.guarded import claiming, writing
from database.transitions import MACHINES


def sql(statement: object) -> str:
    compiled = statement.compile(dialect=postgresql.dialect())  # type: ignore[attr-defined]
    return " ".join(str(compiled).split())


@pytest.mark.parametrize("kind", MACHINES)
def test_only_a_row_without_owner_is_claimed(kind: str) -> None:
    where = sql(claiming(kind)).partition(" WHERE ")[2]
    for guard in ("status IN", "step =", "attempt =", "lease_owner IS NULL"):
        assert guard in where
    assert claiming(kind) is claiming(kind), "built once"


@pytest.mark.parametrize("kind", MACHINES)
def test_only_the_owner_of_this_attempt_writes(kind: str) -> None:
    text = sql(writing(kind, ("status",)))
    assert "to_status" in text.partition(" WHERE ")[0]
    for guard in ("status =", "attempt =", "lease_owner ="):
        assert guard in text.partition(" WHERE ")[2]
