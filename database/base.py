"""Shared by every table: naming, column types, and the columns of a row that has steps."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from uuid_utils import uuid7

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Json = dict[str, Any]


# Characters that neither text nor JSON columns take.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# In JSON both can only be escapes; pairs of surrogates, which are characters, are found too.
_SUSPECT = re.compile(r"\\u(?:0000|d[89a-f])")


def interval(seconds: Any) -> ColumnElement[Any]:
    """So many seconds, a number or an expression, to add to a time."""
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def storable(text: str) -> str:
    """`text` as Postgres can keep it: it has no place for NUL or for half a character."""
    return UNSTORABLE.sub("\ufffd", text)


def to_json(value: Any) -> str:
    """How JSON columns are written; what Postgres could not keep is replaced."""
    text = json.dumps(value)
    return json.dumps(_storable_json(value)) if _SUSPECT.search(text) else text


def _storable_json(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _storable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable_json(item) for item in value]
    return value


def new_id() -> str:
    """A UUIDv7 as text: ids of one table sort by time of creation."""
    return str(uuid7())


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        # None is SQL's NULL, in every kind of statement.
        Json: JSONB(none_as_null=True),
        list[Json]: JSONB(none_as_null=True),
        list[str]: ARRAY(Text),
    }


class Timed:
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class OfCompany:
    """A row that belongs to one company: row-level security hides it from all others."""

    @declared_attr
    @classmethod
    def company_id(cls) -> Mapped[str]:
        return mapped_column(ForeignKey("companies.company_id", ondelete="CASCADE"), index=True)


class ReferredOfCompany(OfCompany):
    """A company's row that others refer to, by (company_id, id): see `same_company`.

    Its table has a unique constraint over both, whose index finds a company's rows too.
    """

    @declared_attr
    @classmethod
    def company_id(cls) -> Mapped[str]:
        return mapped_column(ForeignKey("companies.company_id", ondelete="CASCADE"))


def same_company(column: str, target: str, ondelete: str | None = None) -> ForeignKeyConstraint:
    """`column` refers to `target` ("table.column"), a row of the same company and of no other.

    Checks of foreign keys go past row-level security: this keeps them from reaching across.
    """
    table, _, key = target.partition(".")
    return ForeignKeyConstraint(
        ["company_id", column], [f"{table}.company_id", f"{table}.{key}"], ondelete=ondelete
    )


class Stepped(Timed):
    """A row that a chain of tasks moves forward, one claimed step at a time.

    `attempt` is the fencing token: it only grows, and every write of a step's owner carries it.
    `failures` counts the deaths of the current step; `publications` counts its hints to the broker.
    """

    status: Mapped[str] = mapped_column(index=True)
    step: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(Integer, server_default="1")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_owner: Mapped[str | None] = mapped_column(index=True)
    publications: Mapped[int] = mapped_column(Integer, server_default="0")
    published_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(server_default="false")
    history: Mapped[list[Json]] = mapped_column(server_default="[]")
    error: Mapped[Json | None]
