"""What the models promise of themselves, without a database."""

from __future__ import annotations

from database.base import NAMING, Base, new_id
from database.models import Company

MAX_NAME_BYTES = 63


def test_ids_sort_by_time_of_creation() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_every_constraint_and_index_has_a_name_that_postgres_keeps_whole() -> None:
    assert Base.metadata.naming_convention == NAMING
    for table in Base.metadata.sorted_tables:
        for item in (*table.constraints, *table.indexes):
            name = str(item.name)
            assert name.startswith(("pk_", "fk_", "uq_", "ck_", "ix_")), (table.name, name)
            assert len(name.encode()) <= MAX_NAME_BYTES, name


def test_every_time_has_a_time_zone() -> None:
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            assert getattr(column.type, "timezone", True), f"{table.name}.{column.name}"


def test_what_belongs_to_a_company_goes_with_it() -> None:
    for table in Base.metadata.sorted_tables:
        column = table.c.get("company_id")
        if column is not None and table is not Company.__table__:
            (key,) = [k for k in column.foreign_keys if k.column.table is Company.__table__]
            assert key.ondelete == "CASCADE", table.name
