"""A company that is the only one."""

from __future__ import annotations

import pytest
from sqlalchemy import delete

from database.models import Company
from database.session import operator_session
from tests.support import rows


@pytest.fixture
def acme() -> str:
    with operator_session() as session:
        session.execute(delete(Company))
    return rows.company()
