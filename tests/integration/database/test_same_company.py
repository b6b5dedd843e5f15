"""A row refers only to rows of its own company, whatever the code above asks for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKeyConstraint, Table, delete, insert, update
from sqlalchemy.exc import IntegrityError

from database.base import new_id
from database.models import Base, Company, CompanyMemory, Job, ToolCall
from database.session import company_session, operator_session
from tests.support import rows

pytestmark = pytest.mark.usefixtures("database_url")

TABLES: dict[str, Table] = {table.name: table for table in Base.metadata.sorted_tables}
OF_COMPANIES = {name for name, table in TABLES.items() if "company_id" in table.c} - {"companies"}
REFERENCES = [
    (table.name, constraint)
    for table in TABLES.values()
    for constraint in sorted(table.constraints, key=lambda each: str(each.name))
    if isinstance(constraint, ForeignKeyConstraint)
    and constraint.referred_table.name in OF_COMPANIES
]


def test_every_reference_to_a_companys_row_carries_the_company() -> None:
    assert len(REFERENCES) >= 11
    for name, constraint in REFERENCES:
        pairs = {key.parent.name: key.column.name for key in constraint.elements}
        assert pairs["company_id"] == "company_id", (name, pairs)
        assert len(pairs) == 2


@pytest.mark.parametrize(
    ("name", "constraint"), REFERENCES, ids=[f"{n}-{c.name}" for n, c in REFERENCES]
)
def test_no_row_can_refer_to_another_companys(name: str, constraint: ForeignKeyConstraint) -> None:
    mine, theirs = (rows.fill_every_table(f"{who}-{new_id()}") for who in ("acme", "globex"))
    table = TABLES[name]
    (reference,) = [key for key in constraint.elements if key.parent.name != "company_id"]
    foreign = theirs[reference.column.table.name][reference.column.name]
    with operator_session() as session:  # what refers to it already may be the only one that can
        session.execute(delete(table).where(table.c.company_id == theirs[name]["company_id"]))
    where = [column == mine[name][column.name] for column in table.primary_key]
    statement = update(table).where(*where).values({reference.parent.name: foreign})
    # Even the operator, whom no policy holds back, cannot.
    with pytest.raises(IntegrityError, match="foreign key"), operator_session() as session:
        session.execute(statement)


def test_a_company_cannot_attach_a_row_to_anothers_job() -> None:
    acme, globex = rows.company(), rows.company("globex")
    values: dict[str, Any] = {
        "call_id": new_id(),
        "company_id": globex,
        "job_id": rows.job(acme),
        "tool_name": "t",
        "arguments": {},
        "status": "queued",
    }
    with pytest.raises(IntegrityError, match="foreign key"), company_session(globex) as session:
        session.execute(insert(ToolCall).values(values))


def test_what_is_remembered_stays_its_companys_when_the_job_goes() -> None:
    acme = rows.company()
    job_id, memory_id = rows.job(acme), new_id()
    with operator_session() as session:
        session.add(
            CompanyMemory(
                memory_id=memory_id, company_id=acme, job_id=job_id, kind="result", content="x"
            )
        )
    with operator_session() as session:
        session.delete(session.get_one(Job, job_id))
    memory = rows.get(CompanyMemory, memory_id)
    assert (memory.company_id, memory.job_id) == (acme, None)
    with operator_session() as session:
        session.delete(session.get_one(Company, acme))
    with operator_session() as session:
        assert session.get(CompanyMemory, memory_id) is None
