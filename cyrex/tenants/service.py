"""Companies: the tenants."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from cyrex.errors import Conflict, NotFound, UserError
from database.models import Company

COMPANY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def check_company_id(company_id: str) -> str:
    """Return `company_id` if it is well formed. Raises `UserError`."""
    if not COMPANY_ID.fullmatch(company_id):
        raise UserError(
            "invalid_company_id",
            "company_id: 1 to 63 letters, digits, '_' or '-', the first a letter or a digit",
            param="company_id",
        )
    return company_id


def create_company(
    session: Session, company_id: str, name: str = "", context: dict[str, Any] | None = None
) -> Company:
    """Insert a company. `session` is an operator's. Raises `Conflict` when it exists."""
    check_company_id(company_id)
    company: Company | None = session.scalar(
        insert(Company)
        .values(company_id=company_id, name=name or company_id, context=context or {})
        .on_conflict_do_nothing()
        .returning(Company)
    )
    if company is None:
        raise Conflict("company_exists", f"company {company_id!r} exists already", "company_id")
    return company


def get_company(session: Session, company_id: str) -> Company:
    company = session.get(Company, company_id)
    if company is None:
        raise NotFound("company_not_found", f"there is no company {company_id!r}", "company_id")
    return company


def lock_company(session: Session, company_id: str) -> bool:
    """Hold the company's row until the transaction ends; False when there is none.

    NO KEY UPDATE: rows that refer to the company take a key-share lock on it when they are
    inserted, and two transactions that both did would deadlock on a stronger lock.
    """
    query = select(Company.company_id).where(Company.company_id == company_id)
    return session.scalar(query.with_for_update(key_share=True)) is not None


def count_locked(session: Session, model: Any, company_id: str, *which: ColumnElement[bool]) -> int:
    """How many rows of `model` the company has. Until the transaction ends nobody else counts."""
    lock_company(session, company_id)
    query = select(func.count()).select_from(model).where(model.company_id == company_id, *which)
    return session.scalar(query) or 0


# In one order, so that two who lock several never wait for each other in a circle.
LOCK_ALL = """
    SELECT FROM companies WHERE company_id = ANY(CAST(:companies AS text[]))
    ORDER BY company_id FOR NO KEY UPDATE
"""


def lock_companies(session: Session, company_ids: Collection[str]) -> None:
    """`lock_company` for several, before anything is written of any of them."""
    session.execute(text(LOCK_ALL), {"companies": list(company_ids)})


def list_companies(session: Session, limit: int = 100, after: str = "") -> list[Company]:
    """Companies by id, from the one after `after`."""
    return list(
        session.scalars(
            select(Company)
            .where(Company.company_id > after)
            .order_by(Company.company_id)
            .limit(limit)
        )
    )
