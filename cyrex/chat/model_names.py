"""The names a company may send as `model`: its champion, the base, or an adapter of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyrex.adapters.base_model import served_name
from cyrex.adapters.service import champion_row
from cyrex.errors import NotFound
from cyrex.tenants.service import get_company
from database.base import Json
from database.models import Company, LoraAdapter

CHAMPION = "champion"
BASE = "base"
OWNER = "cyrex"
MAX_LISTED = 200

VERSION = re.compile(r"v?([1-9]\d{0,8})")
# Adapters in these states have no weights, or none that should answer.
UNFIT = ("failed", "retired", "deleted")


@dataclass(frozen=True, slots=True)
class Model:
    """The model that answers. name: as the answer calls it. No adapter: the base model."""

    name: str
    adapter_id: str | None = None
    sha256: str | None = None


def choose_model(session: Session, company_id: str, named: str) -> Model:
    """The model that a company means by `named`. Raises `NotFound`.

    `champion` is the base model while the company has no adapter, as for its jobs.
    """
    if named in (BASE, served_name()):
        get_company(session, company_id)
        return Model(BASE)
    if named == CHAMPION:
        champion = champion_row(session, company_id)
        if champion is not None:
            return _model_of(champion)
        get_company(session, company_id)
        return Model(BASE)
    adapter = _named(session, company_id, named)
    if adapter is None or not _can_answer(adapter):
        raise NotFound(
            "model_not_found",
            f"The model {named!r} does not exist or you do not have access to it: "
            f"ask for {CHAMPION!r}, {BASE!r}, or an adapter's id or version of your company",
            param="model",
        )
    return _model_of(adapter)


def list_models(session: Session, company_id: str) -> list[Json]:
    """A company's models in OpenAI's form: champion, base, then adapters from the newest on."""
    company = get_company(session, company_id)
    adapters = session.scalars(
        select(LoraAdapter)
        .where(
            LoraAdapter.company_id == company_id,
            LoraAdapter.sha256.is_not(None),
            LoraAdapter.status.not_in(UNFIT),
        )
        .order_by(LoraAdapter.version.desc())
        .limit(MAX_LISTED)
    )
    return [
        _view(CHAMPION, company, company_id),
        _view(BASE, company, OWNER),
        *(_view(adapter.adapter_id, adapter, company_id) for adapter in adapters),
    ]


def model_view(session: Session, company_id: str, named: str) -> Json:
    """One model in OpenAI's form. Raises `NotFound`."""
    choose_model(session, company_id, named)
    adapter = _named(session, company_id, named)
    company = get_company(session, company_id)
    return _view(named, adapter or company, OWNER if named == BASE else company_id)


def _named(session: Session, company_id: str, named: str) -> LoraAdapter | None:
    of_company = select(LoraAdapter).where(LoraAdapter.company_id == company_id)
    version = VERSION.fullmatch(named)
    if version is not None:
        return session.scalar(of_company.where(LoraAdapter.version == int(version[1])))
    return session.scalar(of_company.where(LoraAdapter.adapter_id == named))


def _can_answer(adapter: LoraAdapter) -> bool:
    return adapter.sha256 is not None and adapter.status not in UNFIT


def _model_of(adapter: LoraAdapter) -> Model:
    return Model(adapter.adapter_id, adapter.adapter_id, adapter.sha256)


def _view(name: str, made: Company | LoraAdapter, owner: str) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": int(made.created_at.timestamp()),
        "owned_by": owner,
    }
